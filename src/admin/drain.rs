//! Taking a gateway out over HTTP, for operators: `POST /v1/drain` begins, `GET /v1/drain` tells how far it is,
//! `POST /v1/drain/cancel` takes deliveries again.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::events::{fresh, malformed};
use super::guard::Area;
use super::openapi::Refused;
use super::order;
use super::server::{AdminParts, Done};
use crate::drain::{Left, Seen};
use crate::units::Span;

/// Longest body of a call.
const BODY_BYTES_MAX: usize = 1024;
/// For how long deliveries are taken all the same, unless somebody says: until the usual checks of a balancer have failed
/// twice or thrice.
const GRACE_DEFAULT: Span = Span::seconds(10);
/// And the longest.
const GRACE_MAX: Duration = Duration::from_secs(3600);

/// How to begin; there may be no body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainOrder {
    /// For how long deliveries are still taken, while `/readyz` sends balancers away; `10s` unless it is said, an hour at most.
    #[schema(value_type = Option<String>, examples("10s"))]
    grace: Option<Span>,
}

/// How far it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Drained {
    /// `serving` (there is none), `turning_away` (not ready, deliveries are still taken), `draining` (they are answered 503)
    /// or `drained` (and nothing is left).
    phase: &'static str,
    /// When it began (RFC 3339).
    since: Option<String>,
    /// Until when deliveries are taken all the same (RFC 3339).
    takes_until: Option<String>,
    /// This clock (RFC 3339).
    now: String,
    /// When the process started (RFC 3339): a restart ends a drain.
    started_at: String,
    /// Events that ended since it began: handed over, superseded or dropped.
    ended: u64,
    /// What is left.
    left: LeftShown,
    /// The same by source, of those that have some.
    sources: BTreeMap<String, LeftShown>,
    /// Why the sink takes no events, where it does not.
    trouble: Option<String>,
}

/// Events that have not ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LeftShown {
    total: u64,
    /// To be handed over, or on their way.
    pending: u64,
    /// Events and parts of events among them that are out with workers, with the inbox; of all sources together.
    #[serde(skip_serializing_if = "Option::is_none")]
    leased: Option<u64>,
    /// No queue is bound for them.
    unroutable: u64,
    /// Another replica claims them.
    parked: u64,
    /// They wait for an operator.
    held: u64,
    /// Refused each time.
    poison: u64,
    /// Without a journal: their senders have no answer yet.
    unanswered: u64,
    /// Without a journal: Redis has not been told what became of them.
    untold: u64,
}

impl LeftShown {
    fn of(left: Left, leased: Option<u64>) -> Self {
        let Left { pending, unroutable, parked, held, poison, unanswered, untold } = left;
        Self { total: left.total(), pending, leased, unroutable, parked, held, poison, unanswered, untold }
    }
}

/// How far the drain is, if there is one.
#[utoipa::path(get, path = "/v1/drain", tag = "gateway", responses(
    (status = 200, body = Drained), Refused))]
pub(super) async fn show(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    parts.refusal(&request, Area::Look).unwrap_or_else(|| told(&parts))
}

/// Takes the gateway out: not ready at once, no deliveries a little later, and what is kept is handed over. It goes on
/// running until it is stopped; a restart takes deliveries again.
#[utoipa::path(post, path = "/v1/drain", tag = "gateway", request_body = Option<DrainOrder>, responses(
    (status = 200, body = Drained), Refused))]
pub(super) async fn begin(request: HttpRequest, parts: Data<AdminParts>, body: Bytes) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Operation) {
        return refused;
    }
    let grace = match grace(&body) {
        Ok(grace) => grace,
        Err(detail) => return malformed(&detail),
    };
    parts.health.drain.begin(grace.duration());
    let until = parts.health.drain.seen().takes_until;
    let outcome = until.map(|until| format!("deliveries are refused from {until} on"));
    did(&parts, &request, "drain", &outcome.unwrap_or_else(|| "cancelled meanwhile".to_owned()));
    told(&parts)
}

/// Takes deliveries again.
#[utoipa::path(post, path = "/v1/drain/cancel", tag = "gateway", responses(
    (status = 200, body = Drained), Refused))]
pub(super) async fn cancel(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Operation) {
        return refused;
    }
    let was = parts.health.drain.cancel();
    let outcome = if was { "deliveries are taken again" } else { "there was none" };
    did(&parts, &request, "cancel the drain", outcome);
    told(&parts)
}

fn did(parts: &AdminParts, request: &HttpRequest, action: &str, outcome: &str) {
    let count = parts.health.drain.seen().left.total();
    parts.did(request, action, &Done { selection: "the gateway", count, outcome, failed: false });
}

fn told(parts: &AdminParts) -> HttpResponse {
    let health = &parts.health;
    let Seen { phase, began, takes_until, ended, left, sources } = health.drain.seen();
    let leased = parts.inbox.as_ref().ok().map(|inbox| inbox.leased() as u64);
    fresh(StatusCode::OK).json(Drained {
        phase: phase.as_str(),
        since: began.map(|at| at.to_string()),
        takes_until: takes_until.map(|at| at.to_string()),
        now: health.clock.now().to_string(),
        started_at: health.started.to_string(),
        ended,
        left: LeftShown::of(left, leased),
        sources: sources
            .into_iter()
            .map(|(source, left)| (source.to_string(), LeftShown::of(left, None)))
            .collect(),
        trouble: health.hands_over().err(),
    })
}

fn grace(body: &[u8]) -> Result<Span, String> {
    let expected = r#"nothing, or JSON such as {"grace": "10s"}, at most an hour"#;
    let order: DrainOrder = order::read_or_default(body, BODY_BYTES_MAX, expected)?;
    let grace = order.grace.unwrap_or(GRACE_DEFAULT);
    if grace.duration() > GRACE_MAX {
        return Err(format!("a grace of {grace}; expected {expected}"));
    }
    Ok(grace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_have_ten_seconds_unless_somebody_says_and_never_more_than_an_hour() {
        assert_eq!(grace(b"").map(|span| span.duration().as_secs()), Ok(10));
        assert_eq!(grace(b"{}").map(|span| span.duration().as_secs()), Ok(10));
        assert_eq!(grace(br#"{"grace":"0s"}"#).map(|span| span.duration().as_secs()), Ok(0));
        assert_eq!(grace(br#"{"grace":"1h"}"#).map(|span| span.duration()), Ok(GRACE_MAX));
        for bad in [&br#"{"grace":"61m"}"#[..], br#"{"grace":10}"#, br#"{"wait":"1s"}"#, b"x"] {
            assert!(grace(bad).unwrap_err().contains("such as"), "{bad:?}");
        }
    }
}
