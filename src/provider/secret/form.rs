//! A reference to a secret as it is written: text, or a table that names one place.

use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use zeroize::Zeroizing;

use super::{SecretPlace, SecretRef};
use crate::clock::Timestamp;

/// The table form of a [`SecretRef`], before it is known that exactly one place is named.
#[derive(serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table")]
struct Table {
    /// The environment variable that holds it; or that of this name and `_FILE`, which names a file that does.
    #[serde(default, deserialize_with = "variable_name")]
    #[cfg_attr(test, schemars(regex(pattern = "^[^=]+$")))]
    env: Option<String>,
    /// The file that holds it; a relative path begins in the folder the gateway was started in.
    #[serde(default, deserialize_with = "file_path")]
    #[cfg_attr(test, schemars(with = "Option<String>", length(min = 1)))]
    file: Option<PathBuf>,
    /// The file in systemd's `$CREDENTIALS_DIRECTORY` that holds it.
    #[serde(default, deserialize_with = "credential_name")]
    #[cfg_attr(test, schemars(regex(pattern = "^[^/]+$")))]
    credential: Option<String>,
    /// The file that a handshake writes it to which brings it: `hookgate secret arm`.
    #[serde(default, deserialize_with = "file_path")]
    #[cfg_attr(test, schemars(with = "Option<String>", length(min = 1)))]
    captured: Option<PathBuf>,
    /// The secret itself; with `serve --dev` alone.
    #[serde(default)]
    value: Option<String>,
    /// The name that metrics and log have for it; else `secret-1` and so on.
    #[serde(default, deserialize_with = "label")]
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9._-]{1,64}$")))]
    label: Option<String>,
    /// The key's id, where deliveries name the key that they are signed with.
    #[serde(default, deserialize_with = "key_id")]
    #[cfg_attr(test, schemars(regex(pattern = "^[!-~]{1,512}$")))]
    kid: Option<String>,
    /// Which of several signatures it is for, counted from 0.
    #[serde(default, deserialize_with = "slot")]
    #[cfg_attr(test, schemars(range(max = 99)))]
    slot: Option<u8>,
    /// It counts for nothing before this time (RFC 3339).
    #[serde(default, deserialize_with = "moment")]
    #[cfg_attr(test, schemars(with = "Option<String>", transform = time))]
    not_before: Option<Timestamp>,
    /// It counts for nothing from this time on (RFC 3339).
    #[serde(default, deserialize_with = "moment")]
    #[cfg_attr(test, schemars(with = "Option<String>", transform = time))]
    not_after: Option<Timestamp>,
}

impl Table {
    /// The one place that is named; `None` if there is none or more than one.
    fn place(&mut self) -> Option<SecretPlace> {
        let mut places = [
            self.env.take().map(SecretPlace::Env),
            self.file.take().map(SecretPlace::File),
            self.credential.take().map(SecretPlace::Credential),
            self.captured.take().map(SecretPlace::Captured),
            self.value.take().map(|text| SecretPlace::Value(Zeroizing::new(text))),
        ]
        .into_iter()
        .flatten();
        let place = places.next();
        if places.next().is_some() { None } else { place }
    }
}

/// Text that `parse` takes, or a refusal that tells what is allowed.
fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    allowed: &str,
    parse: impl Fn(String) -> Option<T>,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(text).map(Some).ok_or_else(|| de::Error::custom(allowed))
}

/// What the operating system can hold: no `=`, no NUL, not empty.
fn variable_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    parsed(deserializer, "the name of an environment variable", |name| {
        (!name.is_empty() && !name.contains(['=', '\0'])).then_some(name)
    })
}

fn file_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    parsed(deserializer, "the path of a file", |path| {
        (!path.is_empty() && !path.contains('\0')).then(|| path.into())
    })
}

/// A name that stays inside the folder it is looked up in.
fn credential_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    parsed(deserializer, "the name of a file in $CREDENTIALS_DIRECTORY, without a folder", |name| {
        let inside = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
        inside.then_some(name)
    })
}

fn label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    parsed(deserializer, "1 to 64 letters, digits, \"-\", \"_\" and \".\"", |text| {
        ((1..=64).contains(&text.len()) && text.chars().all(legal)).then_some(text)
    })
}

/// Also the URL of a certificate.
fn key_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    parsed(deserializer, "a key id of 1 to 512 visible ASCII characters", |text| {
        ((1..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(text)
    })
}

fn slot<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    match u8::deserialize(deserializer)? {
        slot @ 0..=99 => Ok(Some(slot)),
        _ => Err(de::Error::custom("a number from 0 to 99")),
    }
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    parsed(deserializer, "a time with its offset (RFC 3339), such as 2026-12-31T00:00:00Z", |text| {
        text.parse().ok()
    })
}

/// What editors are told of a time: TOML has one as text, and as a value of its own.
#[cfg(test)]
fn time(schema: &mut schemars::Schema) {
    const PATTERN: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]+([Zz]|[+-][0-9:]+)$";
    let value = serde_json::json!({"type": "string", "format": "date-time", "pattern": PATTERN});
    let text = serde_json::json!({"type": "string", "pattern": PATTERN});
    schema.remove("type");
    schema.insert("anyOf".to_owned(), [value, text].into_iter().collect());
}

#[cfg(test)]
impl schemars::JsonSchema for SecretRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretRef".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut table = Table::json_schema(generator);
        table.remove("description");
        let places = ["env", "file", "credential", "captured", "value"];
        table.insert(
            "oneOf".to_owned(),
            places.map(|place| serde_json::json!({"required": [place]})).into_iter().collect(),
        );
        schemars::json_schema!({
            "title": "reference to a secret",
            "description": "Where a secret is kept: exactly one of `env`, `file`, `credential` and `captured`. Text is the secret itself, with `serve --dev` alone.",
            "anyOf": [table, {"type": "string"}],
        })
    }
}

struct RefVisitor;

impl<'de> Visitor<'de> for RefVisitor {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SecretRef::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretRef, E> {
        let place = SecretPlace::Value(Zeroizing::new(text.to_owned()));
        Ok(SecretRef { place, label: None, kid: None, slot: None, not_before: None, not_after: None })
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<SecretRef, M::Error> {
        let mut table = Table::deserialize(MapAccessDeserializer::new(map))?;
        let place = table.place().ok_or_else(|| {
            de::Error::custom("exactly one of env (a variable), file (a path), credential (a file name) and captured (a path)")
        })?;
        let Table { label, kid, slot, not_before, not_after, .. } = table;
        Ok(SecretRef { place, label, kid, slot, not_before, not_after })
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RefVisitor)
    }
}
