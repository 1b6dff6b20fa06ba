//! The history over HTTP, for operators: `GET /v1/history/events`, `/v1/history/events/{sequence}`, `/v1/history/refusals` and
//! `/v1/history/failures`. It changes nothing, and is newer than a moment ago nowhere: `through` says how far it is filled.

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::events::{fresh, malformed};
use super::guard::Area;
use super::known::Eyes;
use super::server::{AdminParts, problem};
use crate::clock::Timestamp;
use crate::event::Sequence;
use crate::history::{
    After, CourseRow, EventPast, EventRow, History, HistoryError, RefusalQuery, RefusalRow, StepRow, Words,
};
use crate::operate::{Choice, moment};

/// Rows in one answer, where the caller says nothing, and most.
const LIMIT: (usize, usize) = (100, 1000);
/// Since when failures are summed up, where the caller says nothing.
const SINCE: &str = "1d";

/// A query of name and value.
type Pairs = Vec<(String, String)>;

pub(super) async fn events(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    let history = match history(&parts, &request, Area::Look) {
        Ok(history) => history,
        Err(refused) => return *refused,
    };
    let (mut choice, mut words, mut after, mut limit) = (Choice::default(), None, None, LIMIT.0);
    for (name, value) in pairs(&request) {
        let read = match &*name {
            "text" => value.parse::<Words>().map(|found| words = Some(found)).map_err(|()| no_words()),
            "after" => value.parse::<After>().map(|found| after = Some(found)).map_err(|()| no_cursor()),
            "limit" => limit_of(&value).map(|found| limit = found),
            name if choice.set(name, value) => Ok(()),
            name => Err(unknown(name, &[&Choice::FIELDS[..], &["text", "after", "limit"]].concat())),
        };
        if let Err(detail) = read {
            return malformed(&detail);
        }
    }
    let selection = match choice.read(history.now()) {
        Ok(selection) => selection,
        Err(detail) => return malformed(&detail),
    };
    match history.events((selection, words), after, limit).await {
        Ok(page) => {
            let eyes = parts.eyes(&request);
            let events: Vec<Value> = page.events.iter().map(|event| shown(event, &eyes)).collect();
            let next = page.next.map(|next| next.to_string());
            fresh(StatusCode::OK).json(json!({ "events": events, "next": next, "through": page.through.0 }))
        }
        Err(error) => fault(&error),
    }
}

pub(super) async fn event(
    request: HttpRequest,
    parts: Data<AdminParts>,
    sequence: Path<String>,
) -> HttpResponse {
    let history = match history(&parts, &request, Area::Look) {
        Ok(history) => history,
        Err(refused) => return *refused,
    };
    let Ok(sequence) = sequence.parse::<u64>() else {
        return malformed("expected the number of an event, such as /v1/history/events/17");
    };
    match history.event(Sequence(sequence)).await {
        Ok(Some(past)) => {
            let mut shown = shown(&past.event, &parts.eyes(&request));
            let received_at = past.event.received_at;
            shown["steps"] = steps_of(&past).iter().map(|step| step.to_json(received_at)).collect();
            shown["replays_left_out"] = left_out(&past).into();
            fresh(StatusCode::OK).json(shown)
        }
        Ok(None) => {
            let through = history.through();
            let detail =
                format!("the history has no event of that number; it is filled through event {through}");
            problem(StatusCode::NOT_FOUND, "gone", &detail)
        }
        Err(error) => fault(&error),
    }
}

/// An event as these eyes may see it: a digest of few possible bodies would tell which one it was.
fn shown(event: &EventRow, eyes: &Eyes) -> Value {
    let mut row = event.to_json();
    if eyes.mask(&event.source).is_none_or(|mask| !mask.is_empty()) {
        row["digest"] = Value::Null;
    }
    row
}

/// All that is known to have happened to an event, in order of time.
fn steps_of(past: &EventPast) -> Vec<StepRow> {
    let EventPast { event, courses, steps: unusual } = past;
    let step = |at: Timestamp, what: &str| StepRow { at, what: what.to_owned(), detail: String::new() };
    let last = CourseRow {
        nth: event.replays,
        replayed_at: event.replayed_at,
        attempted_at: event.attempted_at,
        ended_at: event.ended_at,
        status: event.status,
    };
    let of_a_course = |course: &CourseRow| {
        let end = course.ended_at.zip(course.status).map(|(at, status)| step(at, status.as_str()));
        [
            course.replayed_at.map(|at| step(at, "replayed")),
            course.attempted_at.map(|at| step(at, "attempted")),
            // Ends other than the usual one are told of as steps, too.
            end.filter(|end| !unusual.contains(end)),
        ]
    };
    // Within a millisecond: an operator's word, an attempt, what came of it; a course after the one before.
    let is_word = |step: &&StepRow| matches!(&*step.what, "released" | "sample");
    let words = unusual.iter().filter(is_word).cloned();
    let rest = unusual.iter().filter(|step| !is_word(step)).cloned();
    let mut steps: Vec<StepRow> =
        words.chain(courses.iter().chain([&last]).flat_map(of_a_course).flatten()).chain(rest).collect();
    steps.sort_by_key(|step| step.at);
    [step(event.received_at, "received")].into_iter().chain(steps).collect()
}

