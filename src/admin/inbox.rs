//! The inbox over HTTP: `POST /v1/inbox/{source}/claim`, `/ack`, `/nack` and `/extend`.
//!
//! A worker that hangs up while it waits takes no event along; one that hangs up before its answer begins to
//! leave gives its events back at once. What left for it comes back when its lease ends.

use std::convert::Infallible;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use actix_web::web::{Data, Json, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::Area;
use super::server::{AdminParts, problem};
use crate::disk::RealDisk;
use crate::relay::{Inbox, InboxError, Leased, Wanted};
use crate::sink::inbox::Token;
use crate::units::Span;

/// Most events in one answer.
const CLAIM_MAX: usize = 1000;
/// Longest wait for an event.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Shortest lease.
const LEASE_MIN: Duration = Duration::from_secs(1);
/// Longest lease.
const LEASE_MAX: Duration = Duration::from_secs(12 * 60 * 60);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimQuery {
    max: Option<usize>,
    lease: Option<Span>,
    wait: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AckBody {
    tokens: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NackBody {
    tokens: Vec<String>,
    delay: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtendBody {
    tokens: Vec<String>,
    lease: Option<Span>,
}

/// What a call needs: the inbox, and whether the source is one.
struct Called<'p> {
    inbox: &'p Inbox<RealDisk>,
    source: Arc<str>,
}

fn called<'p>(
    parts: &'p AdminParts,
    request: &HttpRequest,
    source: &str,
) -> Result<Called<'p>, Box<HttpResponse>> {
    if let Some(refusal) = parts.refusal(request, Area::Inbox) {
        return Err(Box::new(refusal));
    }
    let missing = |code, detail: &str| Box::new(problem(StatusCode::NOT_FOUND, code, detail));
    let inbox = parts
        .inbox
        .as_ref()
        .map_err(|workers| missing("no_inbox", &format!("sink.kind is not \"inbox\": {workers}")))?;
    // Events of one that is configured no more are handed out to the last.
    let source = parts
        .health
        .lanes
        .find(source)
        .ok_or_else(|| missing("unknown_source", "no source of that name is configured"))?;
    Ok(Called { inbox, source })
}

pub(super) async fn claim(
    request: HttpRequest,
    parts: Data<AdminParts>,
    source: Path<String>,
    query: Result<Query<ClaimQuery>, actix_web::Error>,
) -> HttpResponse {
    let called = match called(&parts, &request, &source) {
        Ok(called) => called,
        Err(refused) => return *refused,
    };
    let Ok(Query(ClaimQuery { max, lease, wait })) = query else {
        let detail = "allowed: max = a number of events, lease = a duration such as 30s, wait = a duration such as 20s";
        return problem(StatusCode::BAD_REQUEST, "malformed", detail);
    };
    let wanted = Wanted {
        max: max.unwrap_or(1).clamp(1, CLAIM_MAX),
        lease: length(&parts, lease),
        wait: wait.map_or(Duration::ZERO, |wait| wait.duration()).min(WAIT_MAX),
    };
    match called.inbox.claim(&called.source, wanted).await {
        Ok(leased) => handed_over(&parts, leased, wanted.lease),
        Err(error) => fault(&error),
    }
}

/// How long a lease runs.
fn length(parts: &AdminParts, asked: Option<Span>) -> Duration {
    asked.map_or_else(|| parts.live.load().lease, |span| span.duration()).clamp(LEASE_MIN, LEASE_MAX)
}

fn handed_over(parts: &Data<AdminParts>, leased: Vec<Leased>, lease: Duration) -> HttpResponse {
    let unsent = Unsent { parts: parts.clone(), tokens: leased.iter().map(|one| one.token).collect() };
    let events: Vec<Value> = leased.into_iter().map(event).collect();
    let lease = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    let bytes = json!({ "events": events, "lease_milliseconds": lease }).to_string().into();
    HttpResponse::Ok().content_type("application/json").body(Leaving { bytes, unsent: Some(unsent) })
}

/// Leases whose answer has not begun to leave; dropped as such, they are taken back.
struct Unsent {
    parts: Data<AdminParts>,
    tokens: Vec<Token>,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if let (Ok(inbox), false) = (&self.parts.inbox, self.tokens.is_empty()) {
            inbox.undo(&self.tokens);
        }
    }
}

/// The answer to a claim: one piece, with which its leases leave.
struct Leaving {
    bytes: Bytes,
    unsent: Option<Unsent>,
}

impl MessageBody for Leaving {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.bytes.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let Some(mut leaves) = self.unsent.take() else { return Poll::Ready(None) };
        leaves.tokens.clear();
        Poll::Ready(Some(Ok(mem::take(&mut self.bytes))))
    }
}

