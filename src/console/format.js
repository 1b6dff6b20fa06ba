// Times, sizes and texts as people read them.

// How far the gateway's clock is ahead of this browser's: ages are of the gateway's times.
let ahead = 0;

export function setClock(gatewayNow) {
  ahead = Date.parse(gatewayNow) - Date.now();
}

export function now() {
  return Date.now() + ahead;
}

const UNITS = [
  [86_400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];

/** A duration in its two largest units at most: `2 h 5 min`. */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const first = UNITS.findIndex(([length]) => whole >= length);
  if (first < 0) return "0 s";
  const [length, name] = UNITS[first];
  const main = `${Math.floor(whole / length)} ${name}`;
  const next = UNITS[first + 1];
  const rest = next ? Math.floor((whole % length) / next[0]) : 0;
  return rest > 0 && Math.floor(whole / length) < 10 ? `${main} ${rest} ${next[1]}` : main;
}

export function relative(at) {
  const seconds = (now() - Date.parse(at)) / 1000;
  if (Number.isNaN(seconds)) return String(at);
  if (Math.abs(seconds) < 1) return "just now";
  const largest = span(Math.abs(seconds)).split(" ").slice(0, 2).join(" ");
  return seconds < 0 ? `in ${largest}` : `${largest} ago`;
}

export function exact(at) {
  const date = new Date(at);
  return Number.isNaN(date.getTime())
    ? String(at)
    : `${date.toISOString().replace("T", " ").replace("Z", "")} UTC (here ${date.toLocaleString()})`;
}

export function clock(at) {
  return new Date(at).toISOString().slice(11, 23);
}

const grouped = new Intl.NumberFormat("en-US");

export function count(number) {
  return number === null || number === undefined ? "–" : grouped.format(number);
}

export function rate(perSecond) {
  if (perSecond === 0) return "0/s";
  return `${perSecond < 10 ? perSecond.toFixed(perSecond < 1 ? 2 : 1) : grouped.format(Math.round(perSecond))}/s`;
}

export function bytes(number) {
  if (number === null || number === undefined) return "–";
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  let [value, unit] = [number, 0];
  while (value >= 1024 && unit < names.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${names[unit]}`;
}

export function milliseconds(number) {
  if (number === null || number === undefined) return "–";
  if (number >= 10_000) return span(number / 1000);
  if (number >= 1000) return `${(number / 1000).toFixed(2)} s`;
  return `${number >= 100 || Number.isInteger(number) ? Math.round(number) : number.toFixed(number < 10 ? 2 : 1)} ms`;
}

// Characters that show nothing or turn the reading of what is around them; joiners stay, for emoji and scripts need them.
const UNSEEN = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu;
const UNSEEN_BUT_LINES = /(?![\u200c\u200d\n\t])[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu;

const escaped = (character) => `\\u{${character.codePointAt(0).toString(16)}}`;

/** A stranger's text as one line that shows every character it has. */
export function visible(text, most = 300) {
  const whole = String(text ?? "");
  const shown = whole.slice(0, most).replace(UNSEEN, escaped);
  return whole.length > most ? `${shown}…` : shown;
}

/** The same with its own lines. */
export function visibleLines(text) {
  return text.replace(UNSEEN_BUT_LINES, escaped);
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}
