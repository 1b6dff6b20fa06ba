//! Events over HTTP, for operators: `GET /v1/events`, `/v1/events/{sequence}` and its `/body`, and
//! `POST /v1/events/{action}`. Bodies are hostile: they leave as an attachment that no browser interprets.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, X_CONTENT_TYPE_OPTIONS};
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::guard::Area;
use super::order;
use super::server::{AdminParts, Done, problem};
use crate::accept::{Action, Fate};
use crate::clock::Timestamp;
use crate::disk::RealDisk;
use crate::event::Sequence;
use crate::operate::{self, Acted, Call, Choice, Cursor, Operator, OperatorError, Seen, Selection, Status};

/// Events in one answer, where the caller says nothing, and most.
const LIMIT: (usize, usize) = (100, 1000);
/// Longest body of an action.
const BODY_BYTES_MAX: usize = 16 << 10;

/// The body of an action.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    selection: Choice,
    /// Says that a selection of nothing in particular means everything.
    #[serde(default)]
    all: bool,
    #[serde(default)]
    dry_run: bool,
    after: Option<String>,
}

pub(super) async fn list(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    let operator = match operator(&parts, &request, Area::Look) {
        Ok(operator) => operator,
        Err(refused) => return *refused,
    };
    let (selection, after, limit) = match query(operator.now(), request.query_string()) {
        Ok(query) => query,
        Err(detail) => return malformed(&detail),
    };
    match operator.list(&selection, after, limit).await {
        Ok(page) => {
            let events: Vec<Value> = page.events.iter().map(|seen| Value::Object(listed(seen))).collect();
            let next = page.next.map(|next| next.to_string());
            fresh(StatusCode::OK).json(json!({ "events": events, "next": next }))
        }
        Err(error) => fault(&error),
    }
}

pub(super) async fn show(
    request: HttpRequest,
    parts: Data<AdminParts>,
    sequence: Path<String>,
) -> HttpResponse {
    let (seen, event) = match found(&request, &parts, &sequence).await {
        Ok(found) => found,
        Err(refused) => return *refused,
    };
    let mut shown = listed(&seen);
    shown.extend(operate::details(event.envelope()));
    shown.extend(operate::parts(&event).map(|parts| ("parts".to_owned(), parts)));
    let position = seen.found.position;
    shown.insert("segment".to_owned(), position.segment.into());
    shown.insert("offset".to_owned(), position.offset.into());
    shown.insert("record_bytes".to_owned(), seen.found.bytes.into());
    fresh(StatusCode::OK).json(shown)
}

pub(super) async fn body(
    request: HttpRequest,
    parts: Data<AdminParts>,
    sequence: Path<String>,
) -> HttpResponse {
    let (seen, event) = match found(&request, &parts, &sequence).await {
        Ok(found) => found,
        Err(refused) => return *refused,
    };
    let eyes = parts.eyes(&request);
    let body = match eyes.mask(&event.envelope().source) {
        Some(mask) if mask.is_empty() => Some(event.body().clone()),
        mask => mask.and_then(|mask| mask.applied(event.body())).map(Bytes::from),
    };
    let Some(body) = body else {
        let detail = "what its source masks cannot be found in this body, or the source is configured no more; \
                      admin.token opens it";
        return problem(StatusCode::FORBIDDEN, "masked", detail);
    };
    let name = format!("attachment; filename=\"event-{}.bin\"", seen.found.sequence);
    fresh(StatusCode::OK)
        .content_type("application/octet-stream")
        .insert_header((CONTENT_DISPOSITION, name))
        .body(body)
}

pub(super) async fn act(
    request: HttpRequest,
    parts: Data<AdminParts>,
    action: Path<String>,
    body: Bytes,
) -> HttpResponse {
    let operator = match operator(&parts, &request, Area::Operation) {
        Ok(operator) => operator,
        Err(refused) => return *refused,
    };
    let Some(action) = Action::named(&action) else {
        let detail = "here are /v1/events/replay, /forget, /release, /requeue and /drop";
        return problem(StatusCode::NOT_FOUND, "not_found", detail);
    };
    let call = match call(action, operator.now(), &body) {
        Ok(call) => call,
        Err(detail) => return malformed(&detail),
    };
    let mut acted = Acted::default();
    let result = operator.act(&call, &mut acted).await;
    tell(&parts, &request, &call, (&acted, result.as_ref().err()));
    match result {
        Ok(()) => fresh(StatusCode::OK).json(answer(&acted, &call)),
        Err(error) => fault(&error),
    }
}

/// Writes down what was done, also by a call that then failed.
fn tell(
    parts: &AdminParts,
    request: &HttpRequest,
    call: &Call,
    (acted, error): (&Acted, Option<&OperatorError>),
) {
    let mut words: Vec<String> =
        acted.fates.iter().map(|(fate, count)| format!("{} {count}", name(call, *fate))).collect();
    words.extend(call.dry_run.then(|| "dry run".to_owned()));
    words.extend(error.map(ToString::to_string));
    let done = Done {
        selection: &call.selection.to_string(),
        count: acted.selected,
        outcome: &words.join(", "),
        failed: error.is_some(),
    };
    parts.did(request, call.action.name(), &done);
}

