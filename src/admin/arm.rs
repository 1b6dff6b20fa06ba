//! Arming over HTTP, for operators: `POST /v1/sources/{name}/arm` lets the next handshake bring the source's secret.

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::guard::Area;
use super::order;
use super::server::{AdminParts, Done, problem};
use crate::capture::{WINDOW_DEFAULT, WINDOW_MAX};
use crate::units::Span;

/// Longest body of a call.
const BODY_BYTES_MAX: usize = 1024;

/// The body of a call; there may be none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[serde(rename = "for")]
    window: Option<Span>,
}

pub(super) async fn arm(
    request: HttpRequest,
    parts: Data<AdminParts>,
    name: Path<String>,
    body: Bytes,
) -> HttpResponse {
    if let Some(refused) = parts.refusal(&request, Area::Operation) {
        return refused;
    }
    let (known, clock) = (parts.live.load_full(), &parts.health.clock);
    let captures = &known.captures;
    let Some((name, capture)) = captures.get_key_value(name.as_str()) else {
        let known: Vec<&str> = captures.keys().map(String::as_str).collect();
        let detail = format!(
            "no source of this name has a secret {{ captured = \"FILE\" }}; those that have one: {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
        return problem(StatusCode::NOT_FOUND, "not_found", &detail);
    };
    let window = match window(&body) {
        Ok(window) => window,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, "malformed", &detail),
    };
    let fresh = capture.is_empty();
    capture.arm(window.duration(), &**clock);
    let outcome = format!("armed for {window}");
    let done = Done { selection: name, count: 1, outcome: &outcome, failed: false };
    parts.did(&request, "arm", &done);
    let until = clock.now().plus(window.duration()).to_string();
    HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(
        json!({ "source": name, "armed_for": window.to_string(), "armed_until": until, "first": fresh }),
    )
}

fn window(body: &[u8]) -> Result<Span, String> {
    let expected = r#"nothing, or JSON such as {"for": "10m"}, more than 0 and at most 1 day"#;
    let order: Order = order::read_or_default(body, BODY_BYTES_MAX, expected)?;
    let default =
        Span::from_millis(u64::try_from(WINDOW_DEFAULT.as_millis()).unwrap_or(0)).unwrap_or(Span::MAX);
    let window = order.window.unwrap_or(default);
    if window.is_zero() || window.duration() > WINDOW_MAX {
        return Err(format!("a window of {window}; expected {expected}"));
    }
    Ok(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_ten_minutes_unless_somebody_says_and_never_longer_than_a_day() {
        assert_eq!(window(b"").map(Span::duration), Ok(WINDOW_DEFAULT));
        assert_eq!(window(b"{}").map(Span::duration), Ok(WINDOW_DEFAULT));
        assert_eq!(window(br#"{"for":"90s"}"#).map(|span| span.duration().as_secs()), Ok(90));
        assert_eq!(window(br#"{"for":"1d"}"#).map(Span::duration), Ok(WINDOW_MAX));
        for bad in [&br#"{"for":"0s"}"#[..], br#"{"for":"25h"}"#, br#"{"for":10}"#, br#"{"fr":"1m"}"#, b"x"] {
            assert!(window(bad).unwrap_err().contains("such as"), "{bad:?}");
        }
    }
}
