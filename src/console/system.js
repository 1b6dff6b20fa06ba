// The process and what it stands on.

import { get } from "./api.js";
import { append, h } from "./dom.js";
import { bytes as size, count, now, plural, span, visible } from "./format.js";
import { badge, code, copy, facts, region, section, table, time } from "./ui.js";

const EVERY = 5000;

function process([{ name, version, started_at: started, ack, sink, public_url: url, history, journal }, stats]) {
  const up = (now() - Date.parse(started)) / 1000;
  const { cpu_seconds: cpu, resident_bytes: resident, open_fds: files } = stats.process;
  return h(
    "div",
    { class: "halves" },
    section(
      "Process",
      facts([
        ["Version", [code(`${name} ${version}`), " ", copy(`${name} ${version}`, "Copy", "the version")]],
        ["Started", time(started)],
        ["Processor", `${span(cpu)} since then, ${((cpu / Math.max(1, up)) * 100).toFixed(1)} % of one core`],
        ["Memory", size(resident)],
        ["Open files", count(files)],
      ]),
    ),
    section(
      "What it stands on",
      facts([
        ["A 2xx means", ack === "journal" ? "the event is on this machine's disk" : "RabbitMQ has confirmed the event"],
        ["Handed over to", code(sink)],
        ["Public URL", url ? code(url) : "not set (ingress.public_url)"],
        [
          "Journal",
          journal && stats.journal
            ? `${size(stats.journal.bytes)}; ${size(stats.journal.unconfirmed_bytes)} unconfirmed of ${size(stats.journal.bytes_max)} that may be`
            : "none",
        ],
        ["Room", stats.journal && badge(stats.journal.full ? "failed" : "ok")],
        [
          "History",
          history && stats.history
            ? `${size(stats.history.bytes)}; ${stats.history.behind_events > 0 ? `${plural(stats.history.behind_events, "event")} behind` : "up to date"}`
            : "none",
        ],
      ]),
    ),
  );
}

function checks({ checks: found, readiness }) {
  return [
    h("p", null, badge(readiness)),
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
  ];
}

function refused({ refused: found }) {
  return table(
    "Refusals since the start",
    [
      { name: "Reason", cell: ({ reason }) => h("code", null, reason) },
      { name: "Count", class: "number", cell: ({ count: number }) => count(number) },
    ],
    found.filter(({ count: number }) => number > 0),
    { empty: "None.", hideCaption: true },
  );
}

export default async function system(context) {
  const order = { signal: context.signal };
  const both = region(context, {
    load: () => Promise.all([get("v1", order), get("v1/stats", order)]),
    draw: ([about, stats]) => [
      process([about, stats]),
      h("div", { class: "halves" }, section("Checks", checks(about)), section("Refusals since the start", refused(stats))),
    ],
    every: EVERY,
  });
  append(context.root, both.element);
}
