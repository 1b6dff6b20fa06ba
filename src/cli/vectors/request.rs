//! The request of a vector, and the delivery that it is at the gateway. Never judges it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use super::lax;
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};

/// A request.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// Its method.
    method: String,
    /// The whole URL that is called.
    pub url: String,
    /// Pairs of name and value in order, repeats kept.
    #[serde(default, deserialize_with = "lax::or_default")]
    #[cfg_attr(test, schemars(with = "Option<Vec<(String, String)>>"))]
    headers: Vec<(String, String)>,
    /// The body, where it is text.
    body: Option<String>,
    /// The body in base64, where it is none.
    body_base64: Option<String>,
}

/// A URL's scheme and authority, and the rest of it.
pub(super) fn split(url: &str) -> (&str, &str) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(start..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(url.len(), |at| start + at);
    url.split_at(end)
}

impl Request {
    /// Path and query, as a client sends them: without a fragment, and never without a path.
    pub(super) fn target(&self) -> Cow<'_, str> {
        let target = split(&self.url).1;
        let target = target.split_once('#').map_or(target, |(target, _)| target);
        if target.starts_with('/') { target.into() } else { format!("/{target}").into() }
    }

    /// # Errors
    /// Where `body_base64` is not base64.
    pub(super) fn delivery(&self, now: Timestamp) -> Result<Delivery, String> {
        let mut headers = Headers::default();
        for (name, value) in &self.headers {
            // Blanks around a value are HTTP's, not the value's.
            headers.push(name, value.trim_matches([' ', '\t']).as_bytes());
        }
        let body = match (&self.body, &self.body_base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(encoded)) => {
                STANDARD.decode(encoded).map_err(|error| format!("body_base64: {error}"))?
            }
            (None, None) => Vec::new(),
        };
        let target = self.target().into_owned();
        let received_at = now;
        let method = self.method.clone();
        Ok(Delivery { method, target, headers, body: Bytes::from(body), received_at })
    }
}
