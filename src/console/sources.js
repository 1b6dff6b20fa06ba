// The endpoints, what each is to be given at its provider, how they are tried, and all providers that the gateway knows.

import { get } from "./api.js";
import { append, h, replace } from "./dom.js";
import { bytes as size, count, plural, span, visible } from "./format.js";
import { onTrial } from "./trial.js";
import { badge, code, copy, facts, input, link, note, region, section, table, time } from "./ui.js";

const EVERY = 5000;

function secretTimes({ not_before: from, not_after: to }) {
  if (!from && !to) return "always";
  return [from && ["from ", time(from)], from && to && ", ", to && ["until ", time(to)]];
}

/** How far a signed time may be from this clock; where nothing limits it, the scheme signs none. */
function tolerance({ past_seconds: past, future_seconds: future }) {
  if (past === null && future === null) return "not limited, or not signed";
  const words = (seconds) => (seconds === null ? "any" : span(seconds));
  return `${words(past)} at most, ${words(future)} ahead`;
}

function card(source, trial) {
  const { name, counts } = source;
  const waiting = counts.pending + counts.unroutable + counts.parked;
  const place = source.url ?? source.path;
  const query = new URLSearchParams({ source: name });
  const command = `hookgate send ${name}`;
  return h(
    "section",
    { class: "card", "data-source": name },
    h(
      "h3",
      null,
      visible(name),
      " ",
      h(
        "span",
        { class: "faint" },
        `${visible(source.provider)}, ${visible(source.scheme)}${source.signed_by ? `: ${visible(source.signed_by)}` : ""}`,
      ),
      source.unauthenticated && [" ", badge("unauthenticated")],
    ),
    facts([
      [
        source.url ? "URL to paste" : "Path",
        [
          code(place),
          " ",
          copy(place, "Copy", "the URL"),
          !source.url && h("span", { class: "under" }, "set ingress.public_url, and the whole URL is here"),
        ],
      ],
      ["Last event", source.last_event_at ? time(source.last_event_at) : "none yet"],
      [
        "Since the start",
        [
          `${count(counts.accepted)} accepted, ${count(counts.duplicate)} duplicates, `,
          counts.rejected > 0 ? link(`#/failures`, `${count(counts.rejected)} refused`) : "0 refused",
          `, ${count(counts.confirmed)} handed over`,
        ],
      ],
      [
        "Waiting",
        waiting > 0
          ? [
              link(`#/events?${new URLSearchParams({ source: name, state: "pending,aside" })}`, count(waiting)),
              source.oldest_pending_at && [", the oldest since ", time(source.oldest_pending_at)],
            ]
          : "nothing",
      ],
      ["Events taken", source.events.length > 0 ? source.events.map((each) => [code(each, 80), " "]) : "all"],
      ["Limit", source.limit ? `${source.limit.rate}, ${count(source.limit.burst)} at once` : "none"],
      ["Longest body", size(source.body_bytes_max)],
      ["Age of the signed time", tolerance(source.tolerance)],
      [
        "Quarantine",
        source.quarantine_bytes ? [link(`#/quarantine?${query}`, "refused requests"), `, ${size(source.quarantine_bytes)} at most`] : "off",
      ],
      ["Batches", source.split ? "each element is a message" : null],
      [
        "Try it",
        [
          h("button", { type: "button", class: "small", "aria-label": `Try ${visible(name)}`, on: { click: () => trial.choose(name) } }, "Try…"),
          " or ",
          code(command),
          " ",
          copy(command, "Copy", "the command"),
          " ",
          link(`#/live?${query}`, "and see it come in"),
        ],
      ],
    ]),
    table(
      `Secrets of ${visible(name)}`,
      [
        { name: "Secret", cell: ({ label }) => visible(label) },
        {
          name: "Fingerprint",
          cell: ({ fingerprint }) => (fingerprint ? code(fingerprint) : h("span", { class: "faint" }, "brought or fetched")),
        },
        { name: "Counts", cell: secretTimes },
        { name: "Has proven", class: "number", cell: ({ proven }) => count(proven) },
      ],
      source.secrets,
      { empty: "None: the provider publishes its keys, or nothing is proven.", hideCaption: true },
    ),
  );
}

function providers({ providers: all }) {
  const search = input("name", 24);
  search.id = "provider";
  const shown = h("div", { "aria-live": "polite" });
  const draw = () => {
    const wanted = search.value.trim().toLowerCase();
    const found = all.filter(({ name, title }) => `${name} ${title}`.toLowerCase().includes(wanted));
    replace(
      shown,
      table(
        `${plural(found.length, "provider")}`,
        [
          {
            name: "Provider",
            cell: ({ title, docs, own }) => [
              docs ? h("a", { href: docs, rel: "noreferrer noopener", target: "_blank" }, visible(title)) : visible(title),
              own && [" ", badge("own file")],
            ],
          },
          { name: "Name", cell: ({ name }) => code(name) },
          { name: "Schemes", cell: ({ schemes }) => visible(schemes.join(", ")) },
          { name: "Signed by", class: "prose", cell: ({ signed_by: by }) => visible(by.join(", ")) },
          { name: "Tries again", class: "prose", cell: ({ retries }) => visible(retries ?? "not known") },
          { name: "Handshakes", cell: ({ handshakes }) => visible(handshakes.join(", ")) },
        ],
        found,
        { empty: "No provider is called that." },
      ),
    );
  };
  search.addEventListener("input", draw);
  draw();
  return [h("div", { class: "filters" }, h("div", { class: "field" }, h("label", { for: "provider" }, "Find"), search)), shown];
}

export default async function sources(context) {
  const order = { signal: context.signal };
  const trial = onTrial(context);
  const own = region(context, {
    load: () => get("v1/sources", order),
    every: EVERY,
    draw: ({ sources: found }) => {
      trial.know(found);
      if (found.length === 0) return note("No source is configured. ", h("code", null, "hookgate init PROVIDER"), " writes one.");
      return h(
        "div",
        { class: "cards" },
        found.map((one) => card(one, trial)),
      );
    },
  });
  const known = region(context, { load: () => get("v1/providers", order), draw: providers });
  append(context.root, [section("Sources", own.element), trial.element, section("Providers", known.element)]);
}
