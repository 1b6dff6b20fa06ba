// What holds on every page: nothing of a payload is run, everybody can read it, keys lead through it.

import { check, equal } from "./account.mjs";
import { deliver, PAYLOADS } from "./hostile.mjs";
import { until } from "./page.mjs";

const PAGES = [
  "#/",
  "#/live",
  "#/events",
  "#/events/1",
  "#/failures",
  "#/failures?source=stripe&reason=signature_mismatch",
  "#/quarantine",
  "#/quarantine/1",
  "#/sources",
  "#/queues",
  "#/config",
  "#/system",
  "#/nowhere",
];

export async function hostile(page, gateway, secret) {
  for (const payload of PAYLOADS) {
    await check(
      `nothing runs of a hostile payload: ${payload.name}`,
      async () => {
        await page.go("#/live");
        await page.says("Following");
        await deliver(gateway, secret, payload);
        const { events } = await gateway.get("v1/events?limit=1000");
        const { sequence } = events.at(-1);
        await page.find(`main tr[data-sequence="${sequence}"]`);
        await page.go(`#/events/${sequence}`);
        await page.says("Message id");
        await page.find("pre.body, main .note");
        for (const each of await page.driver.findElements({ css: "main section button[aria-pressed]" })) await each.click();
        if (payload.name === "huge" || payload.name === "direction" || payload.name === "markup-header")
          await page.screenshot(`hostile-${payload.name}`);
        await page.go("#/events");
        await page.find("main tbody tr");
        const unseen = await page.driver.executeScript(
          "return /[\\u0000-\\u0008\\u200b\\u202a-\\u202e\\u2066-\\u2069\\ufeff]/.test(document.body.textContent)",
        );
        equal(unseen, false, "characters that show nothing or turn the text");
        equal(await page.driver.executeScript("return ({}).polluted ?? null"), null, "prototypes");
        const planted = await page.driver.executeScript(
          "return document.querySelectorAll('main script, main img, main iframe, main object, main style, main link, main svg').length",
        );
        equal(planted, 0, "elements that a payload brought");
        equal(await page.harm(), { pwned: null, alerts: [], violations: [], errors: [] }, "harm");
      },
      page,
    );
  }
}

export async function theWatchersWatch(page) {
  await check(
    "a script that does run would be seen",
    async () => {
      await page.driver.executeScript(
        "window.__pwned = 1; alert('x'); const bad = document.createElement('img'); bad.src = 'https://evil.example/x'; document.body.append(bad); const script = document.createElement('p'); try { script['inner' + 'HTML'] = '<b>'; } catch {}",
      );
      await until("the policy's word", async () => (await page.harm()).violations.length >= 2);
      const harm = await page.harm();
      equal([harm.pwned, harm.alerts], [1, ["x"]], "what the watchers saw");
      await page.driver.navigate().refresh();
    },
    page,
  );
}

export async function everyPage(page) {
  for (const hash of PAGES) {
    await check(
      `axe finds nothing serious on ${hash}`,
      async () => {
        await page.go(hash);
        await until("all of it is there", async () => {
          const left = await page.driver.executeScript("return document.querySelectorAll('main .loading, main [aria-busy=true]').length");
          return left === 0;
        });
        const name = hash.replace(/^#\/?/, "").replaceAll(/[^a-z0-9]+/g, "-") || "overview";
        for (const dark of [false, true]) {
          await page.isDark(dark);
          await page.screenshot(`${name}${dark ? "-dark" : ""}`);
          equal(await page.axe(), [], dark ? "in the dark" : "in the light");
        }
        await page.isDark(false);
        equal(await page.harm(), { pwned: null, alerts: [], violations: [], errors: [] }, "harm");
        if (hash !== "#/nowhere")
          equal(
            await page.driver.executeScript("return [...document.querySelectorAll('main .failure')].map((each) => each.textContent)"),
            [],
            "parts that failed",
          );
      },
      page,
    );
  }
}

export async function byKeys(page) {
  await check(
    "keys lead from page to page, and a field is typed into all the same",
    async () => {
      await page.go("#/");
      await page.says("What fails");
      const keys = async (text) => page.driver.actions().sendKeys(text).perform();
      await keys("ge");
      await page.says("Look again");
      await keys("/");
      await keys("gl?");
      equal(await (await page.find("#filter-id")).getAttribute("value"), "gl?", "the field");
      await page.go("#/system");
      await page.says("What it stands on");
      await keys("?");
      await page.find("dialog", "Keys");
      await page.screenshot("keys");
      equal(await page.axe(), [], "the dialog");
      await keys("\uE00C");
      await until("no dialog", async () => (await page.driver.findElements({ css: "dialog" })).length === 0);
      const skip = await page.driver.executeScript(
        "document.body.focus(); document.getElementById('skip').click(); return document.activeElement.id",
      );
      equal(skip, "main", "where the skip link leads");
    },
    page,
  );

  await check(
    "a narrow window is not scrolled sideways",
    async () => {
      for (const [width, name] of [
        [390, "narrow"],
        [820, "half"],
      ]) {
        await page.driver.sendDevToolsCommand("Emulation.setDeviceMetricsOverride", {
          width,
          height: 840,
          deviceScaleFactor: 1,
          mobile: false,
        });
        for (const hash of PAGES) {
          await page.go(hash);
          await until(
            "all of it is there",
            async () =>
              (await page.driver.executeScript("return document.querySelectorAll('main .loading, main [aria-busy=true]').length")) === 0,
          );
          const over = await page.driver.executeScript("return document.documentElement.scrollWidth - innerWidth");
          if (over > 0) throw new Error(`${hash} is ${over} px too wide at ${width}`);
          if (hash === "#/" || hash === "#/events/1") await page.screenshot(`${name}-${hash.length}`);
        }
      }
      await page.driver.sendDevToolsCommand("Emulation.clearDeviceMetricsOverride", {});
    },
    page,
  );
}
