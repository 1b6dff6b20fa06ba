//! Calls whose answers are put together from what other rooms show. Nothing here runs.
#![expect(dead_code, reason = "read by the macro alone")]

use super::shapes::{
    ArmOrder, Armed, ClaimQuery, Claimed, Dropped, EventDetail, Events, Extension, Failures, Filter,
    HistoryEventDetail, HistoryEvents, Nack, Notices, Order, Outcome, Piece, Quarantine, QuarantineOrder,
    QuarantinedDetail, Refusals, Reloaded, Tally, Tokens,
};
use super::{Problem, Refused};

/// Alive.
#[utoipa::path(get, path = "/livez", tag = "gateway",
    responses((status = 200, body = String, content_type = "text/plain; charset=utf-8")))]
pub(super) fn livez() {}

/// Ready: can accept durably. 503 where it cannot.
#[utoipa::path(get, path = "/readyz", tag = "gateway",
    responses((status = 200, body = String, content_type = "text/plain; charset=utf-8"), (status = 503, body = String, content_type = "text/plain; charset=utf-8")))]
pub(super) fn readyz() {}

/// Metrics: as OpenMetrics text for who accepts that, as Prometheus does, else in the older text format.
#[utoipa::path(get, path = "/metrics", tag = "gateway",
    responses((status = 200, content(
        (String = "text/plain; version=0.0.4; charset=utf-8"),
        (String = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    )), Refused))]
pub(super) fn metrics() {}

/// What an operator should know of.
#[utoipa::path(get, path = "/v1/notices", tag = "gateway",
    responses((status = 200, body = Notices), Refused))]
pub(super) fn notices() {}

/// Loads the configuration again; with errors in the files, what was in force stays so.
#[utoipa::path(post, path = "/v1/reload", tag = "configuration",
    responses((status = 200, body = Reloaded), (status = 422, body = Problem, content_type = "application/problem+json"), Refused))]
pub(super) fn reload() {}

/// Lets the next handshake bring the secret of a source.
#[utoipa::path(post, path = "/v1/sources/{name}/arm", tag = "configuration",
    params(("name" = String, Path, description = "The source.")),
    request_body = Option<ArmOrder>,
    responses((status = 200, body = Armed), Refused))]
pub(super) fn arm() {}

/// Events, oldest first.
#[utoipa::path(get, path = "/v1/events", tag = "events",
    params(Filter, Piece),
    responses((status = 200, body = Events), Refused))]
pub(super) fn events() {}

/// Events as they come in, as Server-Sent Events; the `id` of each is its number.
#[utoipa::path(get, path = "/v1/events/tail", tag = "events",
    params(Filter, ("after" = Option<u64>, Query, description = "The number behind which to begin."), ("Last-Event-ID" = Option<u64>, Header, description = "The same, from a client that comes back.")),
    responses((status = 200, body = String, content_type = "text/event-stream"), Refused))]
pub(super) fn tail() {}

/// One event with all but its body.
#[utoipa::path(get, path = "/v1/events/{sequence}", tag = "events",
    params(("sequence" = u64, Path, description = "Its number.")),
    responses((status = 200, body = EventDetail), Refused))]
pub(super) fn event() {}

/// The body of one event, as it was received; what its source masks is `***` to who may only look.
#[utoipa::path(get, path = "/v1/events/{sequence}/body", tag = "events",
    params(("sequence" = u64, Path, description = "Its number.")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), Refused))]
pub(super) fn event_body() {}

/// Hands events over once more.
#[utoipa::path(post, path = "/v1/events/replay", tag = "events",
    request_body = Order,
    responses((status = 200, body = Outcome), Refused))]
pub(super) fn replay() {}

/// Forgets the keys of events, so that a redelivery is a new event.
#[utoipa::path(post, path = "/v1/events/forget", tag = "events",
    request_body = Order,
    responses((status = 200, body = Outcome), Refused))]
pub(super) fn forget() {}

/// Hands over events that are held.
#[utoipa::path(post, path = "/v1/events/release", tag = "events",
    request_body = Order,
    responses((status = 200, body = Outcome), Refused))]
pub(super) fn release() {}

/// Hands over poison events once more.
#[utoipa::path(post, path = "/v1/events/requeue", tag = "events",
    request_body = Order,
    responses((status = 200, body = Outcome), Refused))]
pub(super) fn requeue() {}

