//! Forms of the answers that are put together from what other rooms show, and of what a call may bring.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// A filter of events.
#[derive(Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// The source's name.
    pub source: Option<String>,
    /// The event type, whole.
    #[param(rename = "type")]
    pub event_type: Option<String>,
    /// The provider's own id of the event.
    pub id: Option<String>,
    /// The message id, or the first digits of it.
    pub key: Option<String>,
    /// How it stands: `pending`, `aside`, `held`, `poison`, `confirmed`, `superseded`, `dropped`; several with commas between.
    pub state: Option<String>,
    /// The number in the journal, or a range such as `17-20`.
    pub sequence: Option<String>,
    /// Received since: a time (RFC 3339), or how long ago, such as `2h`.
    pub since: Option<String>,
    /// Received until.
    pub until: Option<String>,
}

/// A piece of a list.
#[derive(Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Piece {
    /// The `next` of an earlier answer.
    pub after: Option<String>,
    /// The most in this answer.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
}

/// An event of the journal.
#[derive(Serialize, ToSchema)]
pub(super) struct Event {
    pub sequence: u64,
    /// The workers' idempotency key: 64 hexadecimal digits.
    pub message_id: String,
    pub source: String,
    pub provider: String,
    /// The provider's own id of it.
    pub event_id: String,
    pub r#type: String,
    pub received_at: String,
    /// How it stands.
    pub state: Option<String>,
    /// The first event with the same content, where this one is its twin.
    pub twin_of: Option<String>,
    pub replayed: bool,
    /// Length of the body.
    pub bytes: u64,
}

/// Some events.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Events {
    pub events: Vec<Event>,
    /// Where to go on; `null` at the end.
    pub next: Option<String>,
}

/// An event with all but its body.
#[derive(Serialize, ToSchema)]
pub(super) struct EventDetail {
    #[serde(flatten)]
    pub event: Event,
    /// Name and value of each header that goes on to the workers.
    pub headers: Value,
    pub content_type: Option<String>,
    /// Label of the secret that verified.
    pub secret: String,
    pub source_authenticated: bool,
    pub unauthenticated: bool,
    pub redelivery: bool,
    /// Why it is not valid by its schema.
    pub invalid: Option<String>,
    /// How a split one is handed over.
    pub parts: Option<Vec<Value>>,
    pub segment: u64,
    pub offset: u64,
    pub record_bytes: u64,
}

/// What a call is about; what is absent is not asked for, and what is there must all hold.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Selection {
    pub source: Option<String>,
    pub r#type: Option<String>,
    pub id: Option<String>,
    pub key: Option<String>,
    pub state: Option<String>,
    pub sequence: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
}

/// An order about events.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    pub selection: Selection,
    /// Says that an empty selection means everything.
    #[serde(default)]
    pub all: bool,
    /// Whether it is only counted.
    #[serde(default)]
    pub dry_run: bool,
    /// The `next` of an earlier answer.
    pub after: Option<String>,
}

/// What came of an order.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Outcome {
    pub dry_run: bool,
    pub selected: u64,
    /// How many came to what.
    pub outcomes: BTreeMap<String, u64>,
    /// Where to go on with the same order; `null` at the end.
    pub next: Option<String>,
    /// Whether the rest has to wait for room.
    pub wait: Option<bool>,
    /// Where the selection begins.
    pub begins: Option<String>,
    /// Why it ended early.
    pub stopped: Option<String>,
}

/// An event of the history.
#[derive(Serialize, ToSchema)]
pub(super) struct HistoryEvent {
    pub sequence: u64,
    pub message_id: String,
    pub source: String,
    pub provider: String,
    pub event_id: String,
    pub r#type: String,
    pub received_at: String,
    pub state: Option<String>,
    pub twin_of: Option<String>,
    pub bytes: u64,
    /// SHA-256 of the body; `null` for a reader where the source masks something.
    pub digest: Option<String>,
    pub secret: String,
    pub invalid: Option<String>,
    /// How often it was handed to the sink or to a worker.
    pub attempts: u32,
    pub attempted_at: Option<String>,
    pub ended_at: Option<String>,
    /// How often an operator had it handed over once more; the times above are of the last course.
    pub replays: u32,
}

/// Some events of the history.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryEvents {
    pub events: Vec<HistoryEvent>,
    pub next: Option<String>,
    /// The number through which the history is filled.
    pub through: u64,
}

/// Something that happened to an event.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventStep {
    pub at: String,
    /// Milliseconds since its delivery came in.
    pub after_ms: i64,
    pub step: String,
    /// The other side's words.
    pub detail: String,
}

