//! `hookgate vectors`: runs vector files through the code that `serve` runs, with each vector's own clock.
//!
//! So anybody can prove a provider file of their own. The format is described in `tests/vectors/README.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use crate::clock::Timestamp;
use crate::dedup::key::EventKey;
use crate::delivery::{Delivery, Headers};
use crate::freshness::{self, Tolerance};
use crate::provider::{Catalog, HandshakeAnswer, Scheme};
use crate::reject::{Refused, Reject};
use crate::verify::{Key, Verifier};

/// A request and the verdict that it must get. Keys that only people read are not listed.
#[derive(Debug, Deserialize)]
struct Vector {
    id: String,
    provider: String,
    scheme: String,
    expect: Expect,
    now: i64,
    secrets: Vec<VectorSecret>,
    #[serde(default)]
    config: BTreeMap<String, serde_json::Value>,
    request: Request,
    event_id: Option<String>,
    event_type: Option<String>,
    response: Option<Response>,
    #[serde(default)]
    policy_sensitive: bool,
    #[serde(default)]
    divergent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Accept,
    Reject,
    Handshake,
}

#[derive(Debug, Deserialize)]
struct VectorSecret {
    value: String,
}

#[derive(Debug, Deserialize)]
struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
    body_base64: Option<String>,
}

/// What a handshake is answered with.
#[derive(Debug, Deserialize)]
struct Response {
    status: Status,
    headers: Vec<(String, String)>,
    body: Option<String>,
    #[serde(default)]
    forbid_headers: Vec<String>,
}

/// A status, or a class of them such as `2xx`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Status {
    One(u16),
    Class(String),
}

/// What a request turned out to be.
enum Found {
    Event(EventKey),
    Handshake(HandshakeAnswer),
}

/// How many vectors held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// As expected.
    pub passed: usize,
    /// Not as expected.
    pub failed: usize,
    /// Not as expected, where no rule of the provider decides or its SDKs disagree.
    pub differ: usize,
}

impl Tally {
    /// The closing line.
    pub fn line(self) -> String {
        let differ = if self.differ > 0 { format!(", {} differ", self.differ) } else { String::new() };
        format!("{} passed, {} failed{differ}", self.passed, self.failed)
    }
}

/// Runs all vectors in `paths` (files, or folders of `*.json`); each that does not hold goes to `tell`.
///
/// # Errors
/// Where a file cannot be read or is no vector file.
pub fn run(catalog: &Catalog, paths: &[PathBuf], tell: &mut dyn FnMut(String)) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    for path in files(paths)? {
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        let vectors: Vec<Vector> = serde_json::from_slice(&text)
            .with_context(|| format!("{}: not a vector file (a JSON array of vectors)", path.display()))?;
        for vector in vectors {
            match vector.judge(catalog) {
                Ok(()) => tally.passed += 1,
                Err(found) if vector.policy_sensitive || vector.divergent => {
                    tally.differ += 1;
                    tell(format!("differ {}: {found}", vector.id));
                }
                Err(found) => {
                    tally.failed += 1;
                    tell(format!("FAILED {}: {found}", vector.id));
                }
            }
        }
    }
    Ok(tally)
}

fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
            let listing = fs::read_dir(path).with_context(|| path.display().to_string())?;
            let mut inside: Vec<PathBuf> =
                listing.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(json).collect();
            inside.sort();
            anyhow::ensure!(!inside.is_empty(), "{}: no *.json in this folder", path.display());
            files.extend(inside);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

impl Vector {
    /// # Errors
    /// What was found instead of what the vector expects.
    fn judge(&self, catalog: &Catalog) -> Result<(), String> {
        let verifier = self.verifier(catalog)?;
        let now = Timestamp::from_seconds(self.now);
        let delivery = self.request.delivery(now)?;
        match (self.expect, self.receive(&verifier, delivery, now)) {
            (Expect::Accept, Ok(Found::Event(key))) => self.compare(&key),
            (Expect::Handshake, Ok(Found::Handshake(answer))) => match &self.response {
                Some(response) => response.compare(&answer),
                None => Err("a handshake without a response to compare with".to_owned()),
            },
            (Expect::Reject, Err(_)) => Ok(()),
            (Expect::Handshake, Err(refused)) if self.answered_with(refused.reject.row().status) => Ok(()),
            (expected, Err(refused)) => {
                let reason = refused.reject.row().reason;
                Err(format!("expected {expected}, found {reason} ({})", refused.detail))
            }
            (expected, Ok(Found::Event(_))) => Err(format!("expected {expected}, found accept")),
            (expected, Ok(Found::Handshake(answer))) => {
                Err(format!("expected {expected}, found the handshake {}", answer.name))
            }
        }
    }

