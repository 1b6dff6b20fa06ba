// A source on trial: a sample event signed and sent by the gateway itself, and a payload held against the source's schema.

import { path, post, postText } from "./api.js";
import { h, replace } from "./dom.js";
import { plural, visible } from "./format.js";
import { badge, code, confirm, failure, input, link, note, section, select, table } from "./ui.js";

const BREAKS = [
  ["none", "nothing"],
  ["body", "a byte of the body"],
  ["signature", "a character of the signature"],
  ["time", "the time: signed long ago"],
];

const OUTCOMES = {
  accepted: "Its event is safe, and goes to the workers.",
  held: "Its event is kept, and held: see its page.",
  duplicate: "It is an event that the gateway knows already.",
  filtered: "Its signature holds, and the source does not want events of this type.",
  handshake: "The gateway took it for a question about the endpoint, and answered.",
};

const place = (name, rest) => `v1/sources/${encodeURIComponent(name)}/${rest}`;

function field(label, control) {
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control);
}

function named(control, id) {
  control.id = id;
  return control;
}

function options(control, values) {
  const before = control.value;
  replace(
    control,
    values.map(([value, label]) => h("option", { value }, label)),
  );
  if (values.some(([value]) => value === before)) control.value = before;
}

/** What became of a sample. */
function told({ source, event, event_id: id, secret, outcome, status, message_id: message, sequence, reason, detail, ...rest }) {
  const kind = [code(event, 100), ", id ", code(id, 100), secret && [", signed with ", visible(secret)]];
  const failures = `#/failures?${new URLSearchParams({ source, reason: reason ?? "" })}`;
  return [
    h("p", null, badge(outcome), ` ${status} · `, kind),
    reason
      ? h(
          "p",
          null,
          rest.break === "none" ? "Refused: " : "Refused, as a broken one must be: ",
          link(failures, h("code", null, reason)),
          detail && ` – ${visible(detail, 600)}`,
        )
      : h("p", null, OUTCOMES[outcome] ?? "", sequence !== null && [" ", link(`#/events/${sequence}`, `Event ${sequence}`)]),
    !reason && rest.break !== "none" && note("It was broken and taken all the same: does this source's scheme prove anything?"),
    message && h("p", null, "Message id ", code(message)),
  ];
}

/** What the schema says of a payload. */
function judged({ type, derived, verdict, text, schema, violations, more }) {
  const as = type ? [" as ", code(type, 100), derived && ", which it says itself"] : "";
  const by = schema && schema !== type ? " by the schema of all types without one of their own" : "";
  return [
    h("p", null, badge(verdict), as, by),
    h("p", null, visible(text, 2000)),
    violations.length > 0 &&
      table(
        plural(violations.length, "violation"),
        [
          { name: "Where", class: "wide", cell: ({ pointer }) => (pointer ? code(pointer) : "the whole body") },
          { name: "What is wrong", class: "prose", cell: ({ message }) => visible(message, 400) },
          { name: "Rule", cell: ({ rule }) => code(rule, 200) },
        ],
        violations,
      ),
    more && note("There are more."),
  ];
}

function form(id, fields, action, submit) {
  const button = h("button", { type: "submit" }, action);
  const run = async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    await submit();
    button.disabled = false;
  };
  return h("form", { class: "filters", id, on: { submit: run } }, fields, h("div", { class: "field end" }, button));
}

/** The part of the page, and what tells it of the sources there are. */
export function onTrial(context) {
  const source = named(select([]), "trial-source");
  const event = named(select([]), "trial-event");
  const broken = named(select(BREAKS), "trial-break");
  const type = named(input("as the body says", 28, "trial-types"), "trial-type");
  const types = h("datalist", { id: "trial-types" });
  const payload = h("textarea", { id: "trial-payload", class: "payload", spellcheck: "false", autocomplete: "off" });
  const hint = h("div");
  const [sent, verdict] = ["sample-outcome", "schema-outcome"].map((id) => h("div", { id, "aria-live": "polite" }));
  let known = [];
  const chosen = () => known.find(({ name }) => name === source.value);

  const send = async () => {
    const one = chosen();
    if (!one) return;
    const text =
      "It is signed with the newest of the source's secrets and passes all that deliveries pass, but for the listener: workers get it like any other event, under an id of its own.";
    if (broken.value === "none" && !(await confirm(`Send a sample to ${visible(one.name)}?`, text, "Send"))) return;
    try {
      replace(sent, told(await post(place(one.name, "sample"), { event: event.value || null, break: broken.value })));
    } catch (error) {
      if (!context.signal.aborted) replace(sent, failure(error));
    }
  };
  const check = async () => {
    const one = chosen();
    if (!one) return;
    try {
      const asked = path(place(one.name, "schema/check"), { type: type.value.trim() });
      replace(verdict, judged(await postText(asked, payload.value, { signal: context.signal })));
    } catch (error) {
      if (!context.signal.aborted) replace(verdict, failure(error));
    }
  };
  const samples = form("trial-sample", [field("Event type", event), field("Broken", broken)], "Send a sample", send);
  const schema = form("trial-schema", [field("Event type", type), types], "Try it", check);
  payload.addEventListener("keydown", (pressed) => {
    if (pressed.key === "Enter" && (pressed.ctrlKey || pressed.metaKey)) schema.requestSubmit();
  });

  const choose = () => {
    const one = chosen();
    if (!one) return;
    const { samples: found, schemas } = one;
    options(
      event,
      found.events.map((name) => [name, visible(name, 100)]),
    );
    samples.hidden = found.events.length === 0 || !found.signable;
    replace(
      hint,
      found.events.length === 0
        ? note(
            "There are no samples of this provider: have it send a test event, or use ",
            code("hookgate send"),
            " with a body of your own.",
          )
        : !found.signable &&
            note("Only the sender has the private key that signs for this source: have the provider send a test event."),
    );
    replace(
      types,
      schemas.types.map((name) => h("option", { value: name })),
    );
    replace(sent);
    replace(verdict);
  };
  source.addEventListener("change", choose);

  const element = section(
    "Try a source",
    h("div", { class: "filters" }, field("Source", source)),
    h("h3", null, "Send a sample"),
    hint,
    samples,
    sent,
    h("h3", null, "Try a payload"),
    field("Payload; nothing of it is kept", payload),
    schema,
    verdict,
  );
  element.hidden = true;
  return {
    element,
    /** Takes note of the sources; what somebody has chosen stays. */
    know(sources) {
      const shape = (all) => JSON.stringify(all.map(({ name, samples: of, schemas }) => [name, of, schemas]));
      const same = shape(known) === shape(sources);
      known = sources;
      element.hidden = sources.length === 0;
      if (same) return;
      options(
        source,
        sources.map(({ name }) => [name, visible(name)]),
      );
      choose();
    },
    choose(name) {
      source.value = name;
      choose();
      element.scrollIntoView();
      (samples.hidden ? payload : event).focus();
    },
  };
}
