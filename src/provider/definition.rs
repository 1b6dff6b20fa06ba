//! The form of a provider file. Unknown keys are errors; what the values mean is checked in `scheme`.
//!
//! Text in `schemes`, `event` and `forward` may hold `${name}`: the source's setting of that name, declared
//! under `settings`. A value that is only an unset setting is left out, as if its key were not there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::grammar::Grammar;
use super::handshake::{AnswerDefinition, HandshakeDefinition};
use super::key::KeyDefinition;
use super::token::JwtDefinition;
use crate::units::{ByteSize, Span};

/// A provider file.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// What accepted events are answered with, where the sender demands something.
    pub answer: Option<AnswerDefinition>,
    /// How `hookgate send` makes a sample.
    pub sample: Option<SampleDefinition>,
    /// The folder that the file was read from; `None` for one that comes with the binary.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
}

fn post() -> Vec<String> {
    vec!["POST".to_owned()]
}

/// How a provider sends.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SenderFacts {
    /// How long after the event it still retries; absent where it does not retry or does not say.
    pub retries: Option<Span>,
    /// Longest body that it sends, where that is more than usual.
    pub body_bytes_max: Option<ByteSize>,
    /// Whether it never sends an event again: what is refused is lost.
    #[serde(default)]
    pub never_retries: bool,
    /// How long it waits for an answer.
    pub timeout: Option<Span>,
    /// What it takes as success, such as `2xx`.
    pub success: Option<String>,
    /// When it tries again.
    pub schedule: Option<String>,
    /// When it gives up on an endpoint.
    pub disables: Option<String>,
    /// Addresses that it sends from: networks, or the URL of a list.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// What goes wrong with it.
    #[serde(default)]
    pub pitfalls: Vec<String>,
    /// What an operator should know.
    pub notes: Option<String>,
    /// Keys of `[sender]`, paths of keys in this file, or short phrases, that no source of the provider's own confirmed.
    #[serde(default)]
    pub unverified: Vec<String>,
}

/// A setting that the provider's scheme leaves to the source.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// Whether no two events have one id. Where they can (a batch's first element, a message and its states), the id only
    /// stands beside the body's digest.
    #[serde(default = "yes")]
    pub unique: bool,
}

fn yes() -> bool {
    true
}

impl Default for EventDefinition {
    fn default() -> Self {
        Self { id: Places::default(), event_type: Places::default(), volatile: Vec::new(), unique: true }
    }
}

/// Where the events are in a request that holds several, and what names each of them.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// Whether no two elements have one id; where they can, the delivery's identity and the element's place tell them apart.
    #[serde(default = "yes")]
    pub unique: bool,
}

/// Places of which the first that holds a value counts: one as text, or a list.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(from = "PlacesForm")]
pub struct Places(pub Vec<PlaceDefinition>);

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "a place such as \"json:/id\", or a list of places")]
enum PlacesForm {
    One(String),
    Several(Vec<PlaceForm>),
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PlaceDefinition {
    /// The place.
    pub when: String,
    /// What it stands for, where not for its own value.
    pub text: Option<String>,
}

/// What goes on to the workers beside the body.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SchemeDefinition {
    /// Its name within the provider.
    pub name: String,
    /// How the signature is made: `hmac-…`, a plain digest, a public-key algorithm, `jwt-…`, `basic`, `token` (the
    /// secret itself is sent) or `none`.
    pub algorithm: String,
    /// How the key is made from the secret's text; default `utf8`, and `public-key` where the secrets are public keys.
    #[serde(default)]
    pub secret: String,
    /// Which key signed, and where keys are fetched from.
    #[serde(default)]
    pub key: KeyDefinition,
    /// Templates of the signed bytes, any of which may match; empty for `token`.
    #[serde(default)]
    pub signed: Vec<String>,
    /// An array of which every element is judged by itself, by places of the form `item:/…`.
    pub each: Option<String>,
    /// Places that must hold a value beside the signature.
    #[serde(default)]
    pub require: Vec<String>,
    /// Places and the value, or one of the values, that must stand there.
    #[serde(default)]
    pub equal: BTreeMap<String, Texts>,
    /// Places and the pattern that the whole value there must match.
    #[serde(default)]
    pub matching: BTreeMap<String, String>,
    /// Whether an empty body may be signed.
    #[serde(default)]
    pub empty_body: EmptyBody,
    /// How `{form_sorted}` writes the fields, where not as names and values one after the other.
    pub form_sorted: Option<FormSortedDefinition>,
    /// A digest of the body inside what is signed, which proves the body.
    pub body_digest: Option<BodyDigestDefinition>,
    /// Methods, where this scheme has others than the provider.
    pub methods: Option<Vec<String>>,
    /// Where the signature is and how it is written.
    #[serde(default)]
    pub signature: SignatureDefinition,
    /// What a token's claims must say.
    #[serde(default)]
    pub jwt: JwtDefinition,
    /// Public secrets for tests: a source that has one does not start.
    #[serde(default)]
    pub known_secrets: Vec<String>,
    /// Where the time of signing is.
    pub timestamp: Option<TimestampDefinition>,
    /// Where this scheme has id and type elsewhere than the provider's other schemes.
    pub event: Option<EventDefinition>,
    /// Where this scheme has the events of a request elsewhere than the provider's other schemes.
    pub batch: Option<BatchDefinition>,
    /// Handshakes that only this scheme has; they are tried first.
    #[serde(default)]
    pub handshakes: Vec<HandshakeDefinition>,
    /// What accepted events are answered with, where this scheme has another answer than the provider.
    pub answer: Option<AnswerDefinition>,
    /// Settings that only this scheme has.
    #[serde(default)]
    pub settings: BTreeMap<String, SettingDefinition>,
}

