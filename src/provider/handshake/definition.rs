//! The form of a handshake in a provider file; what the values mean is checked in `check`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A handshake: what its request looks like and what is answered.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HandshakeDefinition {
    /// Its name within the provider, for people.
    pub name: String,
    /// What a request must look like to be this handshake; all of it must hold.
    #[serde(rename = "match")]
    pub conditions: MatchDefinition,
    /// Whether only a delivery with a good, fresh signature is answered. `false` is for questions that come
    /// without one, and stands in the file where somebody meant it.
    #[serde(default = "verified")]
    pub verify: bool,
    /// What is answered.
    #[serde(default)]
    pub answer: AnswerDefinition,
    /// Values made from the request for the answer, `{computed:NAME}` in its texts.
    #[serde(default)]
    pub computed: BTreeMap<String, ComputedDefinition>,
    /// The place of a value that is the source's secret from then on, while the source is armed.
    pub capture: Option<String>,
    /// A URL of the request that is called after the answer.
    pub visit: Option<VisitDefinition>,
}

/// A value made from the request.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ComputedDefinition {
    /// `sha1`, `sha256`, `sha512`, or with the source's key `hmac-sha1`, `hmac-sha256`, `hmac-sha512`.
    pub algorithm: String,
    /// The text that it is made of, with `{PLACE}`s and settings.
    pub of: String,
    /// `hex`, `base64` or `base64url`.
    #[serde(default = "hex")]
    pub encoding: String,
}

fn hex() -> String {
    "hex".to_owned()
}

/// A URL of the request that is called after the answer.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VisitDefinition {
    /// Its place.
    pub from: String,
    /// What the whole of it must match: a regular expression that begins with `https://` and a host.
    pub pattern: String,
}

fn verified() -> bool {
    true
}

/// What a request must look like.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MatchDefinition {
    /// HTTP methods; empty for those that the provider sends its events with.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The media type of the body, without parameters.
    pub content_type: Option<String>,
    /// Whether the body is empty.
    #[serde(default)]
    pub empty_body: bool,
    /// Places and the value, or one of the values, that must stand there.
    #[serde(default)]
    pub equal: BTreeMap<String, Expected>,
    /// Places that must hold some value.
    #[serde(default)]
    pub present: Vec<String>,
    /// Places and the regular expression that the whole value there must match.
    #[serde(default)]
    pub matching: BTreeMap<String, String>,
    /// The keys of the JSON object that the body must be, no more and no less; empty for any body.
    #[serde(default)]
    pub only_keys: Vec<String>,
    /// A path of the listener at which it is answered, in place of the source's.
    pub path: Option<String>,
}

/// One value, or any of several.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "text, a whole number, a boolean, or a list of such")]
pub enum Expected {
    /// This one.
    One(Scalar),
    /// One of these.
    Any(Vec<Scalar>),
}

/// A value as provider files write it.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "text, a whole number or a boolean")]
pub enum Scalar {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Flag(bool),
}

/// What is answered. In a handshake's, texts may hold `{PLACE}`: the value there is echoed, and must be there.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AnswerDefinition {
    /// HTTP status, 200 to 299.
    pub status: u16,
    /// Headers beside `X-Content-Type-Options`, which every answer has.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub text: Option<String>,
    /// The body as JSON.
    #[cfg_attr(test, schemars(with = "Option<serde_json::Value>"))]
    pub json: Option<toml::Value>,
}

impl Default for AnswerDefinition {
    fn default() -> Self {
        Self { status: 200, headers: BTreeMap::new(), text: None, json: None }
    }
}
