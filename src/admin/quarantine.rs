//! The quarantine over HTTP, for operators: `GET /v1/quarantine`, `/v1/quarantine/{id}` and its `/body`,
//! `POST /v1/quarantine/requeue` and `/drop`. Strangers wrote all of it: nothing here is handed over without a proof.

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::events::{fresh, malformed};
use super::guard::Area;
use super::history::{fault, history, limit_of, no_cursor, pairs, unknown};
use super::order;
use super::server::{AdminParts, Done, problem};
use crate::history::{HistoryError, Kept};
use crate::quarantine::{self, Judged};
use crate::tasks;

/// Requests in one answer, where the caller says nothing.
const LIMIT: usize = 100;
/// Longest body of an order.
const BODY_BYTES_MAX: usize = 16 << 10;

/// The body of an order.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    source: Option<String>,
    /// Says that every source is meant.
    #[serde(default)]
    all: bool,
    #[serde(default)]
    dry_run: bool,
    after: Option<String>,
}

pub(super) async fn list(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    let history = match history(&parts, &request, Area::Look) {
        Ok(history) => history,
        Err(refused) => return *refused,
    };
    let (mut source, mut after, mut limit) = (None, 0, LIMIT);
    for (name, value) in pairs(&request) {
        let read = match &*name {
            "source" => {
                source = Some(value);
                Ok(())
            }
            "after" => value.parse().map(|found| after = found).map_err(|_| no_cursor()),
            "limit" => limit_of(&value).map(|found| limit = found),
            name => Err(unknown(name, &["source", "after", "limit"])),
        };
        if let Err(detail) = read {
            return malformed(&detail);
        }
    }
    match history.quarantined(source, after, (limit, 0)).await {
        Ok(page) => {
            let kept: Vec<Value> = page.kept.iter().map(Kept::to_json).collect();
            let next = page.next.map(|next| next.to_string());
            fresh(StatusCode::OK).json(json!({ "requests": kept, "next": next }))
        }
        Err(error) => fault(&error),
    }
}

