// Where is an event? Found by any of its ids, by source, type, state and time.

import { get, path } from "./api.js";
import { append, h, replace } from "./dom.js";
import { bytes, count, visible } from "./format.js";
import { about } from "./gateway.js";
import { badge, failure, filters, input, link, note, region, select, table, time } from "./ui.js";

export const STATES = [
  ["", "any"],
  ["pending,aside", "waiting"],
  ["pending", "pending"],
  ["aside", "aside: tried again later"],
  ["held", "held"],
  ["poison", "poison"],
  ["confirmed", "confirmed"],
  ["superseded", "superseded"],
  ["dropped", "dropped"],
];
const PAGE = 100;

export const COLUMNS = [
  { name: "Number", class: "number", cell: ({ sequence }) => link(`#/events/${sequence}`, sequence) },
  { name: "Received", class: "when", cell: ({ received_at: at }) => time(at) },
  { name: "Source", cell: ({ source }) => visible(source, 60) },
  { name: "Type", class: "long", cell: ({ type }) => h("code", { title: visible(type, 1000) }, visible(type, 80)) },
  { name: "Id", class: "long", cell: ({ event_id: id }) => h("code", { title: visible(id, 1000) }, visible(id, 80)) },
  {
    name: "State",
    cell: ({ state, twin_of: twin, replayed }) => [
      badge(state),
      twin && h("span", { class: "mark" }, " twin"),
      replayed && h("span", { class: "mark" }, " replay"),
    ],
  },
  { name: "Tries", class: "number", cell: ({ attempts }) => count(attempts) },
  { name: "Bytes", class: "number", cell: ({ bytes: length }) => bytes(length) },
];

/** What somebody wrote as «the id», as the queries that it may mean. */
function meant(id) {
  if (!id) return [{}];
  if (/^[0-9a-f]{64}$/i.test(id)) return [{ key: id.toLowerCase() }];
  return /^\d{1,15}$/.test(id) ? [{ sequence: id }, { id }] : [{ id }];
}

async function search(base, query, order) {
  const { id, ...others } = query;
  const pages = await Promise.all(meant(id).map((one) => get(path(base, { ...others, ...one, limit: PAGE }), order)));
  const found = new Map(pages.flatMap(({ events }) => events).map((event) => [event.sequence, event]));
  return { events: [...found.values()], next: pages.length === 1 ? pages[0].next : null };
}

function more(context, base, query, first) {
  const rows = h("div");
  let { next } = first;
  const button = h(
    "button",
    {
      type: "button",
      on: {
        click: async () => {
          button.disabled = true;
          try {
            const { id, ...others } = query;
            const page = await get(path(base, { ...others, ...meant(id)[0], limit: PAGE, after: next }), { signal: context.signal });
            if (page.events.length > 0) rows.append(table("More events", COLUMNS, page.events, { hideCaption: true }));
            ({ next } = page);
            button.hidden = !next;
          } catch (error) {
            if (!context.signal.aborted) rows.append(failure(error));
          }
          button.disabled = false;
        },
      },
    },
    "Show more",
  );
  return h("div", null, rows, h("p", null, button));
}

export default async function events(context) {
  const { history, journal } = await about();
  if (!history && !journal) {
    append(context.root, note('This gateway keeps neither a journal nor a history (journal.ack = "confirm"): RabbitMQ has the events.'));
    return;
  }
  const base = history ? "v1/history/events" : "v1/events";
  const query = Object.fromEntries(context.query);
  const form = filters(context, [
    ["id", "Id, message id or number", input("evt_…", 22)],
    ["source", "Source", input("", 10)],
    ["type", "Type", input("", 16)],
    ["state", "State", select(STATES)],
    ["since", "Since", input("2h, or a time", 11)],
    ["until", "Until", input("a time", 11)],
    ...(history ? [["text", "Words in the body", input("capture_bodies", 14)]] : []),
  ]);
  const found = region(context, {
    load: () => search(base, query, { signal: context.signal }),
    draw: (page) => [
      table(history ? "Events, newest first" : "Events, oldest first", COLUMNS, page.events, {
        empty: page.next ? "None in this stretch of the journal." : "No event is like that.",
        hideCaption: true,
      }),
      page.next && more(context, base, query, page),
    ],
  });
  const again = h("button", { type: "button", class: "quiet", on: { click: () => found.reload(true) } }, "Look again");
  replace(context.root, h("h1", null, "Events"), form, found.element, h("p", null, again));
}
