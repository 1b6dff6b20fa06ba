// Calls to the gateway that served this page, and the token that they need.

const STORED = "hookgate.token";

/** What a call came to that did not succeed; `detail` is the gateway's own sentence. */
export class Problem extends Error {
  constructor(status, code, detail, document = {}) {
    super(detail);
    Object.assign(this, { status, code, detail, document });
  }
}

const token = {
  get: () => sessionStorage.getItem(STORED),
  set: (text) => (text ? sessionStorage.setItem(STORED, text) : sessionStorage.removeItem(STORED)),
};

export const hasToken = () => token.get() !== null;
export const forgetToken = () => token.set(null);

// Asks a person for the token; several calls that want one at once ask once.
let asker = async () => null;
let asking = null;
// Who has said no is not asked again by calls that repeat themselves.
let declined = false;

export function askTokenBy(dialog) {
  asker = dialog;
}

export async function changeToken(reason) {
  asking ??= Promise.resolve(asker(reason)).finally(() => (asking = null));
  const given = await asking;
  declined = !given;
  if (given) token.set(given);
  return Boolean(given);
}

async function send(path, { method = "GET", body, text, signal, accept } = {}) {
  const headers = { accept: accept ?? "application/json" };
  const whole = body === undefined ? text : JSON.stringify(body);
  const sent = token.get();
  if (sent) headers.authorization = `Bearer ${sent}`;
  if (whole !== undefined) headers["content-type"] = "application/json";
  const order = { method, headers, signal, cache: "no-store", redirect: "error", credentials: "same-origin" };
  try {
    const answer = await fetch(path, whole === undefined ? order : { ...order, body: whole });
    return { answer, sent };
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "no_answer", "The gateway does not answer: it may be stopped, or starting.");
  }
}

/** The answer to a call, once it has succeeded. `operator` says that a reader's token does not open it. */
async function answered(path, order = {}) {
  for (;;) {
    const { answer, sent } = await send(path, order);
    if (answer.ok) return answer;
    if (answer.status !== 401) throw await problem(answer);
    if (token.get() !== sent) continue;
    if (order.operator && sent) {
      const detail = "The token in use opens what changes nothing, and this needs the operator's.";
      throw new Problem(401, "not_operator", detail);
    }
    const reason = sent ? "The gateway does not know this token." : "";
    if (declined || !(await changeToken(reason))) throw new Problem(401, "token", "This needs a token.");
  }
}

async function problem(answer) {
  let document = {};
  try {
    document = await answer.json();
  } catch {
    // No problem document: a proxy in between, or a gateway of another version.
  }
  const detail = document.detail ?? `The gateway answered ${answer.status} ${answer.statusText}.`;
  return new Problem(answer.status, document.code ?? "unknown", detail, document);
}

export async function get(path, order) {
  return (await answered(path, order)).json();
}

export async function post(path, body, order) {
  return (await answered(path, { ...order, method: "POST", body, operator: true })).json();
}

/** Has a text looked at, as it is: what changes nothing, and is a reader's too. */
export async function postText(path, text, order) {
  return (await answered(path, { ...order, method: "POST", text })).json();
}

/** Up to `most` bytes of a body, and whether there are more. */
export async function getBytes(path, most, order) {
  const answer = await answered(path, { ...order, accept: "application/octet-stream" });
  const reader = answer.body.getReader();
  const pieces = [];
  let length = 0;
  while (length <= most) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    length += value.length;
  }
  reader.cancel().catch(() => {});
  const all = new Uint8Array(length);
  pieces.reduce((at, piece) => (all.set(piece, at), at + piece.length), 0);
  return { bytes: all.subarray(0, most), more: length > most };
}

/** Follows Server-Sent Events until the gateway ends them; EventSource could send no token. */
export async function follow(path, { signal, opened, told }) {
  const answer = await answered(path, { signal, accept: "text/event-stream" });
  opened();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true }));
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) told(fields(block));
  }
}

function fields(block) {
  const found = {};
  for (const line of block.split("\n")) {
    const at = line.indexOf(": ");
    if (at > 0) found[line.slice(0, at)] = line.slice(at + 2);
  }
  return found;
}

/** A path with its query; what is empty is left out. */
export function path(base, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length === 0 ? base : `${base}?${new URLSearchParams(given)}`;
}
