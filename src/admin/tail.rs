//! Events as they come in, as Server-Sent Events: `GET /v1/events/tail`. The `id` of each is its number, so that a client that
//! comes back (`Last-Event-ID`, or `after` for the first time) misses nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, RETRY_AFTER};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use serde_json::Value;
use tokio::time::sleep;

use super::events::{self, fresh, listed, malformed};
use super::guard::Area;
use super::known::Known;
use super::server::{AdminParts, problem};
use crate::event::Sequence;
use crate::operate::{Choice, Seen, Tail};

/// How often the journal is asked for more, which costs a look at a number where there is none.
const PAUSE: Duration = Duration::from_millis(100);
/// After so many pauses without an event a sign of life, by which a client that has gone is noticed, and a proxy stays.
const PAUSES_MAX: u32 = 150;
/// How soon a client comes back, in milliseconds.
const COMES_BACK: u32 = 1000;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A tail, and what allowed it.
struct Open {
    parts: Data<AdminParts>,
    /// What was in force when it was opened: after a reload it is asked anew who may.
    known: Arc<Known>,
    tail: Tail,
    begun: bool,
}

pub(super) async fn tail(request: HttpRequest, parts: Data<AdminParts>) -> HttpResponse {
    let known = parts.live.load_full();
    let operator = match events::operator(&parts, &request, Area::Look) {
        Ok(operator) => operator,
        Err(refused) => return *refused,
    };
    let (choice, after) = match asked(&request) {
        Ok(asked) => asked,
        Err(detail) => return malformed(&detail),
    };
    let tail = match choice.read(operator.now()).map(|selection| operator.tail(selection, after)) {
        Ok(Ok(tail)) => tail,
        Ok(Err(none)) => {
            let mut answer =
                problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &format!("{none}; try again"));
            answer.headers_mut().insert(RETRY_AFTER, 1.into());
            return answer;
        }
        Err(detail) => return malformed(&detail),
    };
    let open = Open { parts: parts.clone(), known, tail, begun: false };
    fresh(StatusCode::OK).content_type("text/event-stream").streaming(stream::unfold(open, next))
}

/// What is wanted, and behind which number.
fn asked(request: &HttpRequest) -> Result<(Choice, Option<Sequence>), String> {
    let (mut choice, mut after) = (Choice::default(), None);
    for (name, value) in form_urlencoded::parse(request.query_string().as_bytes()) {
        match &*name {
            "after" => after = Some(number("after", &value)?),
            name if choice.set(name, value.clone().into_owned()) => {}
            name => {
                let fields = Choice::FIELDS.join(", ");
                return Err(format!("{name:?} is not known; allowed: {fields}, after"));
            }
        }
    }
    if let Some(last) = request.headers().get(LAST_EVENT_ID) {
        after = Some(number("Last-Event-ID", last.to_str().unwrap_or_default())?);
    }
    Ok((choice, after))
}

fn number(name: &str, text: &str) -> Result<Sequence, String> {
    let wrong = |_| format!("{name} {text:?}: expected the number of an event");
    text.parse().map(Sequence).map_err(wrong)
}

/// The next piece of the stream; none at its end.
async fn next(mut open: Open) -> Option<(Result<Bytes, Infallible>, Open)> {
    if !open.begun {
        open.begun = true;
        let text = format!("retry: {COMES_BACK}\n{}", place(open.tail.told()));
        return Some((Ok(text.into()), open));
    }
    for _ in 0..PAUSES_MAX {
        let operator = open.parts.operator.as_ref()?;
        if !Arc::ptr_eq(&open.known, &open.parts.live.load()) {
            return None;
        }
        match operator.follow(&mut open.tail).await {
            Ok(seen) if seen.is_empty() => sleep(PAUSE).await,
            Ok(seen) => return Some((Ok(text(&seen).into()), open)),
            Err(error) => {
                tracing::warn!(%error, "events are followed no more; their client comes back");
                return None;
            }
        }
    }
    Some((Ok(place(open.tail.told()).into()), open))
}

/// Tells the client where it is, which is no event to it.
fn place(told: Sequence) -> String {
    format!("id: {told}\n\n")
}

fn text(seen: &[Seen]) -> String {
    let mut text = String::new();
    for one in seen {
        // JSON without line breaks, whatever the sender wrote: serde_json escapes those in strings.
        let data = Value::Object(listed(one));
        text.push_str(&format!("id: {}\nevent: event\ndata: {data}\n\n", one.found.sequence));
    }
    text
}
