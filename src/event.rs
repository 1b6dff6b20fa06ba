//! Event: what is kept and handed over. A delivery becomes one only through proof: see [`Event::new`].

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::dedup::key::EventKey;
use crate::delivery::Headers;
use crate::extract;
use crate::telemetry::trace;
use crate::verify::Verified;

/// The number of an event in its journal: starts at 1, rises by one for each event, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A SHA-256 that names something: an event's message id, or the content that two deliveries share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    /// 64 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 64];
        match hex::encode_to_slice(self.0, &mut text) {
            Ok(()) => f.pad(std::str::from_utf8(&text).unwrap_or_default()),
            Err(_) => Err(fmt::Error),
        }
    }
}

impl FromStr for Digest {
    type Err = hex::FromHexError;

    /// Reads 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, hex::FromHexError> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).map(|()| Self(digest))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What makes two deliveries one event, and what makes two events twins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Keys {
    /// The event's identity: equal on every redelivery, the workers' idempotency key.
    pub message_id: Digest,
    /// Source, scheme and body digest, where the identity also takes in an id or type that is not signed.
    /// Two events with one `content` and different `message_id`s are twins.
    pub content: Option<Digest>,
}

/// One line of the dedup index: an event's keys, where it is, and since when it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// The keys.
    pub keys: Keys,
    /// The record that holds the event.
    pub sequence: Sequence,
    /// When the delivery came in: the dedup window starts here.
    pub received_at: Timestamp,
}

/// Everything that is kept about an event beside its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The configured endpoint it came in by.
    pub source: Arc<str>,
    /// The provider whose scheme proved it.
    pub provider: Arc<str>,
    /// Identity and content keys.
    pub keys: Keys,
    /// The provider's own id of the event; empty where it gave none.
    pub event_id: String,
    /// The provider's event type; empty where it gave none.
    pub event_type: String,
    /// When the delivery had been read in full.
    pub received_at: Timestamp,
    /// Label of the secret that verified.
    pub secret: Arc<str>,
    /// `Content-Type` as received; empty where there was none.
    pub content_type: String,
    /// Headers on the provider's allow-list, lower-case name and value, in order of arrival; then `query`, where the
    /// provider sends data there.
    pub headers: Vec<(String, String)>,
    /// True where the scheme proves the sender but does not cover the body (token, Basic, Bearer).
    pub source_authenticated: bool,
    /// True where nothing at all is proved, as the source's configuration says that it may be.
    pub unauthenticated: bool,
    /// Why the payload is not valid by its schema; such an event is relayed as `invalid.<source>`.
    pub invalid: Option<String>,
    /// The first event with the same content, where this one is its twin.
    pub twin_of: Option<Digest>,
    /// Kept but not relayed until an operator releases it.
    pub held: bool,
    /// The sender delivered a known event again, and the source forwards that.
    pub redelivery: bool,
}

/// How a body that holds several events is handed over: an element of its array at a time. Fixed when the delivery
/// is accepted and kept with it, so that no later provider file cuts it otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Elements that the array has, those that the source does not want among them.
    pub elements: u32,
    /// Where in the body the JSON lies that holds the array.
    pub text: Range<u32>,
    /// Whether it is written there as a form's value.
    pub encoded: bool,
    /// The elements that are handed over, in their order; never empty.
    pub parts: Vec<Part>,
}

/// One element of a split body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its place in the array, from 0.
    pub index: u32,
    /// Where it lies in the JSON, once that is decoded.
    pub span: Range<u32>,
    /// The workers' idempotency key of this element.
    pub message_id: Digest,
    /// The provider's id of it; empty where it gave none.
    pub event_id: String,
    /// Its type; empty where the provider gave none.
    pub event_type: String,
}

impl Split {
    /// The JSON that the parts' spans lie in.
    pub fn text(&self, body: &Bytes) -> Bytes {
        let written = slice(body, &self.text);
        if self.encoded { extract::form_decoded(&written).into() } else { written }
    }

