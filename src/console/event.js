// One event: what became of it and when, its headers and bytes, and what an operator can do about it.

import { get, getBytes, post, Problem } from "./api.js";
import { curl, hexadecimal, isJson, setOut, textOf } from "./body.js";
import { append, h, replace } from "./dom.js";
import { bytes as size, milliseconds, plural, visible, visibleLines } from "./format.js";
import { about } from "./gateway.js";
import { act, badge, code, copy, facts, failure, link, note, outcomes, region, section, table, time } from "./ui.js";

const SHOWN_MAX = 256 * 1024;
const ALL_MAX = 32 * 1024 * 1024;
// Browsers take seconds to break the lines of more.
const WRAPPED_MAX = 64 * 1024;
const EVERY = 2000;

const STEPS = {
  received: "Received, proven and on disk",
  sample: "A sample: an operator had this gateway sign and send it",
  attempted: "Handed to the sink or a worker (the last time, where there were several)",
  confirmed: "Handed over: the other side has it",
  replayed: "An operator replays it",
  released: "An operator releases it",
  superseded: "Another replica's copy is done",
  dropped: "Dropped by an operator",
  poison: "Poison: refused each time",
  returned: "No queue takes it",
  given_back: "Given back by a worker",
  lease_expired: "A worker's lease ran out",
  held: "Held until an operator says more",
};

const ACTIONS = [
  {
    name: "replay",
    label: "Replay",
    when: ["confirmed", "superseded", "dropped"],
    text: "It is handed over once more under the same message id, marked as a replay. Workers that know the id do nothing twice.",
  },
  { name: "release", label: "Release", when: ["held"], text: "It is handed over now." },
  { name: "requeue", label: "Requeue", when: ["poison", "aside"], text: "It is tried again from the start." },
  {
    name: "drop",
    label: "Drop",
    when: ["pending", "aside", "held", "poison"],
    text: "It is given up: no worker gets it, unless it is replayed later.",
    tone: "danger",
  },
  {
    name: "forget",
    label: "Forget",
    when: null,
    text: "The gateway forgets that it has seen it: the next delivery of it is a new event. What was handed over stays handed over.",
    tone: "danger",
  },
];

/** What the journal and the history know of it, each where there is one. */
async function load(sequence, signal) {
  const { history, journal } = await about();
  const perhaps = async (path) => {
    try {
      return await get(path, { signal });
    } catch (error) {
      if (error instanceof Problem && error.status === 404) return { gone: error.message };
      throw error;
    }
  };
  const number = encodeURIComponent(sequence);
  const [told, kept] = await Promise.all([
    history ? perhaps(`v1/history/events/${number}`) : { gone: "This gateway keeps no history: the steps are not known." },
    journal ? perhaps(`v1/events/${number}`) : { gone: "This gateway keeps no journal." },
  ]);
  return { told, kept };
}

function timeline({ told }) {
  if (told.gone) return note(told.gone);
  const { steps, replays, replays_left_out: leftOut } = told;
  const whole = Math.max(1, ...steps.map(({ after_ms: after }) => after));
  const rows = steps.map((step, at) => ({ ...step, since: at === 0 ? null : step.after_ms - steps[at - 1].after_ms }));
  const bar = ({ after_ms: after, since }) => {
    const part = h("span", { class: "part" });
    const from = Math.max(0, after - (since ?? 0));
    part.style.marginInlineStart = `${(from / whole) * 100}%`;
    part.style.width = `max(2px, ${((after - from) / whole) * 100}%)`;
    return h("span", { class: "track", "aria-hidden": "true" }, part);
  };
  const more =
    leftOut > 0
      ? note(`Replayed ${plural(replays, "time")}: shown are its first course and those of the last ${replays - leftOut} replays.`)
      : ["confirmed", "superseded"].includes(told.state) &&
        !told.attempted_at &&
        note("How it came to that is not known: the history was made anew since, and the journal has no times.");
  const shown = table(
    "Steps",
    [
      { name: "Step", cell: ({ step }) => [h("code", null, step), h("span", { class: "under" }, STEPS[step] ?? "")] },
      { name: "At, UTC", class: "when", cell: ({ at }) => h("time", { datetime: at, title: at }, at.slice(11, 23)) },
      { name: "After", class: "number", cell: ({ after_ms: after }) => milliseconds(after) },
      { name: "Since the one before", class: "number", cell: ({ since }) => (since === null ? "" : `+${milliseconds(since)}`) },
      { name: "Course", unseen: true, class: "course", cell: bar },
      { name: "What the other side said", cell: ({ detail }) => visible(detail, 600) },
    ],
    rows,
    { hideCaption: true },
  );
  return [more, shown];
}

