//! The inbox over HTTP: `POST /v1/inbox/{source}/claim`, `/ack` and `/nack`.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::Area;
use super::server::{AdminParts, problem};
use crate::disk::RealDisk;
use crate::relay::{Inbox, InboxError, Leased};
use crate::sink::inbox::Token;
use crate::units::Span;

/// Most events in one answer.
const CLAIM_MAX: usize = 1000;
/// Longest lease.
const LEASE_MAX: Duration = Duration::from_secs(12 * 60 * 60);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimQuery {
    max: Option<usize>,
    lease: Option<Span>,
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

/// What a call needs: the inbox, and whether the source is one.
struct Called<'p> {
    inbox: &'p Inbox<RealDisk>,
    source: &'p Arc<str>,
}

fn called<'p>(
    parts: &'p AdminParts,
    request: &HttpRequest,
    source: &str,
) -> Result<Called<'p>, Box<HttpResponse>> {
    if let Some(refusal) = parts.refusal(request, Area::Inbox) {
        return Err(Box::new(refusal));
    }
    let missing = |code, detail| Box::new(problem(StatusCode::NOT_FOUND, code, detail));
    let inbox = parts
        .inbox
        .as_ref()
        .ok_or_else(|| missing("no_inbox", "sink.kind is not \"inbox\": events go elsewhere"))?;
    let known = parts.sources.iter().find(|known| ***known == *source);
    let source = known.ok_or_else(|| missing("unknown_source", "no source of that name is configured"))?;
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
    let Ok(Query(ClaimQuery { max, lease })) = query else {
        let detail = "allowed: max = a number of events, lease = a duration such as 30s";
        return problem(StatusCode::BAD_REQUEST, "malformed", detail);
    };
    let max = max.unwrap_or(1).clamp(1, CLAIM_MAX);
    let lease = lease.map_or(parts.lease, |span| span.duration()).clamp(Duration::from_secs(1), LEASE_MAX);
    match called.inbox.claim(called.source, max, lease).await {
        Ok(leased) => {
            let events: Vec<Value> = leased.into_iter().map(event).collect();
            HttpResponse::Ok().json(json!({ "events": events }))
        }
        Err(error) => fault(&error),
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
    let Ok(Json(AckBody { tokens: texts })) = body else { return malformed() };
    let Some(tokens) = parsed(&texts) else { return malformed() };
    match called.inbox.ack(called.source, &tokens).await {
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
    let Ok(Json(NackBody { tokens: texts, delay })) = body else { return malformed() };
    let Some(tokens) = parsed(&texts) else { return malformed() };
    let counted =
        called.inbox.nack(called.source, &tokens, delay.map_or(Duration::ZERO, |span| span.duration()));
    tally("nacked", &texts, &counted)
}

fn parsed(texts: &[String]) -> Option<Vec<Token>> {
    texts.iter().map(|text| text.parse().ok()).collect()
}

fn malformed() -> HttpResponse {
    let detail = "expected JSON such as {\"tokens\": [\"…\"]} with tokens as the claim gave them";
    problem(StatusCode::BAD_REQUEST, "malformed", detail)
}

/// How many tokens counted; those that did not are named, since their leases had run out.
fn tally(word: &str, texts: &[String], counted: &[bool]) -> HttpResponse {
    let stale: Vec<&String> =
        texts.iter().zip(counted).filter(|(_, good)| !**good).map(|(text, _)| text).collect();
    let status = if stale.is_empty() { StatusCode::OK } else { StatusCode::CONFLICT };
    let good = counted.iter().filter(|good| **good).count();
    HttpResponse::build(status).json(json!({ word: good, "stale": stale }))
}

fn fault(error: &InboxError) -> HttpResponse {
    tracing::error!(%error, "an inbox call failed");
    problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &error.to_string())
}
