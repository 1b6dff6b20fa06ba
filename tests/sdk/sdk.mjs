// GitHub's, Shopify's and Discord's own libraries, and node's Ed25519, behind one line of JSON in, one out.
// In: {op: "sign" | "verify" | "key", provider, secret, body or content (base64), headers}.
// Out: {headers}, {signature}, {valid} or {public, private}, or {error}.
import { createInterface } from "node:readline";
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify, webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto; // Node 18 has it behind a flag
const octokit = await import("@octokit/webhooks-methods");
await import("@shopify/shopify-api/adapters/node");
const { shopifyApi, LATEST_API_VERSION, LogSeverity } = await import("@shopify/shopify-api");
const { createSHA256HMAC } = await import("@shopify/shopify-api/runtime");
const discord = (await import("discord-interactions")).default;

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

const bytes = (content) => Buffer.from(content, "base64");
const publicKey = (hex) => {
  const x = Buffer.from(hex, "hex").toString("base64url");
  return createPublicKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x } });
};
const valid = async (verdict) => ({ valid: await verdict });

const providers = {
  ed25519: {
    key: () => {
      const { publicKey: open, privateKey } = generateKeyPairSync("ed25519");
      return {
        public: Buffer.from(open.export({ format: "jwk" }).x, "base64url").toString("hex"),
        private: privateKey.export({ format: "pem", type: "pkcs8" }),
      };
    },
    sign: ({ secret, content }) => ({
      signature: sign(null, bytes(content), createPrivateKey(secret)).toString("hex"),
    }),
    verify: ({ secret, content, signature }) =>
      valid(verify(null, bytes(content), publicKey(secret), Buffer.from(signature, "hex"))),
  },
  discord: {
    verify: ({ secret, content, headers }) =>
      valid(discord.verifyKey(bytes(content), headers["x-signature-ed25519"], headers["x-signature-timestamp"], secret)),
  },
  github: {
    sign: async ({ secret, body }) => ({ headers: { "x-hub-signature-256": await octokit.sign(secret, body) } }),
    verify: ({ secret, body, headers }) => valid(octokit.verify(secret, body, headers["x-hub-signature-256"])),
  },
  shopify: {
    sign: async ({ secret, body }) => ({
      headers: { "x-shopify-hmac-sha256": await createSHA256HMAC(secret, body) },
    }),
    verify: async ({ secret, body, headers }) => {
      const rawRequest = { method: "POST", url: "/", headers };
      const verdict = await shopify(secret).webhooks.validate({ rawBody: body, rawRequest });
      if (!verdict.valid && verdict.reason !== "invalid_hmac") throw new Error(JSON.stringify(verdict));
      return { valid: verdict.valid };
    },
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  try {
    console.log(JSON.stringify(await providers[request.provider][request.op](request)));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
