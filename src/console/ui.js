// What pages are made of: regions that load, tables, times, states, questions before something is done.

import { h, isMarked, replace } from "./dom.js";
import { changeToken, Problem } from "./api.js";
import { count, exact, relative, visible } from "./format.js";

export function time(at) {
  if (!at) return h("span", { class: "faint" }, "–");
  return h("time", { datetime: at, title: exact(at), "data-relative": at }, relative(at));
}

/** Ages go on by themselves. */
export function keepTimes() {
  setInterval(() => {
    if (document.hidden) return;
    for (const each of document.querySelectorAll("time[data-relative]")) {
      const text = relative(each.dataset.relative);
      if (each.textContent !== text) each.textContent = text;
    }
  }, 1000);
}

const TONES = {
  confirmed: "good",
  accepted: "good",
  ready: "good",
  ok: "good",
  superseded: "plain",
  dropped: "plain",
  pending: "busy",
  aside: "warn",
  held: "warn",
  degraded: "warn",
  poison: "bad",
  unready: "bad",
  failed: "bad",
  refused: "bad",
  valid: "good",
  invalid: "bad",
  duplicate: "plain",
};

export function badge(state) {
  return h("span", { class: `badge ${TONES[state] ?? "plain"}` }, state ?? "unknown");
}

export function toast(text) {
  const one = h("p", { class: "toast" }, text);
  document.getElementById("toasts").append(one);
  setTimeout(() => one.remove(), 6000);
}

/** A button that copies; the text may be made when it is pressed. */
export function copy(text, label = "Copy", what = label) {
  const press = async () => {
    try {
      await navigator.clipboard.writeText(await (typeof text === "function" ? text() : text));
      toast(`Copied: ${what}`);
    } catch {
      toast("The browser does not let this page copy: mark the text and copy it yourself.");
    }
  };
  return h(
    "button",
    { type: "button", class: "small", "aria-label": label === "Copy" ? `Copy ${what}` : null, on: { click: press } },
    label,
  );
}

export function code(text, most) {
  return h("code", { title: String(text ?? "").length > (most ?? 300) ? visible(text, 2000) : null }, visible(text, most));
}

export function link(href, ...children) {
  return h("a", { href }, ...children);
}

export function note(...children) {
  return h("p", { class: "note" }, ...children);
}

/** What did not go well, in the gateway's words, and what can be done. */
export function failure(error, again) {
  const needsToken = error instanceof Problem && error.status === 401;
  return h(
    "div",
    { class: "failure", role: "alert" },
    h("p", null, error instanceof Problem ? visible(error.message, 1000) : `This page failed: ${visible(error.message ?? error)}`),
    needsToken &&
      h("button", { type: "button", class: "small", on: { click: async () => (await changeToken("")) && again?.() } }, "Give a token"),
    again && h("button", { type: "button", class: "small", on: { click: again } }, "Try again"),
  );
}

/**
 * A part of the page that loads: it says so, shows what it got by `draw`, tells of a failure with what it last had left in
 * place, and loads again every so many milliseconds while the page is looked at.
 */
export function region(context, { load, draw, every = 0, label = "Loading" }) {
  const trouble = h("div");
  const content = h("div", null, h("p", { class: "loading" }, `${label}…`));
  const element = h("div", { class: "region", "aria-busy": "true" }, trouble, content);
  let [shown, drawn, told, loading] = [null, false, null, false];
  const reload = async (force = false) => {
    if (loading && !force) return;
    loading = true;
    try {
      const data = await load();
      if (context.signal.aborted) return;
      const text = JSON.stringify(data);
      if (text !== shown && (force || !drawn || !isMarked(content))) {
        replace(content, draw(data));
        [shown, drawn] = [text, true];
      }
      replace(trouble);
      told = null;
    } catch (error) {
      if (context.signal.aborted) return;
      // What goes on failing in the same way is told once.
      if (told !== error.message) replace(trouble, [failure(error, () => reload(true))]);
      told = error.message;
      if (!drawn) replace(content);
    }
    loading = false;
    element.setAttribute("aria-busy", "false");
  };
  const loaded = reload();
  if (every) context.every(every, reload);
  return { element, reload, loaded };
}

/** A table; a column has a `name`, a `cell` of a row, and perhaps a `class`. */
export function table(caption, columns, rows, { empty = "Nothing here.", hideCaption = false } = {}) {
  if (rows.length === 0) return h("div", null, !hideCaption && h("p", { class: "caption" }, caption), note(empty));
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption, "data-scroll": caption },
    h(
      "table",
      null,
      h("caption", { class: hideCaption ? "unseen" : null }, caption),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          columns.map(({ name, class: kind, unseen }) =>
            h("th", { scope: "col", class: kind }, unseen ? h("span", { class: "unseen" }, name) : name),
          ),
        ),
      ),
      h(
        "tbody",
        null,
        rows.map((row) =>
          h(
            "tr",
            null,
            columns.map(({ cell, class: kind }) => h("td", { class: kind }, cell(row))),
          ),
        ),
      ),
    ),
  );
}