/// How many replays, of all that were told of, are not among the steps.
fn left_out(past: &EventPast) -> u32 {
    let kept = past.courses.iter().filter(|course| course.nth > 0).count();
    let last = usize::from(past.event.replays > 0);
    past.event.replays.saturating_sub(u32::try_from(kept + last).unwrap_or(u32::MAX))
}

pub(super) async fn refusals(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    let history = match history(&parts, &request, Area::Look) {
        Ok(history) => history,
        Err(refused) => return *refused,
    };
    let (query, limit) = match refusal_query(pairs(&request), history.now()) {
        Ok(query) => query,
        Err(detail) => return malformed(&detail),
    };
    match history.refusals(query, limit).await {
        Ok(page) => {
            let refusals: Vec<Value> = page.refusals.iter().map(RefusalRow::to_json).collect();
            let next = page.next.map(|next| next.to_string());
            fresh(StatusCode::OK).json(json!({ "refusals": refusals, "next": next }))
        }
        Err(error) => fault(&error),
    }
}

pub(super) async fn failures(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    let history = match history(&parts, &request, Area::Look) {
        Ok(history) => history,
        Err(refused) => return *refused,
    };
    let mut since = SINCE.to_owned();
    for (name, value) in pairs(&request) {
        match &*name {
            "since" => since = value,
            name => return malformed(&unknown(name, &["since"])),
        }
    }
    let since = match moment("since", &since, history.now()) {
        Ok(since) => since,
        Err(detail) => return malformed(&detail),
    };
    match history.failures(since).await {
        Ok((failures, left_out)) => {
            let since = since.to_string();
            fresh(StatusCode::OK).json(json!({ "since": since, "failures": failures, "left_out": left_out }))
        }
        Err(error) => fault(&error),
    }
}

fn refusal_query(pairs: Pairs, now: Timestamp) -> Result<(RefusalQuery, usize), String> {
    let (mut query, mut limit) = (RefusalQuery::default(), LIMIT.0);
    for (name, value) in pairs {
        match &*name {
            "source" => query.source = Some(value),
            "reason" => query.reason = Some(value),
            "since" => query.since = Some(moment("since", &value, now)?),
            "until" => query.until = Some(moment("until", &value, now)?),
            "after" => query.before = Some(value.parse().map_err(|_| no_cursor())?),
            "limit" => limit = limit_of(&value)?,
            name => {
                return Err(unknown(name, &["source", "reason", "since", "until", "after", "limit"]));
            }
        }
    }
    Ok((query, limit))
}

/// The history, if the caller may call for it and one is kept.
pub(super) fn history<'p>(
    parts: &'p AdminParts,
    request: &HttpRequest,
    area: Area,
) -> Result<&'p History, Box<HttpResponse>> {
    if let Some(refused) = parts.refusal(request, area) {
        return Err(Box::new(refused));
    }
    let detail = "this gateway keeps no history: history.enabled is false, or journal.ack is \"confirm\"";
    parts.history.as_ref().ok_or_else(|| Box::new(problem(StatusCode::NOT_FOUND, "no_history", detail)))
}

pub(super) fn pairs(request: &HttpRequest) -> Pairs {
    form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect()
}

pub(super) fn limit_of(value: &str) -> Result<usize, String> {
    let most = LIMIT.1;
    let wrong = || format!("limit {value:?}: expected a number from 1 to {most}");
    value.parse().ok().filter(|n| (1..=most).contains(n)).ok_or_else(wrong)
}

pub(super) fn no_cursor() -> String {
    "after: expected the `next` of an earlier answer".to_owned()
}

fn no_words() -> String {
    "text: expected 1 to 8 words with spaces between, 1024 bytes at most; one that ends in * stands for all that begin so, by three letters at least".to_owned()
}

pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    format!("{name:?} is not known; allowed: {}", known.join(", "))
}

pub(super) fn fault(error: &HistoryError) -> HttpResponse {
    let code = match error {
        HistoryError::TooLong => "too_long",
        HistoryError::Busy => "busy",
        HistoryError::File(_) | HistoryError::Stopping => "unavailable",
    };
    tracing::warn!(%error, "a search in the history failed");
    let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, code, &error.to_string());
    answer.headers_mut().insert(RETRY_AFTER, 3.into());
    answer
}
