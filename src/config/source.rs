//! `[sources.<name>]`: one endpoint. Most keys have a default that suits its provider.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::addresses::Callers;
use super::settings::Ack;
use super::tls::ClientCertificates;
use super::values::{RoutePath, Setting, SilentAfter, Success};
use crate::mask::Pointer;
use crate::provider::secret::SecretRef;
use crate::units::{ByteSize, Rate, Span};

/// `[sources.<name>]`: one endpoint.
#[derive(Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Source {
    /// The path it listens on. Default `/in/<name>`.
    pub path: RoutePath,
    /// The name of the provider whose file says how deliveries are signed. Needed.
    pub provider: String,
    /// References to its secrets; several while one is exchanged for another. Default `[]`.
    pub secrets: Vec<SecretRef>,
    /// Who may send to it, judged before a body is read: addresses and networks, as `["192.0.2.0/24", "203.0.113.7"]`, or
    /// `{ file = "addresses.txt" }` with one a line. Default: everybody.
    pub addresses: Option<Callers>,
    /// The client certificate that a connection must have shown; needs `[ingress.tls]`. Default: none is wanted.
    pub client_certificates: Option<ClientCertificates>,
    /// Whether it takes events that nothing proves, from a scheme that has no proof. Default `false`.
    pub unauthenticated: bool,
    /// One of the schemes that the provider's file lists. Default: the first.
    pub scheme: Option<String>,
    /// Values that the provider's file asks for, by name. Default: none.
    pub settings: BTreeMap<String, Setting>,
    /// How old or new a signature may be. Default: as the provider's file says.
    pub tolerance: Tolerance,
    /// The event types that are relayed; others are answered 2xx and counted. Default `[]`: all.
    pub events: Vec<String>,
    /// Whether each event of a delivery that holds several is relayed as a message of its own. Only for a provider whose
    /// file has `[batch]`. Default `false`.
    pub split: bool,
    /// The status for an accepted event, 200 to 299. Default: the provider's, else 200.
    pub success_status: Option<Success>,
    /// The status for an event seen before, 200 to 299. Default: that of an accepted one where the provider demands an
    /// answer, else 200.
    pub duplicate_status: Option<Success>,
    /// The rate above which `on_limit` applies. Default: none.
    pub limit: Option<Limit>,
    /// What happens to a verified delivery above the limit. Default `"accept"`; with `journal.ack = "confirm"` `"429"`,
    /// and nothing else is allowed, because there is nothing to keep it in.
    pub on_limit: Option<OnLimit>,
    /// What happens to an event that its schema calls invalid. Default `"route"`.
    pub on_invalid: OnInvalid,
    /// What happens to an event seen before. Default `"drop"`.
    pub on_duplicate: OnDuplicate,
    /// What happens to known bytes under a new unsigned id. Default `"forward"`; with `journal.ack = "confirm"` nothing
    /// else is allowed.
    pub on_twin: OnTwin,
    /// Whether events are judged by the provider's schemas. Default `true`.
    pub schema: bool,
    /// The longest body, in bytes. Default: the provider's, else `ingress.body_bytes_max`.
    pub body_bytes_max: Option<ByteSize>,
    /// How long it may be quiet before an operator is told of it: a time, `"usual"` (far longer than it is as a rule, which
    /// is learnt from a day and eight gaps on, and kept where there is a journal), or `"never"`. Default `"usual"`.
    pub silent_after: SilentAfter,
    /// Bytes of requests that are kept after their proof failed, so that `hookgate quarantine requeue` can judge them again
    /// once a secret or a setting is mended. Needs `history.enabled`. Default: none are kept.
    pub quarantine: Option<ByteSize>,
    /// Whether the words of its bodies can be searched for (`hookgate history events --text`); needs `history.enabled`.
    /// Default `false`.
    pub capture_bodies: bool,
    /// Places of its bodies that are neither searchable nor shown to `admin.read_token`: JSON pointers, in which a step `*`
    /// means every element or member. A body that is no JSON is then not shown at all. Default `[]`.
    pub mask: Vec<Pointer>,
    /// What the `traceparent` that its sender gives is to the trace of a delivery; counts with `telemetry.otlp`. Default
    /// `"link"`.
    pub traceparent: SenderTrace,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            path: RoutePath::default(),
            provider: String::new(),
            secrets: Vec::new(),
            addresses: None,
            client_certificates: None,
            unauthenticated: false,
            scheme: None,
            settings: BTreeMap::new(),
            tolerance: Tolerance::default(),
            events: Vec::new(),
            split: false,
            success_status: None,
            duplicate_status: None,
            limit: None,
            on_limit: None,
            on_invalid: OnInvalid::default(),
            on_duplicate: OnDuplicate::default(),
            on_twin: OnTwin::default(),
            schema: true,
            body_bytes_max: None,
            silent_after: SilentAfter::Usual,
            quarantine: None,
            capture_bodies: false,
            mask: Vec::new(),
            traceparent: SenderTrace::Link,
        }
    }
}

impl Source {
    /// What happens to a verified delivery above the limit, by what a 2xx waits for.
    pub fn on_limit(&self, ack: Ack) -> OnLimit {
        match ack {
            Ack::Journal => self.on_limit.unwrap_or_default(),
            Ack::Confirm => OnLimit::TooMany,
        }
    }
}

/// `tolerance`: how far a signature's time may be from ours.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a table such as { past = \"5m\", future = \"1m\" }")]
pub struct Tolerance {
    /// Older than this is stale. Default: as the provider's file says.
    pub past: Option<Span>,
    /// Newer than this is premature. Default: as the provider's file says.
    pub future: Option<Span>,
}

/// `limit`: how many events a source takes at its own pace.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table such as { rate = \"500/s\", burst = 1000 }")]
pub struct Limit {
    /// So many in a unit of time. Needed.
    pub rate: Rate,
    /// So many at once. Default: as many as the rate's number.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
}

/// What happens to a verified delivery above the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum OnLimit {
    /// It is kept, and relayed at the limited rate.
    #[default]
    #[serde(rename = "accept")]
    Accept,
    /// It is answered 429 with `Retry-After`.
    #[serde(rename = "429")]
    TooMany,
}

/// What happens to an event that its schema calls invalid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OnInvalid {
    /// It is relayed as `invalid.<source>`.
    #[default]
    Route,
    /// It is answered 422.
    Reject,
}

/// What happens to an event seen before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OnDuplicate {
    /// It is answered and not relayed.
    #[default]
    Drop,
    /// It is relayed with the same message id and a mark.
    Forward,
}

/// What a sender's trace is to ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SenderTrace {
    /// Another one: ours begins here and names it.
    #[default]
    Link,
    /// The one that ours belongs to; whether it is sampled, the sender says. For senders of one's own.
    Parent,
}

/// What happens to known bytes under a new unsigned id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OnTwin {
    /// It is relayed as an event of its own, with the id of the first.
    #[default]
    Forward,
    /// It is held until it is released by command.
    Hold,
}
