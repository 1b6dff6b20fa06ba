//! The schemas of a provider by event type, and their verdict: by the quick look where it is sure, else by the crate
//! over a tree of the payload, which also words the reason.
//!
//! Reads files at start alone; never fetches what a schema refers to.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use jsonschema::{PatternOptions, Validator};
use rust_embed::RustEmbed;
use serde::de::IgnoredAny;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::check::{self, Checked};
use super::quick::Quick;

#[derive(RustEmbed)]
#[folder = "schemas/"]
#[include = "*.json"]
#[exclude = "*.schema.json"]
struct BuiltIn;

/// The schema of a provider's events that have none of their own.
const FALLBACK: &str = "_envelope";

/// A schema file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct SchemaError {
    /// Which.
    pub path: String,
    /// What was found.
    pub message: String,
}

/// What the schema stage says about a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Valid by its schema.
    Valid,
    /// There is no schema for it.
    Unchecked,
    /// Not valid: where in the payload and by which keyword, without any of its values.
    Invalid(String),
}

/// The schemas of one provider, by event type.
#[derive(Debug, Default)]
pub struct Schemas {
    by_type: HashMap<String, Schema>,
    fallback: Option<Schema>,
    digest: [u8; 32],
}

impl Schemas {
    /// Those that come with the binary, and over them those in the operator's folder `dir`.
    ///
    /// # Errors
    /// Every file that cannot be read or compiled.
    pub fn load(provider: &str, dir: Option<&Path>) -> Result<Self, Vec<SchemaError>> {
        let mut texts: HashMap<String, (String, Vec<u8>)> = HashMap::new();
        let prefix = format!("{provider}/");
        for name in BuiltIn::iter() {
            let event = name.strip_prefix(&prefix).and_then(|name| name.strip_suffix(".json"));
            if let (Some(event), Some(file)) = (event, BuiltIn::get(&name)) {
                texts.insert(event.to_owned(), (format!("schemas/{name}"), file.data.into_owned()));
            }
        }
        let mut errors = Vec::new();
        if let Some(folder) = dir.map(|dir| dir.join(provider)).filter(|folder| folder.is_dir()) {
            read_folder(&folder, &folder, &mut texts, &mut errors);
        }
        let mut schemas = Self { digest: digest(&texts), ..Self::default() };
        for (event, (path, text)) in texts {
            let schema = match compile(&text) {
                Ok(schema) => schema,
                Err(message) => {
                    errors.push(SchemaError { path, message });
                    continue;
                }
            };
            if let Err(why) = &schema.quick {
                tracing::debug!(
                    path,
                    why,
                    "payloads of this schema are judged by trees of them, which takes longer"
                );
            }
            if event == FALLBACK {
                schemas.fallback = Some(schema);
            } else {
                schemas.by_type.insert(event, schema);
            }
        }
        if errors.is_empty() { Ok(schemas) } else { Err(errors) }
    }

    /// SHA-256 over all of their texts: two sets with the same one judge alike.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Whether no event type has a schema.
    pub fn is_empty(&self) -> bool {
        self.by_type.is_empty() && self.fallback.is_none()
    }

    /// Judges a payload of that event type.
    pub fn judge(&self, event_type: &str, body: &[u8]) -> Verdict {
        let schema = self.by_type.get(event_type).or(self.fallback.as_ref());
        schema.map_or(Verdict::Unchecked, |schema| schema.judge(body))
    }

    /// Event types that have a schema of their own, sorted.
    pub fn types(&self) -> Vec<String> {
        let mut types: Vec<String> = self.by_type.keys().cloned().collect();
        types.sort();
        types
    }

    /// Whether there is one for all others.
    pub fn has_fallback(&self) -> bool {
        self.fallback.is_some()
    }

    /// All that is wrong with a payload of that event type; none where there is no schema for it.
    pub fn check(&self, event_type: &str, body: &[u8]) -> Option<Checked> {
        let own = self.by_type.get(event_type).map(|schema| (event_type, schema));
        let (name, schema) = own.or(self.fallback.as_ref().map(|schema| (FALLBACK, schema)))?;
        let (violations, more) = check::violations(&schema.validator, body);
        Some(Checked { schema: name.to_owned(), violations, more })
    }
}

