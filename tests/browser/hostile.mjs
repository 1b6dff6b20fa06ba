// What a sender may write into ids, types, headers and bodies to do something to whoever reads it.

import { createHmac } from "node:crypto";

const pwn = (how) => `window.__pwned=${JSON.stringify(how)}`;
const deep = (levels) => `${'{"a":['.repeat(levels / 2)}1${"]}".repeat(levels / 2)}`;

/** Each: a name, the id and the type of the event, and a body in bytes where it is no JSON with these in it. */
export const PAYLOADS = [
  { name: "script", id: `<script>${pwn("script")}</script>`, type: "</td></table><script src=/console/app.js></script>" },
  { name: "handler", id: `<img src=x onerror="${pwn("handler").replaceAll('"', "'")}">`, type: `"><svg onload=${pwn(1)}>` },
  { name: "url", id: `javascript:${pwn("url")}`, type: `data:text/html,<script>${pwn("data")}</script>` },
  { name: "frame", id: `<iframe srcdoc="<script>parent.${pwn(2)}</script>">`, type: "<object data='javascript:alert(1)'>" },
  { name: "template", id: "{{constructor.constructor('alert(1)')()}}", type: "${alert(1)}#{alert(1)}<%= alert(1) %>" },
  { name: "style", id: "<style>body{display:none}</style>", type: "<link rel=stylesheet href=//evil.example>" },
  { name: "direction", id: "evt_\u202e\u2066gnp.exe\u2069\u200b\ufeff", type: "paid\u202egnidnep" },
  { name: "control", id: "evt_\u001b[31mred\u0007\b\b", type: "a\r\nb\tc" },
  {
    name: "prototype",
    id: "__proto__",
    type: "constructor",
    more: '"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},',
  },
  { name: "formula", id: "=cmd|' /C calc'!A0", type: "@SUM(1+1)*cmd" },
  { name: "deep", id: "evt_deep", type: "deep", raw: Buffer.from(`{"id":"evt_deep","type":"deep","x":${deep(1000)}}`) },
  { name: "huge", id: "evt_huge", type: "huge", more: `"text":"${"<b onclick=alert(1)>&amp;</b>".repeat(30_000)}",` },
  {
    name: "bytes",
    headers: { "x-id": "evt_bytes", "x-type": "not.text" },
    raw: Buffer.from([0xff, 0xfe, 0, 0x3c, 0x73, 0xc3, 0x28, 0, 0xed, 0xa0, 0x80]),
    at: "raw",
  },
  {
    name: "markup-header",
    headers: {
      "x-id": `<img src=x onerror=${pwn(3)}>`,
      "x-type": "'\"><script>alert(1)</script>",
      "user-agent": `</code><script>${pwn("agent")}</script>`,
    },
    raw: Buffer.from("not json <script>alert(1)</script>"),
    at: "raw",
  },
];

/** Sends it as its source wants it signed; the id of it as the gateway has it. */
export async function deliver(gateway, secret, { id, type, more = "", raw, headers = {}, at = "json" }) {
  const body = raw ?? Buffer.from(`{${more}"id":${JSON.stringify(id)},"type":${JSON.stringify(type)}}`);
  const signature = createHmac("sha256", secret).update(body).digest("hex");
  const answer = await fetch(`${gateway.url}/in/${at}`, {
    method: "POST",
    body,
    headers: { "content-type": "application/json", "user-agent": "<img src=x onerror=alert(1)>", ...headers, "x-signature": signature },
  });
  if (answer.status !== 200) throw new Error(`a hostile payload was answered ${answer.status}: ${await answer.text()}`);
}
