//! An event as a worker gets it, from the inbox or from a queue: printed, or handed to a command.
//!
//! All of it comes from outside: text output escapes what a terminal would obey, and no name of a variable is
//! taken from it.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::cli::output::{self, Output};

/// Variables of a command, and where their values stand in the event.
pub(super) const VARIABLES: [(&str, Place); 16] = [
    ("HOOKGATE_MESSAGE_ID", Place::Field("message_id")),
    ("HOOKGATE_SOURCE", Place::Header("hookgate-source")),
    ("HOOKGATE_PROVIDER", Place::Header("hookgate-provider")),
    ("HOOKGATE_EVENT_ID", Place::Header("hookgate-event-id")),
    ("HOOKGATE_EVENT_TYPE", Place::Header("hookgate-event-type")),
    ("HOOKGATE_RECEIVED_AT", Place::Header("hookgate-received-at")),
    ("HOOKGATE_SEQUENCE", Place::Header("hookgate-sequence")),
    ("HOOKGATE_PART", Place::Header("hookgate-part")),
    ("HOOKGATE_SECRET_LABEL", Place::Header("hookgate-secret")),
    ("HOOKGATE_DIGEST", Place::Header("hookgate-digest")),
    ("HOOKGATE_TWIN_OF", Place::Header("hookgate-twin-of")),
    ("HOOKGATE_INVALID", Place::Header("hookgate-invalid")),
    ("HOOKGATE_POSSIBLE_DUPLICATE", Place::Header("hookgate-possible-duplicate")),
    ("HOOKGATE_ROUTING_KEY", Place::Field("routing_key")),
    ("HOOKGATE_CONTENT_TYPE", Place::Field("content_type")),
    ("HOOKGATE_ATTEMPT", Place::Field("attempt")),
];