/// Whether an empty body may be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EmptyBody {
    /// A signature over nothing counts as any other.
    #[default]
    Accept,
    /// Refused, as the provider's own SDK does.
    Refuse,
}

/// How the fields of a form are written as one text, sorted by name. A name that stands twice makes the form none.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { separator = \"&\", assign = \"=\", except = [\"sign\"] }"
)]
pub struct FormSortedDefinition {
    /// What stands between two fields, such as `&`.
    pub separator: String,
    /// What stands between a name and its value, such as `=`; without it the values are signed alone.
    pub assign: Option<String>,
    /// Names of fields that are not signed: that of the signature, and others that the sender leaves out.
    #[serde(default)]
    pub except: Vec<String>,
    /// Whether fields without a value are signed.
    #[serde(default = "yes")]
    pub empty: bool,
}

/// A digest of the body inside what is signed.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BodyDigestDefinition {
    /// Its place, which must be signed.
    pub from: String,
    /// `sha1`, `sha256`, `sha384` or `sha512`.
    pub algorithm: String,
    /// `hex` (lower case only), `hex-any-case`, `base64` or `base64url`.
    pub encoding: String,
    /// Whether it may be absent; then nothing proves the body.
    #[serde(default)]
    pub optional: bool,
}

/// One text or several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(from = "TextsForm")]
pub struct Texts(pub Vec<String>);

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "text, or a list of texts")]
enum TextsForm {
    One(String),
    Several(Vec<String>),
}

impl From<TextsForm> for Texts {
    fn from(form: TextsForm) -> Self {
        match form {
            TextsForm::One(one) => Self(vec![one]),
            TextsForm::Several(several) => Self(several),
        }
    }
}

impl fmt::Display for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Where the signature is and how it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SignatureDefinition {
    /// A place such as `header:X-Signature`, or several; of `header:X-Signature-{n}` those from 1 on that are there.
    /// Default for `basic`: `header:Authorization`.
    #[serde(default)]
    pub from: Texts,
    /// How many places `{n}` stands for at most.
    pub count: Option<u16>,
    /// Whether the secret of slot 0 goes with the first place only, that of slot 1 with the second, and so on.
    #[serde(default)]
    pub slots: bool,
    /// What a repeated header means.
    #[serde(default)]
    pub repeated: Repeated,
    /// How the signatures stand in the value.
    #[serde(default)]
    pub grammar: Grammar,
    /// `hex` (lower case only), `hex-any-case`, `base64` (canonical), `base64url` (canonical, unpadded), `text` (as it
    /// is, the default for `token`). Tokens and Basic have an encoding of their own.
    #[serde(default)]
    pub encoding: String,
}

/// What a repeated header means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Repeated {
    /// The delivery is refused: two SDKs would read two different things.
    #[default]
    Refuse,
    /// The values are one list, joined by commas.
    Join,
}

/// Where the time of signing is.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TimestampDefinition {
    /// `signature:NAME` (a named value beside the signature) or a place such as `header:X-Timestamp`.
    pub from: String,
    /// `seconds`, `milliseconds`, `seconds-or-milliseconds`, `rfc3339` or `rfc2822`.
    pub unit: String,
    /// Whether JSON has it as a number and not as a string.
    #[serde(default)]
    pub number: bool,
    /// Oldest age accepted; absent = any.
    pub past: Option<Span>,
    /// Farthest future accepted; absent = any.
    pub future: Option<Span>,
}

/// How `hookgate send` makes a sample.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SampleDefinition {
    /// Type of the event that is sent when none is named.
    pub event: String,
    /// The provider whose payloads it sends; absent for its own.
    pub payloads: Option<String>,
    /// Example values of settings, for samples where nobody gives others.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
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

impl SampleDefinition {
    /// The headers that a sample of that scheme has beside the signature, their marks not filled in.
    pub fn headers_of(&self, scheme: &str) -> &BTreeMap<String, String> {
        self.schemes.get(scheme).unwrap_or(&self.headers)
    }
}
