//! Samples over HTTP, for operators: `POST /v1/sources/{name}/sample` signs one with the source's own secret, takes it through the source's own
//! stages, and tells what became of it.

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::events::{fresh, malformed};
use super::guard::Area;
use super::openapi::{Problem, Refused};
use super::order;
use super::server::{AdminParts, Done, problem};
use super::sources::unknown;
use crate::sample::{Break, NoTrial, Trial, Verdict};
use crate::source::Source;
use crate::tasks;

/// Longest body of a call.
const BODY_BYTES_MAX: usize = 4096;

/// What to send; there may be no body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SampleOrder {
    /// The event's type, one of the source's `samples`. Default: the first of them.
    event: Option<String>,
    /// What is wrong with it on purpose.
    #[serde(default, rename = "break")]
    broken: Broken,
}

/// How a sample is broken: not, a byte of the body changed after signing, a character of the signature changed, or signed long ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Broken {
    #[default]
    None,
    Body,
    Signature,
    Time,
}

/// What became of a sample.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SampleOutcome {
    source: String,
    /// Its type.
    event: String,
    /// The provider's id of it, fresh each time.
    event_id: String,
    /// Label of the secret that signed it.
    secret: Option<String>,
    /// Length of its body.
    bytes: usize,
    #[serde(rename = "break")]
    broken: Broken,
    /// `accepted`, `held`, `duplicate`, `filtered`, `handshake` or `refused`.
    outcome: &'static str,
    /// The status that its sender would have been answered.
    status: u16,
    /// Of an event that was kept: the workers' idempotency key.
    message_id: Option<String>,
    /// And its number, where there is a journal.
    sequence: Option<u64>,
    /// Of a refusal: the code that a sender would have read.
    code: Option<&'static str>,
    /// Its reason, as metrics and log call it.
    reason: Option<&'static str>,
    /// More of why.
    detail: Option<String>,
    /// The id that log and history have it under.
    request: Option<String>,
}

/// Signs a sample event with the newest of the source's secrets and takes it through the source's own stages, past the listener: workers get what is accepted.
#[utoipa::path(post, path = "/v1/sources/{name}/sample", tag = "configuration",
    params(("name" = String, Path, description = "The source.")),
    request_body = Option<SampleOrder>,
    responses(
        (status = 200, description = "It was taken through the stages, whatever they said of it.", body = SampleOutcome),
        (status = 409, description = "Nothing of the kind can be signed here: only the sender has the key, no secret is in force, there is no sample, or it cannot be broken like this.",
            body = Problem, content_type = "application/problem+json"),
        Refused
    ))]
pub(super) async fn sample(
    request: HttpRequest,
    parts: Data<AdminParts>,
    name: Path<String>,
    body: Bytes,
) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Operation) {
        return refused;
    }
    let known = parts.live.load_full();
    let (Some(source), Some(hand)) = (known.sources.get(name.as_str()), known.hands.get(name.as_str()))
    else {
        return unknown(&known);
    };
    let order = match order(&body) {
        Ok(order) => order,
        Err(detail) => return malformed(&detail),
    };
    let (source, hand, who) = (source.clone(), hand.clone(), parts.who(&request));
    // A task of its own: the caller may hang up, and what was kept is written down all the same.
    let work = tasks::task(async move {
        let SampleOrder { event, broken } = order;
        let trial = parts.trials.take((&*source, &*hand), event, broken.into(), who.address).await?;
        let outcome = shown(trial, &source, broken);
        let told = format!("{} {}: {}", outcome.event, outcome.event_id, words(&outcome));
        let failed = outcome.outcome == "refused" && broken == Broken::None;
        parts.did_by(
            &who,
            "send a sample",
            &Done { selection: &source.name, count: 1, outcome: &told, failed },
        );
        Ok::<_, NoTrial>(outcome)
    });
    match work.await {
        Ok(Ok(outcome)) => fresh(StatusCode::OK).json(outcome),
        Ok(Err(none)) => no_trial(none),
        Err(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the gateway is stopping"),
    }
}

impl From<Broken> for Option<Break> {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::None => None,
            Broken::Body => Some(Break::Body),
            Broken::Signature => Some(Break::Signature),
            Broken::Time => Some(Break::Time),
        }
    }
}

fn order(body: &[u8]) -> Result<SampleOrder, String> {
    let expected = r#"nothing, or JSON such as {"event": "invoice.paid", "break": "none"}, where break is none, body, signature or time"#;
    order::read_or_default(body, BODY_BYTES_MAX, expected)
}

fn shown(trial: Trial, source: &Source, broken: Broken) -> SampleOutcome {
    let Trial { event, event_id, secret, bytes, verdict } = trial;
    let mut outcome = SampleOutcome {
        source: source.name.to_string(),
        event,
        event_id,
        secret,
        bytes,
        broken,
        outcome: "refused",
        status: source.statuses.accepted,
        message_id: None,
        sequence: None,
        code: None,
        reason: None,
        detail: None,
        request: None,
    };
    match verdict {
        Verdict::Kept { outcome: kept, message_id, sequence } => {
            if kept == "duplicate" {
                outcome.status = source.statuses.duplicate;
            }
            outcome.outcome = kept;
            outcome.message_id = Some(message_id.to_string());
            outcome.sequence = sequence.map(|sequence| sequence.0);
        }
        Verdict::Filtered => outcome.outcome = "filtered",
        Verdict::Handshake => outcome.outcome = "handshake",
        Verdict::Refused { row, detail, request } => {
            outcome.status = row.status;
            outcome.code = Some(row.code);
            outcome.reason = Some(row.reason);
            outcome.detail = Some(detail).filter(|detail| !detail.is_empty());
            outcome.request = Some(request);
        }
    }
    outcome
}

fn words(outcome: &SampleOutcome) -> String {
    match outcome.reason {
        Some(reason) => format!("{} ({reason})", outcome.outcome),
        None => outcome.outcome.to_owned(),
    }
}

fn no_trial(none: NoTrial) -> HttpResponse {
    let (code, detail) = match none {
        NoTrial::Unsignable(detail) => ("not_signable", detail),
        NoTrial::NoSecret(detail) => ("no_secret", detail),
        NoTrial::NoSample(detail) => ("no_sample", detail),
        NoTrial::Unfit(detail) => ("unfit", detail),
        NoTrial::System(detail) => {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &detail);
        }
    };
    problem(StatusCode::CONFLICT, code, &detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_may_be_left_out_and_is_told_what_is_allowed() {
        assert_eq!(order(b"").unwrap().broken, Broken::None);
        let found = order(br#"{"event":"invoice.paid","break":"time"}"#).unwrap();
        assert_eq!((found.event.as_deref(), found.broken), (Some("invoice.paid"), Broken::Time));
        let long = format!("{{\"event\":\"{}\"}}", "x".repeat(BODY_BYTES_MAX));
        for bad in [&b"x"[..], br#"{"brake":"time"}"#, br#"{"break":"clock"}"#, long.as_bytes()] {
            assert!(order(bad).unwrap_err().contains("where break is none"), "{bad:?}");
        }
    }
}
