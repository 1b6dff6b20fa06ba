// Is it healthy, how much comes in, how fast are the answers, what fails, how old is what waits?

import { get, path } from "./api.js";
import { chart } from "./charts.js";
import { append, h } from "./dom.js";
import { bytes, count, milliseconds, plural, rate, span, visible } from "./format.js";
import { about } from "./gateway.js";
import { badge, link, note, region, section, table, time } from "./ui.js";

const EVERY = 5000;
const FAILURES_SHOWN = 6;
// Steps of the curve: those that are asked for again, and an hour of them.
const STEPS_ANEW = 30;
const STEPS_MAX = 900;
const OUTCOMES = [
  ["accepted", "Accepted"],
  ["duplicate", "Duplicates recognised"],
  ["handshake", "Handshakes answered"],
  ["filtered", "Filtered by the source's list of events"],
  ["rejected", "Refused"],
  ["fault", "Faults of ours (503)"],
  ["confirmed", "Handed over"],
  ["replayed", "Replayed"],
  ["recovered", "Found in the journal at a start"],
  ["superseded", "Handed over by another replica"],
  ["dropped", "Dropped by an operator"],
];

function tile(label, value, more, tone) {
  return h(
    "div",
    { class: `tile ${tone ?? ""}` },
    h("dt", null, label),
    h("dd", null, h("span", { class: "value" }, value), more && h("span", { class: "more" }, more)),
  );
}

/** What the newest `seconds` of the curve came to. */
function latest({ series, interval_seconds: interval }, seconds) {
  const some = series.slice(-Math.max(1, Math.round(seconds / interval)));
  const length = some.reduce((total, each) => total + (each.seconds ?? interval), 0);
  const sum = (name) => some.reduce((total, each) => total + each[name], 0);
  const worst = (name) => some.reduce((most, each) => (each[name] === null ? most : Math.max(most ?? 0, each[name])), null);
  return { perSecond: (name) => sum(name) / Math.max(1, length), worst };
}

function tiles(stats) {
  const { totals, journal, history } = stats;
  const minute = latest(stats, 60);
  const waiting = totals.pending + totals.held + totals.parked + totals.unroutable + totals.poison;
  const stuck = ["held", "parked", "unroutable", "poison"]
    .filter((name) => totals[name] > 0)
    .map((name) => `${count(totals[name])} ${name}`);
  const refused = minute.perSecond("rejected");
  const faults = minute.perSecond("fault");
  const full = journal && journal.unconfirmed_bytes / journal.bytes_max;
  return h(
    "dl",
    { class: "tiles" },
    tile("Received", rate(minute.perSecond("received")), `${count(totals.received)} since the start`),
    tile("Answered in (p99)", milliseconds(minute.worst("p99_ms")), `p50 ${milliseconds(minute.worst("p50_ms"))}`),
    tile(
      "Waiting",
      count(waiting),
      stuck.length > 0 ? stuck.join(", ") : totals.pending > 0 ? "on their way" : "nothing is",
      totals.poison + totals.unroutable > 0 ? "bad" : stuck.length > 0 ? "warn" : "",
    ),
    tile(
      "Oldest waiting",
      waiting > 0 ? span(stats.oldest_pending_seconds) : "–",
      "since it came in",
      stats.oldest_pending_seconds > 300 ? "warn" : "",
    ),
    tile(
      "Refused",
      rate(refused),
      faults > 0 ? `and ${rate(faults)} faults of ours` : `${count(totals.rejected)} since the start`,
      faults > 0 ? "bad" : "",
    ),
    journal
      ? tile(
          "Journal",
          bytes(journal.bytes),
          `${bytes(journal.unconfirmed_bytes)} unconfirmed of ${bytes(journal.bytes_max)}`,
          journal.full ? "bad" : full > 0.7 ? "warn" : "",
        )
      : tile("Journal", "none", "safe once RabbitMQ confirms"),
    history &&
      tile("History", bytes(history.bytes), history.behind_events > 0 ? `${plural(history.behind_events, "event")} behind` : "up to date"),
  );
}

function outcomes({ totals }) {
  return table(
    "Outcomes since the start",
    [
      { name: "Outcome", cell: ([, title]) => title },
      { name: "Requests or events", class: "number", cell: ([name]) => count(totals[name]) },
    ],
    OUTCOMES.filter(([name]) => totals[name] > 0),
    { empty: "Nothing has come in since the start.", hideCaption: true },
  );
}