    /// Whether the vector wants this status: some challenges are to be refused.
    fn answered_with(&self, status: u16) -> bool {
        self.response.as_ref().is_some_and(|response| response.status.is(status))
    }

    fn verifier(&self, catalog: &Catalog) -> Result<Verifier, String> {
        let definition = catalog
            .get(&self.provider)
            .ok_or_else(|| format!("there is no provider file for {:?}", self.provider))?;
        let text =
            |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let settings = self.config.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        let scheme = Scheme::build(definition, Some(&self.scheme), &settings)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let key = |(index, secret): (usize, &VectorSecret)| {
            Key::new(&scheme, &format!("secret-{}", index + 1), secret.value.as_bytes())
        };
        let keys: Result<Vec<Key>, _> = self.secrets.iter().enumerate().map(key).collect();
        let keys = keys.map_err(|error| error.to_string())?;
        Ok(Verifier::new(Arc::new(scheme), keys))
    }

    fn receive(&self, verifier: &Verifier, delivery: Delivery, now: Timestamp) -> Result<Found, Refused> {
        let scheme = verifier.scheme();
        if !scheme.takes(&delivery.method) {
            return Err(Reject::MethodNotAllowed.into());
        }
        if let Some(answer) = scheme.handshakes.unverified(&delivery)? {
            return Ok(Found::Handshake(answer));
        }
        let verified = verifier.verify(delivery, now)?;
        if let (Some(signed_at), Some(rule)) = (verified.signed_at(), &verified.scheme().timestamp) {
            freshness::judge(signed_at, now, Tolerance { past: rule.past, future: rule.future })?;
        }
        if let Some(answer) = scheme.handshakes.verified(&verified)? {
            return Ok(Found::Handshake(answer));
        }
        if !scheme.sends(&verified.delivery().method) {
            return Err(Reject::MethodNotAllowed.into());
        }
        Ok(Found::Event(EventKey::derive("vector", &verified)))
    }

    fn compare(&self, key: &EventKey) -> Result<(), String> {
        let pairs = [
            ("event_id", &self.event_id, key.event_id()),
            ("event_type", &self.event_type, key.event_type()),
        ];
        for (name, expected, found) in pairs {
            if let Some(expected) = expected
                && expected != found
            {
                return Err(format!("expected {name} {expected:?}, found {found:?}"));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Handshake => "a handshake",
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(status) => write!(f, "{status}"),
            Self::Class(class) => f.write_str(class),
        }
    }
}

impl Status {
    fn is(&self, found: u16) -> bool {
        match self {
            Self::One(status) => *status == found,
            Self::Class(class) => *class == format!("{}xx", found / 100),
        }
    }
}

impl Response {
    /// # Errors
    /// What differs in the answer that was found.
    fn compare(&self, found: &HandshakeAnswer) -> Result<(), String> {
        if !self.status.is(found.status) {
            return Err(format!("expected status {}, found {}", self.status, found.status));
        }
        let header = |name: &str| {
            let named = found.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            named.map(|(_, value)| value.as_str())
        };
        for (name, value) in &self.headers {
            if header(name) != Some(value) {
                return Err(format!("expected {name}: {value}, found {:?}", header(name)));
            }
        }
        if let Some(name) = self.forbid_headers.iter().find(|name| header(name).is_some()) {
            return Err(format!("found the header {name}"));
        }
        match &self.body {
            Some(body) if *body != found.body && !same_json(body, &found.body) => {
                Err(format!("expected the body {body:?}, found {:?}", found.body))
            }
            _ => Ok(()),
        }
    }
}

/// Whether both are JSON of one meaning: the order of an object's keys has none.
fn same_json(one: &str, other: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    parse(one).is_some_and(|one| parse(other) == Some(one))
}

impl Request {
    /// # Errors
    /// Where `body_base64` is not base64.
    fn delivery(&self, now: Timestamp) -> Result<Delivery, String> {
        let mut headers = Headers::default();
        for (name, value) in &self.headers {
            headers.push(name, value.as_bytes());
        }
        let body = match (&self.body, &self.body_base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(encoded)) => {
                STANDARD.decode(encoded).map_err(|error| format!("body_base64: {error}"))?
            }
            (None, None) => Vec::new(),
        };
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let target = rest.find('/').and_then(|start| rest.get(start..)).unwrap_or("/").to_owned();
        let received_at = now;
        let method = self.method.clone();
        Ok(Delivery { method, target, headers, body: Bytes::from(body), received_at })
    }
}
