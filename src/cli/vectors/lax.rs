//! Values of a vector file that may be written in more than one way: `null` for what is left out, a number for the text
//! of an id, whole seconds with a fraction of nothing. What such a value means is never guessed.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A value, or the default where it is `null`.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Text, or a number as text.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) => Ok(Some(number.to_string())),
        _ => Err(D::Error::custom("expected a text, a number or null")),
    }
}

/// Whole Unix seconds, also as `1700000000.0` or as text.
pub(super) fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    let written = match Value::deserialize(from)? {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text,
        _ => String::new(),
    };
    let whole = written.split_once('.').filter(|(_, rest)| rest.bytes().all(|digit| digit == b'0'));
    let whole = whole.map_or(written.as_str(), |(whole, _)| whole);
    whole.parse().map_err(|_| D::Error::custom("expected whole Unix seconds"))
}

/// The same, as editors are told of them.
#[cfg(test)]
pub(super) mod described {
    use schemars::{Schema, SchemaGenerator, json_schema};

    use super::super::form::ENCODINGS;

    pub(in super::super) fn seconds(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["integer", "string"], "pattern": "^[+-]?[0-9]+(\\.0*)?$"})
    }

    pub(in super::super) fn text(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "null"]})
    }

    pub(in super::super) fn encoding(_: &mut SchemaGenerator) -> Schema {
        let known = ENCODINGS.into_iter().map(Some).chain([Some(""), None]).collect::<Vec<_>>();
        json_schema!({"enum": known})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn seconds_are_whole_however_they_are_written() {
        for (written, want) in [
            (json!(17), Some(17)),
            (json!(17.0), Some(17)),
            (json!("17"), Some(17)),
            (json!(17.5), None),
            (json!(null), None),
        ] {
            assert_eq!(seconds(written.clone()).ok(), want, "{written}");
        }
    }

    #[test]
    fn null_is_nothing_and_a_number_is_its_text() {
        assert_eq!(or_default::<_, Vec<String>>(json!(null)).unwrap(), Vec::<String>::new());
        assert_eq!(or_default::<_, bool>(json!(true)).ok(), Some(true));
        assert_eq!(text(json!(4.5)).unwrap().as_deref(), Some("4.5"));
        assert_eq!(text(json!(null)).unwrap(), None);
        assert!(text(json!({})).is_err());
    }
}