fn event(leased: Leased) -> Value {
    let mut event = leased.message.to_json();
    event.insert("token".to_owned(), leased.token.to_string().into());
    event.insert("attempt".to_owned(), leased.attempt.into());
    Value::Object(event)
}

pub(super) async fn ack(
    request: HttpRequest,
    parts: Data<AdminParts>,
    source: Path<String>,
    body: Result<Json<AckBody>, actix_web::Error>,
) -> HttpResponse {
    let called = match called(&parts, &request, &source) {
        Ok(called) => called,
        Err(refused) => return *refused,
    };
    let AckBody { tokens: texts } = match body {
        Ok(Json(body)) => body,
        Err(error) => return malformed(&error),
    };
    let Some(tokens) = parsed(&texts) else { return malformed(&"one of the tokens is none") };
    match called.inbox.ack(&called.source, &tokens).await {
        Ok(counted) => tally("acked", &texts, &counted),
        Err(error) => fault(&error),
    }
}

pub(super) async fn nack(
    request: HttpRequest,
    parts: Data<AdminParts>,
    source: Path<String>,
    body: Result<Json<NackBody>, actix_web::Error>,
) -> HttpResponse {
    let called = match called(&parts, &request, &source) {
        Ok(called) => called,
        Err(refused) => return *refused,
    };
    let NackBody { tokens: texts, delay } = match body {
        Ok(Json(body)) => body,
        Err(error) => return malformed(&error),
    };
    let Some(tokens) = parsed(&texts) else { return malformed(&"one of the tokens is none") };
    let counted =
        called.inbox.nack(&called.source, &tokens, delay.map_or(Duration::ZERO, |span| span.duration()));
    tally("nacked", &texts, &counted)
}

pub(super) async fn extend(
    request: HttpRequest,
    parts: Data<AdminParts>,
    source: Path<String>,
    body: Result<Json<ExtendBody>, actix_web::Error>,
) -> HttpResponse {
    let called = match called(&parts, &request, &source) {
        Ok(called) => called,
        Err(refused) => return *refused,
    };
    let ExtendBody { tokens: texts, lease } = match body {
        Ok(Json(body)) => body,
        Err(error) => return malformed(&error),
    };
    let Some(tokens) = parsed(&texts) else { return malformed(&"one of the tokens is none") };
    tally("extended", &texts, &called.inbox.extend(&called.source, &tokens, length(&parts, lease)))
}

fn parsed(texts: &[String]) -> Option<Vec<Token>> {
    texts.iter().map(|text| text.parse().ok()).collect()
}

fn malformed(found: &dyn fmt::Display) -> HttpResponse {
    let detail = format!(
        "{found}; expected JSON such as {{\"tokens\": [\"…\"]}} with tokens as the claim gave them, for a nack with \"delay\": \"5s\", \
         for an extension with \"lease\": \"1m\""
    );
    problem(StatusCode::BAD_REQUEST, "malformed", &detail)
}

/// What became of each token, in their order, and how many counted. Those that did not are named again, since
/// their leases had run out or were answered before; the others count all the same.
fn tally(word: &str, texts: &[String], counted: &[bool]) -> HttpResponse {
    let stale: Vec<&String> =
        texts.iter().zip(counted).filter(|(_, good)| !**good).map(|(text, _)| text).collect();
    let status = if stale.is_empty() { StatusCode::OK } else { StatusCode::CONFLICT };
    let good = counted.iter().filter(|good| **good).count();
    let outcomes: Vec<&str> = counted.iter().map(|good| if *good { word } else { "stale" }).collect();
    HttpResponse::build(status).json(json!({ word: good, "stale": stale, "outcomes": outcomes }))
}

fn fault(error: &InboxError) -> HttpResponse {
    let (status, code, seconds) = match error {
        InboxError::Crowded => (StatusCode::TOO_MANY_REQUESTS, "too_many_waiting", "1"),
        InboxError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "5"),
        InboxError::Journal(error) => {
            tracing::error!(%error, "an inbox call failed");
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "5")
        }
    };
    let mut answer = problem(status, code, &error.to_string());
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(seconds));
    answer
}

/// The property over any bytes: tokens that are read are written as they were.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_back(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(token) = text.parse::<Token>() {
        assert_eq!(token.to_string().parse::<Token>(), Ok(token));
    }
    if let Ok(AckBody { tokens }) = serde_json::from_slice(data)
        && let Some(parsed) = parsed(&tokens)
    {
        assert_eq!(parsed.len(), tokens.len());
    }
    drop((serde_json::from_slice::<NackBody>(data), serde_json::from_slice::<ExtendBody>(data)));
    drop(Query::<ClaimQuery>::from_query(&text));
}
