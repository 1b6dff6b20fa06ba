//! Dead letters over HTTP, for operators alone, since a look takes the queue from others for a moment and writes to it: `GET /v1/dead`, `POST /v1/dead/requeue` and `/drop`, where RabbitMQ is the sink.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::events::{fresh, malformed};
use super::guard::Area;
use super::history::{pairs, unknown};
use super::order;
use super::server::{AdminParts, Done, problem};
use crate::sink::rabbitmq::{DeadError, DeadLetters, Found, Letter, Verb, Which};
use crate::tasks;

/// Letters in one answer, where the caller says nothing, and most.
const LIMIT: (usize, usize) = (100, 10_000);
/// Ids in one order.
const IDS_MAX: usize = 500;
/// Longest id: what AMQP has room for.
const ID_BYTES_MAX: usize = 255;
/// Longest body of an order; as many ids fit as may be in it.
const BODY_BYTES_MAX: usize = 160 << 10;

/// The body of an order.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    source: Option<String>,
    ids: Option<BTreeSet<String>>,
    /// Says that every letter is meant.
    #[serde(default)]
    all: bool,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn list(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    let letters = match letters(&parts, &request, Area::Operation) {
        Ok(letters) => letters.clone(),
        Err(refused) => return *refused,
    };
    let (mut which, mut limit) = (Which::All, LIMIT.0);
    for (name, value) in pairs(&request) {
        match &*name {
            "source" => which = Which::Source(value),
            "limit" => match value.parse() {
                Ok(found) if (1..=LIMIT.1).contains(&found) => limit = found,
                _ => {
                    let most = LIMIT.1;
                    return malformed(&format!("limit {value:?}: expected a number from 1 to {most}"));
                }
            },
            name => return malformed(&unknown(name, &["source", "limit"])),
        }
    }
    // A task of its own: the caller may hang up, and what is looked at is looked after all the same.
    let work = tasks::task(async move { letters.list(&which, limit).await });
    match work.await {
        Ok(Ok(found)) => {
            let listed: Vec<Value> = found.letters.iter().map(Letter::to_json).collect();
            fresh(StatusCode::OK).json(json!({ "letters": listed, "more": found.more }))
        }
        Ok(Err(error)) => fault(&error),
        Err(_) => stopping(),
    }
}

pub(super) async fn requeue(request: HttpRequest, parts: Data<AdminParts>, body: Bytes) -> HttpResponse {
    act(Verb::Requeue, request, parts, body).await
}

pub(super) async fn drop(request: HttpRequest, parts: Data<AdminParts>, body: Bytes) -> HttpResponse {
    act(Verb::Drop, request, parts, body).await
}

async fn act(verb: Verb, request: HttpRequest, parts: Data<AdminParts>, body: Bytes) -> HttpResponse {
    let letters = match letters(&parts, &request, Area::Operation) {
        Ok(letters) => letters.clone(),
        Err(refused) => return *refused,
    };
    let (which, dry_run) = match order(&body) {
        Ok(order) => order,
        Err(detail) => return malformed(&detail),
    };
    let who = parts.who(&request);
    // A task of its own: the caller may hang up, and what was done is written down all the same.
    let work = tasks::task(async move {
        let result = letters.act(verb, &which, dry_run).await;
        let outcome = result.as_ref().map_or_else(ToString::to_string, |found| words(found, dry_run));
        let action = match verb {
            Verb::Requeue => "requeue dead letters",
            Verb::Drop => "drop dead letters",
        };
        let done = Done {
            selection: &which.to_string(),
            count: result.as_ref().map_or(0, |found| found.selected),
            outcome: &outcome,
            failed: !matches!(&result, Ok(Found { stopped: None, .. })),
        };
        parts.did_by(&who, action, &done);
        result
    });
    match work.await {
        Ok(Ok(found)) => fresh(StatusCode::OK).json(answer(&found, dry_run)),
        Ok(Err(error)) => fault(&error),
        Err(_) => stopping(),
    }
}

/// The dead letters, if the caller may call for them and there are any.
fn letters<'p>(
    parts: &'p AdminParts,
    request: &HttpRequest,
    area: Area,
) -> Result<&'p DeadLetters, Box<HttpResponse>> {
    if let Some(refused) = parts.refusal(request, area) {
        return Err(Box::new(refused));
    }
    let none = |detail: &&str| Box::new(problem(StatusCode::NOT_FOUND, "no_dead_letters", detail));
    parts.dead.as_ref().map_err(none)
}

