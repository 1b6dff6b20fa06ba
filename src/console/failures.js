// What fails, how often, since when, and what to do: refused deliveries by cause, and events that wait for an operator.

import { get, path } from "./api.js";
import { append, h } from "./dom.js";
import { count, plural, visible } from "./format.js";
import { about } from "./gateway.js";
import { COLUMNS } from "./events.js";
import { adviceFor } from "./reasons.js";
import { badge, code, facts, filters, link, note, region, section, select, table, time } from "./ui.js";

const EVERY = 5000;
const SINCE = [
  ["1d", "a day"],
  ["1h", "an hour"],
  ["15m", "15 minutes"],
  ["7d", "7 days"],
  ["30d", "30 days"],
];

function address(values) {
  return `#/failures?${new URLSearchParams(Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null)))}`;
}

const sourceOf = ({ source }) => (source ? visible(source) : h("span", { class: "faint" }, "no source"));

function causes(since) {
  return ({ failures, left_out: left }) => [
    table(
      "Causes",
      [
        {
          name: "Reason",
          cell: (each) => link(address({ source: each.source, reason: each.reason, since }), h("code", null, each.reason)),
        },
        { name: "Cause", cell: ({ cause }) => (cause ? h("code", null, cause) : h("span", { class: "faint" }, "–")) },
        { name: "Source", cell: sourceOf },
        { name: "Count", class: "number", cell: ({ count: found }) => count(found) },
        { name: "First", class: "when", cell: ({ first_at: at }) => time(at) },
        { name: "Last", class: "when", cell: ({ last_at: at }) => time(at) },
        { name: "What to do", class: "prose", cell: (each) => visible(adviceFor(each), 600) },
      ],
      failures,
      { empty: "Nothing was refused in this time.", hideCaption: true },
    ),
    left > 0 && note(`${plural(left, "refusal")} more came in floods, and are counted alone.`),
  ];
}

/** Without a history there are counts alone. */
function reasons({ refused }) {
  return table(
    "Reasons",
    [
      { name: "Reason", cell: ({ reason }) => h("code", null, reason) },
      { name: "Count", class: "number", cell: ({ count: found }) => count(found) },
      { name: "What to do", class: "prose", cell: adviceFor },
    ],
    refused.filter(({ count: found }) => found > 0),
    { empty: "Nothing was refused since the start.", hideCaption: true },
  );
}

/** One cause: what was found, what to do, and who sent what. */
function one(wanted) {
  return ({ failures, refusals }) => {
    const found = failures.find(({ source, reason }) => source === wanted.source && reason === wanted.reason);
    const each = found ?? { ...wanted };
    return [
      h("h2", null, h("code", null, visible(wanted.reason)), wanted.source ? ` at ${visible(wanted.source)}` : " at no source"),
      facts([
        ["Cause", each.cause && h("code", { id: "cause" }, each.cause)],
        ["Found", each.found && visible(each.found, 1000)],
        ["What to do", h("span", { class: "advice", id: "advice" }, visible(adviceFor(each), 1000))],
        ["How often", found ? plural(found.count, "request") : "not in this time"],
        ["First", found && time(found.first_at)],
        ["Last", found && time(found.last_at)],
        [
          "Kept whole",
          wanted.source && [
            link(`#/quarantine?${new URLSearchParams({ source: wanted.source })}`, "Quarantine of this source"),
            ": what is there can be judged again once the cause is mended",
          ],
        ],
      ]),
      table(
        "Refused requests, newest first",
        [
          { name: "When", class: "when", cell: ({ at }) => time(at) },
          { name: "Answer", class: "number", cell: ({ status }) => status },
          { name: "From", cell: ({ address: from }) => visible(from ?? "unknown") },
          { name: "Cause", cell: ({ cause, reason }) => h("code", null, cause ?? reason) },
          {
            name: "Detail",
            class: "prose",
            cell: ({ found: words, detail, path: target }) => [visible(words ?? detail, 600), target && [" ", code(target, 200)]],
          },
          { name: "Request id", cell: ({ request }) => code(request) },
        ],
        refusals,
        { empty: "None in this time." },
      ),
    ];
  };
}

const WAITING = "held,poison,aside";

function waiting({ events, next }) {
  const states = new Map();
  for (const { state } of events) states.set(state, (states.get(state) ?? 0) + 1);
  return [
    events.length > 0 &&
      h(
        "p",
        null,
        [...states].map(([state, number]) => [
          link(`#/events?${new URLSearchParams({ state })}`, badge(state), ` ${count(number)}${next ? " or more" : ""}`),
          " ",
        ]),
        "Open one for what the other side said, and to release, requeue or drop it.",
      ),
    table("Events that wait", COLUMNS, events, { empty: "No event is held, poison or waiting for another try.", hideCaption: true }),
  ];
}

export default async function failures(context) {
  const { history, journal } = await about();
  const since = context.query.get("since") ?? "1d";
  const wanted = context.query.has("reason") && { source: context.query.get("source") ?? "", reason: context.query.get("reason") };
  const order = { signal: context.signal };
  const summed = () => get(path("v1/history/failures", { since }), order);
  if (!history) {
    const counted = region(context, { load: () => get("v1/stats?steps=0", order), draw: reasons, every: EVERY });
    const why = note("This gateway keeps no history: refusals are counted since its start, and the log has each with its cause.");
    append(context.root, section("Refused deliveries", why, counted.element));
  } else if (wanted) {
    const load = async () => {
      const query = new URLSearchParams({ ...wanted, since, limit: 50 });
      const [{ failures: found }, { refusals }] = await Promise.all([summed(), get(`v1/history/refusals?${query}`, order)]);
      return { failures: found, refusals };
    };
    append(context.root, [
      h("p", null, link(address({ since }), "All causes")),
      region(context, { load, draw: one(wanted), every: EVERY }).element,
    ]);
    return;
  } else {
    append(context.root, [
      section(
        "Refused deliveries",
        filters(context, [["since", "Of the last", select(SINCE)]]),
        region(context, { load: summed, draw: causes(since), every: EVERY }).element,
      ),
    ]);
  }
  if (!journal) return;
  const base = history ? "v1/history/events" : "v1/events";
  const stuck = region(context, { load: () => get(path(base, { state: WAITING, limit: 100 }), order), draw: waiting, every: EVERY });
  append(context.root, section("Events that wait for you", stuck.element));
}
