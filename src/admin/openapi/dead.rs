//! The calls for dead letters, and their forms. Nothing here runs.
#![expect(dead_code, reason = "read by the macro alone")]

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::Refused;

/// Messages that workers gave up: those of RabbitMQ's dead-letter queue.
#[utoipa::path(get, path = "/v1/dead", tag = "dead letters",
    params(
        ("source" = Option<String>, Query, description = "The source."),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 10_000, description = "The most in this answer.")
    ),
    responses((status = 200, body = DeadLetters), Refused))]
pub(super) fn dead() {}

/// Puts dead letters back into the queues where they died, marked as possible duplicates.
#[utoipa::path(post, path = "/v1/dead/requeue", tag = "dead letters",
    request_body = DeadOrder,
    responses((status = 200, body = DeadOutcome), Refused))]
pub(super) fn requeue_dead() {}

/// Gives dead letters up.
#[utoipa::path(post, path = "/v1/dead/drop", tag = "dead letters",
    request_body = DeadOrder,
    responses((status = 200, body = DeadOutcome), Refused))]
pub(super) fn drop_dead() {}

/// A message that workers gave up; what is not known of it is `null`.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadLetter {
    /// The message id.
    pub id: Option<String>,
    pub source: Option<String>,
    pub r#type: Option<String>,
    /// Where it died.
    pub queue: Option<String>,
    /// `rejected`, `expired`, `maxlen` or `delivery_limit`.
    pub reason: Option<String>,
    pub died_at: Option<String>,
    /// How often it died.
    pub times: u64,
    pub bytes: u64,
    /// The event's number.
    pub sequence: Option<u64>,
}

/// Some of the queue, in its order.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadLetters {
    pub letters: Vec<DeadLetter>,
    /// Whether there are more that were not looked at.
    pub more: bool,
}

/// An order about dead letters: one of `source`, `ids` and `all`.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadOrder {
    pub source: Option<String>,
    /// Message ids, at most 500.
    #[schema(min_items = 1, max_items = 500)]
    pub ids: Option<Vec<String>>,
    #[serde(default)]
    pub all: bool,
    #[serde(default)]
    pub dry_run: bool,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadOutcome {
    pub dry_run: bool,
    pub selected: u64,
    /// How many came to what: `requeued`, `dropped`, `unroutable`, `refused`, `no_queue`, `unconfirmed` (may be there twice), `unanswered` (may be
    /// gone).
    pub outcomes: BTreeMap<String, u64>,
    pub more: bool,
    /// Letters in the queue when the call began.
    pub ready: u64,
    /// Why it ended early.
    pub stopped: Option<String>,
}
