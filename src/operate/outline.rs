//! An event as data for people and their tools: the same names in the list, the single event and the export.

use serde_json::{Map, Value, json};

use super::selection::Status;
use crate::event::{Envelope, Sequence};

/// What a list shows of an event; no status where nobody knows how it stands.
pub fn outline(sequence: Sequence, envelope: &Envelope, status: Option<Status>) -> Map<String, Value> {
    let outline = json!({
        "sequence": sequence.0,
        "message_id": envelope.keys.message_id.to_string(),
        "source": &*envelope.source,
        "provider": &*envelope.provider,
        "event_id": envelope.event_id,
        "type": envelope.event_type,
        "received_at": envelope.received_at.to_string(),
        "state": status.map(Status::as_str),
        "twin_of": envelope.twin_of.map(|twin| twin.to_string()),
    });
    fields(outline)
}

/// What is shown besides of a single event, its body aside.
pub fn details(envelope: &Envelope) -> Map<String, Value> {
    fields(json!({
        "headers": envelope.headers,
        "content_type": envelope.content_type,
        "secret": &*envelope.secret,
        "source_authenticated": envelope.source_authenticated,
        "unauthenticated": envelope.unauthenticated,
        "redelivery": envelope.redelivery,
        "invalid": envelope.invalid,
    }))
}

fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