pub(super) async fn show(request: HttpRequest, parts: Data<AdminParts>, id: Path<String>) -> HttpResponse {
    let kept = match one(&request, &parts, &id).await {
        Ok(kept) => kept,
        Err(refused) => return *refused,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<[String; 2]> =
        kept.delivery.headers.iter().map(|(name, value)| [text(name), text(value)]).collect();
    let mut shown = kept.to_json();
    shown["headers"] = json!(headers);
    fresh(StatusCode::OK).json(shown)
}

pub(super) async fn body(request: HttpRequest, parts: Data<AdminParts>, id: Path<String>) -> HttpResponse {
    match one(&request, &parts, &id).await {
        Ok(kept) => fresh(StatusCode::OK)
            .content_type("application/octet-stream")
            .insert_header((
                CONTENT_DISPOSITION,
                format!("attachment; filename=\"quarantined-{}.bin\"", kept.id),
            ))
            .body(kept.delivery.body),
        Err(refused) => *refused,
    }
}

pub(super) async fn requeue(request: HttpRequest, parts: Data<AdminParts>, body: Bytes) -> HttpResponse {
    if let Err(refused) = history(&parts, &request, Area::Operation) {
        return *refused;
    }
    let (order, after) = match order(&body) {
        Ok(order) => order,
        Err(detail) => return malformed(&detail),
    };
    let Some(quarantine) = parts.quarantine.clone() else { return none_kept() };
    let (who, dry_run) = (parts.who(&request), order.dry_run);
    // A task of its own: the caller may hang up, and what was handed over is written down all the same.
    let work = tasks::task(async move {
        let selection = order.source.clone().unwrap_or_else(|| "all".to_owned());
        let sources = parts.live.load_full();
        let wanted = quarantine::Order { source: order.source, after, dry_run };
        let result = quarantine.requeue(&sources.sources, wanted).await;
        let outcome = result.as_ref().map_or_else(ToString::to_string, |judged| words(judged, dry_run));
        let done = Done {
            selection: &selection,
            count: result.as_ref().map_or(0, |judged| judged.selected),
            outcome: &outcome,
            failed: !matches!(&result, Ok(Judged { stopped: None, .. })),
        };
        parts.did_by(&who, "requeue quarantined requests", &done);
        result
    });
    match work.await {
        Ok(Ok(judged)) => fresh(StatusCode::OK).json(answer(&judged, dry_run)),
        Ok(Err(error)) => fault(&error),
        Err(_) => fault(&HistoryError::Stopping),
    }
}

fn words(judged: &Judged, dry_run: bool) -> String {
    let mut words: Vec<String> =
        judged.outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
    words.extend(dry_run.then(|| "dry run".to_owned()));
    words.extend(judged.stopped.clone());
    words.join(", ")
}

pub(super) async fn drop(request: HttpRequest, parts: Data<AdminParts>, body: Bytes) -> HttpResponse {
    let history = match history(&parts, &request, Area::Operation) {
        Ok(history) => history,
        Err(refused) => return *refused,
    };
    let order = match order(&body) {
        Ok((order, 0)) if !order.dry_run => order,
        Ok(_) => return malformed("dropping takes `source` or `all` alone"),
        Err(detail) => return malformed(&detail),
    };
    let result = history.empty_quarantine(order.source.clone()).await;
    let outcome = result.as_ref().map_or_else(ToString::to_string, |count| format!("dropped {count}"));
    let done = Done {
        selection: order.source.as_deref().unwrap_or("all"),
        count: *result.as_ref().unwrap_or(&0),
        outcome: &outcome,
        failed: result.is_err(),
    };
    parts.did(&request, "drop quarantined requests", &done);
    match result {
        Ok(count) => fresh(StatusCode::OK).json(json!({ "dropped": count })),
        Err(error) => fault(&error),
    }
}

async fn one(request: &HttpRequest, parts: &AdminParts, id: &str) -> Result<Kept, Box<HttpResponse>> {
    // The headers may hold a true secret.
    let history = history(parts, request, Area::Operation)?;
    let Ok(id) = id.parse::<i64>() else {
        return Err(Box::new(malformed("expected the number of a request, such as /v1/quarantine/17")));
    };
    match history.quarantined_one(id).await {
        Ok(Some(kept)) => Ok(kept),
        Ok(None) => {
            let detail = "the quarantine has no request of that number";
            Err(Box::new(problem(StatusCode::NOT_FOUND, "gone", detail)))
        }
        Err(error) => Err(Box::new(fault(&error))),
    }
}

fn order(body: &[u8]) -> Result<(Order, i64), String> {
    let expected = r#"JSON such as {"source": "shop", "dry_run": true}, or {"all": true}"#;
    let order: Order = order::read(body, BODY_BYTES_MAX, expected)?;
    if order.source.is_some() == order.all {
        return Err("say either \"source\" or \"all\": true".to_owned());
    }
    let after = order.after.as_deref().unwrap_or("0").parse().map_err(|_| no_cursor())?;
    Ok((order, after))
}

fn answer(judged: &Judged, dry_run: bool) -> Value {
    let outcomes: Map<String, Value> =
        judged.outcomes.iter().map(|(outcome, count)| ((*outcome).to_owned(), (*count).into())).collect();
    json!({
        "dry_run": dry_run,
        "selected": judged.selected,
        "outcomes": outcomes,
        "next": judged.next.map(|next| next.to_string()),
        "stopped": judged.stopped,
    })
}

fn none_kept() -> HttpResponse {
    problem(StatusCode::NOT_FOUND, "no_history", "this gateway keeps no history, and no quarantine in it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_means_a_source_or_says_that_it_means_all() {
        assert_eq!(order(br#"{"source":"shop","after":"7"}"#).unwrap().1, 7);
        assert!(order(br#"{"all":true,"dry_run":true}"#).unwrap().0.dry_run);
        for (body, told) in [
            (&b"{}"[..], "either"),
            (br#"{"source":"shop","all":true}"#, "either"),
            (br#"{"sorce":"shop"}"#, "such as"),
            (br#"{"all":true,"after":"x"}"#, "the `next`"),
            (b"", "such as"),
        ] {
            assert!(order(body).unwrap_err().contains(told), "{body:?}");
        }
    }
}
