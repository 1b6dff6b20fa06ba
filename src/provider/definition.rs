//! The form of a provider file. Unknown keys are errors; what the values mean is checked in `scheme`.
//!
//! Text in `schemes`, `event` and `forward` may hold `${name}`: the source's setting of that name, declared
//! under `settings`. A value that is only an unset setting is left out, as if its key were not there.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::handshake::HandshakeDefinition;
use crate::units::{ByteSize, Span};

/// A provider file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The name that sources use: lower case, digits and underscores; also the file's name.
    pub name: String,
    /// The name that people use.
    pub title: String,
    /// Where the provider documents its signatures.
    pub docs: Option<String>,
    /// Methods that it sends with.
    #[serde(default = "post")]
    pub methods: Vec<String>,
    /// How it sends: facts for operators and for checks of the configuration.
    #[serde(default)]
    pub sender: SenderFacts,
    /// Settings that a source of any of its schemes has.
    #[serde(default)]
    pub settings: BTreeMap<String, SettingDefinition>,
    /// Where the event's id and type are.
    #[serde(default)]
    pub event: EventDefinition,
    /// Where the events are in a request that holds several.
    pub batch: Option<BatchDefinition>,
    /// What goes on to the workers beside the body.
    #[serde(default)]
    pub forward: ForwardDefinition,
    /// Its schemes; the first is the default.
    pub schemes: Vec<SchemeDefinition>,
    /// Handshakes that all its schemes have.
    #[serde(default)]
    pub handshakes: Vec<HandshakeDefinition>,
    /// How `hookgate send` makes a sample.
    pub sample: Option<SampleDefinition>,
}

fn post() -> Vec<String> {
    vec!["POST".to_owned()]
}

/// How a provider sends.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderFacts {
    /// How long after the event it still retries; absent where it does not retry or does not say.
    pub retries: Option<Span>,
    /// Longest body that it sends, where that is more than usual.
    pub body_bytes_max: Option<ByteSize>,
    /// What an operator should know.
    pub notes: Option<String>,
}

/// A setting that the provider's scheme leaves to the source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingDefinition {
    /// What it is, as a phrase that fits after its name.
    pub help: String,
    /// What it is when the source does not set it.
    pub default: Option<String>,
    /// The only values allowed; empty for any.
    #[serde(default)]
    pub allowed: Vec<String>,
    /// Whether the source must set it.
    #[serde(default)]
    pub required: bool,
}

/// Where an event's id and type are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventDefinition {
    /// A place such as `json:/id` or `header:X-Request-Id`, or several: the first that holds a value counts.
    #[serde(default)]
    pub id: Places,
    /// A place or several, likewise.
    #[serde(default, rename = "type")]
    pub event_type: Places,
    /// JSON pointers to values that differ between deliveries of one event, left out of the body's digest.
    #[serde(default)]
    pub volatile: Vec<String>,
}

/// Where the events are in a request that holds several, and what names each of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchDefinition {
    /// The array: `json:/events`, `json:` (the whole body) or `form:NAME > json:/pointer`.
    pub each: String,
    /// A place such as `item:/id` within an element, or several; also put together, as `{item:/a}:{item:/b}`.
    #[serde(default)]
    pub id: Places,
    /// A place or several, likewise.
    #[serde(default, rename = "type")]
    pub event_type: Places,
}

/// Places of which the first that holds a value counts: one as text, or a list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "PlacesForm")]
pub struct Places(pub Vec<PlaceDefinition>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a place such as \"json:/id\", or a list of places")]
enum PlacesForm {
    One(String),
    Several(Vec<PlaceForm>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a place such as \"json:/id\", or { when = \"PLACE\", text = \"VALUE\" }")]
enum PlaceForm {
    Value(String),
    Fixed(PlaceDefinition),
}

impl From<PlacesForm> for Places {
    fn from(form: PlacesForm) -> Self {
        let value = |place: String| PlaceDefinition { when: place, text: None };
        match form {
            PlacesForm::One(place) => Self(vec![value(place)]),
            PlacesForm::Several(several) => {
                let each = |form| match form {
                    PlaceForm::Value(place) => value(place),
                    PlaceForm::Fixed(fixed) => fixed,
                };
                Self(several.into_iter().map(each).collect())
            }
        }
    }
}

/// A place whose value counts, or that says by having one that `text` does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceDefinition {
    /// The place.
    pub when: String,
    /// What it stands for, where not for its own value.
    pub text: Option<String>,
}

/// What goes on to the workers beside the body.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardDefinition {
    /// Names of headers kept with the event and forwarded as `http-<name>`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Whether the query of the URL goes on too, as `http-query`: for a sender that puts its data there.
    #[serde(default)]
    pub query: bool,
}

