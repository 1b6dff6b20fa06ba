//! `hookgate vectors`: runs vector files through the code that `serve` runs, with each vector's own clock.
//!
//! So anybody can prove a provider file of their own. The format is described in `tests/vectors/README.md`. `make`
//! writes such files for any provider.

mod absent;
mod beside;
mod case;
mod draft;
mod edit;
mod form;
mod handshake;
pub(super) mod keys;
mod lax;
mod least;
pub(super) mod make;
mod mistakes;
mod questions;
mod request;
mod response;
mod several;
#[cfg(test)]
mod tests;
mod unique;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use serde_json::json;

pub(super) use self::form::Vector;
use self::form::{ENCODINGS, Expect, SecretKind, VectorSecret};
use self::request::split;
use self::unique::File;
use super::stages::{self, Found};
use crate::clock::Timestamp;
use crate::dedup::key::EventKey;
use crate::delivery::Delivery;
use crate::provider::{Algorithm, Catalog, Definition, Scheme};
use crate::verify::{Key, Verifier};

/// What the verdict ends with where there was no id or no type.
const NONE_FOUND: &str = "found \"\"";

/// The key of a vector's `config` that is the gateway's and no setting of a source.
const PUBLIC_URL: &str = "public_url";

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
/// Where a file cannot be read or is no vector file; then none was run.
pub fn run(catalog: &Catalog, paths: &[PathBuf], tell: &mut dyn FnMut(Judged<'_>)) -> anyhow::Result<Tally> {
    let files = files(paths)?.into_iter().map(read).collect::<anyhow::Result<Vec<File>>>()?;
    unique::repeats(&files).iter().for_each(|repeat| eprintln!("note: {repeat}"));
    let mut tally = Tally::default();
    let mut unknown = BTreeSet::new();
    let vectors =
        |file: File| file.vectors.into_iter().map(move |(id, vector)| (file.path.clone(), id, vector));
    for (path, id, vector) in files.into_iter().flat_map(vectors) {
        let provider = vector.as_ref().ok().map(|vector| &vector.provider);
        let missing = provider.filter(|provider| catalog.get(provider).is_none());
        // None of a provider that is not there can hold, which is said once for a file.
        if missing.is_some_and(|provider| !unknown.insert((path, provider.clone()))) {
            tally.failed += 1;
            continue;
        }
        let (differs, found) = match vector {
            Ok(vector) => match vector.judge(catalog) {
                Ok(()) => {
                    tally.passed += 1;
                    continue;
                }
                Err(found) => (vector.is_undecided(&found), found),
            },
            Err(error) => (false, format!("no vector: {error}")),
        };
        if differs {
            tally.differ += 1;
        } else {
            tally.failed += 1;
        }
        tell(Judged { id: &id, differs, found: &found });
    }
    Ok(tally)
}

fn read(path: PathBuf) -> anyhow::Result<File> {
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    let all: Vec<serde_json::Value> = serde_json::from_slice(&text)
        .with_context(|| format!("{}: not a vector file (a JSON array of vectors)", path.display()))?;
    let vectors = all.into_iter().enumerate().map(|(number, value)| {
        let id = value["id"].as_str().map_or_else(|| format!("{}[{number}]", path.display()), str::to_owned);
        (id, serde_path_to_error::deserialize(value).map_err(|error| error.to_string()))
    });
    let vectors = vectors.collect();
    Ok(File { path, vectors })
}

/// The files that `paths` stand for, each once however often it is named.
fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            // A schema for editors lies beside the files that it is for.
            let json = |path: &PathBuf| {
                path.extension().is_some_and(|extension| extension == "json")
                    && !path.to_string_lossy().ends_with(".schema.json")
            };
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
    let mut seen = BTreeSet::new();
    files.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    Ok(files)
}

