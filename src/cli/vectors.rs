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
use serde_json::json;

use crate::clock::Timestamp;
use crate::dedup::key::EventKey;
use crate::delivery::{Delivery, Headers};
use crate::freshness::{self, Tolerance};
use crate::provider::{Catalog, Scheme};
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
    /// As data.
    pub fn to_json(self) -> serde_json::Value {
        json!({ "passed": self.passed, "failed": self.failed, "differ": self.differ })
    }

    /// The closing line.
    pub fn line(self) -> String {
        let differ = if self.differ > 0 { format!(", {} differ", self.differ) } else { String::new() };
        format!("{} passed, {} failed{differ}", self.passed, self.failed)
    }
}

/// A vector that did not hold.
pub struct Judged<'v> {
    id: &'v str,
    /// Whether no rule of the provider decides it.
    differs: bool,
    found: &'v str,
}

impl Judged<'_> {
    /// As data.
    pub fn to_json(&self) -> serde_json::Value {
        let verdict = if self.differs { "differs" } else { "failed" };
        json!({ "id": self.id, "verdict": verdict, "found": self.found })
    }
}

impl fmt::Display for Judged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.differs { "differ" } else { "FAILED" };
        write!(f, "{word} {}: {}", self.id, self.found)
    }
}

/// Runs all vectors in `paths` (files, or folders of `*.json`); each that does not hold goes to `tell`.
///
/// # Errors
/// Where a file cannot be read or is no vector file.
pub fn run(catalog: &Catalog, paths: &[PathBuf], tell: &mut dyn FnMut(Judged<'_>)) -> anyhow::Result<Tally> {
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
                    tell(Judged { id: &vector.id, differs: true, found: &found });
                }
                Err(found) => {
                    tally.failed += 1;
                    tell(Judged { id: &vector.id, differs: false, found: &found });
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
            (Expect::Accept, Ok(key)) => self.compare(&key),
            (Expect::Reject, Err(_)) => Ok(()),
            (Expect::Accept, Err(refused)) => {
                let reason = refused.reject.row().reason;
                Err(format!("expected accept, found {reason} ({})", refused.detail))
            }
            (Expect::Reject, Ok(_)) => Err("expected reject, found accept".to_owned()),
            (Expect::Handshake, _) => Err("expected a handshake; the provider file has none".to_owned()),
        }
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

    fn receive(&self, verifier: &Verifier, delivery: Delivery, now: Timestamp) -> Result<EventKey, Refused> {
        if !verifier.scheme().methods.contains(&delivery.method) {
            return Err(Reject::MethodNotAllowed.into());
        }
        let verified = verifier.verify(delivery, now)?;
        if let (Some(signed_at), Some(rule)) = (verified.signed_at(), &verified.scheme().timestamp) {
            freshness::judge(signed_at, now, Tolerance { past: rule.past, future: rule.future })?;
        }
        Ok(EventKey::derive("vector", &verified))
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
