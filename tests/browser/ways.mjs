// An operator's ways through the console, beside the command line and the queues.

import { check, equal } from "./account.mjs";
import { until } from "./page.mjs";

export const TOKENS = { operator: "operator-token-of-the-check", reader: "reader-token-of-the-check" };

function ran({ code, out, err }, wanted) {
  if (code !== wanted) throw new Error(`exit code ${code}, wanted ${wanted}: ${out}${err}`);
  return out;
}

const queued = (gateway, source) => {
  const out = ran(gateway.run("consume", source, "--from", "rabbitmq", "--output", "json"), 0);
  return out
    .trim()
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
};

export async function anEventsWay(page, gateway) {
  await check(
    "an empty gateway says so on every page",
    async () => {
      for (const [hash, words] of [
        ["#/", "Nothing was refused"],
        ["#/events", "No event is like that"],
        ["#/failures", "Nothing was refused"],
        ["#/quarantine", "Nothing is kept"],
      ]) {
        await page.go(hash);
        await page.says(words);
      }
    },
    page,
  );

  await check(
    "an event that is sent is on Live within a second",
    async () => {
      await page.go("#/live");
      await page.says("Following");
      // Signing and posting is the command's time; the page's begins when the gateway has answered.
      ran(gateway.run("send", "stripe"), 0);
      const answered = Date.now();
      await page.find("tbody tr", "payment_intent.succeeded");
      const took = Date.now() - answered;
      if (took > 1000) throw new Error(`it took ${took} ms`);
      await page.screenshot("live");
    },
    page,
  );

  await check(
    "its steps are told in milliseconds",
    async () => {
      await page.press("main tbody a");
      await page.says(["received", "attempted", "confirmed", " ms", "stripe-signature"]);
      const [first] = queued(gateway, "stripe");
      await page.says([first.message_id, "payment_intent.succeeded"]);
      await page.screenshot("event");
    },
    page,
  );

  await check(
    "it is replayed, and comes a second time under the same id",
    async () => {
      await page.press("[data-action=replay]");
      await page.find("dialog", "Replay event 1?");
      await page.screenshot("replay");
      await page.press("dialog button[type=submit]");
      await page.says("replayed 1", "#toasts");
      const steps = async () => {
        const named = await page.driver.findElements({ css: "main tbody tr td:first-child > code" });
        return Promise.all(named.map((each) => each.getText()));
      };
      const whole = ["received", "attempted", "confirmed", "replayed", "attempted", "confirmed"];
      await until("the steps before the replay, and its own", async () => `${await steps()}`.startsWith(`${whole}`));
      let again = [];
      await until("a second message in the queue", async () => (again = queued(gateway, "stripe")).length > 0);
      const { message_id: id } = await gateway.get("v1/events/1");
      equal(
        again.map(({ message_id: found }) => found),
        [id],
        "messages after the replay",
      );
    },
    page,
  );

  await check(
    "it is found by its number, its id and its message id",
    async () => {
      const { message_id: message, event_id: id } = await gateway.get("v1/events/1");
      for (const text of ["1", id, message]) {
        await page.go("#/events");
        await page.type("#filter-id", text);
        await page.press("main form button[type=submit]");
        await page.find("tbody tr", id);
      }
      await page.go("#/events?id=none-such");
      await page.says("No event is like that");
      await page.go("#/events?state=nonsense");
      await page.says("allowed are pending, aside, held");
    },
    page,
  );
}

export async function whatFails(page, gateway) {
  await check(
    "a broken signature: from Overview to its cause and advice in three clicks at most",
    async () => {
      ran(gateway.run("send", "stripe", "--break", "signature"), 1);
      await page.go("#/");
      await until("the failure is on Overview", async () => (await page.text("main")).includes("signature_mismatch"), 15_000);
      page.clicks = 0;
      await page.press("main a", "signature_mismatch");
      const { failures } = await gateway.get("v1/history/failures");
      const [{ reason }] = failures;
      equal(reason, "signature_mismatch", "the gateway's own reason");
      await until("the cause is known to the gateway", async () => (await gateway.get("v1/history/failures")).failures[0].cause);
      const [{ cause, advice }] = (await gateway.get("v1/history/failures")).failures;
      await page.says(cause, "#cause", 15_000);
      await page.says(advice, "#advice");
      if (page.clicks > 3) throw new Error(`it took ${page.clicks} clicks`);
      await page.screenshot("failure");
    },
    page,
  );

  await check(
    "what was refused is in the quarantine, and can be tried again",
    async () => {
      await page.go("#/quarantine");
      await page.find("tbody tr", "signature_mismatch");
      await page.press("main button", "Try without doing");
      await page.find("dialog", "1 request");
      await page.press("dialog button[type=submit]");
      await page.press("main tbody a", "1");
      await page.says("payment_intent.succeeded");
      await page.screenshot("quarantine");
    },
    page,
  );
}

export async function deadLetters(page, gateway) {
  await check(
    "a dead letter is requeued, and its queue has it again",
    async () => {
      ran(gateway.run("send", "stripe"), 0);
      await until("a message for the worker", async () => {
        const { out, err } = gateway.run("consume", "stripe", "--from", "rabbitmq", "--exec", "/bin/false");
        return `${out}${err}`.includes("dead letters");
      });
      await page.go("#/queues");
      await page.find("tbody tr", "rejected");
      await page.screenshot("dead");
      await page.press("main tbody button", "Requeue");
      await page.press("dialog button[type=submit]");
      await page.says("requeued 1", "#toasts");
      await page.says("No dead letters");
      equal(queued(gateway, "stripe").length, 1, "messages that its queue has again");
    },
    page,
  );
}