/** Names and values. */
export function facts(pairs) {
  const given = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h(
    "dl",
    { class: "facts" },
    given.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]),
  );
}

export function section(title, ...children) {
  return h("section", null, h("h2", null, title), ...children);
}

/** A form of filters that live in the address: `fields` are `[name, label, control]`. */
export function filters(context, fields, action = "Search") {
  const apply = (event) => {
    event?.preventDefault();
    const values = fields.map(([name, , control]) => [name, control.value.trim()]).filter(([, value]) => value !== "");
    context.setQuery(Object.fromEntries(values));
  };
  for (const [name, , control] of fields) {
    control.id = `filter-${name}`;
    control.name = name;
    if (context.query.has(name)) control.value = context.query.get(name);
    if (control.tagName === "SELECT") control.addEventListener("change", apply);
  }
  return h(
    "form",
    { class: "filters", role: "search", on: { submit: apply } },
    fields.map(([name, label, control]) => h("div", { class: "field" }, h("label", { for: `filter-${name}` }, label), control)),
    h(
      "div",
      { class: "field end" },
      fields.some(([, , control]) => control.tagName === "INPUT") && h("button", { type: "submit" }, action),
      context.query.size > 0 && h("button", { type: "button", class: "quiet", on: { click: () => context.setQuery({}) } }, "Clear"),
    ),
  );
}

export function input(placeholder, size = 18, list = null) {
  return h("input", { type: "text", placeholder, size, list, autocomplete: "off", spellcheck: "false" });
}

export function select(values) {
  return h(
    "select",
    null,
    values.map(([value, label]) => h("option", { value }, label)),
  );
}

/** Questions go with the page that they were asked on, but for that of the token. */
export function closeDialogs() {
  for (const each of document.querySelectorAll("dialog:not([data-stays])")) each.dispatchEvent(new Event("cancel"));
}

function dialog(title, content, buttons, stays = false) {
  return new Promise((resolve) => {
    const element = h("dialog", { "aria-labelledby": "dialog-title", "data-stays": stays });
    const close = (value) => {
      element.close();
      element.remove();
      resolve(value);
    };
    element.append(
      h(
        "form",
        {
          on: {
            submit: (event) => {
              event.preventDefault();
              close(element);
            },
          },
        },
        h("h2", { id: "dialog-title" }, title),
        content,
        h(
          "div",
          { class: "buttons" },
          buttons(() => close(null)),
        ),
      ),
    );
    element.addEventListener("cancel", (event) => {
      event.preventDefault();
      close(null);
    });
    document.body.append(element);
    element.showModal();
  });
}

/** Whether somebody really wants that. */
export async function confirm(title, text, action, tone = "") {
  const yes = (cancel) => [
    h("button", { type: "button", class: "quiet", on: { click: cancel } }, "Cancel"),
    h("button", { type: "submit", class: tone, autofocus: true }, action),
  ];
  return (
    (await dialog(
      title,
      h(
        "div",
        null,
        [text].flat().map((line) => h("p", null, line)),
      ),
      yes,
    )) !== null
  );
}

export async function inform(title, content) {
  await dialog(title, content, () => h("button", { type: "submit", autofocus: true }, "Close"));
}

export async function askForToken(reason) {
  const field = h("input", { type: "password", id: "token", autocomplete: "off", size: 40, autofocus: true });
  const content = h(
    "div",
    null,
    reason && h("p", { class: "bad" }, reason),
    h(
      "p",
      null,
      "This gateway answers whoever has a token: ",
      h("code", null, "admin.token"),
      " opens everything, ",
      h("code", null, "admin.read_token"),
      " what changes nothing. It is kept until this tab is closed.",
    ),
    h("label", { for: "token" }, "Token"),
    field,
  );
  const buttons = (cancel) => [
    h("button", { type: "button", class: "quiet", on: { click: cancel } }, "Not now"),
    h("button", { type: "submit" }, "Use it"),
  ];
  return (await dialog("Token", content, buttons, true)) ? field.value.trim() : null;
}

/** Asks, does it, and says what it came to; true where it was done. */
export async function act({ title, text, action, tone, order, tell }) {
  if (!(await confirm(title, text, action, tone))) return false;
  try {
    toast(tell(await order()));
    return true;
  } catch (error) {
    await inform(`${action}: not done`, failure(error));
    return false;
  }
}

/** What an order came to, in words. */
export function outcomes(answer) {
  const words = Object.entries(answer.outcomes ?? {}).map(([name, number]) => `${name.replaceAll("_", " ")} ${count(number)}`);
  const more = answer.stopped
    ? `; it ended before all were done: ${answer.stopped}`
    : answer.next || answer.more
      ? "; there are more: do it again"
      : "";
  return `${words.length > 0 ? words.join(", ") : "Nothing was meant by that"}${more}`;
}
