// The values in force and where each comes from; what is doubtful about them; and loading them again.

import { get, post, Problem } from "./api.js";
import { append, h, replace } from "./dom.js";
import { visible, visibleLines } from "./format.js";
import { act, badge, code, failure, filters, input, note, region, section, table } from "./ui.js";

function written(value) {
  return value === null ? "not set" : JSON.stringify(value);
}

function values(context) {
  const wanted = (context.query.get("key") ?? "").toLowerCase();
  const set = context.query.get("of") === "set";
  return ({ values: all, warnings }) => {
    const found = all.filter(({ key, origin }) => key.toLowerCase().includes(wanted) && (!set || origin !== null));
    return [
      warnings.map((text) => h("p", { class: "banner warn" }, visible(text, 1000))),
      table(
        "Values in force",
        [
          { name: "Key", cell: ({ key }) => h("code", null, visible(key)) },
          { name: "Value", class: "wide", cell: ({ value }) => h("code", null, visible(written(value), 2000)) },
          { name: "From", cell: ({ origin }) => (origin === null ? h("span", { class: "faint" }, "default") : code(origin)) },
        ],
        found,
        { empty: "No key is like that.", hideCaption: true },
      ),
    ];
  };
}

async function reload(place, again) {
  const told = (report) =>
    h("pre", { class: "body", tabindex: "0", "aria-label": "What the reload came to" }, visibleLines(JSON.stringify(report, null, 2)));
  const text = "The files are read and checked whole. Where anything is wrong, all stays as it is, and the answer says what.";
  const order = async () => {
    try {
      const report = await post("v1/reload");
      replace(place, h("h3", null, "Loaded"), told(report));
      return "The configuration was loaded again.";
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 422) throw error;
      replace(place, h("h3", null, badge("failed"), " Not loaded: all stays as it was"), failure(error), told(error.document));
      return "Nothing was changed: see what is wrong.";
    }
  };
  if (await act({ title: "Load the configuration again?", text, action: "Reload", order, tell: (words) => words })) again();
}

export default async function config(context) {
  const found = region(context, { load: () => get("v1/config", { signal: context.signal }), draw: values(context) });
  const place = h("div", { role: "status" });
  const button = h("button", { type: "button", on: { click: () => reload(place, () => found.reload(true)) } }, "Reload…");
  const kinds = h("select", null, h("option", { value: "" }, "all"), h("option", { value: "set" }, "those that somebody set"));
  append(context.root, [
    h("p", { class: "tools" }, button, h("span", { class: "faint" }, "as SIGHUP and `hookgate reload` do; files are watched besides")),
    place,
    section(
      "Values",
      note("Secrets are not here: their labels and fingerprints are on Sources."),
      filters(context, [
        ["key", "Key", input("sink.", 20)],
        ["of", "Which", kinds],
      ]),
      found.element,
    ),
  ]);
}