fn order(body: &[u8]) -> Result<(Which, bool), String> {
    let expected = r#"JSON such as {"source": "shop", "dry_run": true}, {"ids": ["…"]} or {"all": true}"#;
    let order: Order = order::read(body, BODY_BYTES_MAX, expected)?;
    let which = match order {
        Order { source: Some(source), ids: None, all: false, .. } => Which::Source(source),
        Order { source: None, ids: Some(ids), all: false, .. } => Which::Ids(checked(ids)?),
        Order { source: None, ids: None, all: true, .. } => Which::All,
        _ => return Err("say one of \"source\", \"ids\" and \"all\": true".to_owned()),
    };
    Ok((which, order.dry_run))
}

fn checked(ids: BTreeSet<String>) -> Result<BTreeSet<String>, String> {
    if !(1..=IDS_MAX).contains(&ids.len()) {
        return Err(format!("found {} ids; allowed are 1 to {IDS_MAX}", ids.len()));
    }
    match ids.iter().find(|id| !(1..=ID_BYTES_MAX).contains(&id.len())) {
        Some(id) => Err(format!("found an id of {} bytes; allowed are 1 to {ID_BYTES_MAX}", id.len())),
        None => Ok(ids),
    }
}

fn words(found: &Found, dry_run: bool) -> String {
    let mut words: Vec<String> =
        found.outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
    words.extend(dry_run.then(|| "dry run".to_owned()));
    words.extend(found.stopped.clone());
    words.join(", ")
}

fn answer(found: &Found, dry_run: bool) -> Value {
    json!({
        "dry_run": dry_run,
        "selected": found.selected,
        "outcomes": found.outcomes,
        "more": found.more,
        "ready": found.ready,
        "stopped": found.stopped,
    })
}

fn fault(error: &DeadError) -> HttpResponse {
    let (code, seconds) = match error {
        DeadError::Busy => ("busy", 2),
        DeadError::Broker(_) | DeadError::Stopped(_) => ("unavailable", 5),
    };
    tracing::warn!(%error, "a call for the dead letters failed");
    later(code, seconds, &error.to_string())
}

fn stopping() -> HttpResponse {
    later("unavailable", 5, "the gateway is stopping")
}

fn later(code: &str, seconds: u16, detail: &str) -> HttpResponse {
    let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, code, detail);
    answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    answer
}

/// The property over any bytes: an order means what it says, in one way, or is told what is allowed.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn meant_or_told(data: &[u8]) {
    let (which, dry_run) = match order(data) {
        Ok(meant) => meant,
        Err(told) => return assert!(!told.is_empty()),
    };
    let said: Value = serde_json::from_slice(data).expect("an order is JSON");
    // An array has the same values without their names.
    if said.is_object() {
        assert_eq!(dry_run, said["dry_run"] == true);
        assert_eq!(which == Which::All, said["all"] == true, "all only where that is said");
        assert_eq!(
            matches!(&which, Which::Source(name) if said["source"] == **name),
            said["source"].is_string()
        );
        assert_eq!(matches!(&which, Which::Ids(_)), said["ids"].is_array());
    }
    if let Which::Ids(ids) = &which {
        assert!((1..=IDS_MAX).contains(&ids.len()) && !ids.contains(""));
        assert!(ids.iter().map(String::len).sum::<usize>() < data.len(), "of what stands there");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_says_which_letters_it_means_in_one_way() {
        let shop = || Which::Source("shop".to_owned());
        assert_eq!(order(br#"{"source":"shop"}"#), Ok((shop(), false)));
        assert_eq!(order(br#"{"all":true,"dry_run":true}"#), Ok((Which::All, true)));
        let ids = Which::Ids(["a".to_owned()].into());
        assert_eq!(order(br#"{"ids":["a","a"]}"#), Ok((ids, false)));
        let many = json!({ "ids": (0..=IDS_MAX).map(|n| n.to_string()).collect::<Vec<_>>() }).to_string();
        let long = json!({ "ids": ["x".repeat(ID_BYTES_MAX + 1)] }).to_string();
        for (body, told) in [
            ("{}", "say one of"),
            (r#"{"source":"shop","all":true}"#, "say one of"),
            (r#"{"source":"shop","ids":["a"]}"#, "say one of"),
            (r#"{"ids":["a"],"all":true}"#, "say one of"),
            (r#"{"ids":[]}"#, "found 0 ids"),
            (r#"{"ids":[""]}"#, "of 0 bytes"),
            (&many, "found 501 ids"),
            (&long, "of 256 bytes"),
            (r#"{"id":"a"}"#, "such as"),
            ("", "such as"),
        ] {
            assert!(order(body.as_bytes()).unwrap_err().contains(told), "{body}");
        }
        let most: Vec<String> = (0..IDS_MAX).map(|n| format!("{n:0>255}")).collect();
        assert!(order(json!({ "ids": most, "dry_run": true }).to_string().as_bytes()).is_ok(), "as many fit");
    }
}