function summary({ told, kept }) {
  const one = { ...kept, ...(told.gone ? {} : told) };
  const withCopy = (text, what) => [code(text, 200), " ", copy(visible(text, Infinity), "Copy", what)];
  return facts(
    [
      ["Message id", one.message_id && withCopy(one.message_id, "the message id")],
      ["Provider's id", one.event_id !== undefined && withCopy(one.event_id, "the provider's id")],
      ["Type", one.type !== undefined && code(one.type)],
      [
        "Source",
        one.source && [
          link(`#/events?${new URLSearchParams({ source: one.source })}`, visible(one.source)),
          ` by ${visible(one.provider)}, secret ${visible(one.secret)}`,
        ],
      ],
      ["Received", time(one.received_at)],
      ["Ended", told.ended_at && time(told.ended_at)],
      ["Tries", told.attempts ?? null],
      ["Body", `${size(one.bytes)}${kept.content_type ? `, ${visible(kept.content_type)}` : ""}`],
      ["SHA-256", one.digest && code(one.digest)],
      [
        "Twin of",
        one.twin_of && [
          link(`#/events?${new URLSearchParams({ id: one.twin_of })}`, code(one.twin_of)),
          " the same content came before under another id",
        ],
      ],
      ["Not valid by its schema", one.invalid && visible(one.invalid, 600)],
      ["Redelivery", one.redelivery && "the sender says that it has sent it before"],
      ["Replayed", told.replays > 0 ? plural(told.replays, "time") : one.replayed && "an operator had it handed over once more"],
      [
        "Proof",
        one.unauthenticated
          ? "none: this source's scheme proves nothing"
          : one.source_authenticated
            ? "of the source alone, not of the body"
            : "of source and body",
      ],
      ["Record", kept.segment !== undefined && `segment ${kept.segment}, offset ${kept.offset}, ${size(kept.record_bytes)}`],
    ].map(([name, value]) => [name, value === false ? null : value]),
  );
}

const HINTS = {
  held: "The same content came before under another id, which nobody signed. Say whether workers get it: release it, or drop it.",
  poison: "It was refused each time: see below what the other side said, mend that, and requeue it.",
  aside: "It waits for another try, and goes out by itself once the other side takes it; requeue tries now.",
};

function actions({ told, kept }, sequence, again) {
  const state = kept.gone ? told.state : kept.state;
  const possible = kept.gone ? [] : ACTIONS.filter(({ when }) => when === null || when.includes(state));
  const run =
    ({ name, label, text, tone }) =>
    async () => {
      const order = () => post(`v1/events/${name}`, { selection: { sequence: String(sequence) } });
      const tell = (answer) => `Event ${sequence}: ${outcomes(answer)}`;
      if (await act({ title: `${label} event ${sequence}?`, text, action: label, tone, order, tell })) again();
    };
  const buttons = possible.map((one) =>
    h("button", { type: "button", class: one.tone ?? "", "data-action": one.name, on: { click: run(one) } }, `${one.label}…`),
  );
  return [h("p", { class: "tools" }, badge(state ?? "unknown"), buttons), HINTS[state] && note(HINTS[state])];
}

function headers({ kept }) {
  if (kept.gone) return note(kept.gone);
  return table(
    "Headers that were kept",
    [
      { name: "Name", cell: ([name]) => h("code", null, visible(name)) },
      { name: "Value", class: "wide", cell: ([, value]) => h("code", null, visible(value, 4000)) },
    ],
    kept.headers,
    { hideCaption: true, empty: "None were kept." },
  );
}

