//! From an answer or a refusal to a response. A 2xx takes an [`Answer`], which takes a receipt.

use std::sync::LazyLock;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;

use super::handshake;
use crate::clock::Clock;
use crate::metrics::Outcome;
use crate::pipeline::Answer;
use crate::provider::EventAnswer;
use crate::reject::{Reject, Row};
use crate::source::Source;
use crate::telemetry::trace;

/// The 2xx of a delivery that was kept, filtered, or a handshake.
pub(super) fn accepted(answer: &Answer, source: &Source) -> HttpResponse {
    let statuses = source.statuses;
    let (status, outcome, message_id) = match answer {
        Answer::Kept { accepted, message_id } => match accepted.outcome {
            Outcome::Duplicate => (statuses.duplicate, "duplicate", Some(message_id)),
            Outcome::New | Outcome::Twin | Outcome::Held => (statuses.accepted, "accepted", Some(message_id)),
        },
        Answer::Filtered => (statuses.accepted, "filtered", None),
        Answer::Handshake(answer) => return handshake::answered(answer),
    };
    let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::OK));
    if status == StatusCode::NO_CONTENT {
        return response.finish();
    }
    if let Some(demanded) = &source.verifier.scheme().answer {
        return worded(response, demanded);
    }
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    match message_id {
        Some(id) => response.body(format!(r#"{{"outcome":"{outcome}","message_id":"{id}"}}"#)),
        None => response.body(format!(r#"{{"outcome":"{outcome}"}}"#)),
    }
}

/// What the request's span tells of such an answer.
pub(super) fn traced(answer: &Answer, status: u16) -> trace::Answered<'_> {
    let (outcome, message) = match answer {
        Answer::Kept { accepted, message_id } => match accepted.outcome {
            Outcome::New => ("new", Some(&message_id.0)),
            Outcome::Twin => ("twin", Some(&message_id.0)),
            Outcome::Held => ("held", Some(&message_id.0)),
            Outcome::Duplicate => ("duplicate", Some(&message_id.0)),
        },
        Answer::Filtered => ("filtered", None),
        Answer::Handshake(_) => ("handshake", None),
    };
    trace::Answered { status, outcome, message }
}

/// The sender's own words for «accepted», the same for every event and each copy of it.
fn worded(mut response: HttpResponseBuilder, demanded: &EventAnswer) -> HttpResponse {
    for (name, value) in &demanded.headers {
        response.insert_header((name.as_str(), value.as_str()));
    }
    if demanded.body.is_empty() { response.finish() } else { response.body(demanded.body.clone()) }
}

/// What every refusal has. The HTTP library writes headers in an order that is random for each map, and the same for its
/// clones: so one refusal is answered as another.
static PROBLEM: LazyLock<HeaderMap> = LazyLock::new(|| {
    let headers = [(CONTENT_TYPE, "application/problem+json"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
});

/// The problem document of a refusal (RFC 9457): its public code, the id of the line in the log that tells more, and
/// nothing about the secret.
pub(super) fn refused(reject: Reject, source: Option<&Source>, id: &str) -> HttpResponse {
    let row = reject.row();
    let status = StatusCode::from_u16(row.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut response = HttpResponse::new(status).set_body(BoxBody::new(problem(reject, id)));
    let headers = response.headers_mut();
    headers.clone_from(&PROBLEM);
    if let Some(seconds) = row.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let (Reject::MethodNotAllowed, Some(source)) = (reject, source)
        && let Ok(allowed) = source.verifier.scheme().allowed_methods().join(", ").parse()
    {
        headers.insert(ALLOW, allowed);
    }
    response
}

fn problem(reject: Reject, id: &str) -> String {
    let Row { status, code, .. } = reject.row();
    let title = title(status);
    let mut document =
        format!(r#"{{"type":"about:blank","title":"{title}","status":{status},"code":"{code}""#);
    // One unknown path is answered as another, to the byte.
    if reject != Reject::UnknownPath {
        document.extend([r#","request_id":""#, id, "\""]);
    }
    document + "}"
}

fn title(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Refused")
}

/// The same on the wire, for what never became a request: the last answer of its connection.
pub(super) fn raw(reject: Reject, id: &str, clock: &dyn Clock) -> Bytes {
    let (status, body) = (reject.row().status, problem(reject, id));
    let (title, length, date) = (title(status), body.len(), clock.now().to_http_date());
    let head = format!(
        "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\nx-content-type-options: nosniff\r\n\
         content-length: {length}\r\nconnection: close\r\ndate: {date}\r\n\r\n"
    );
    Bytes::from(head + &body)
}
