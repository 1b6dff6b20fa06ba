// Which page is shown, by what is behind the # of the address; the pages' names, and the keys that lead to them.

import { askTokenBy, forgetToken, hasToken } from "./api.js";
import { h, replace } from "./dom.js";
import { watch } from "./gateway.js";
import { askForToken, closeDialogs, failure, inform, keepTimes } from "./ui.js";
import config from "./config.js";
import event from "./event.js";
import events from "./events.js";
import failures from "./failures.js";
import live from "./live.js";
import overview from "./overview.js";
import quarantine from "./quarantine.js";
import queues from "./queues.js";
import sources from "./sources.js";
import system from "./system.js";

const PAGES = [
  { name: "", key: "o", title: "Overview", show: overview },
  { name: "live", key: "l", title: "Live", show: live },
  { name: "events", key: "e", title: "Events", show: events },
  { name: "failures", key: "f", title: "Failures", show: failures },
  { name: "quarantine", key: "q", title: "Quarantine", show: quarantine },
  { name: "sources", key: "s", title: "Sources", show: sources },
  { name: "queues", key: "d", title: "Queues", show: queues },
  { name: "config", key: "c", title: "Config", show: config },
  { name: "system", key: "y", title: "System", show: system },
];
const main = document.getElementById("main");
const nav = document.getElementById("nav");
let leaving = new AbortController();
let place = null;

function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [name, ...rest] = path.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { name, rest, query: new URLSearchParams(query) };
}

function contextOf({ name, rest, query }) {
  const { signal } = leaving;
  return {
    root: main,
    rest,
    query,
    signal,
    every(milliseconds, work) {
      const timer = setInterval(() => document.hidden || work(), milliseconds);
      signal.addEventListener("abort", () => clearInterval(timer));
    },
    setQuery(values) {
      const text = new URLSearchParams(values).toString();
      const path = [name, ...rest].map(encodeURIComponent).join("/");
      location.hash = `#/${path}${text && `?${text}`}`;
    },
  };
}

async function show() {
  leaving.abort();
  closeDialogs();
  leaving = new AbortController();
  const { signal } = leaving;
  const wanted = read();
  const page = PAGES.find(({ name }) => name === wanted.name);
  const shown = wanted.name === "events" && wanted.rest.length > 0 ? { title: `Event ${wanted.rest[0]}`, show: event } : page;
  const path = [wanted.name, ...wanted.rest].join("/");
  const held = document.activeElement?.id;
  document.title = shown ? `${shown.title} · hookgate` : "hookgate";
  for (const each of nav.querySelectorAll("a")) {
    if (page && each.dataset.page === page.name) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  replace(main, h("h1", null, shown?.title ?? "No such page"));
  try {
    if (shown) await shown.show(contextOf(wanted));
    else main.append(h("p", { class: "note" }, "The menu has all that there are."));
  } catch (error) {
    if (!signal.aborted) main.append(failure(error, show));
  }
  if (signal.aborted) return;
  // A new page is read from its top; a search keeps the field that somebody types in.
  if (place !== null && place !== path) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  } else if (held) {
    document.getElementById(held)?.focus({ preventScroll: true });
  }
  place = path;
}

function help() {
  const on = h("input", { type: "checkbox", id: "keys", checked: keysAreOn() });
  on.addEventListener("change", () => localStorage.setItem("hookgate.keys", on.checked ? "on" : "off"));
  const rows = [
    ...PAGES.map(({ key, title }) => [["g", key], title]),
    [["/"], "the first field of the page"],
    [["p"], "pause or go on, on Live"],
    [["?"], "this"],
  ];
  inform(
    "Keys",
    h(
      "div",
      null,
      h(
        "table",
        { class: "keys" },
        h(
          "tbody",
          null,
          rows.map(([keys, what]) =>
            h(
              "tr",
              null,
              h(
                "th",
                { scope: "row" },
                keys.map((key) => h("kbd", null, key)),
              ),
              h("td", null, what),
            ),
          ),
        ),
      ),
      h("p", null, on, " ", h("label", { for: "keys" }, "These keys are on")),
    ),
  );
}

function keysAreOn() {
  return localStorage.getItem("hookgate.keys") !== "off";
}

let going = 0;

function pressed(event) {
  if (event.key === "?" && !typing(event)) return help();
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event) || !keysAreOn()) return;
  const page = Date.now() - going < 1500 && PAGES.find(({ key }) => key === event.key);
  going = 0;
  if (page) location.hash = `#/${page.name}`;
  else if (event.key === "g") going = Date.now();
  else if (event.key === "/") main.querySelector("input, select")?.focus();
  else if (event.key === "p") document.getElementById("pause")?.click();
  else return;
  event.preventDefault();
}

function typing(event) {
  return event.target.closest("input, select, textarea, dialog") !== null;
}

function menu() {
  const pages = PAGES.map(({ name, title, key }) => h("a", { href: `#/${name}`, "data-page": name, title: `g ${key}` }, title));
  const keys = h("button", { type: "button", class: "quiet", on: { click: help } }, "Keys");
  const leave = () => (forgetToken(), location.reload());
  replace(nav, pages, keys, hasToken() && h("button", { type: "button", class: "quiet", on: { click: leave } }, "Forget token"));
}

askTokenBy(async (reason) => {
  const given = await askForToken(reason);
  queueMicrotask(menu);
  return given;
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", show);
addEventListener("keydown", pressed);
menu();
keepTimes();
watch();
show();
