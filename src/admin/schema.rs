//! A payload on trial over HTTP: `POST /v1/sources/{name}/schema/check?type=…` tells all that the source's schema finds wrong with the body.
//! Nothing of it is kept, logged or handed over.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::{Bytes, Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::events::{fresh, malformed};
use super::guard::Area;
use super::history::{pairs, unknown as unknown_field};
use super::openapi::{Problem, Refused};
use super::server::{AdminParts, problem};
use super::sources::unknown;
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::schema::{Checked, Schemas, Violation};
use crate::source::{OnInvalid, Source};
use crate::tasks;

/// Bodies that are held at once, and how long another waits for its turn; a tree of one takes many times its length.
static TURNS: Semaphore = Semaphore::const_new(2);
const PATIENCE: Duration = Duration::from_secs(3);

/// What the source's schema says of a payload.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SchemaVerdict {
    source: String,
    /// The event type that it was judged as; empty where none was named and the body has none.
    r#type: String,
    /// Whether the type was read from the body.
    derived: bool,
    /// `valid`, `invalid`, or `unchecked` where there is no schema.
    verdict: &'static str,
    /// The type whose schema judged; `_envelope` is that of all types without one of their own.
    schema: Option<String>,
    /// What that means, in a sentence.
    text: String,
    /// What is wrong, at most 50.
    violations: Vec<ViolationShown>,
    /// Whether there is more that is wrong.
    more: bool,
}

/// Something that is wrong.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ViolationShown {
    /// Where in the payload, as a JSON pointer; empty for the whole of it.
    #[schema(examples("/data/object/amount"))]
    pointer: String,
    message: String,
    /// Which rule of the schema says so.
    rule: String,
}

/// Judges a payload by the source's schema, with all that is wrong with it. Nothing is kept, and nothing is handed over.
#[utoipa::path(post, path = "/v1/sources/{name}/schema/check", tag = "configuration",
    params(
        ("name" = String, Path, description = "The source."),
        ("type" = Option<String>, Query, description = "The event type. Default: what the body says, where its provider has the type there.")
    ),
    request_body(content = Option<serde_json::Value>, description = "The payload, in any bytes; as long as the source's deliveries may be.", content_type = "application/json"),
    responses(
        (status = 200, body = SchemaVerdict),
        (status = 413, description = "The body is longer than the source takes.", body = Problem, content_type = "application/problem+json"),
        Refused
    ))]
pub(super) async fn check(
    request: HttpRequest,
    parts: Data<AdminParts>,
    name: Path<String>,
    payload: Payload,
) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Look) {
        return refused;
    }
    let mut named = None;
    for (field, value) in pairs(&request) {
        match &*field {
            "type" => named = Some(value).filter(|value| !value.is_empty()),
            field => return malformed(&unknown_field(field, &["type"])),
        }
    }
    let known = parts.live.load_full();
    let Some(source) = known.sources.get(name.as_str()).map(Arc::clone) else { return unknown(&known) };
    let now = parts.health.clock.now();
    let (body, turn) = match arrived(payload, source.body_bytes_max).await {
        Ok(arrived) => arrived,
        Err(refused) => return *refused,
    };
    let judge = move || {
        let verdict = judged(&source, named, body, now);
        drop(turn);
        verdict
    };
    match tasks::blocking(judge).await {
        Ok(verdict) => fresh(StatusCode::OK).json(verdict),
        Err(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the gateway is stopping"),
    }
}

/// The body, and the turn that it has.
async fn arrived(
    payload: Payload,
    bytes_max: usize,
) -> Result<(Bytes, SemaphorePermit<'static>), Box<HttpResponse>> {
    let Ok(Ok(turn)) = timeout(PATIENCE, TURNS.acquire()).await else {
        let detail = "other payloads are being judged; try again in some seconds";
        let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, "busy", detail);
        answer.headers_mut().insert(RETRY_AFTER, 3.into());
        return Err(Box::new(answer));
    };
    match payload.to_bytes_limited(bytes_max).await {
        Ok(Ok(body)) => Ok((body, turn)),
        Ok(Err(error)) => Err(Box::new(malformed(&format!("the body: {error}")))),
        Err(_) => {
            let detail = format!("the body has more than the {bytes_max} bytes that the source takes");
            Err(Box::new(problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &detail)))
        }
    }
}

fn judged(source: &Source, named: Option<String>, body: Bytes, now: Timestamp) -> SchemaVerdict {
    let derived = named.is_none();
    let event_type = named.unwrap_or_else(|| type_of(source, &body, now));
    let checked = source.schemas.as_ref().and_then(|schemas| schemas.check(&event_type, &body));
    let text = text(source, &event_type, checked.as_ref());
    let verdict = match &checked {
        None => "unchecked",
        Some(checked) if checked.violations.is_empty() => "valid",
        Some(_) => "invalid",
    };
    let violation =
        |Violation { pointer, message, rule }: Violation| ViolationShown { pointer, message, rule };
    let (schema, violations, more) = match checked {
        Some(Checked { schema, violations, more }) => (Some(schema), violations, more),
        None => (None, Vec::new(), false),
    };
    SchemaVerdict {
        source: source.name.to_string(),
        r#type: event_type,
        derived,
        verdict,
        schema,
        text,
        violations: violations.into_iter().map(violation).collect(),
        more,
    }
}

/// The event type, where the provider has it in the body.
fn type_of(source: &Source, body: &Bytes, now: Timestamp) -> String {
    let mut headers = Headers::default();
    headers.push("content-type", b"application/json");
    let (method, target) = ("POST".to_owned(), source.path.clone());
    let delivery = Delivery { method, target, headers, body: body.clone(), received_at: now };
    source.verifier.scheme().event.read(&delivery, None).event_type.into_owned()
}

fn text(source: &Source, event_type: &str, checked: Option<&Checked>) -> String {
    match (checked, &source.schemas) {
        (Some(checked), _) if checked.violations.is_empty() => "valid by its schema".to_owned(),
        (Some(_), _) => match source.on_invalid {
            OnInvalid::Route => "not valid; such an event is accepted, and handed over with why (on_invalid = \"route\")".to_owned(),
            OnInvalid::Refuse => "not valid; such an event is refused with 422 (on_invalid = \"reject\")".to_owned(),
        },
        (None, None) => "not checked: there are no schemas of this provider, or the source has schema = false; schemas.dir takes your own".to_owned(),
        (None, Some(schemas)) => untyped(schemas, event_type),
    }
}

fn untyped(schemas: &Schemas, event_type: &str) -> String {
    let types = schemas.types().join(", ");
    match event_type {
        "" => format!(
            "not checked: the body does not say its event type; name it; there are schemas of {types}"
        ),
        event_type => {
            format!("not checked: there is no schema of {event_type:?}; there are schemas of {types}")
        }
    }
}