function parts({ kept }) {
  if (!kept.parts) return null;
  return section(
    "Parts",
    table(
      "Elements, each a message of its own",
      [
        { name: "Part", cell: ({ part }) => part },
        { name: "Type", cell: ({ type }) => code(type, 100) },
        { name: "Id", cell: ({ event_id: id }) => code(id, 100) },
        { name: "Message id", cell: ({ message_id: id }) => code(id) },
        { name: "Bytes", class: "number", cell: ({ bytes }) => size(bytes) },
      ],
      kept.parts,
      { hideCaption: true },
    ),
  );
}

async function body(place, sequence, kept, signal, most = SHOWN_MAX) {
  if (kept.gone) return replace(place, note(kept.gone));
  const path = `v1/events/${sequence}/body`;
  const { bytes, more } = await getBytes(path, most, { signal });
  const text = more ? null : textOf(bytes);
  const lines = h("pre", { class: "body", tabindex: "0", "aria-label": "The body" });
  const forms = [
    text !== null && isJson(text) && ["JSON", () => setOut(text)],
    text !== null && ["Text", () => visibleLines(text)],
    more && ["Text", () => visibleLines(new TextDecoder().decode(bytes))],
    ["Hexadecimal", () => hexadecimal(bytes)],
  ].filter(Boolean);
  const buttons = forms.map(([name, make]) =>
    h(
      "button",
      {
        type: "button",
        class: "small",
        "aria-pressed": "false",
        on: {
          click: (event) => {
            const shown = make();
            lines.classList.toggle("unwrapped", shown.length > WRAPPED_MAX);
            lines.textContent = shown;
            for (const each of buttons) each.setAttribute("aria-pressed", String(each === event.target));
          },
        },
      },
      name,
    ),
  );
  const command = async () => {
    const { sources } = await get("v1/sources", { signal });
    const source = sources.find(({ name }) => name === kept.source);
    const all = more ? (await getBytes(path, Number.MAX_SAFE_INTEGER, { signal })).bytes : bytes;
    return curl({
      url: source?.url ?? `http://127.0.0.1:8080${source?.path ?? `/in/${kept.source}`}`,
      headers: kept.headers,
      contentType: kept.content_type,
      bytes: all,
      sequence,
      bodyUrl: new URL(path, document.baseURI).href,
    });
  };
  replace(
    place,
    h(
      "p",
      { class: "tools" },
      buttons,
      copy(command, "Copy as curl", "the delivery as a curl command"),
      text !== null && copy(text, "Copy body", "the body"),
    ),
    more &&
      h(
        "p",
        { class: "tools faint" },
        `Shown are the first ${size(most)} of ${size(kept.bytes)}.`,
        most < ALL_MAX &&
          h(
            "button",
            {
              type: "button",
              class: "small",
              on: {
                click: () =>
                  body(place, sequence, kept, signal, ALL_MAX).catch((error) => signal.aborted || replace(place, failure(error))),
              },
            },
            "Show more",
          ),
      ),
    bytes.length === 0 ? note("The body is empty.") : lines,
  );
  buttons[0].click();
}

export default async function event(context) {
  const [sequence] = context.rest;
  const content = h("div", null, h("p", { class: "loading" }, "Loading…"));
  const [steps, known] = [h("div"), { body: false }];
  const look = region(context, {
    load: () => load(sequence, context.signal),
    every: EVERY,
    label: `Event ${sequence}`,
    draw: (found) => {
      if (found.told.gone && found.kept.gone) {
        replace(content, note(found.kept.gone), h("p", null, link("#/events", "Search for it")));
        return null;
      }
      replace(steps, timeline(found));
      if (!known.body) {
        known.body = true;
        const place = h("div", null, h("p", { class: "loading" }, "Loading the body…"));
        replace(content, section("Steps", steps), section("Body", place), section("Headers", headers(found)), parts(found));
        body(place, sequence, found.kept, context.signal).catch((error) => context.signal.aborted || replace(place, failure(error)));
      }
      return [actions(found, sequence, () => look.reload(true)), summary(found)];
    },
  });
  append(context.root, [look.element, content]);
}