/// Longest value of a variable: with a longer one Linux starts no command, and the event would end as poison.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Where a value stands in an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Beside the headers.
    Field(&'static str),
    /// Among them.
    Header(&'static str),
}

/// An event, without the right to answer for it.
#[derive(Clone, Debug)]
pub(super) struct Event {
    fields: Map<String, Value>,
    /// The bytes as they were received.
    pub body: Bytes,
}

impl Event {
    /// An event whose body stands apart.
    pub(super) fn new(fields: Map<String, Value>, body: Bytes) -> Self {
        Self { fields, body }
    }

    /// An event as the inbox hands it out, and its token.
    pub(super) fn of_inbox(mut fields: Map<String, Value>) -> (Self, Option<String>) {
        let taken = |value: Value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        let token = fields.remove("token").and_then(taken);
        let text = fields.remove("body").and_then(taken).map(Bytes::from);
        let encoded = fields.remove("body_base64").and_then(taken);
        let bytes = encoded.and_then(|encoded| STANDARD.decode(encoded).ok()).map(Bytes::from);
        (Self { fields, body: text.or(bytes).unwrap_or_default() }, token)
    }

    /// Which try this is, from 1.
    pub(super) fn attempt(&self) -> u64 {
        self.fields.get("attempt").and_then(Value::as_u64).unwrap_or(1)
    }

    /// A text beside the headers; empty where there is none.
    pub(super) fn text(&self, key: &str) -> &str {
        self.fields.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Variables that tell a command of the event; what is not known has none, and no value holds a zero byte or is
    /// longer than a command can be given.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        let value = |place: Place| match place {
            Place::Field(name) => self.fields.get(name),
            Place::Header(name) => self.fields.get("headers")?.get(name),
        };
        VARIABLES.into_iter().filter_map(move |(name, place)| {
            let text = match value(place)? {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let fits = !text.is_empty() && text.len() <= VALUE_BYTES_MAX && !text.contains('\0');
            fits.then_some((name, text))
        })
    }

    /// Prints it in the form asked for.
    ///
    /// # Errors
    /// Where nobody reads any more.
    pub(super) fn print(self, out: &mut impl Write, form: Output) -> io::Result<()> {
        match form {
            Output::Json => output::json(out, &self.into_json()),
            Output::Text => self.print_text(out),
        }
    }

    fn into_json(self) -> Value {
        let mut fields = self.fields;
        match std::str::from_utf8(&self.body) {
            Ok(text) => fields.insert("body".to_owned(), text.into()),
            Err(_) => fields.insert("body_base64".to_owned(), STANDARD.encode(&self.body).into()),
        };
        Value::Object(fields)
    }

    fn print_text(&self, out: &mut impl Write) -> io::Result<()> {
        let (form, shown) = match std::str::from_utf8(&self.body) {
            Ok(text) => ("", output::block(text)),
            Err(_) => (" in base64", STANDARD.encode(&self.body)),
        };
        let attempt = match self.attempt() {
            0 | 1 => String::new(),
            attempt => format!(", attempt {attempt}"),
        };
        let (id, kind, bytes) = (self.text("message_id"), self.text("type"), self.body.len());
        let head = format!("{id} {kind} ({bytes} bytes{form}{attempt})");
        writeln!(out, "{}\n{shown}", output::line(&head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(json: Value) -> Event {
        let Value::Object(fields) = json else { panic!("no event") };
        Event::of_inbox(fields).0
    }

    fn printed(json: Value, form: Output) -> String {
        let mut out = Vec::new();
        event(json).print(&mut out, form).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_shows_a_line_and_the_body() {
        let one = json!({"token": "1-a", "attempt": 1, "message_id": "ab", "type": "push", "body": "{\n\t\"a\":1}"});
        assert_eq!(printed(one, Output::Text), "ab push (9 bytes)\n{\n\t\"a\":1}\n");
        let two =
            json!({"token": "1-a", "attempt": 2, "message_id": "ab", "type": "push", "body_base64": "/wA="});
        assert_eq!(printed(two, Output::Text), "ab push (2 bytes in base64, attempt 2)\n/wA=\n");
    }

    #[test]
    fn a_terminal_is_given_nothing_to_obey() {
        let nasty = "\u{1b}[2J\u{9b}31m\r\u{7}\u{202e}\u{7f}";
        let shown =
            printed(json!({"message_id": "ab", "type": format!("x\n{nasty}"), "body": nasty}), Output::Text);
        assert!(shown.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{shown:?}");
        assert_eq!(shown.lines().count(), 2, "{shown:?}");
    }

    #[test]
    fn json_is_the_event_without_its_token() {
        let body = "\u{1b}\u{9b}\u{202e}\u{7f}é\n\"";
        let shown = printed(
            json!({"token": "1-a", "message_id": "ab", "body": body, "headers": {"n": 1}}),
            Output::Json,
        );
        assert_eq!(shown.lines().count(), 1);
        let back: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(back, json!({"message_id": "ab", "body": body, "headers": {"n": 1}}));
        let binary = printed(json!({"body_base64": "/wA="}), Output::Json);
        assert_eq!(serde_json::from_str::<Value>(&binary).unwrap(), json!({"body_base64": "/wA="}));
    }

    #[test]
    fn a_command_is_told_by_fixed_names_only() {
        let headers = json!({
            "hookgate-source": "shop", "hookgate-sequence": 7, "hookgate-possible-duplicate": true,
            "hookgate-event-type": "", "hookgate-event-id": "a\u{0}b", "http-path": "x", "LD_PRELOAD": "evil",
            "hookgate-invalid": "x".repeat(VALUE_BYTES_MAX + 1),
        });
        let one = event(json!({"message_id": "ab", "attempt": 2, "headers": headers, "body": ""}));
        let told: Vec<_> = one.variables().collect();
        let expected = [
            ("HOOKGATE_MESSAGE_ID", "ab"),
            ("HOOKGATE_SOURCE", "shop"),
            ("HOOKGATE_SEQUENCE", "7"),
            ("HOOKGATE_POSSIBLE_DUPLICATE", "true"),
            ("HOOKGATE_ATTEMPT", "2"),
        ];
        assert_eq!(told, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
