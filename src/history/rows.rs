//! What a search yields.

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::event::{Digest, Sequence};
use crate::operate::Status;

/// An event, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its number in the journal.
    pub sequence: Sequence,
    /// When its delivery came in.
    pub received_at: Timestamp,
    /// The source.
    pub source: String,
    /// The provider.
    pub provider: String,
    /// The provider's event type.
    pub event_type: String,
    /// The provider's own id of it.
    pub event_id: String,
    /// The workers' idempotency key.
    pub message_id: Digest,
    /// The first event with the same content, where this one is its twin.
    pub twin_of: Option<Digest>,
    /// SHA-256 of the body.
    pub digest: Digest,
    /// Length of the body.
    pub body_bytes: u64,
    /// Label of the secret that verified.
    pub secret: String,
    /// Why it is not valid by its schema.
    pub invalid: Option<String>,
    /// How it stood when that was told last; none where the journal had let it go before.
    pub status: Option<Status>,
    /// How often it was handed to the sink or to a worker, as far as that was told.
    pub attempts: u32,
    /// When last.
    pub attempted_at: Option<Timestamp>,
    /// When its life ended, or it became poison; none where it has not, or nobody was told of it.
    pub ended_at: Option<Timestamp>,
    /// How often an operator had it handed over once more, as far as that was told; times above are of the last course.
    pub replays: u32,
    /// When last.
    pub replayed_at: Option<Timestamp>,
}

/// What an event went through before it was replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CourseRow {
    /// The replay that began it; 0 for the first.
    pub nth: u32,
    /// When that was.
    pub replayed_at: Option<Timestamp>,
    /// When it was handed over last.
    pub attempted_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub status: Option<Status>,
}

/// An event with what has happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPast {
    /// The event, in its last course.
    pub event: EventRow,
    /// Those before: the first, and the last few.
    pub courses: Vec<CourseRow>,
    /// What happened beside replays, attempts and ends.
    pub steps: Vec<StepRow>,
}

/// What happened to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: String,
    /// The other side's words.
    pub detail: String,
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalRow {
    /// Its place in the list of all.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// The source; empty where no source has the path.
    pub source: String,
    /// Why, as metrics and log call it.
    pub reason: String,
    /// More of why.
    pub detail: String,
    /// The status of the answer.
    pub status: u16,
    /// Who called.
    pub address: Option<String>,
    /// The path, where no source has it.
    pub path: Option<String>,
    /// The id in the answer and in the log.
    pub request: String,
    /// Refusals since the one before that are not listed: of any source.
    pub left_out: u64,
    /// Code of the cause, what was found and what to do, where that was looked for.
    pub cause: Option<(String, String, String)>,
}

impl EventRow {
    /// As data, by the names that the journal's list has.
    pub fn to_json(&self) -> Value {
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        json!({
            "sequence": self.sequence.0,
            "message_id": self.message_id.to_string(),
            "source": self.source,
            "provider": self.provider,
            "event_id": self.event_id,
            "type": self.event_type,
            "received_at": self.received_at.to_string(),
            "state": self.status.map(Status::as_str),
            "twin_of": self.twin_of.map(|twin| twin.to_string()),
            "bytes": self.body_bytes,
            "digest": self.digest.to_string(),
            "secret": self.secret,
            "invalid": self.invalid,
            "attempts": self.attempts,
            "attempted_at": time(self.attempted_at),
            "ended_at": time(self.ended_at),
            "replays": self.replays,
        })
    }
}

impl StepRow {
    /// As data, with the time since the delivery came in.
    pub fn to_json(&self, received_at: Timestamp) -> Value {
        json!({
            "at": self.at.to_string(),
            "after_ms": self.at.millis_since(received_at),
            "step": self.what,
            "detail": self.detail,
        })
    }
}

impl RefusalRow {
    /// As data.
    pub fn to_json(&self) -> Value {
        let mut row = json!({
            "at": self.at.to_string(),
            "source": self.source,
            "reason": self.reason,
            "detail": self.detail,
            "status": self.status,
            "address": self.address,
            "path": self.path,
            "request": self.request,
            "left_out": self.left_out,
        });
        if let (Some((code, found, advice)), Some(row)) = (&self.cause, row.as_object_mut()) {
            let cause = [("cause", code), ("found", found), ("advice", advice)];
            row.extend(
                cause
                    .map(|(name, text)| (name.to_owned(), Value::from(text.as_str())))
                    .into_iter()
                    .collect::<Map<_, _>>(),
            );
        }
        row
    }
}