export async function whatIsConfigured(page, gateway) {
  await check(
    "a source has what its provider is to be given, and a provider is found by its name",
    async () => {
      await page.go("#/sources");
      const { sources } = await gateway.get("v1/sources");
      const { path: place, secrets } = sources.find(({ name }) => name === "stripe");
      await page.says([place, secrets[0].fingerprint, "hookgate send stripe"], "[data-source=stripe]");
      await page.type("#provider", "zoom");
      await page.find("main caption", "1 provider");
    },
    page,
  );

  await check(
    "a sample is sent to a source from its page, and a broken one is refused with the reason",
    async () => {
      await page.go("#/sources");
      await page.press("[data-source=stripe] button", "Try…");
      equal(await page.driver.executeScript("return document.activeElement.id"), "trial-event", "where the press leads");
      // From here on by keys alone.
      const keys = async (...pressed) => page.driver.actions().sendKeys(...pressed).perform();
      await keys("\uE004", "\uE004", "\uE007");
      await page.find("dialog", "Send a sample to stripe?");
      await keys("\uE007");
      await page.says(["accepted", "payment_intent.succeeded", "signed with live"], "#sample-outcome");
      await page.screenshot("sample");
      await page.press("#trial-break option", "a character of the signature");
      await page.press("#trial-sample button");
      await page.says(["refused", "signature_mismatch"], "#sample-outcome");
      await page.go("#/events?source=stripe");
      await page.press("main tbody a");
      await page.says("A sample: an operator had this gateway sign and send it");
      equal(queued(gateway, "stripe").length, 1, "messages for the workers");
    },
    page,
  );

  await check(
    "a payload is held against a source's schema",
    async () => {
      await page.go("#/sources");
      await page.press("[data-source=stripe] button", "Try…");
      const payload = await page.type("#trial-payload", '{"id":1,"object":"event","type":"invoice.paid"}');
      await payload.sendKeys("\uE009\uE007");
      await page.says(["invalid", "as invoice.paid", "/id", '1 is not of type "string"'], "#schema-outcome");
      equal(await page.axe(), [], "with violations");
      await page.screenshot("payload");
    },
    page,
  );

  await check(
    "values are told with where they come from, and are loaded again at a press",
    async () => {
      await page.go("#/config?key=sink.kind");
      await page.says(["sink.kind", '"rabbitmq"', "hookgate.toml:"]);
      await page.press("main button", "Reload");
      await page.press("dialog button[type=submit]");
      await page.says("loaded again", "#toasts");
      await page.says("Loaded");
    },
    page,
  );
}

export async function brokerAway(page, gateway, rabbitmq) {
  await check(
    "a banner says at once that RabbitMQ is away, and what waits, and goes when it is back",
    async () => {
      await page.go("#/events");
      await rabbitmq.kill();
      await page.says("rabbitmq", "#banners", 30_000);
      equal(await (await page.find("#banners [role=alert]")).getAttribute("data-notice"), "sink", "what the banner is of");
      ran(gateway.run("send", "stripe"), 0);
      await page.go("#/");
      await page.says("degraded", "#foot");
      await page.screenshot("away");
      equal(await page.axe(), [], "with a banner");
      await rabbitmq.up();
      await until("no banner", async () => (await page.text("#banners")) === "", 40_000);
      await until("what waited is in its queue", async () => queued(gateway, "stripe").length === 1, 20_000);
    },
    page,
  );
}

export async function tokens(page, gateway) {
  await check(
    "the token is asked for, kept for the tab, and a reader is told that he may only look",
    async () => {
      await page.driver.get(`${gateway.admin}/`);
      await page.find("dialog", "Token");
      equal(await page.axe(), [], "the dialog");
      await page.screenshot("token");
      await page.type("#token", "wrong");
      await page.press("dialog button[type=submit]");
      await page.find("dialog", "does not know this token");
      await page.type("#token", TOKENS.reader);
      await page.press("dialog button[type=submit]");
      await page.says("What fails");
      ran(gateway.run("send", "stripe"), 0);
      await page.driver.executeScript("location.hash = '#/live'");
      await page.says("Following");
      ran(gateway.run("send", "stripe"), 0);
      await page.press("main tbody a");
      await page.press("[data-action=forget]");
      await page.press("dialog button[type=submit]");
      await page.find("dialog", "this needs the operator's");
      await page.screenshot("reader");
      await page.press("dialog button", "Give a token");
      await page.type("#token", TOKENS.operator);
      await page.press("dialog[open]:last-of-type button[type=submit]");
      await page.press("dialog button", "Close");
      await page.press("[data-action=forget]");
      await page.press("dialog button[type=submit]");
      await page.says("forgotten 1", "#toasts");
      const stored = await page.driver.executeScript("return [localStorage.length, sessionStorage.length, document.cookie]");
      equal(stored, [0, 1, ""], "what the page keeps");
    },
    page,
  );
}
