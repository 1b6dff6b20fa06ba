//! What a token's claims must say: `[schemes.jwt]`, from the file's texts to a [`TokenRule`]. Never reads a token.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::build::Check;
use super::rules::Algorithm;
use crate::extract::{Pick, Pointer};
use crate::units::Span;

/// `[schemes.jwt]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct JwtDefinition {
    /// Claims by name, or by JSON pointer, and the values of which one must stand there.
    #[serde(default)]
    pub claims: BTreeMap<String, ClaimDefinition>,
    /// Whether `exp` and `nbf` are looked at; default `checked`.
    pub expires: Option<Expires>,
    /// By how much our clock may differ from the sender's; default 0.
    pub leeway: Option<Span>,
    /// The place of the digest of method, path and query.
    pub request_digest: Option<String>,
}

/// What a claim may be.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "a text, a whole number, true, false, or a list of such")]
pub enum ClaimDefinition {
    /// This value.
    One(ClaimValue),
    /// One of these.
    AnyOf(Vec<ClaimValue>),
}

/// A value of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "a text, a whole number, true or false")]
pub enum ClaimValue {
    /// A JSON string.
    Text(String),
    /// A JSON boolean.
    Flag(bool),
    /// A JSON number, written without fraction or exponent.
    Number(i64),
}

/// Whether a token's own end is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Expires {
    /// `exp` must be there, and hold; `nbf` must hold where it is there.
    Required,
    /// `exp` and `nbf` must hold where they are there.
    #[default]
    Checked,
    /// Neither is looked at.
    Ignored,
}

/// As a provider file writes it.
impl fmt::Display for Expires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Required => "required",
            Self::Checked => "checked",
            Self::Ignored => "ignored",
        })
    }
}

/// What must hold for a token's claims once its signature does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRule {
    /// Claims, and the values of which one must stand there (in an array: among its elements).
    pub claims: Vec<(Pointer, Vec<ClaimValue>)>,
    /// Whether `exp` and `nbf` are looked at.
    pub expires: Expires,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// The claim that is the digest of method, path and query.
    pub request_digest: Option<Pick>,
}

/// Longest difference between clocks that a file can ask for: more would make an expiry meaningless.
const LEEWAY_MAX: Duration = Duration::from_secs(600);

impl JwtDefinition {
    /// The same under a source's settings: a claim whose text is nothing but an unset one is left out.
    pub(super) fn filled(&self, fill: &dyn Fn(&str) -> Option<String>) -> Self {
        let value = |value: &ClaimValue| match value {
            ClaimValue::Text(text) => fill(text).map(ClaimValue::Text),
            other => Some(other.clone()),
        };
        let claim = |(name, wanted): (&String, &ClaimDefinition)| {
            let wanted = match wanted {
                ClaimDefinition::One(one) => ClaimDefinition::One(value(one)?),
                ClaimDefinition::AnyOf(all) => {
                    let left: Vec<ClaimValue> = all.iter().filter_map(value).collect();
                    if left.is_empty() && !all.is_empty() {
                        return None;
                    }
                    ClaimDefinition::AnyOf(left)
                }
            };
            Some((name.clone(), wanted))
        };
        Self { claims: self.claims.iter().filter_map(claim).collect(), ..self.clone() }
    }

    fn is_empty(&self) -> bool {
        self.claims.is_empty()
            && self.expires.is_none()
            && self.leeway.is_none()
            && self.request_digest.is_none()
    }
}

impl Check {
    /// The rule of a token, where the scheme has one.
    pub(super) fn token(&mut self, algorithm: Algorithm, raw: &JwtDefinition) -> TokenRule {
        if !matches!(algorithm, Algorithm::Jwt(_)) {
            if !raw.is_empty() {
                self.add("jwt", "a table", "nothing, without one of the algorithms `jwt-…`");
            }
            return TokenRule::default();
        }
        let leeway = raw.leeway.map(|span| span.duration()).unwrap_or_default();
        if leeway > LEEWAY_MAX {
            self.add("jwt.leeway", &format!("{} s", leeway.as_secs()), "at most 10m");
        }
        let request_digest =
            raw.request_digest.as_ref().and_then(|text| self.place("jwt.request_digest", text));
        if let Some(place) = request_digest.as_ref().filter(|place| !place.is_claim()) {
            self.add("jwt.request_digest", &place.to_string(), "a claim such as jwt:/qsh");
        }
        let mut claims = Vec::with_capacity(raw.claims.len());
        for (name, wanted) in &raw.claims {
            let key = format!("jwt.claims.{name}");
            let wanted = match wanted {
                ClaimDefinition::One(one) => vec![one.clone()],
                ClaimDefinition::AnyOf(all) => all.clone(),
            };
            if wanted.is_empty() || wanted.contains(&ClaimValue::Text(String::new())) {
                self.add(&key, "an empty list or text", "what the claim must be");
            }
            claims.extend(self.claim(&key, name).map(|pointer| (pointer, wanted)));
        }
        TokenRule { claims, expires: raw.expires.unwrap_or_default(), leeway, request_digest }
    }

    /// A claim's name, or a pointer to one further in. A name with slashes, such as a URL, is one name.
    fn claim(&mut self, key: &str, name: &str) -> Option<Pointer> {
        let pointer = match name.starts_with('/') {
            true => name.to_owned(),
            false => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
        };
        Pointer::parse(&pointer).map_err(|allowed| self.add(key, &format!("{name:?}"), &allowed)).ok()
    }
}