/// Gives events up that are not handed over.
#[utoipa::path(post, path = "/v1/events/drop", tag = "events",
    request_body = Order,
    responses((status = 200, body = Outcome), Refused))]
pub(super) fn drop_events() {}

/// Events of the history, newest first.
#[utoipa::path(get, path = "/v1/history/events", tag = "history",
    params(
        Filter,
        ("text" = Option<String>, Query, description = "Words that the body has, of sources with `capture_bodies`; one that ends in `*` stands for all that begin so."),
        Piece
    ),
    responses((status = 200, body = HistoryEvents), Refused))]
pub(super) fn history_events() {}

/// One event of the history with all that happened to it.
#[utoipa::path(get, path = "/v1/history/events/{sequence}", tag = "history",
    params(("sequence" = u64, Path, description = "Its number.")),
    responses((status = 200, body = HistoryEventDetail), Refused))]
pub(super) fn history_event() {}

/// Refused requests, newest first.
#[utoipa::path(get, path = "/v1/history/refusals", tag = "history",
    params(("source" = Option<String>, Query, description = "The source."), ("reason" = Option<String>, Query, description = "The reason."), ("since" = Option<String>, Query, description = "A time (RFC 3339), or how long ago, such as `2h`."), ("until" = Option<String>, Query, description = "Likewise."), Piece),
    responses((status = 200, body = Refusals), Refused))]
pub(super) fn refusals() {}

/// Refusals summed up by source and reason, with causes and what to do.
#[utoipa::path(get, path = "/v1/history/failures", tag = "history",
    params(("since" = Option<String>, Query, description = "A time (RFC 3339), or how long ago. Default: a day.")),
    responses((status = 200, body = Failures), Refused))]
pub(super) fn failures() {}

/// Requests whose proof failed, oldest first.
#[utoipa::path(get, path = "/v1/quarantine", tag = "quarantine",
    params(("source" = Option<String>, Query, description = "The source."), Piece),
    responses((status = 200, body = Quarantine), Refused))]
pub(super) fn quarantine() {}

/// One of them with its headers.
#[utoipa::path(get, path = "/v1/quarantine/{id}", tag = "quarantine",
    params(("id" = i64, Path, description = "Its number.")),
    responses((status = 200, body = QuarantinedDetail), Refused))]
pub(super) fn quarantined() {}

/// Its body, as it was received.
#[utoipa::path(get, path = "/v1/quarantine/{id}/body", tag = "quarantine",
    params(("id" = i64, Path, description = "Its number.")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), Refused))]
pub(super) fn quarantined_body() {}

/// Judges them again, at their time of receipt: what holds now goes through.
#[utoipa::path(post, path = "/v1/quarantine/requeue", tag = "quarantine",
    request_body = QuarantineOrder,
    responses((status = 200, body = Outcome), Refused))]
pub(super) fn requeue_quarantined() {}

/// Gives them up.
#[utoipa::path(post, path = "/v1/quarantine/drop", tag = "quarantine",
    request_body = QuarantineOrder,
    responses((status = 200, body = Dropped), Refused))]
pub(super) fn drop_quarantined() {}

/// Events of a source, each the worker's until its lease ends.
#[utoipa::path(post, path = "/v1/inbox/{source}/claim", tag = "inbox",
    params(("source" = String, Path, description = "The source."), ClaimQuery),
    responses((status = 200, body = Claimed), Refused))]
pub(super) fn claim() {}

/// Answers for events: they are done.
#[utoipa::path(post, path = "/v1/inbox/{source}/ack", tag = "inbox",
    params(("source" = String, Path, description = "The source.")),
    request_body = Tokens,
    responses((status = 200, body = Tally), (status = 409, body = Tally), Refused))]
pub(super) fn ack() {}

/// Gives events back.
#[utoipa::path(post, path = "/v1/inbox/{source}/nack", tag = "inbox",
    params(("source" = String, Path, description = "The source.")),
    request_body = Nack,
    responses((status = 200, body = Tally), (status = 409, body = Tally), Refused))]
pub(super) fn nack() {}

/// Lengthens leases.
#[utoipa::path(post, path = "/v1/inbox/{source}/extend", tag = "inbox",
    params(("source" = String, Path, description = "The source.")),
    request_body = Extension,
    responses((status = 200, body = Tally), (status = 409, body = Tally), Refused))]
pub(super) fn extend() {}