/// One scheme of a provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemeDefinition {
    /// Its name within the provider.
    pub name: String,
    /// `hmac-sha1`, `hmac-sha256`, `hmac-sha384`, `hmac-sha512`, `ed25519` (the secret is a public key), or
    /// `token` (the secret itself is sent).
    pub algorithm: String,
    /// How the key is made from the secret's text: `utf8`, `hex`, `base64`, `whsec`, `whpk`, `spki`.
    #[serde(default = "utf8")]
    pub secret: String,
    /// Templates of the signed bytes, any of which may match; empty for `token`.
    #[serde(default)]
    pub signed: Vec<String>,
    /// Places that must hold a value beside the signature.
    #[serde(default)]
    pub require: Vec<String>,
    /// Whether an empty body may be signed.
    #[serde(default)]
    pub empty_body: EmptyBody,
    /// A digest of the body inside what is signed, which proves the body.
    pub body_digest: Option<BodyDigestDefinition>,
    /// Methods, where this scheme has others than the provider.
    pub methods: Option<Vec<String>>,
    /// Where the signature is and how it is written.
    pub signature: SignatureDefinition,
    /// Where the time of signing is.
    pub timestamp: Option<TimestampDefinition>,
    /// Where this scheme has id and type elsewhere than the provider's other schemes.
    pub event: Option<EventDefinition>,
    /// Where this scheme has the events of a request elsewhere than the provider's other schemes.
    pub batch: Option<BatchDefinition>,
    /// Handshakes that only this scheme has; they are tried first.
    #[serde(default)]
    pub handshakes: Vec<HandshakeDefinition>,
    /// Settings that only this scheme has.
    #[serde(default)]
    pub settings: BTreeMap<String, SettingDefinition>,
}

fn utf8() -> String {
    "utf8".to_owned()
}

/// Whether an empty body may be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyBody {
    /// A signature over nothing counts as any other.
    #[default]
    Accept,
    /// Refused, as the provider's own SDK does.
    Refuse,
}

/// A digest of the body inside what is signed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyDigestDefinition {
    /// Its place, which must be signed.
    pub from: String,
    /// `sha1`, `sha256` or `sha512`.
    pub algorithm: String,
    /// `hex` (lower case only), `hex-any-case` or `base64`.
    pub encoding: String,
}

/// Where the signature is and how it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureDefinition {
    /// A place such as `header:X-Signature`.
    pub from: String,
    /// What a repeated header means.
    #[serde(default)]
    pub repeated: Repeated,
    /// How the signatures stand in the value.
    #[serde(default)]
    pub grammar: Grammar,
    /// `hex` (lower case only), `hex-any-case`, `base64` (canonical), `text` (as it is).
    pub encoding: String,
}

/// What a repeated header means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repeated {
    /// The delivery is refused: two SDKs would read two different things.
    #[default]
    Refuse,
    /// The values are one list, joined by commas.
    Join,
}

/// How signatures stand in the value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Grammar {
    /// One signature after a fixed prefix.
    Plain {
        /// What stands before it.
        #[serde(default)]
        prefix: String,
        /// Whether the prefix may be written in any case.
        #[serde(default)]
        ignore_case: bool,
    },
    /// `t=1,v1=abc,v1=def`: named values, unknown names ignored.
    Pairs {
        /// Between pairs.
        separator: String,
        /// Between name and value.
        assign: String,
        /// Names whose values are signatures.
        keys: Vec<String>,
    },
    /// `v1,abc v1,def`: items of which those with a known version are signatures.
    Versions {
        /// Between items.
        separator: String,
        /// Between version and signature.
        assign: String,
        /// Versions that count.
        keys: Vec<String>,
    },
}

impl Default for Grammar {
    fn default() -> Self {
        Self::Plain { prefix: String::new(), ignore_case: false }
    }
}

/// Where the time of signing is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestampDefinition {
    /// `signature:NAME` (a named value beside the signature) or a place such as `header:X-Timestamp`.
    pub from: String,
    /// `seconds`, `milliseconds` or `rfc3339`.
    pub unit: String,
    /// Oldest age accepted; absent = any.
    pub past: Option<Span>,
    /// Farthest future accepted; absent = any.
    pub future: Option<Span>,
}

/// How `hookgate send` makes a sample.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleDefinition {
    /// Type of the event that is sent when none is named.
    pub event: String,
    /// JSON pointer or place in the sample's body that gets a fresh id; absent where the id is in a header.
    pub id: Option<String>,
    /// What a fresh id begins with.
    #[serde(default)]
    pub id_prefix: String,
    /// JSON pointers to or places of numbers or hexadecimal text that differ between events; those that a sample has are
    /// made anew with its id, so that two samples are never the same content under two ids.
    #[serde(default)]
    pub fresh: Vec<String>,
    /// Headers beside the signature; `{id}`, `{type}` and `{now}` (RFC 3339) are filled in.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Headers of a scheme that has others than `headers`, by the scheme's name.
    #[serde(default)]
    pub schemes: BTreeMap<String, BTreeMap<String, String>>,
    /// Whether `hookgate demo` shows this provider.
    #[serde(default)]
    pub demo: bool,
}
