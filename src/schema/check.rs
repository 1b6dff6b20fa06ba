//! A payload on trial: all that its schema finds wrong with it, for who pasted it. The way in needs the first of it alone.

use jsonschema::{ValidationError, Validator};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Violations that are told, at most.
pub const VIOLATIONS_MAX: usize = 50;
/// Longest message, in characters: some name every property that is too many.
const MESSAGE_MAX: usize = 300;
/// Longest value that a message shows.
const VALUE_MAX: usize = 60;

/// What a schema finds wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where in the payload, as a JSON pointer; empty for the whole of it.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
    /// Which rule of the schema says so, as a pointer into it; empty where the payload is no JSON.
    pub rule: String,
}

/// What a schema says of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The schema: an event type, or that of all types without one of their own.
    pub schema: String,
    /// What is wrong; nothing where it is valid.
    pub violations: Vec<Violation>,
    /// Whether there is more that is wrong.
    pub more: bool,
}

/// Everything that is wrong with a body, and whether there is more of it.
pub(super) fn violations(validator: &Validator, body: &[u8]) -> (Vec<Violation>, bool) {
    let payload: Value = match serde_json::from_slice(body) {
        Ok(payload) => payload,
        Err(error) => {
            let json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
            let what = if json {
                "the body holds a number beyond 64 bits of floating point"
            } else {
                "the body is not JSON"
            };
            let message = format!("{what}: {error}");
            return (vec![Violation { pointer: String::new(), message, rule: String::new() }], false);
        }
    };
    let mut errors = validator.iter_errors(&payload);
    let found = errors.by_ref().take(VIOLATIONS_MAX).map(|error| violation(&error)).collect();
    (found, errors.next().is_some())
}

fn violation(error: &ValidationError<'_>) -> Violation {
    let value = error.instance();
    let short = match &**value {
        Value::String(text) if text.len() > VALUE_MAX => None,
        Value::Object(_) | Value::Array(_) => None,
        scalar => Some(scalar.to_string()),
    };
    let message = error.masked_with(short.as_deref().unwrap_or("the value")).to_string();
    Violation {
        pointer: error.instance_path().to_string(),
        message: message.chars().take(MESSAGE_MAX).collect(),
        rule: error.schema_path().to_string(),
    }
}
