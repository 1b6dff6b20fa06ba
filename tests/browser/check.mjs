// The console as an operator uses it, in a browser, before a real gateway and a real RabbitMQ. Ends with `N passed, M failed`.

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { counts, given } from "./account.mjs";
import { Page } from "./page.mjs";
import { byKeys, everyPage, hostile, theWatchersWatch } from "./pages.mjs";
import { Gateway, RabbitMq } from "./services.mjs";
import { anEventsWay, brokerAway, deadLetters, tokens, TOKENS, whatFails, whatIsConfigured } from "./ways.mjs";

const SECRET = "a-secret-of-the-browser-check";
const binary = path.resolve(given.hookgate);
const screenshots = fileURLToPath(new URL("screenshots", import.meta.url));

const SOURCES = `[sources.stripe]
provider = "stripe"
secrets = [{ env = "BROWSER_SECRET", label = "live" }]
quarantine = "1MiB"
[sources.json]
provider = "generic"
scheme = "hmac"
settings = { id = "json:/id", type = "json:/type" }
secrets = [{ env = "BROWSER_SECRET", label = "live" }]
[sources.raw]
provider = "generic"
scheme = "hmac"
settings = { id = "header:X-Id", type = "header:X-Type" }
secrets = [{ env = "BROWSER_SECRET", label = "live" }]
`;

const folder = mkdtempSync(path.join(os.tmpdir(), "hookgate-browser-"));
const open = [];
const closeAll = async () => {
  for (const close of open.splice(0).reverse()) await close().catch((error) => console.log(`at the end: ${error.message}`));
  rmSync(folder, { recursive: true, force: true });
};
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => closeAll().then(() => process.exit(1)));
rmSync(screenshots, { recursive: true, force: true });
mkdirSync(screenshots, { recursive: true });
try {
  const rabbitmq = await RabbitMq.start(path.join(folder, "rabbitmq"));
  open.push(() => rabbitmq.stop());
  const environment = {
    BROWSER_SECRET: SECRET,
    BROWSER_AMQP: rabbitmq.url,
    BROWSER_OPERATOR: TOKENS.operator,
    BROWSER_READER: TOKENS.reader,
  };
  const gateway = await Gateway.start(
    binary,
    path.join(folder, "gateway"),
    { rest: `[sink]\nkind = "rabbitmq"\nurl = { env = "BROWSER_AMQP" }\n${SOURCES}` },
    environment,
  );
  open.push(() => gateway.stop());
  const page = await Page.open(gateway.admin, screenshots);
  open.push(() => page.close());
  await anEventsWay(page, gateway);
  await whatFails(page, gateway);
  await deadLetters(page, gateway);
  await whatIsConfigured(page, gateway);
  await hostile(page, gateway, SECRET);
  await everyPage(page);
  await byKeys(page);
  await theWatchersWatch(page);
  await brokerAway(page, gateway, rabbitmq);
  const guarded = await Gateway.start(
    binary,
    path.join(folder, "guarded"),
    {
      admin: 'token = { env = "BROWSER_OPERATOR" }\nread_token = { env = "BROWSER_READER" }\n',
      rest: SOURCES,
    },
    environment,
  );
  open.push(() => guarded.stop());
  await tokens(page, guarded);
} finally {
  await closeAll();
}
const { passed, failed } = counts;
console.log(`${passed} passed, ${failed} failed; screenshots: ${screenshots}`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
