// What all pages know of the gateway: its name, whether it is ready, what an operator should know of. Looked at again and
// again, and told in banners at the top.

import { get } from "./api.js";
import { h, replace } from "./dom.js";
import { relative, setClock, visible } from "./format.js";
import { badge } from "./ui.js";

const EVERY = 3000;
// These stop something, or will; the others can wait until they are read.
const URGENT = new Set(["sink_away", "poison", "journal_filling", "certificate_ending", "no_answer", "journal", "sink", "unready"]);

export const gateway = { about: null, notices: [], unanswered: null };
const told = new Map();
// The version that this page came with.
let own = null;

export async function about() {
  if (!gateway.about) await look();
  return gateway.about ?? {};
}

async function look() {
  try {
    const [found, { notices }] = await Promise.all([get("v1"), get("v1/notices")]);
    setClock(found.now);
    own ??= found.version;
    Object.assign(gateway, { about: found, notices, unanswered: null });
  } catch (error) {
    gateway.unanswered ??= { since: new Date().toISOString(), text: error.message, status: error.status };
  }
  show();
}

function banners() {
  const found = gateway.notices.map(({ notice, source, secret, text, advice, since }) => ({
    key: `${notice} ${source} ${secret}`,
    kind: notice,
    of: source,
    text,
    advice,
    since,
  }));
  const known = new Set(gateway.notices.map(({ notice }) => notice));
  // A notice waits until it has lasted; what a check says is so now. A drain is no failure, and its notice does not wait.
  for (const { name, ok, detail } of gateway.about?.checks ?? []) {
    if (!ok && name !== "drain" && !known.has(`${name}_away`))
      found.push({ key: `check ${name}`, kind: name, label: `${name} failed`, text: detail, advice: "" });
  }
  const { unanswered, about: now } = gateway;
  if (now && now.version !== own) {
    found.push({
      key: "version",
      kind: "version",
      label: `version ${now.version}`,
      text: `The gateway is another version than this page, which is ${own}.`,
      advice: "Load the page again.",
    });
  }
  if (unanswered) {
    const advice = unanswered.status === 0 ? "What is shown below is what it said last." : "";
    found.unshift({ key: "no answer", kind: "no_answer", text: unanswered.text, advice, since: unanswered.since });
  }
  return found;
}

function banner({ kind, label, of, text, advice, since }) {
  const urgent = URGENT.has(kind);
  return h(
    "div",
    { class: `banner ${urgent ? "bad" : "warn"}`, role: urgent ? "alert" : "status", "data-notice": kind },
    h("strong", null, label ?? kind.replaceAll("_", " ")),
    of && h("span", { class: "of" }, visible(of)),
    h("span", null, visible(text, 600)),
    advice && h("span", { class: "advice" }, visible(advice, 600)),
    since && h("span", { class: "since" }, h("time", { datetime: since, title: since, "data-relative": since }, relative(since))),
  );
}

/** Each banner stays the element that it is: a screen reader tells of it once. */
function show() {
  const place = document.getElementById("banners");
  const found = banners();
  for (const [key, { element }] of told) {
    if (found.some((each) => each.key === key)) continue;
    element.remove();
    told.delete(key);
  }
  for (const one of found) {
    const text = JSON.stringify(one);
    const before = told.get(one.key);
    if (before?.text === text) continue;
    const element = banner(one);
    if (before) before.element.replaceWith(element);
    else place.append(element);
    told.set(one.key, { element, text });
  }
  const { about: known } = gateway;
  if (!known) return;
  replace(
    document.getElementById("foot"),
    badge(known.readiness),
    h("span", { class: "version", title: `${known.name} ${known.version}` }, known.version),
  );
}

export function watch() {
  look();
  setInterval(() => document.hidden || look(), EVERY);
  document.addEventListener("visibilitychange", () => document.hidden || look());
}
