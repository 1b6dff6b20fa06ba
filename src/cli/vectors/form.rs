//! The form of a vector file: what `hookgate vectors` reads, and `schemas/vector.schema.json` tells editors.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::lax;
use super::request::Request;
use super::response::Response;

/// A request and the verdict that it must get.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Vector {
    /// `provider/scheme/name`, unique among all files of one run.
    pub(super) id: String,
    /// The name of the provider file.
    pub(super) provider: String,
    /// Which of its schemes; `handshake` for its first, judged by what a running source answers.
    pub(super) scheme: String,
    /// The verdict.
    pub(super) expect: Expect,
    /// Unix seconds at which freshness is judged.
    #[serde(deserialize_with = "lax::seconds")]
    #[cfg_attr(test, schemars(schema_with = "lax::described::seconds"))]
    pub(super) now: i64,
    /// What the source has; several mean rotation.
    #[serde(default, deserialize_with = "lax::or_default")]
    #[cfg_attr(test, schemars(with = "Option<Vec<VectorSecret>>"))]
    pub(super) secrets: Vec<VectorSecret>,
    /// Settings of the source; and `public_url`, the whole URL that the sender calls, where it is not the request's own.
    #[serde(default, deserialize_with = "lax::or_default")]
    #[cfg_attr(test, schemars(with = "Option<BTreeMap<String, serde_json::Value>>"))]
    pub(super) config: BTreeMap<String, serde_json::Value>,
    /// What comes in.
    pub(super) request: Request,
    /// The event's id, which must be found.
    #[serde(default, deserialize_with = "lax::text")]
    #[cfg_attr(test, schemars(schema_with = "lax::described::text"))]
    pub(super) event_id: Option<String>,
    /// The event's type, which must be found.
    #[serde(default, deserialize_with = "lax::text")]
    #[cfg_attr(test, schemars(schema_with = "lax::described::text"))]
    pub(super) event_type: Option<String>,
    /// What a handshake, or an event whose sender demands something, is answered with.
    pub(super) response: Option<Response>,
    /// No rule of the provider decides the case: a difference is listed, no failure.
    #[serde(default, deserialize_with = "lax::or_default")]
    #[cfg_attr(test, schemars(with = "Option<bool>"))]
    pub(super) policy_sensitive: bool,
    /// The provider's own libraries disagree: a difference is listed, no failure.
    #[serde(default, deserialize_with = "lax::or_default")]
    #[cfg_attr(test, schemars(with = "Option<bool>"))]
    pub(super) divergent: bool,
    /// Why, in words; not compared.
    #[serde(rename = "reject_reason")]
    #[cfg_attr(test, schemars(with = "Option<serde_json::Value>"))]
    _reject_reason: Option<IgnoredAny>,
    /// For readers.
    #[serde(rename = "note")]
    #[cfg_attr(test, schemars(with = "Option<serde_json::Value>"))]
    _note: Option<IgnoredAny>,
    /// Where it comes from.
    #[serde(rename = "origin")]
    #[cfg_attr(test, schemars(with = "Option<serde_json::Value>"))]
    _origin: Option<IgnoredAny>,
    /// What confirmed the verdict.
    #[serde(rename = "verified_by")]
    #[cfg_attr(test, schemars(with = "Option<serde_json::Value>"))]
    _verified_by: Option<IgnoredAny>,
}

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum Expect {
    /// It is an event.
    Accept,
    /// It is refused.
    Reject,
    /// It is answered with `response`, and is no event.
    Handshake,
}

/// A secret of the source.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct VectorSecret {
    /// Its text.
    pub(super) value: String,
    /// What it is.
    pub(super) kind: SecretKind,
    /// How it is written, for readers: the provider file decides.
    #[serde(default, deserialize_with = "lax::or_default")]
    #[cfg_attr(test, schemars(schema_with = "lax::described::encoding"))]
    pub(super) encoding: String,
    /// Which of several keys it is, where a scheme selects by that.
    #[serde(default, deserialize_with = "lax::text")]
    #[cfg_attr(test, schemars(schema_with = "lax::described::text"))]
    pub(super) kid: Option<String>,
    /// The number of its signature's place, where each place has a secret of its own.
    pub(super) slot: Option<u8>,
    /// The URL that the key was fetched from, and its id there.
    pub(super) cert_url: Option<String>,
}

/// What a vector says that its secret is; what a source makes of it, the provider file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum SecretKind {
    /// A key that both sides have.
    Shared,
    /// A text that the sender shows.
    Token,
    /// `user:password`, which the sender shows.
    Basic,
    /// A text that the sender shows as a bearer token.
    Bearer,
    /// A public key of the sender.
    #[serde(
        rename = "public_key",
        alias = "ed25519-public-key",
        alias = "rsa-public-key",
        alias = "ecdsa-p256-public-key"
    )]
    PublicKey,
    /// An X.509 certificate of the sender.
    Certificate,
    /// A public key of the sender as JWK.
    Jwk,
}

/// The encodings that vectors name.
pub(super) const ENCODINGS: [&str; 11] = [
    "utf8",
    "hex",
    "base64",
    "whsec_ + base64",
    "whpk",
    "pem",
    "pem-oneline",
    "x509-pem",
    "jwk",
    "PEM SPKI",
    "base64 SPKI DER",
];
