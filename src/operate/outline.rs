//! An event as data for people and their tools: the same names in the list, the single event and the export.

use serde_json::{Map, Value, json};

use super::selection::Status;
use crate::event::{Envelope, Event, Part, Sequence};

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

/// How a split event is handed over; none where it is not.
pub fn parts(event: &Event) -> Option<Value> {
    let split = event.split()?;
    let part = |part: &Part| {
        json!({
            "part": format!("{}/{}", part.index + 1, split.elements),
            "message_id": part.message_id.to_string(),
            "event_id": part.event_id,
            "type": part.event_type,
            "bytes": part.span.end - part.span.start,
        })
    };
    Some(split.parts.iter().map(part).collect())
}

fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
