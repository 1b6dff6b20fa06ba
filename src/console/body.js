// The bytes of a body as somebody can read them: JSON set out line by line, text, or hexadecimal; and as a command for a shell.

import { visibleLines } from "./format.js";

const HEX_BYTES_MAX = 16 * 1024;
const DEEPEST = 40;

/** The text, where the bytes are UTF-8 and no control characters are among them. */
export function textOf(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return /[\0-\x08\x0e-\x1a\x1c-\x1f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

export function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** JSON with lines and indentation and every token as it was written: parsing would round numbers and lose repeated names. */
export function setOut(text) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gs) ?? [];
  const parts = [];
  let depth = 0;
  const line = () => `\n${"  ".repeat(Math.min(depth, DEEPEST))}`;
  tokens.forEach((token, at) => {
    const before = tokens[at - 1];
    if (token === "}" || token === "]") {
      depth -= 1;
      parts.push(before === "{" || before === "[" ? token : line() + token);
    } else if (token === ",") parts.push(token);
    else if (token === ":") parts.push(": ");
    else {
      const begins = before === "{" || before === "[" || before === ",";
      parts.push(begins ? line() + token : token);
      if (token === "{" || token === "[") depth += 1;
    }
  });
  return visibleLines(parts.join(""));
}

/** Sixteen bytes a line: where, in hexadecimal, and what of it is ASCII. */
export function hexadecimal(bytes) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, HEX_BYTES_MAX); at += 16) {
    const some = [...bytes.subarray(at, at + 16)];
    const digits = some.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const letters = some.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(8, "0")}  ${digits.padEnd(47)}  ${letters}`);
  }
  if (bytes.length > HEX_BYTES_MAX) lines.push(`… ${bytes.length - HEX_BYTES_MAX} bytes more`);
  return lines.join("\n");
}

/** A word for a shell that is these bytes; what a terminal would obey when it is pasted is spelt out. */
export function shellWord(bytes) {
  const plain = bytes.every((byte) => byte >= 0x20 && byte < 0x7f);
  if (plain) return `'${String.fromCharCode(...bytes).replaceAll("'", "'\\''")}'`;
  const spelt = [...bytes].map((byte) => {
    if (byte === 0x0a) return "\\n";
    if (byte === 0x27 || byte === 0x5c) return `\\${String.fromCharCode(byte)}`;
    // Three octal digits end by themselves, whatever comes behind them.
    return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, "0")}`;
  });
  return `$'${spelt.join("")}'`;
}

const encoder = new TextEncoder();
const CURL_BYTES_MAX = 100_000;

/** A command that delivers it once more, with the headers that were kept. */
export function curl({ url, headers, contentType, bytes, sequence, bodyUrl }) {
  const word = (text) => shellWord(encoder.encode(text));
  const all = [...(contentType ? [["content-type", contentType]] : []), ...headers.filter(([name]) => name !== "content-type")];
  // An argument ends at a NUL, and is so long at most.
  const inline = bytes.length <= CURL_BYTES_MAX && !bytes.includes(0);
  const file = `event-${sequence}.bin`;
  const fetched = inline ? "" : `curl -sf -o ${file} ${word(bodyUrl)}\n`;
  const lines = [
    `curl -i ${word(url)}`,
    ...all.map(([name, value]) => `-H ${word(`${name}: ${value}`)}`),
    `--data-binary ${inline ? shellWord(bytes) : `@${file}`}`,
  ];
  return fetched + lines.join(" \\\n  ");
}