impl Vector {
    /// # Errors
    /// What was found instead of what the vector expects.
    fn judge(&self, catalog: &Catalog) -> Result<(), String> {
        if self.is_outbound() {
            return Err("a request that the provider gets, and not one to the gateway".to_owned());
        }
        let verifier = self.verifier(catalog)?;
        let now = Timestamp::from_seconds(self.now);
        let delivery = match catalog.get(&self.provider) {
            Some(definition) => self.delivery(definition, now)?,
            None => self.request.delivery(now)?,
        };
        let unproved = self.unproved(&verifier, &delivery);
        let unsigned = verifier.scheme().signature.places().all(|place| place.read(&delivery).is_none());
        match (self.expect, stages::find(&verifier, delivery, now)) {
            (Expect::Accept, Ok(Found::Event(verified))) => {
                self.compare(&EventKey::derive("vector", &verified))?;
                self.compare_answer(&verifier)
            }
            // What the provider's public test key signs is answered, and is no event.
            (Expect::Accept, Ok(Found::Handshake(_))) if self.has_test_key(verifier.scheme()) => Ok(()),
            (Expect::Handshake, Ok(Found::Event(_))) if self.may_be_event() => self.compare_answer(&verifier),
            (Expect::Handshake, Err(_)) if unproved.is_some() => unproved.unwrap_or(Ok(())),
            (Expect::Handshake, Ok(Found::Handshake(answer))) => match &self.response {
                Some(response) => response.compare(&answer.into_event_answer()),
                None => Err("a handshake without a response to compare with".to_owned()),
            },
            (Expect::Reject, Err(_)) => Ok(()),
            // An unsigned question that is answered with nothing is no event either.
            (Expect::Reject, Ok(Found::Handshake(answer))) if unsigned && answer.says_nothing() => Ok(()),
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

    /// Whether no rule of the provider decides it, its SDKs disagree, or nothing could fulfil it.
    fn is_undecided(&self, found: &str) -> bool {
        let odd = self.is_outbound() || self.is_left_out() || self.wants_what_is_absent(found);
        self.policy_sensitive || self.divergent || odd
    }

    /// Whether it wants an id or a type where none was found, and its request does not hold it: then no file could give it.
    fn wants_what_is_absent(&self, found: &str) -> bool {
        if !found.ends_with(NONE_FOUND) {
            return false;
        }
        let Ok(delivery) = self.request.delivery(Timestamp::from_seconds(self.now)) else { return false };
        [&self.event_id, &self.event_type]
            .into_iter()
            .flatten()
            .any(|text| absent::is_absent(text, &delivery))
    }

    /// Whether a secret is the provider's public one for tests, with which no source starts: it is passed over.
    fn has_test_key(&self, scheme: &Scheme) -> bool {
        self.secrets.iter().any(|secret| scheme.known_secrets.contains(&secret.value))
    }

    /// Whether the vector wants this status: some challenges are to be refused.
    fn answered_with(&self, status: u16) -> bool {
        self.response.as_ref().is_some_and(|response| response.has(status))
    }

    fn verifier(&self, catalog: &Catalog) -> Result<Verifier, String> {
        let definition = catalog.get(&self.provider).ok_or_else(|| {
            format!(
                "there is no provider file for {:?}; --providers DIR adds those of a folder",
                self.provider
            )
        })?;
        let scheme = self.scheme(definition)?;
        let configured = self.configured_secret();
        let keys: Result<Vec<Key>, _> = self
            .secrets
            .iter()
            .chain(&configured)
            .enumerate()
            .filter(|(_, secret)| !scheme.known_secrets.contains(&secret.value))
            .map(|(at, secret)| secret.key(at, &scheme))
            .collect();
        let mut keys = keys?;
        if scheme.algorithm == Algorithm::Unauthenticated {
            keys.push(Key::unauthenticated());
        }
        Ok(Verifier::new(Arc::new(scheme), keys))
    }

    /// The scheme under the vector's settings, as a source has it whose public URL the vector says: `public_url`
    /// in its `config`, where that is no setting of the provider, else the request's own.
    fn scheme(&self, definition: &Definition) -> Result<Scheme, String> {
        let text =
            |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut settings: BTreeMap<String, String> = self
            .config
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), text(value)))
            .collect();
        let public_url =
            if definition.settings.contains_key(PUBLIC_URL) { None } else { settings.remove(PUBLIC_URL) };
        self.leave_settings(&mut settings, |name| definition.settings.contains_key(name));
        let scheme = Scheme::build(&lenient(definition), self.scheme_name(definition), &settings)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let url = public_url.as_deref().unwrap_or(&self.request.url);
        let path = self.path(definition);
        match url.split_once('?').map_or(url, |(url, _)| url).strip_suffix(&path) {
            Some(base) => Ok(scheme.at(base)),
            None => Ok(scheme.at(split(url).0)),
        }
    }

    /// The path at which the source is asked: the request's own, but where the public URL has another, that.
    fn path(&self, definition: &Definition) -> String {
        let own = self.request.target().split('?').next().unwrap_or_default().to_owned();
        let said =
            if definition.settings.contains_key(PUBLIC_URL) { None } else { self.config.get(PUBLIC_URL) };
        let Some(url) = said.and_then(serde_json::Value::as_str) else { return own };
        let public = url.split_once('?').map_or(url, |(url, _)| url);
        if public.ends_with(&own) {
            return own;
        }
        match split(public).1 {
            "" => "/".to_owned(),
            path => path.to_owned(),
        }
    }

    /// The request, as it reaches the gateway at `now`.
    ///
    /// # Errors
    /// Where `body_base64` is not base64.
    fn delivery(&self, definition: &Definition, now: Timestamp) -> Result<Delivery, String> {
        let mut delivery = self.request.delivery(now)?;
        let path = self.path(definition);
        if delivery.path() != path {
            delivery.target = match delivery.query() {
                "" => path,
                query => format!("{path}?{query}"),
            };
        }
        Ok(delivery)
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

impl VectorSecret {
    /// A key that is shared, as its text is.
    fn shared(value: &str) -> Self {
        let (value, kind, encoding) = (value.to_owned(), SecretKind::Shared, String::new());
        Self { value, kind, encoding, kid: None, slot: None, cert_url: None }
    }

    /// # Errors
    /// Where the value is not what the scheme wants, or the vector says of it what nobody knows.
    fn key(&self, at: usize, scheme: &Scheme) -> Result<Key, String> {
        if !self.encoding.is_empty() && !ENCODINGS.contains(&self.encoding.as_str()) {
            return Err(format!(
                "encoding {:?} of a secret; allowed: {}",
                self.encoding,
                ENCODINGS.join(", ")
            ));
        }
        let public = matches!(self.kind, SecretKind::PublicKey | SecretKind::Certificate | SecretKind::Jwk);
        if public != scheme.has_public_keys() {
            let wants = if public { "no public keys" } else { "public keys" };
            return Err(format!("a secret is {:?}, and scheme {} has {wants}", self.kind, scheme.name));
        }
        Key::new(scheme, &format!("secret-{}", at + 1), self.value.as_bytes())
            .map(|key| key.with_id(self.kid.as_deref().or(self.cert_url.as_deref())).in_slot(self.slot))
            .map_err(|error| error.to_string())
    }
}

/// A vector need not say what a source must: it is judged as where that is not set.
fn lenient(definition: &Definition) -> Definition {
    let mut definition = definition.clone();
    let own = definition.schemes.iter_mut().flat_map(|scheme| scheme.settings.values_mut());
    definition.settings.values_mut().chain(own).for_each(|setting| setting.required = false);
    definition
}
