// Elements of the page. What senders wrote reaches the page as text nodes and as values of a few harmless attributes, through
// this file alone: nothing here, and nothing that calls it, has the browser read a text as markup, script or style.

const ATTRIBUTES = new Set([
  "class",
  "id",
  "href",
  "title",
  "type",
  "value",
  "name",
  "for",
  "role",
  "tabindex",
  "placeholder",
  "list",
  "datetime",
  "scope",
  "colspan",
  "open",
  "disabled",
  "checked",
  "selected",
  "hidden",
  "autocomplete",
  "spellcheck",
  "min",
  "max",
  "rel",
  "target",
  "size",
  "autofocus",
  "inputmode",
  "download",
]);

function allowed(name) {
  return ATTRIBUTES.has(name) || name.startsWith("aria-") || name.startsWith("data-");
}

/** Whether following it stays in this page, or asks a web server for something: no `javascript:` and no `data:`. */
function leadsSomewhere(href) {
  return href.startsWith("#") || /^https?:\/\//.test(href);
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (!allowed(name)) throw new Error(`the attribute ${name} is not for this page`);
  if (name === "href" && !leadsSomewhere(value)) return;
  element.setAttribute(name, value === true ? "" : String(value));
}

/** An element; `attributes.on` has listeners by event. Children are nodes, texts, numbers, lists of these, or nothing. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  const { on = {}, ...others } = attributes ?? {};
  for (const [name, value] of Object.entries(others)) set(element, name, value);
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  append(element, children);
  return element;
}

export function append(parent, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Puts children in place of what is there; who had the focus has it again, where the same thing is still there. */
export function replace(parent, ...children) {
  const held = parent.contains(document.activeElement) ? nameOf(document.activeElement) : null;
  const scrolled = [...parent.querySelectorAll("[data-scroll]")].map((each) => [each.dataset.scroll, each.scrollLeft]);
  parent.textContent = "";
  append(parent, children);
  for (const [name, left] of scrolled) {
    const again = [...parent.querySelectorAll("[data-scroll]")].find((each) => each.dataset.scroll === name);
    if (again) again.scrollLeft = left;
  }
  if (!held) return;
  const again = [...parent.querySelectorAll("a, button, input, select, summary, [tabindex]")].find((each) => nameOf(each) === held);
  again?.focus({ preventScroll: true });
}

function nameOf(element) {
  return `${element.tagName} ${element.id} ${element.getAttribute("href") ?? ""} ${element.textContent}`;
}

/** Whether somebody is marking text in there, which a redraw would take away. */
export function isMarked(parent) {
  const selection = document.getSelection();
  return Boolean(selection && !selection.isCollapsed && parent.contains(selection.anchorNode));
}