/// An event of the history with all that happened to it.
#[derive(Serialize, ToSchema)]
pub(super) struct HistoryEventDetail {
    #[serde(flatten)]
    pub event: HistoryEvent,
    /// In order of time: of those that were replayed the first course, and the last 8 replays.
    pub steps: Vec<EventStep>,
    /// Replays whose steps are not among them.
    pub replays_left_out: u32,
}

/// A refused request.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusal {
    pub at: String,
    /// Empty where no source has the path.
    pub source: String,
    pub reason: String,
    pub detail: String,
    /// Of the answer.
    pub status: u16,
    pub address: Option<String>,
    pub path: Option<String>,
    /// The id in the answer and in the log.
    pub request: String,
    /// Refusals since the one before that are not listed.
    pub left_out: u64,
    /// Code of the cause, where that was looked for.
    pub cause: Option<String>,
    pub found: Option<String>,
    pub advice: Option<String>,
}

/// Refused requests, newest first.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusals {
    pub refusals: Vec<Refusal>,
    pub next: Option<String>,
}

/// Refusals of one source for one reason.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    pub source: String,
    pub reason: String,
    pub count: u64,
    pub first_at: String,
    pub last_at: String,
    pub cause: Option<String>,
    pub found: Option<String>,
    pub advice: Option<String>,
}

/// Refusals summed up.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Failures {
    pub since: String,
    pub failures: Vec<Failure>,
    /// Refusals that are not listed.
    pub left_out: u64,
}

/// A request whose proof failed.
#[derive(Serialize, ToSchema)]
pub(super) struct Quarantined {
    pub id: i64,
    pub at: String,
    pub source: String,
    pub address: String,
    pub reason: String,
    pub request: String,
    pub method: String,
    pub path: String,
    pub bytes: u64,
}

/// Requests whose proof failed, oldest first.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Quarantine {
    pub requests: Vec<Quarantined>,
    pub next: Option<String>,
}

/// A request whose proof failed, with its headers.
#[derive(Serialize, ToSchema)]
pub(super) struct QuarantinedDetail {
    #[serde(flatten)]
    pub request: Quarantined,
    pub headers: Vec<Vec<String>>,
}

/// An order about the quarantine: either `source` or `all`.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuarantineOrder {
    pub source: Option<String>,
    #[serde(default)]
    pub all: bool,
    #[serde(default)]
    pub dry_run: bool,
    pub after: Option<String>,
}

/// How many were given up.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Dropped {
    pub dropped: u64,
}

/// Something that an operator should know of.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Notice {
    pub notice: String,
    pub source: Option<String>,
    pub secret: Option<String>,
    pub text: String,
    pub advice: String,
    pub since: String,
}

/// The notices that stand.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Notices {
    pub notices: Vec<Notice>,
}

/// What a reload has changed.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reloaded {
    /// `applied` or `unchanged`.
    pub outcome: String,
    pub sources: Option<Value>,
    pub secrets: Option<Value>,
    pub settings: Option<Vec<String>>,
    pub warnings: Option<Vec<String>>,
}

/// For how long; there may be no body.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ArmOrder {
    #[schema(examples("10m"))]
    pub r#for: Option<String>,
}

/// Until when the next handshake may bring the secret.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Armed {
    pub source: String,
    pub armed_for: String,
    pub armed_until: String,
    /// Whether there is none yet.
    pub first: bool,
}

/// What a worker wants.
#[derive(Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ClaimQuery {
    /// The most events.
    #[param(minimum = 0)]
    pub max: Option<usize>,
    /// How long they are the worker's.
    #[param(example = "30s")]
    pub lease: Option<String>,
    /// How long to wait for one.
    #[param(example = "2s")]
    pub wait: Option<String>,
}

/// Events for a worker.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Claimed {
    pub events: Vec<ClaimedEvent>,
    pub lease_milliseconds: u64,
}

/// An event as the message that a broker would have; the body as text or in base64.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimedEvent {
    /// What it is acknowledged by.
    pub token: String,
    pub attempt: u32,
    pub message_id: String,
    pub routing_key: String,
    pub r#type: String,
    pub app_id: String,
    pub timestamp: i64,
    pub content_type: Option<String>,
    pub headers: Value,
    pub body: Option<String>,
    pub body_base64: Option<String>,
}

/// Events that are answered for.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tokens {
    pub tokens: Vec<String>,
}

/// Events that are given back.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nack {
    pub tokens: Vec<String>,
    /// For how long nobody gets them.
    #[schema(examples("5s"))]
    pub delay: Option<String>,
}

/// Events that take longer.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Extension {
    pub tokens: Vec<String>,
    #[schema(examples("1m"))]
    pub lease: Option<String>,
}

/// What became of each token, in their order; 409 where one was stale.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tally {
    pub acked: Option<u64>,
    pub nacked: Option<u64>,
    pub extended: Option<u64>,
    pub stale: Vec<String>,
    pub outcomes: Vec<String>,
}