impl Schemas {
    /// The property over any bytes: the quick way says «valid» only where the tree does.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn judged_alike(&self, event_type: &str, body: &[u8]) {
        let Some(schema) = self.by_type.get(event_type).or(self.fallback.as_ref()) else { return };
        let quick = schema.quick.as_ref().is_ok_and(|quick| quick.surely_valid(body));
        assert!(!quick || judge_by_tree(&schema.validator, body) == Verdict::Valid, "quick, and wrong");
    }
}

fn digest(texts: &HashMap<String, (String, Vec<u8>)>) -> [u8; 32] {
    let mut sorted: Vec<_> = texts.iter().map(|(event, (_, text))| (event, text)).collect();
    sorted.sort();
    let mut digest = Sha256::new();
    for (event, text) in sorted {
        for part in [event.as_bytes(), text] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
    }
    digest.finalize().into()
}

/// A schema compiled twice.
#[derive(Debug)]
struct Schema {
    validator: Validator,
    /// Why there is none where a keyword is beyond it.
    quick: Result<Quick, String>,
}

impl Schema {
    fn judge(&self, body: &[u8]) -> Verdict {
        if self.quick.as_ref().is_ok_and(|quick| quick.surely_valid(body)) {
            return Verdict::Valid;
        }
        judge_by_tree(&self.validator, body)
    }
}

fn judge_by_tree(validator: &Validator, body: &[u8]) -> Verdict {
    let Ok(payload) = serde_json::from_slice(body) else {
        let json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
        let number = "the body holds a number beyond what 64 bits of floating point can hold";
        return Verdict::Invalid(if json { number } else { "the body is not JSON" }.to_owned());
    };
    if validator.is_valid(&payload) {
        return Verdict::Valid;
    }
    let first = validator.iter_errors(&payload).next().map(|error| {
        let path = error.instance_path().to_string();
        let place = if path.is_empty() { "the body".to_owned() } else { path };
        format!("{place} does not satisfy {}", error.schema_path())
    });
    Verdict::Invalid(first.unwrap_or_else(|| "the body is not valid".to_owned()))
}

/// Schemas lie at most so deep: `orders/create.json` is one folder down.
const DEPTH_MAX: usize = 4;

fn read_folder(
    root: &Path,
    folder: &Path,
    texts: &mut HashMap<String, (String, Vec<u8>)>,
    errors: &mut Vec<SchemaError>,
) {
    let mut fail = |path: &Path, message: String| {
        errors.push(SchemaError { path: path.display().to_string(), message });
    };
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) => return fail(folder, error.to_string()),
    };
    for path in listing.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        let Ok(inside) = path.strip_prefix(root) else { continue };
        if path.is_dir() {
            if inside.components().count() < DEPTH_MAX {
                read_folder(root, &path, texts, errors);
            } else {
                errors.push(SchemaError {
                    path: path.display().to_string(),
                    message: format!("lies more than {DEPTH_MAX} folders deep"),
                });
            }
        } else if let Some(event) = inside.to_str().and_then(|name| name.strip_suffix(".json")) {
            match fs::read(&path) {
                Ok(text) => {
                    texts.insert(event.to_owned(), (path.display().to_string(), text));
                }
                Err(error) => {
                    errors.push(SchemaError { path: path.display().to_string(), message: error.to_string() });
                }
            }
        }
    }
}

fn compile(text: &[u8]) -> Result<Schema, String> {
    let schema: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    Ok(Schema { validator: validator(&schema)?, quick: Quick::compile(&schema) })
}