    /// An element's exact bytes, out of [`Self::text`].
    pub fn element(text: &Bytes, part: &Part) -> Bytes {
        slice(text, &part.span)
    }
}

/// What lies there, nothing beyond the end.
fn slice(bytes: &Bytes, span: &Range<u32>) -> Bytes {
    bytes.get(span.start as usize..span.end as usize).map_or_else(Bytes::new, |part| bytes.slice_ref(part))
}

/// An accepted event: its envelope and the exact bytes that were received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    envelope: Envelope,
    body: Bytes,
    split: Option<Arc<Split>>,
}

impl Event {
    /// The only way from a delivery to an event: it takes the proof that somebody with the secret sent it and
    /// the key that was derived from that proof. `invalid` is why its schema does not hold, if so.
    pub fn new(source: &Arc<str>, verified: Verified, key: EventKey, invalid: Option<String>) -> Self {
        let scheme = verified.scheme();
        let provider = Arc::clone(&scheme.provider);
        let unauthenticated = verified.unauthenticated();
        let source_authenticated = !verified.covers_body() && !unauthenticated;
        let mut headers = kept(&scheme.forward, &verified.delivery().headers);
        headers.extend(query(&verified.delivery().target).filter(|_| scheme.forward_query));
        let secret = Arc::clone(verified.secret());
        let delivery = verified.into_delivery();
        let content_type = delivery.headers.first("content-type").map(text).unwrap_or_default();
        let keys = key.keys();
        let (event_id, event_type) = key.into_names();
        let envelope = Envelope {
            source: Arc::clone(source),
            provider,
            keys,
            event_id,
            event_type,
            received_at: delivery.received_at,
            secret,
            content_type,
            headers,
            source_authenticated,
            unauthenticated,
            invalid,
            twin_of: None,
            held: false,
            redelivery: false,
        };
        Self { envelope, body: delivery.body, split: None }
    }

    /// Restores an event that the journal kept. Only `journal/record.rs` calls this.
    pub(crate) fn restore(envelope: Envelope, body: Bytes) -> Self {
        Self { envelope, body, split: None }
    }

    /// The same, to be handed over in parts.
    pub fn in_parts(self, split: Option<Split>) -> Self {
        Self { split: split.map(Arc::new), ..self }
    }

    /// The same, in this trace, if in any: workers find it as `traceparent`.
    pub fn traced(mut self, trace: Option<trace::Context>) -> Self {
        if let Some(trace) = trace {
            self.envelope.headers.retain(|(name, _)| name != TRACEPARENT);
            self.envelope.headers.push((TRACEPARENT.to_owned(), trace.to_string()));
        }
        self
    }

    /// How it is handed over, where that is in parts.
    pub fn split(&self) -> Option<&Arc<Split>> {
        self.split.as_ref()
    }

    /// Everything but the body.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// That alone.
    pub fn into_envelope(self) -> Envelope {
        self.envelope
    }

    /// The bytes as received.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Notes that the sender delivered this event before.
    pub(crate) fn set_redelivery(&mut self) {
        self.envelope.redelivery = true;
    }

    /// Notes that this event repeats the content of `first` under another id or type.
    pub(crate) fn set_twin(&mut self, first: Digest, held: bool) {
        self.envelope.twin_of = Some(first);
        self.envelope.held = held;
    }
}

/// The name under which an event's trace stands among its headers, as in a request and in a message.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// The name under which an event's query stands among its headers.
const QUERY: &str = "query";

/// The headers on the allow-list, in order of arrival.
fn kept(allowed: &[String], headers: &Headers) -> Vec<(String, String)> {
    let wanted =
        |name: &[u8]| name != QUERY.as_bytes() && allowed.iter().any(|allowed| allowed.as_bytes() == name);
    headers.iter().filter(|(name, _)| wanted(name)).map(|(name, value)| (text(name), text(value))).collect()
}

/// The query as received, in the form of a header that no sender can send beside it.
fn query(target: &str) -> Option<(String, String)> {
    let (_, query) = target.split_once('?').filter(|(_, query)| !query.is_empty())?;
    Some((QUERY.to_owned(), query.to_owned()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
