//! The answer that a vector names, of a handshake or an event, compared with the one that was found.

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::lax;
use crate::provider::EventAnswer;

/// What is answered.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Response {
    /// The status, or a class such as `2xx`.
    status: Status,
    /// Headers that must be there.
    #[serde(default, deserialize_with = "lax::or_default")]
    #[cfg_attr(test, schemars(with = "Option<Vec<(String, String)>>"))]
    headers: Vec<(String, String)>,
    /// The body.
    body: Option<String>,
    /// Names of headers that must not be there.
    #[serde(default, deserialize_with = "lax::or_default")]
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    forbid_headers: Vec<String>,
    /// How the body is compared; by default JSON by its meaning and all else byte for byte.
    #[serde(rename = "match")]
    matching: Option<Matching>,
    /// A request that the provider wants made: for people.
    #[serde(rename = "outbound")]
    #[cfg_attr(test, schemars(with = "Option<serde_json::Value>"))]
    _outbound: Option<IgnoredAny>,
}

/// How a body is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
enum Matching {
    /// Byte for byte.
    Exact,
    /// By its meaning as JSON.
    Json,
}

/// A status, or a class of them such as `2xx`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
enum Status {
    One(u16),
    Class(String),
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
            Self::Class(class) => *class == format!("{}xx", found / 100) || *class == found.to_string(),
        }
    }
}

impl Response {
    /// Whether it has this status.
    pub(super) fn has(&self, status: u16) -> bool {
        self.status.is(status)
    }

    /// The status, for people.
    pub(super) fn status(&self) -> String {
        self.status.to_string()
    }

    /// # Errors
    /// What differs in the answer that was found.
    pub(super) fn compare(&self, found: &EventAnswer) -> Result<(), String> {
        if !self.status.is(found.status) {
            return Err(format!("expected status {}, found {}", self.status, found.status));
        }
        let header = |name: &str| {
            let named = found.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            named.map(|(_, value)| value.as_str())
        };
        for (name, value) in &self.headers {
            if header(name) != Some(value) {
                let found = header(name).map_or_else(|| "none".to_owned(), |found| format!("{found:?}"));
                return Err(format!("expected {name}: {value:?}, found {found}"));
            }
        }
        if let Some(name) = self.forbid_headers.iter().find(|name| header(name).is_some()) {
            return Err(format!("found the header {name}"));
        }
        let exact = self.matching == Some(Matching::Exact);
        match &self.body {
            Some(body) if *body != found.body && (exact || !same_json(body, &found.body)) => {
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
