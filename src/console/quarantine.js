// Requests whose proof failed, kept whole: looked at, judged again once their cause is mended, or let go.

import { get, getBytes, path, post } from "./api.js";
import { hexadecimal, isJson, setOut, textOf } from "./body.js";
import { append, h, replace } from "./dom.js";
import { bytes as size, plural, visible, visibleLines } from "./format.js";
import { about } from "./gateway.js";
import { act, code, facts, failure, filters, inform, input, link, note, outcomes, region, section, table, time } from "./ui.js";

const PAGE = 100;
const BODY_SHOWN_MAX = 256 * 1024;

function list(context, query) {
  return ({ requests, next }) => [
    table(
      "Requests, oldest first",
      [
        { name: "Number", class: "number", cell: ({ id }) => link(`#/quarantine/${id}`, id) },
        { name: "When", class: "when", cell: ({ at }) => time(at) },
        { name: "Source", cell: ({ source }) => visible(source) },
        {
          name: "Reason",
          cell: ({ reason, source }) => link(`#/failures?${new URLSearchParams({ source, reason })}`, h("code", null, reason)),
        },
        { name: "From", cell: ({ address }) => visible(address || "unknown") },
        { name: "Request", class: "long", cell: ({ method, path: target }) => code(`${method} ${target}`, 120) },
        { name: "Bytes", class: "number", cell: ({ bytes }) => size(bytes) },
        { name: "Request id", cell: ({ request }) => code(request) },
      ],
      requests,
      {
        empty: query.after ? "No more." : "Nothing is kept: a source keeps refused requests where its `quarantine` says how many bytes.",
        hideCaption: true,
      },
    ),
    h(
      "p",
      { class: "tools" },
      query.after &&
        h(
          "button",
          { type: "button", class: "quiet", on: { click: () => context.setQuery(query.source ? { source: query.source } : {}) } },
          "From the beginning",
        ),
      next && h("button", { type: "button", on: { click: () => context.setQuery({ ...query, after: next }) } }, "Next page"),
    ),
  ];
}

/** All that is meant, page after page: what an answer leaves over is asked for with its `next`. */
async function requeue(order) {
  const sum = { selected: 0, outcomes: {}, stopped: null };
  let after;
  do {
    const answer = await post("v1/quarantine/requeue", { ...order, ...(after && { after }) });
    sum.selected += answer.selected;
    for (const [name, number] of Object.entries(answer.outcomes)) sum.outcomes[name] = (sum.outcomes[name] ?? 0) + number;
    [after, sum.stopped] = [answer.next, answer.stopped];
  } while (after && !sum.stopped);
  return sum;
}

function orders(query, again) {
  const meant = query.source ? { source: query.source } : { all: true };
  const whose = query.source ? `of ${visible(query.source)}` : "of all sources";
  const tell = (answer) => `${plural(answer.selected, "request")}: ${outcomes(answer)}`;
  const dry = async () => {
    try {
      await inform("What requeueing would come to", h("p", null, tell(await requeue({ ...meant, dry_run: true }))));
    } catch (error) {
      await inform("Not tried", failure(error));
    }
  };
  const real = async () => {
    const text = [
      "Each is judged as if it came in now, with the secrets and settings of now; its signed time is measured by when it came.",
      "What verifies becomes an event and leaves the quarantine. The rest stays.",
    ];
    if (await act({ title: `Judge the requests ${whose} again?`, text, action: "Requeue", order: () => requeue(meant), tell })) again();
  };
  const drop = async () => {
    const text = "They are deleted, and cannot be brought back.";
    const told = ({ dropped }) => `Dropped ${plural(dropped, "request")}`;
    if (
      await act({
        title: `Drop the requests ${whose}?`,
        text,
        action: "Drop",
        tone: "danger",
        order: () => post("v1/quarantine/drop", meant),
        tell: told,
      })
    )
      again();
  };
  return h(
    "p",
    { class: "tools" },
    h("button", { type: "button", on: { click: dry } }, "Try without doing"),
    h("button", { type: "button", on: { click: real } }, "Requeue and verify again…"),
    h("button", { type: "button", class: "danger", on: { click: drop } }, "Drop…"),
  );
}

async function one(context, id) {
  const order = { signal: context.signal, operator: true };
  const kept = await get(`v1/quarantine/${encodeURIComponent(id)}`, order);
  const place = h("div", null, h("p", { class: "loading" }, "Loading the body…"));
  append(context.root, [
    facts([
      [
        "Refused for",
        link(`#/failures?${new URLSearchParams({ source: kept.source, reason: kept.reason })}`, h("code", null, kept.reason)),
      ],
      ["Source", visible(kept.source)],
      ["When", time(kept.at)],
      ["From", visible(kept.address || "unknown")],
      ["Request", code(`${kept.method} ${kept.path}`, 600)],
      ["Request id", code(kept.request)],
      ["Body", size(kept.bytes)],
    ]),
    section(
      "Headers",
      note("Somebody may have written a true secret here."),
      table(
        "Headers as they came",
        [
          { name: "Name", cell: ([name]) => code(name) },
          { name: "Value", class: "wide", cell: ([, value]) => code(value, 4000) },
        ],
        kept.headers,
        { hideCaption: true },
      ),
    ),
    section("Body", place),
  ]);
  const { bytes, more } = await getBytes(`v1/quarantine/${encodeURIComponent(id)}/body`, BODY_SHOWN_MAX, order);
  const text = more ? null : textOf(bytes);
  const shown = text === null ? hexadecimal(bytes) : isJson(text) ? setOut(text) : visibleLines(text);
  replace(
    place,
    more && note(`Shown is the beginning of ${size(kept.bytes)}.`),
    h("pre", { class: "body", tabindex: "0", "aria-label": "The body" }, shown),
  );
}

export default async function quarantine(context) {
  const { history } = await about();
  if (!history) {
    append(context.root, note("This gateway keeps no history, and no quarantine in it."));
    return;
  }
  const [id] = context.rest;
  if (id) {
    append(context.root, h("p", null, link("#/quarantine", "All requests"), ` · number ${visible(id, 30)}`));
    await one(context, id);
    return;
  }
  const query = Object.fromEntries(context.query);
  const found = region(context, {
    load: () => get(path("v1/quarantine", { ...query, limit: PAGE }), { signal: context.signal }),
    draw: list(context, query),
  });
  append(context.root, [
    note("Requests whose proof failed, kept whole. Strangers may have written all of it: nothing here reaches a worker without a proof."),
    filters(context, [["source", "Source", input("", 16)]]),
    orders(query, () => found.reload(true)),
    found.element,
  ]);
}
