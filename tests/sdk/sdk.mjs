// GitHub's and Shopify's own libraries behind one line of JSON in, one out.
// In: {op: "sign" | "verify", provider, secret, body, headers}. Out: {headers} or {valid}, or {error}.
import { createInterface } from "node:readline";
import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto; // Node 18 has it behind a flag
const octokit = await import("@octokit/webhooks-methods");
await import("@shopify/shopify-api/adapters/node");
const { shopifyApi, LATEST_API_VERSION, LogSeverity } = await import("@shopify/shopify-api");
const { createSHA256HMAC } = await import("@shopify/shopify-api/runtime");

const shopify = (secret) =>
  shopifyApi({
    apiKey: "key",
    apiSecretKey: secret,
    scopes: [],
    hostName: "localhost",
    apiVersion: LATEST_API_VERSION,
    isEmbeddedApp: false,
    logger: { level: LogSeverity.Error },
  });

const providers = {
  github: {
    sign: async ({ secret, body }) => ({ "x-hub-signature-256": await octokit.sign(secret, body) }),
    verify: ({ secret, body, headers }) => octokit.verify(secret, body, headers["x-hub-signature-256"]),
  },
  shopify: {
    sign: async ({ secret, body }) => ({ "x-shopify-hmac-sha256": await createSHA256HMAC(secret, body) }),
    verify: async ({ secret, body, headers }) => {
      const rawRequest = { method: "POST", url: "/", headers };
      const verdict = await shopify(secret).webhooks.validate({ rawBody: body, rawRequest });
      if (!verdict.valid && verdict.reason !== "invalid_hmac") throw new Error(JSON.stringify(verdict));
      return verdict.valid;
    },
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const library = providers[request.provider];
  try {
    const answer =
      request.op === "sign" ? { headers: await library.sign(request) } : { valid: await library.verify(request) };
    console.log(JSON.stringify(answer));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
