// Libraries of node, and node's Ed25519, behind one line of JSON in, one out.
// In: {op: "sign" | "verify" | "key", provider, secret, body (base64), headers, method, target} and what one library needs.
// Out: {signature}, {headers}, {token}, {valid} or {public, private}; {error} for what is no verdict.
import { Readable } from "node:stream";
import { createInterface } from "node:readline";
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify, webcrypto } from "node:crypto";
import https from "node:https";

globalThis.crypto ??= webcrypto; // Node 18 has it behind a flag
const octokit = await import("@octokit/webhooks-methods");
await import("@shopify/shopify-api/adapters/node");
const { shopifyApi, LATEST_API_VERSION, LogSeverity } = await import("@shopify/shopify-api");
const { createSHA256HMAC } = await import("@shopify/shopify-api/runtime");
const discord = (await import("discord-interactions")).default;
const line = await import("@line/bot-sdk");
const { LinearWebhookClient } = await import("@linear/sdk/webhooks");
const notion = (await import("@notionhq/client")).default;
const sanity = await import("@sanity/webhook");
const contentful = await import("@contentful/node-apps-toolkit");
const atlassian = (await import("atlassian-jwt")).default;
const { default: OpenAI } = await import("openai");
const replicate = (await import("replicate")).default;
const SnsValidator = (await import("sns-validator")).default;

const bytes = (content) => Buffer.from(content, "base64");
const text = (content) => bytes(content).toString();
const publicKey = (hex) => {
  const x = Buffer.from(hex, "hex").toString("base64url");
  return createPublicKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x } });
};
const valid = async (verdict) => ({ valid: await verdict });

/** What a library says by throwing: nothing but the errors given are a refusal. */
const refusal = (...messages) => async (judged) => {
  try {
    await judged();
    return { valid: true };
  } catch (error) {
    if (error instanceof SyntaxError || messages.some((each) => String(error).includes(each))) return { valid: false };
    throw error;
  }
};

const shopify = (apiSecretKey) =>
  shopifyApi({
    apiKey: "key",
    apiSecretKey,
    scopes: [],
    hostName: "localhost",
    apiVersion: LATEST_API_VERSION,
    isEmbeddedApp: false,
    logger: { level: LogSeverity.Error },
  });

/** The library fetches its certificate; the network is not asked for it. */
const certificates = new Map();
https.get = (url, done) => {
  const answer = Readable.from([certificates.get(url)]);
  done(Object.assign(answer, { statusCode: 200 }));
  return answer;
};

const connect = ({ method, target }) => atlassian.createQueryStringHash(atlassian.fromMethodAndUrl(method, target));
const canonical = ({ method, target, headers, body }) => ({ method, path: target, headers, body: text(body) });

const providers = {
  ed25519: {
    key: () => {
      const { publicKey: open, privateKey } = generateKeyPairSync("ed25519");
      return {
        public: Buffer.from(open.export({ format: "jwk" }).x, "base64url").toString("hex"),
        private: privateKey.export({ format: "pem", type: "pkcs8" }),
      };
    },
    sign: ({ secret, body }) => ({ signature: sign(null, bytes(body), createPrivateKey(secret)).toString("hex") }),
    verify: ({ secret, body, signature }) =>
      valid(verify(null, bytes(body), publicKey(secret), Buffer.from(signature, "hex"))),
  },
  amazon_sns: {
    verify: ({ body, certificate }) => {
      const judged = () =>
        new Promise((done, failed) => {
          const message = JSON.parse(text(body));
          certificates.set(message.SigningCertURL, certificate);
          new SnsValidator().validate(message, (error) => (error ? failed(error) : done()));
        });
      return refusal("The message signature is invalid.")(judged);
    },
  },
  contentful: {
    sign: (request) => {
      const { headers, ...more } = canonical(request);
      return { headers: { ...headers, ...contentful.signRequest(request.secret, { headers: { ...headers }, ...more }) } };
    },
    verify: (request) => valid(contentful.verifyRequest(request.secret, canonical(request), 0)),
  },
  discord: {
    verify: ({ secret, body, headers }) =>
      valid(discord.verifyKey(bytes(body), headers["x-signature-ed25519"], headers["x-signature-timestamp"], secret)),
  },
  github: {
    sign: async ({ secret, body }) => ({ signature: await octokit.sign(secret, text(body)) }),
    verify: ({ secret, body, headers }) => valid(octokit.verify(secret, text(body), headers["x-hub-signature-256"])),
  },
  jira: {
    sign: (request) => {
      const iat = Math.floor(Date.now() / 1000);
      const claims = { iss: "sdk", iat, exp: iat + 180, qsh: connect(request) };
      return { token: atlassian.encodeSymmetric(claims, request.secret) };
    },
    verify: (request) => {
      const judged = () => {
        const token = request.headers.authorization.replace("JWT ", "");
        const { qsh } = atlassian.decodeSymmetric(token, request.secret, atlassian.SymmetricAlgorithm.HS256);
        if (qsh !== connect(request)) throw new Error("another qsh");
      };
      return refusal("Signature verification failed", "another qsh", "Algorithm from the header")(judged);
    },
  },
  line: {
    verify: ({ secret, body, headers }) => valid(line.validateSignature(bytes(body), secret, headers["x-line-signature"])),
  },
  linear: {
    verify: ({ secret, body, headers }) => {
      const client = new LinearWebhookClient(secret);
      return refusal("Invalid webhook signature")(() => {
        if (!client.verify(bytes(body), headers["linear-signature"])) throw new Error("Invalid webhook signature");
      });
    },
  },
  notion: {
    sign: async ({ secret, body }) => ({
      signature: await notion.signWebhookPayload({ body: text(body), verificationToken: secret }),
    }),
    verify: ({ secret, body, headers }) =>
      valid(
        notion.verifyWebhookSignature({
          body: bytes(body),
          signature: headers["x-notion-signature"],
          verificationToken: secret,
        }),
      ),
  },
  openai: {
    verify: ({ secret, body, headers }) =>
      refusal("signature")(() => new OpenAI({ apiKey: "key" }).webhooks.verifySignature(text(body), headers, secret)),
  },
  replicate: {
    verify: ({ secret, body, headers }) => valid(replicate.validateWebhook({ headers, body: text(body) }, secret)),
  },
  sanity: {
    sign: async ({ secret, body, at }) => ({ signature: await sanity.encodeSignatureHeader(text(body), at, secret) }),
    verify: ({ secret, body, headers }) =>
      valid(sanity.isValidSignature(text(body), headers["sanity-webhook-signature"], secret)),
  },
  shopify: {
    sign: async ({ secret, body }) => ({ signature: await createSHA256HMAC(secret, text(body)) }),
    verify: async ({ secret, body, headers }) => {
      const rawRequest = { method: "POST", url: "/", headers };
      const verdict = await shopify(secret).webhooks.validate({ rawBody: text(body), rawRequest });
      if (!verdict.valid && verdict.reason !== "invalid_hmac") throw new Error(JSON.stringify(verdict));
      return { valid: verdict.valid };
    },
  },
};

for await (const asked of createInterface({ input: process.stdin })) {
  const request = JSON.parse(asked);
  try {
    console.log(JSON.stringify(await providers[request.provider][request.op](request)));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
