//! Payload schemas: compiled at start, offline, with patterns that match in linear time.
//!
//! A verdict never stops a delivery by itself: what becomes of an invalid one is the source's setting.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use jsonschema::{PatternOptions, Validator};
use rust_embed::RustEmbed;
use serde::de::IgnoredAny;

#[derive(RustEmbed)]
#[folder = "schemas/"]
#[include = "*.json"]
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
    by_type: HashMap<String, Validator>,
    fallback: Option<Validator>,
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
        let mut schemas = Self::default();
        for (event, (path, text)) in texts {
            match compile(&text) {
                Ok(validator) if event == FALLBACK => schemas.fallback = Some(validator),
                Ok(validator) => {
                    schemas.by_type.insert(event, validator);
                }
                Err(message) => errors.push(SchemaError { path, message }),
            }
        }
        if errors.is_empty() { Ok(schemas) } else { Err(errors) }
    }

    /// Whether no event type has a schema.
    pub fn is_empty(&self) -> bool {
        self.by_type.is_empty() && self.fallback.is_none()
    }

    /// Judges a payload of that event type.
    pub fn judge(&self, event_type: &str, body: &[u8]) -> Verdict {
        let Some(validator) = self.by_type.get(event_type).or(self.fallback.as_ref()) else {
            return Verdict::Unchecked;
        };
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

fn compile(text: &[u8]) -> Result<Validator, String> {
    let schema: serde_json::Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .offline()
        .build(&schema)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

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
