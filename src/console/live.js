// What is arriving now: at the top what came last, each with how it stands.

import { follow, get, path } from "./api.js";
import { append, h } from "./dom.js";
import { bytes, clock, count, visible } from "./format.js";
import { about } from "./gateway.js";
import { badge, failure, filters, input, link, note } from "./ui.js";

const KEPT = 300;
const AT_FIRST = 20;
const STATES_EVERY = 2000;
const WAIT_MOST = 15_000;

function row(event) {
  const state = h("td", { "data-state": event.state }, badge(event.state));
  return h(
    "tr",
    { "data-sequence": event.sequence },
    h("td", { class: "number" }, link(`#/events/${event.sequence}`, event.sequence)),
    h("td", { class: "when" }, h("time", { datetime: event.received_at, title: event.received_at }, clock(event.received_at))),
    h("td", null, visible(event.source, 60)),
    h("td", { class: "long" }, h("code", { title: visible(event.type, 1000) }, visible(event.type, 80))),
    h("td", { class: "long" }, h("code", { title: visible(event.event_id, 1000) }, visible(event.event_id, 80))),
    state,
    h("td", { class: "number" }, bytes(event.bytes)),
  );
}

function emptyTable() {
  const names = [
    ["Number", "number"],
    ["Received, UTC", "when"],
    ["Source"],
    ["Type", "long"],
    ["Id", "long"],
    ["State"],
    ["Bytes", "number"],
  ];
  const body = h("tbody");
  const element = h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Events as they come in" },
    h(
      "table",
      null,
      h("caption", { class: "unseen" }, "Events as they come in, newest first"),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          names.map(([name, kind]) => h("th", { scope: "col", class: kind }, name)),
        ),
      ),
      body,
    ),
  );
  return { element, body };
}

/** States change after an event was told of: it is asked how those on the page stand now. */
async function refreshStates(base, body, query, signal) {
  const rows = [...body.rows];
  const open = rows.filter((each) => ["pending", "aside"].includes(each.querySelector("[data-state]").dataset.state)).slice(0, 100);
  if (open.length === 0) return;
  const numbers = open.map((each) => Number(each.dataset.sequence));
  const range = `${Math.min(...numbers)}-${Math.max(...numbers)}`;
  const { events } = await get(path(base, { ...query, sequence: range, limit: 1000 }), { signal });
  const states = new Map(events.map(({ sequence, state }) => [sequence, state]));
  for (const each of open) {
    const state = states.get(Number(each.dataset.sequence));
    const cell = each.querySelector("[data-state]");
    if (!state || state === cell.dataset.state) continue;
    cell.dataset.state = state;
    cell.replaceChildren(badge(state));
  }
}

/** The rows, and what is to be said of them; while it is paused, what comes in waits. */
function board() {
  const { element, body } = emptyTable();
  const word = h("span", { class: "faint" }, "Connecting…");
  const quiet = note("Nothing has come in yet. From a terminal: ", h("code", null, "hookgate send SOURCE"));
  let [paused, waiting, seen] = [false, [], 0];
  const put = (events) => {
    for (const event of events) body.prepend(row(event));
    while (body.rows.length > KEPT) body.lastElementChild.remove();
    quiet.hidden = body.rows.length > 0;
    element.hidden = !quiet.hidden;
  };
  put([]);
  return {
    body,
    nodes: [quiet, element],
    word,
    put,
    say() {
      const more = `${count(waiting.length)}${waiting.length === KEPT ? " or more" : ""}`;
      word.textContent = paused ? `Paused; ${more} have come in meanwhile` : `Following; ${count(seen)} since this page was opened`;
    },
    take(event) {
      seen += 1;
      if (paused) waiting = [...waiting, event].slice(-KEPT);
      else put([event]);
      this.say();
    },
    pause(button) {
      paused = !paused;
      button.setAttribute("aria-pressed", String(paused));
      if (!paused) put(waiting.splice(0));
      this.say();
    },
    clear() {
      body.replaceChildren();
      put([]);
    },
  };
}

export default async function live(context) {
  const { journal, history } = await about();
  if (!journal) {
    append(context.root, note('This gateway keeps no journal (journal.ack = "confirm"), and events can be followed in a journal alone.'));
    return;
  }
  const query = Object.fromEntries(context.query);
  const rows = board();
  const trouble = h("div");
  const pause = h("button", { type: "button", id: "pause", "aria-pressed": "false", on: { click: () => rows.pause(pause) } }, "Pause");
  const clear = h("button", { type: "button", class: "quiet", on: { click: () => rows.clear() } }, "Clear");
  const fields = [
    ["source", "Source", input("", 14)],
    ["type", "Type", input("", 26)],
  ];
  append(context.root, [filters(context, fields, "Filter"), h("p", { class: "tools" }, pause, clear, rows.word), trouble, rows.nodes]);
  let after = null;
  if (history) {
    // What came in last is there to begin with, and the stream goes on behind it.
    const { events, through } = await get(path("v1/history/events", { ...query, limit: AT_FIRST }), { signal: context.signal });
    rows.put(events.reverse());
    after = Math.max(through, ...events.map(({ sequence }) => sequence));
  }
  const base = history ? "v1/history/events" : "v1/events";
  context.every(STATES_EVERY, () => refreshStates(base, rows.body, query, context.signal).catch(() => {}));
  const told = ({ id, event, data }) => {
    after = id ?? after;
    if (event === "event") rows.take(JSON.parse(data));
  };
  const opened = () => {
    trouble.replaceChildren();
    rows.say();
  };
  stayConnected(context, () => path("v1/events/tail", { ...query, after }), { told, opened, trouble });
}

async function stayConnected(context, address, { told, opened, trouble }) {
  let wait = 500;
  while (!context.signal.aborted) {
    try {
      await follow(address(), { signal: context.signal, told, opened: () => ((wait = 500), opened()) });
    } catch (error) {
      if (context.signal.aborted) return;
      trouble.replaceChildren(failure(error));
      // What is wrong with the question stays wrong.
      if (error.status >= 400 && error.status < 500) return;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, WAIT_MOST);
  }
}