/// The crate's own reading of a schema, as all here are compiled.
pub(super) fn validator(schema: &Value) -> Result<Validator, String> {
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .offline()
        .build(schema)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::provider::Catalog;

    /// Every built-in schema by provider and event type.
    fn built_in() -> Vec<(String, String)> {
        let split = |name: std::borrow::Cow<'static, str>| {
            let (provider, event) = name.strip_suffix(".json")?.split_once('/')?;
            Some((provider.to_owned(), event.to_owned()))
        };
        BuiltIn::iter().filter_map(split).collect()
    }

    impl Schemas {
        fn of(&self, event_type: &str) -> Option<&Schema> {
            self.by_type.get(event_type).or(self.fallback.as_ref())
        }
    }

    /// Every sample that has a schema, with it.
    fn samples() -> Vec<(Schema, Vec<u8>)> {
        let mut all = Vec::new();
        for provider in ["github", "shopify", "stripe"] {
            for event in Catalog::samples(provider) {
                let schemas = Schemas::load(provider, None).unwrap();
                let body = Catalog::sample(provider, &event).unwrap().body;
                let Schemas { mut by_type, fallback, .. } = schemas;
                all.extend(by_type.remove(&event).or(fallback).map(|schema| (schema, body)));
            }
        }
        all
    }

    #[test]
    fn every_built_in_schema_goes_the_quick_way() {
        let all = built_in();
        assert!(all.len() >= 9, "{all:?}");
        for (provider, event) in all {
            let schemas = Schemas::load(&provider, None).unwrap();
            let schema = schemas.of(&event).unwrap();
            assert!(schema.quick.is_ok(), "{provider}/{event}: {:?}", schema.quick);
        }
    }

    #[test]
    fn every_sample_is_valid_without_a_tree() {
        let all = samples();
        assert!(all.len() >= built_in().len(), "each built-in schema has a sample");
        for (schema, body) in all {
            let text = String::from_utf8_lossy(&body);
            assert!(schema.quick.unwrap().surely_valid(&body), "{text}");
            assert_eq!(judge_by_tree(&schema.validator, &body), Verdict::Valid, "{text}");
        }
    }

    /// Bytes that make another text of a JSON text, and often JSON again.
    const PIECES: [&str; 20] = [
        "null",
        "\"\"",
        "0",
        "-1",
        "1.5",
        "1e999",
        "[]",
        "{}",
        "true",
        "\"id\":1,",
        "\"object\":\"event\",",
        ",",
        "\\",
        "\\ud800",
        "\u{e9}",
        "\"",
        "}",
        "\n",
        "x",
        "",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn a_verdict_is_the_same_as_over_a_tree(
            sample in any::<Index>(),
            cuts in prop::collection::vec((any::<Index>(), 0..3_usize, prop::sample::select(&PIECES)), 1..4),
            values in any::<bool>(),
        ) {
            static SAMPLES: std::sync::LazyLock<Vec<(Schema, Vec<u8>)>> = std::sync::LazyLock::new(samples);
            let (schema, body) = sample.get(&SAMPLES);
            let mut text = String::from_utf8(body.clone()).unwrap();
            for (place, extent, piece) in cuts {
                // At a value's start or behind a comma or brace the outcome is JSON more often than elsewhere.
                let starts: Vec<usize> =
                    text.match_indices([':', ',', '{']).map(|(at, _)| at + 1).filter(|_| values).collect();
                let anywhere: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
                let places = if starts.is_empty() { anywhere } else { starts };
                if places.is_empty() { continue }
                let from = *place.get(&places);
                let rest = &text[from..];
                let to = match extent {
                    0 => 0,
                    1 => rest.find([',', '}', ']']).unwrap_or(0),
                    _ => rest.chars().next().map_or(0, char::len_utf8),
                };
                text.replace_range(from..from + to, piece);
            }
            prop_assert_eq!(schema.judge(text.as_bytes()), judge_by_tree(&schema.validator, text.as_bytes()), "{}", text);
        }
    }

    #[test]
    fn what_cannot_be_judged_is_invalid_and_says_why() {
        let schemas = Schemas::load("stripe", None).unwrap();
        let event = |amount: &str| {
            let head = r#"{"id":"evt_1","object":"event","type":"ping","created":1,"livemode":false"#;
            format!(r#"{head},"data":{{"object":{{"amount":{amount}}}}}}}"#)
        };
        let verdict = |body: &str| schemas.judge("ping", body.as_bytes());
        assert_eq!(verdict(&event("1")), Verdict::Valid);
        let reason = |verdict| match verdict {
            Verdict::Invalid(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason(verdict(&event("1e999"))).contains("64 bits of floating point"));
        assert_eq!(reason(verdict(&event("1e"))), "the body is not JSON");
        assert!(reason(verdict(r#"{"id":"evt_1"}"#)).contains("required"));
        assert_eq!(Schemas::load("nobody", None).unwrap().judge("ping", b"{}"), Verdict::Unchecked);
    }
}
