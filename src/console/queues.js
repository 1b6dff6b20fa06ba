// What waits to be handed over, and what came back: dead letters of RabbitMQ, or the poison of the inbox.

import { get, path, post, Problem } from "./api.js";
import { append, h } from "./dom.js";
import { bytes as size, count, visible } from "./format.js";
import { COLUMNS } from "./events.js";
import { about } from "./gateway.js";
import { act, code, filters, input, link, note, outcomes, region, section, table, time } from "./ui.js";

const EVERY = 4000;

function pending({ sources }) {
  const at =
    (name) =>
    ({ counts }) =>
      count(counts[name]);
  const events = (state) => (source) => {
    const number = source.counts[state === "aside" ? "parked" : state] ?? 0;
    return number > 0 ? link(`#/events?${new URLSearchParams({ source: source.name, state })}`, count(number)) : "0";
  };
  return table(
    "Per source",
    [
      { name: "Source", cell: ({ name }) => visible(name) },
      { name: "Pending", class: "number", cell: events("pending") },
      { name: "Oldest", class: "when", cell: ({ oldest_pending_at: oldest }) => time(oldest) },
      { name: "Held", class: "number", cell: events("held") },
      { name: "Unroutable", class: "number", cell: at("unroutable") },
      { name: "Parked", class: "number", cell: events("aside") },
      { name: "Poison", class: "number", cell: events("poison") },
      { name: "Handed over", class: "number", cell: at("confirmed") },
    ],
    sources,
    { empty: "No source is configured.", hideCaption: true },
  );
}

/** A letter may be anybody's: each of its fields may be missing. */
const said = (text, most) => (text === null ? h("span", { class: "faint" }, "–") : code(text, most));

function letterTable(letters, buttons) {
  return table(
    "Dead letters",
    [
      { name: "Message id", cell: ({ id }) => (id === null ? said(null) : h("code", { title: visible(id) }, visible(id, 16))) },
      { name: "Event", class: "number", cell: ({ sequence }) => (sequence === null ? "–" : link(`#/events/${sequence}`, sequence)) },
      { name: "Source", cell: ({ source }) => said(source, 60) },
      { name: "Type", class: "long", cell: ({ type }) => said(type, 80) },
      { name: "Queue", cell: ({ queue }) => said(queue, 80) },
      { name: "Died of", cell: ({ reason }) => said(reason) },
      { name: "When", class: "when", cell: ({ died_at: at }) => time(at) },
      { name: "Times", class: "number", cell: ({ times }) => count(times) },
      { name: "Bytes", class: "number", cell: ({ bytes }) => size(bytes) },
      { name: "What to do with it", unseen: true, cell: buttons },
    ],
    letters,
    { empty: "No dead letters: workers have rejected nothing.", hideCaption: true },
  );
}

function dead(source, again) {
  const ordered = (name, meant, what) => async () => {
    const [action, text, tone] =
      name === "drop"
        ? ["Drop", "They are deleted from the queue of dead letters. The journal may still hold the events, to be replayed.", "danger"]
        : ["Requeue", "They go to their queues once more, under the same message ids. Mend first what they were rejected for.", ""];
    const order = () => post(`v1/dead/${name}`, meant);
    const tell = (answer) => `Dead letters: ${outcomes(answer)}`;
    if (await act({ title: `${action} ${what}?`, text, action, tone, order, tell })) again();
  };
  const [all, whose] = source ? [{ source }, `all dead letters of ${visible(source)}`] : [{ all: true }, "all dead letters"];
  const button = (kind, label, name, meant, what) =>
    h("button", { type: "button", class: kind, "aria-label": `${label} ${what}`, on: { click: ordered(name, meant, what) } }, label);
  const ofOne = ({ id }) =>
    id !== null &&
    h(
      "span",
      { class: "row" },
      button("small", "Requeue", "requeue", { ids: [id] }, `the dead letter ${visible(id, 16)}`),
      button("small danger", "Drop", "drop", { ids: [id] }, `the dead letter ${visible(id, 16)}`),
    );
  return ({ letters, more }) => [
    letters.length > 0 &&
      h("p", { class: "tools" }, button("", "Requeue all…", "requeue", all, whose), button("danger", "Drop all…", "drop", all, whose)),
    letterTable(letters, ofOne),
    more && note("There are more than are shown."),
  ];
}

async function letters(source, order) {
  try {
    return await get(path("v1/dead", { source }), order);
  } catch (error) {
    if (error instanceof Problem && error.code === "no_dead_letters") return { none: error.message };
    throw error;
  }
}

export default async function queues(context) {
  const { sink, journal, history } = await about();
  const order = { signal: context.signal };
  const waiting = region(context, { load: () => get("v1/sources", order), draw: pending, every: EVERY });
  append(context.root, section("Waiting to be handed over", waiting.element));
  if (sink === "rabbitmq") {
    // They are not looked at over and over: to be looked at, they are taken out of their queue for a moment.
    const source = context.query.get("source");
    const draw = (page) => (page.none ? note(page.none) : dead(source, () => found.reload(true))(page));
    const found = region(context, { load: () => letters(source, order), draw });
    const again = h("button", { type: "button", class: "quiet", on: { click: () => found.reload(true) } }, "Look again");
    append(
      context.root,
      section(
        "Dead letters",
        note("What workers rejected or let run out of tries, in the queue of dead letters at RabbitMQ."),
        filters(context, [["source", "Source", input("", 14)]]),
        found.element,
        h("p", null, again),
      ),
    );
  }
  if (journal) {
    const base = history ? "v1/history/events" : "v1/events";
    const aside = region(context, {
      load: () => get(`${base}?state=poison,aside&limit=100`, order),
      every: EVERY,
      draw: ({ events }) => table("Events", COLUMNS, events, { empty: "None.", hideCaption: true }),
    });
    append(
      context.root,
      section(
        "Poison, and put aside for another try",
        note("Poison is offered no more after as many tries as sink.max_attempts says. Open one to requeue or drop it."),
        aside.element,
      ),
    );
  }
}