export function failureLink({ source, reason }, text) {
  return link(`#/failures?${new URLSearchParams({ source, reason })}`, text);
}

function topFailures({ failures }) {
  return table(
    "Refused in the last day",
    [
      {
        name: "Cause",
        cell: (each) => [
          failureLink(each, h("code", null, each.reason)),
          each.cause && each.cause !== each.reason && h("span", { class: "faint" }, ": ", h("code", null, each.cause)),
        ],
      },
      { name: "Source", cell: ({ source }) => (source ? visible(source) : h("span", { class: "faint" }, "no source")) },
      { name: "Count", class: "number", cell: ({ count: found }) => count(found) },
      { name: "Last", cell: ({ last_at: at }) => time(at) },
    ],
    failures.slice(0, FAILURES_SHOWN),
    { empty: "Nothing was refused in the last day.", hideCaption: true },
  );
}

function checks({ checks: found = [], readiness }) {
  return h(
    "div",
    null,
    h(
      "p",
      null,
      badge(readiness),
      " ",
      {
        ready: "takes deliveries and hands them over",
        degraded: "takes deliveries; what it hands them over to, or claims by, is away",
        unready: "takes no deliveries",
      }[readiness] ?? "",
    ),
    table(
      "Checks",
      [
        { name: "Check", cell: ({ name }) => name },
        { name: "State", cell: ({ ok }) => badge(ok ? "ok" : "failed") },
        { name: "Detail", cell: ({ detail }) => visible(detail) },
      ],
      found,
      { hideCaption: true },
    ),
  );
}

export default async function overview(context) {
  const known = await about();
  const rates = chart(context, "Deliveries a second", {
    series: [
      { label: "received", tone: "curve-1" },
      { label: "accepted", tone: "curve-2" },
      { label: "refused", tone: "curve-3" },
      { label: "handed over", tone: "curve-4", dash: [4, 3] },
    ],
    format: rate,
  });
  const times = chart(context, "Time to the answer", {
    series: [
      { label: "p50", tone: "curve-1" },
      { label: "p99", tone: "curve-3" },
    ],
    format: milliseconds,
  });
  const curves = (stats) => {
    const at = stats.series.map((each) => Date.parse(each.at) / 1000);
    const perSecond = (name) => stats.series.map((each) => each[name] / Math.max(1, each.seconds ?? stats.interval_seconds));
    const minute = latest(stats, 60);
    rates.set(
      [at, ...["received", "accepted", "rejected", "confirmed"].map(perSecond)],
      `now ${rate(minute.perSecond("received"))} received, ${rate(minute.perSecond("rejected"))} refused`,
    );
    times.set(
      [at, ...["p50_ms", "p99_ms"].map((name) => stats.series.map((each) => each[name]))],
      `p99 in the last minute ${milliseconds(minute.worst("p99_ms"))}`,
    );
  };
  let series = [];
  const load = async () => {
    const order = { signal: context.signal };
    let stats = await get(path("v1/stats", series.length > 0 ? { steps: STEPS_ANEW } : {}), order);
    // A page that was out of sight for long has a gap to fill.
    if (series.length > 0 && !series.some(({ at }) => at === stats.series[0]?.at)) {
      series = [];
      stats = await get("v1/stats", order);
    }
    const known = new Set(stats.series.map(({ at }) => at));
    series = [...series.filter(({ at }) => !known.has(at)), ...stats.series].slice(-STEPS_MAX);
    stats.series = series;
    curves(stats);
    return stats;
  };
  const once = { stats: null };
  const shared = () => (once.stats ??= load().finally(() => setTimeout(() => (once.stats = null), EVERY / 2)));
  const top = region(context, { load: shared, draw: tiles, every: EVERY });
  const totals = region(context, { load: shared, draw: outcomes, every: EVERY });
  const health = region(context, { load: () => get("v1", { signal: context.signal }), draw: checks, every: EVERY });
  const failing = known.history
    ? region(context, { load: () => get("v1/history/failures?since=1d", { signal: context.signal }), draw: topFailures, every: EVERY })
        .element
    : note("This gateway keeps no history, so that refusals are told by the log and the metrics alone.");
  append(context.root, [
    top.element,
    h("div", { class: "charts" }, rates.element, times.element),
    h(
      "div",
      { class: "halves" },
      h("div", null, section("What fails", failing, h("p", null, link("#/failures", "All failures"))), section("Health", health.element)),
      section("Outcomes since the start", totals.element),
    ),
  ]);
}