/// What a fate is called after this call.
fn name(call: &Call, fate: Fate) -> &'static str {
    if fate == Fate::Done { call.action.done() } else { fate.name() }
}

/// What answers an operator's call, if the caller may make it and there is a journal.
pub(super) fn operator<'p>(
    parts: &'p AdminParts,
    request: &HttpRequest,
    area: Area,
) -> Result<&'p Operator<RealDisk>, Box<HttpResponse>> {
    if let Some(refused) = parts.refusal(request, area) {
        return Err(Box::new(refused));
    }
    let detail = "this gateway keeps no journal (journal.ack = \"confirm\"): RabbitMQ has the events";
    parts.operator.as_ref().ok_or_else(|| Box::new(problem(StatusCode::NOT_FOUND, "no_journal", detail)))
}

fn call(action: Action, now: Timestamp, body: &[u8]) -> Result<Call, String> {
    let expected = format!(
        "JSON such as {{\"selection\": {{\"source\": \"shop\", \"since\": \"2h\"}}, \"dry_run\": true}}; fields of \
         the selection: {}",
        Choice::FIELDS.join(", ")
    );
    let order: Order = order::read(body, BODY_BYTES_MAX, &expected)?;
    let selection = order.selection.read(now)?;
    if selection.is_all() && !order.all {
        return Err("the selection is empty; to mean every event, send \"all\": true".to_owned());
    }
    let after = order.after.as_deref().map(cursor).transpose()?;
    Ok(Call { action, selection, after, dry_run: order.dry_run })
}

fn query(now: Timestamp, query: &str) -> Result<(Selection, Option<Cursor>, usize), String> {
    let (mut choice, mut after, mut limit) = (Choice::default(), None, LIMIT.0);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "after" => after = Some(cursor(&value)?),
            "limit" => {
                let most = LIMIT.1;
                let wrong = || format!("limit {value:?}: expected a number from 1 to {most}");
                limit = value.parse().ok().filter(|n| (1..=most).contains(n)).ok_or_else(wrong)?;
            }
            name if choice.set(name, value.clone().into_owned()) => {}
            name => {
                let fields = Choice::FIELDS.join(", ");
                return Err(format!("{name:?} is not known; allowed: {fields}, after, limit"));
            }
        }
    }
    Ok((choice.read(now)?, after, limit))
}

fn cursor(text: &str) -> Result<Cursor, String> {
    text.parse().map_err(|()| "after: expected the `next` of an earlier answer".to_owned())
}

async fn found(
    request: &HttpRequest,
    parts: &AdminParts,
    sequence: &str,
) -> Result<(Seen, crate::event::Event), Box<HttpResponse>> {
    let operator = operator(parts, request, Area::Look)?;
    let Ok(sequence) = sequence.parse::<u64>() else {
        return Err(Box::new(malformed("expected the number of an event, such as /v1/events/17")));
    };
    match operator.show(Sequence(sequence)).await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => {
            let detail = "the journal holds no event of that number: retention removed it, or none had it";
            Err(Box::new(problem(StatusCode::NOT_FOUND, "gone", detail)))
        }
        Err(error) => Err(Box::new(fault(&error))),
    }
}

/// What a list shows of an event.
pub(super) fn listed(seen: &Seen) -> Map<String, Value> {
    let replayed = seen.found.replayed && seen.status != Status::Dropped;
    let mut listed = operate::outline(seen.found.sequence, &seen.found.envelope, Some(seen.status));
    listed.insert("replayed".to_owned(), replayed.into());
    listed.insert("bytes".to_owned(), seen.found.body_bytes.into());
    listed
}

fn answer(acted: &Acted, call: &Call) -> Value {
    let outcomes: Map<String, Value> =
        acted.fates.iter().map(|(fate, count)| (name(call, *fate).to_owned(), (*count).into())).collect();
    json!({
        "dry_run": call.dry_run,
        "selected": acted.selected,
        "outcomes": outcomes,
        "next": acted.next.map(|next| next.to_string()),
        "wait": acted.wait,
        "begins": acted.begins.map(|begins| begins.to_string()),
    })
}

pub(super) fn fresh(status: StatusCode) -> actix_web::HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    answer.insert_header((CACHE_CONTROL, "no-store")).insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    answer
}

pub(super) fn malformed(detail: &str) -> HttpResponse {
    problem(StatusCode::BAD_REQUEST, "malformed", detail)
}

fn fault(error: &OperatorError) -> HttpResponse {
    tracing::error!(%error, "an operator's call failed");
    problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &error.to_string())
}

/// The property over any bytes: a query and an order are read as something that they wanted, or told with what is allowed.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_or_told(data: &[u8], now: Timestamp, action: Action) {
    match query(now, &String::from_utf8_lossy(data)) {
        Ok((selection, _, limit)) => {
            assert!((1..=LIMIT.1).contains(&limit));
            assert!(selection.is_all() || !selection.to_string().is_empty());
        }
        Err(told) => assert!(!told.is_empty()),
    }
    match call(action, now, data) {
        Ok(call) => {
            assert!(!call.selection.is_all() || serde_json::from_slice::<Order>(data).is_ok_and(|o| o.all))
        }
        Err(told) => assert!(!told.is_empty()),
    }
}
