//! The message and the trait every sink implements.
//!
//! [`Message::new`] is the one place that knows how an event looks from outside: properties, routing key and
//! headers. It is pure. Nothing here talks to a destination; the drivers beside this file do.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::event::{Digest, Envelope, Event, Keys, Part, Sequence, TRACEPARENT};
use crate::metrics::Published;
use crate::telemetry::trace;

/// Longest AMQP short string in bytes: message properties and routing keys are cut to it.
const SHORT_BYTES_MAX: usize = 255;
/// Longest value of one header in bytes; the sender chose its length, the broker's frame limits it.
const VALUE_BYTES_MAX: usize = 8 * 1024;
/// All headers together in bytes, names included. Half of RabbitMQ's default frame, which must hold them.
const HEADERS_BYTES_MAX: usize = 64 * 1024;

/// What is special about this attempt to publish an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// An earlier attempt may have arrived: workers can see this message twice.
    pub possible_duplicate: bool,
    /// The sender delivered the event again and the source forwards that (`on_duplicate = "forward"`).
    pub redelivery: bool,
    /// An operator publishes the event again.
    pub replay: bool,
}

/// The value of a message header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// Text, UTF-8.
    Text(String),
    /// A count or a number of ours.
    Number(u64),
    /// A mark; absent means false.
    Flag(bool),
}

/// An event as a destination sees it: body, properties, routing key and headers.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    body: Bytes,
    id: Digest,
    routing_key: String,
    event_type: String,
    content_type: String,
    timestamp: Timestamp,
    headers: Headers,
}

impl Message {
    /// The message for one attempt at `event`. `sequence` is left out of the headers where it is zero: an
    /// event that no journal numbered. The body is shared, not copied.
    pub fn new(event: &Event, sequence: Sequence, attempt: Attempt) -> Self {
        Self::of(event.envelope(), event.body(), sequence, attempt)
    }

    /// The same from an event's parts: a message proves nothing, so anybody may make one.
    pub fn of(envelope: &Envelope, body: &Bytes, sequence: Sequence, attempt: Attempt) -> Self {
        Self {
            body: body.clone(),
            id: envelope.keys.message_id,
            routing_key: routing_key(envelope),
            event_type: cut(&envelope.event_type, SHORT_BYTES_MAX).to_owned(),
            content_type: cut(&envelope.content_type, SHORT_BYTES_MAX).to_owned(),
            timestamp: envelope.received_at,
            headers: headers(envelope, body, sequence, attempt),
        }
    }

    /// The message for one part of a split event, whose exact bytes are `body`: as for the event, with the part's own
    /// id, type and routing key, and a header that says which part it is, from 1, and of how many elements.
    pub fn part(event: &Event, part: &Part, body: &Bytes, sequence: Sequence, attempt: Attempt) -> Self {
        let mut envelope = event.envelope().clone();
        envelope.keys = Keys { message_id: part.message_id, content: None };
        envelope.event_id.clone_from(&part.event_id);
        envelope.event_type.clone_from(&part.event_type);
        let split = event.split();
        if split.is_some_and(|split| split.encoded) {
            // The form's media type is not the element's.
            "application/json".clone_into(&mut envelope.content_type);
        }
        let mut message = Self::of(&envelope, body, sequence, attempt);
        let elements = split.map_or(1, |split| split.elements);
        let place = HeaderValue::Text(format!("{}/{elements}", part.index + 1));
        message.headers.entries.insert(0, ("hookgate-part".into(), place));
        message
    }

    /// The bytes as received.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The workers' idempotency key, equal on every attempt and redelivery; 64 hexadecimal digits as text.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// `<source>.<event type>` or `invalid.<source>`, of `[a-z0-9._-]`, at most 255 bytes.
    pub fn routing_key(&self) -> &str {
        &self.routing_key
    }

    /// The provider's event type, at most 255 bytes; the whole of it is in `hookgate-event-type`.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// `Content-Type` as received, at most 255 bytes; empty where there was none.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// When the delivery had been read in full.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Properties, headers and body as JSON; the body as text where it is UTF-8, else in base64.
    pub fn to_json(&self) -> Map<String, Value> {
        let value = |value: &HeaderValue| match value {
            HeaderValue::Text(text) => Value::from(text.as_str()),
            HeaderValue::Number(number) => Value::from(*number),
            HeaderValue::Flag(flag) => Value::from(*flag),
        };
        let headers: Map<String, Value> =
            self.headers().iter().map(|(name, header)| (name.clone().into_owned(), value(header))).collect();
        let mut event = Map::new();
        event.insert("message_id".to_owned(), self.id().to_string().into());
        event.insert("routing_key".to_owned(), self.routing_key().into());
        event.insert("type".to_owned(), self.event_type().into());
        event.insert("app_id".to_owned(), "hookgate".into());
        event.insert("timestamp".to_owned(), self.timestamp().seconds().into());
        event.insert("content_type".to_owned(), self.content_type().into());
        event.insert("headers".to_owned(), Value::Object(headers));
        match std::str::from_utf8(self.body()) {
            Ok(text) => event.insert("body".to_owned(), text.into()),
            Err(_) => event.insert("body_base64".to_owned(), STANDARD.encode(self.body()).into()),
        };
        event
    }

    /// The trace that it belongs to, if to any.
    pub fn trace(&self) -> Option<trace::Context> {
        let (_, value) = self.headers().iter().find(|(name, _)| name == TRACEPARENT)?;
        match value {
            HeaderValue::Text(text) => text.parse().ok(),
            HeaderValue::Number(_) | HeaderValue::Flag(_) => None,
        }
    }

    /// From here on it belongs to this one.
    pub fn go_in(&mut self, trace: trace::Context) {
        let entries = &mut self.headers.entries;
        entries.retain(|(name, _)| name != TRACEPARENT);
        entries.push((TRACEPARENT.into(), HeaderValue::Text(trace.to_string())));
    }

    /// Takes the headers out, which the message is without from here on.
    pub(crate) fn take_headers(&mut self) -> Vec<(Cow<'static, str>, HeaderValue)> {
        std::mem::take(&mut self.headers.entries)
    }

    /// Header names and values, in a fixed order.
    pub fn headers(&self) -> &[(Cow<'static, str>, HeaderValue)] {
        &self.headers.entries
    }
}

impl fmt::Debug for Message {
    /// Names the message without its body or the sender's headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("routing_key", &self.routing_key)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Headers under construction, kept below what one frame can hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Headers {
    entries: Vec<(Cow<'static, str>, HeaderValue)>,
    bytes: usize,
    cut: bool,
}

impl Headers {
    fn text(&mut self, name: impl Into<Cow<'static, str>>, value: &str) {
        let name = name.into();
        let kept = cut(value, VALUE_BYTES_MAX);
        let bytes = name.len() + kept.len() + 8;
        self.cut |= kept.len() < value.len();
        if name.len() > SHORT_BYTES_MAX || self.bytes + bytes > HEADERS_BYTES_MAX {
            self.cut = true;
            return;
        }
        self.bytes += bytes;
        self.entries.push((name, HeaderValue::Text(kept.to_owned())));
    }

    fn some(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.text(name, value);
        }
    }

    fn mark(&mut self, name: &'static str, set: bool) {
        if set {
            self.entries.push((name.into(), HeaderValue::Flag(true)));
        }
    }
}

fn headers(envelope: &Envelope, body: &[u8], sequence: Sequence, attempt: Attempt) -> Headers {
    let mut headers = Headers::default();
    headers.text("hookgate-source", &envelope.source);
    headers.text("hookgate-provider", &envelope.provider);
    headers.some("hookgate-event-id", &envelope.event_id);
    headers.some("hookgate-event-type", &envelope.event_type);
    headers.text("hookgate-received-at", &envelope.received_at.to_string());
    if sequence != Sequence(0) {
        headers.entries.push(("hookgate-sequence".into(), HeaderValue::Number(sequence.0)));
    }
    headers.text("hookgate-secret", &envelope.secret);
    headers.text("hookgate-digest", &Digest(Sha256::digest(body).into()).to_string());
    if let Some(first) = envelope.twin_of {
        headers.text("hookgate-twin-of", &first.to_string());
    }
    if let Some(reason) = &envelope.invalid {
        headers.text("hookgate-invalid", reason);
    }
    if envelope.content_type.len() > SHORT_BYTES_MAX {
        headers.text("hookgate-content-type", &envelope.content_type);
    }
    headers.mark("hookgate-source-authenticated", envelope.source_authenticated);
    headers.mark("hookgate-unauthenticated", envelope.unauthenticated);
    headers.mark("hookgate-possible-duplicate", attempt.possible_duplicate);
    headers.mark("hookgate-redelivery", attempt.redelivery);
    headers.mark("hookgate-replay", attempt.replay);
    received_headers(&mut headers, envelope);
    headers
}

/// The delivery's own headers, last: where the frame is full, theirs give way and not ours.
fn received_headers(headers: &mut Headers, envelope: &Envelope) {
    for (name, value) in &envelope.headers {
        if name == TRACEPARENT {
            headers.text(TRACEPARENT, value);
        } else {
            headers.text(format!("http-{name}"), value);
        }
    }
    let cut = headers.cut;
    headers.mark("hookgate-headers-cut", cut);
}

fn routing_key(envelope: &Envelope) -> String {
    let parts = match (&envelope.invalid, envelope.event_type.as_str()) {
        (Some(_), _) => ["invalid", ".", &envelope.source],
        (None, "") => [&envelope.source, "", ""],
        (None, event_type) => [&envelope.source, ".", event_type],
    };
    parts.iter().flat_map(|part| part.chars()).map(clean).take(SHORT_BYTES_MAX).collect()
}

/// One character of a routing key: lower case, and `_` for whatever a topic pattern should not meet.
fn clean(c: char) -> char {
    match c.to_ascii_lowercase() {
        kept @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => kept,
        _ => '_',
    }
}

/// The longest start of `text` that has at most `max` bytes and ends between characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What became of a message. Only [`Confirmation::Confirmed`] lets go of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The destination has it and answers for it.
    Confirmed,
    /// The broker found no queue for it (`mandatory`). It is not kept anywhere.
    Returned {
        /// AMQP reply code, 312 for «no route».
        code: u16,
        /// The broker's words.
        reason: String,
    },
    /// The broker refused it (nack): a queue is full or failing. It is not kept anywhere.
    Refused,
    /// It may or may not have arrived; the next attempt carries the duplicate mark.
    Unknown {
        /// What happened.
        cause: String,
    },
    /// It certainly never left; the next attempt needs no mark.
    NotSent {
        /// What happened.
        cause: String,
    },
    /// The broker closed the channel while this message was in flight, in a way that a message can cause. One
    /// of those in flight is the cause; the others may or may not have arrived.
    ChannelClosed {
        /// AMQP reply code, 406 for a message over the broker's size limit.
        code: u16,
        /// The broker's words.
        reason: String,
    },
}

/// Proof that the destination answers for a message. Made here alone, of [`Confirmation::Confirmed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    _made_here: (),
}

impl Confirmation {
    /// How the metrics call it.
    pub fn counted(&self) -> Published {
        match self {
            Self::Confirmed => Published::Confirmed,
            Self::Returned { .. } => Published::Returned,
            Self::Refused => Published::Refused,
            Self::Unknown { .. } => Published::Unknown,
            Self::NotSent { .. } => Published::NotSent,
            Self::ChannelClosed { .. } => Published::ChannelClosed,
        }
    }

    /// What went wrong, by that name.
    pub fn error(&self) -> Option<&'static str> {
        (*self != Self::Confirmed).then(|| self.counted().as_str())
    }

    /// The proof, where it is confirmed.
    pub fn proof(&self) -> Option<Confirmed> {
        (*self == Self::Confirmed).then_some(Confirmed { _made_here: () })
    }
}

/// How a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What it is doing.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
}

/// What a sink is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Trying to reach the destination; with the last error, where there was one.
    Connecting {
        /// Why the last try failed.
        last_error: Option<String>,
    },
    /// Ready to publish.
    Connected,
    /// Connected, and asked by the broker to wait (memory or disk alarm).
    Blocked {
        /// The broker's words.
        reason: String,
    },
    /// Reached, and refused in a way that waiting will not cure: somebody has to change rights, names or
    /// queues. Tried again slowly.
    Refused {
        /// The broker's reply code, 0 where there is none.
        code: u16,
        /// What was refused and what to do.
        reason: String,
    },
    /// Ended by us, or for good.
    Closed,
}

/// A publish under way: resolves to what became of the message. Dropping it forgets the message.
pub type Pending = BoxFuture<'static, Confirmation>;

/// A destination for events.
///
/// Publishes keep the order of the calls when these come from one task. Never retries: an answer other than
/// [`Confirmation::Confirmed`] is the relay's to deal with.
pub trait Sink: Send + Sync {
    /// Takes a message in order and returns its outcome as a future. Waits while the sink's own small buffer
    /// is full, as under a broker's alarm.
    fn publish(&self, message: Message) -> BoxFuture<'_, Pending>;
    /// How the sink is at this moment.
    fn health(&self) -> Health;
    /// `rabbitmq` or `stdout`: the label in metrics and logs.
    fn name(&self) -> &'static str;
    /// Resolves once publishing makes sense: connected and not blocked. Never, for a closed sink.
    fn ready(&self) -> BoxFuture<'_, ()>;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::event::Keys;

    pub(crate) fn envelope() -> Envelope {
        Envelope {
            source: "shop".into(),
            provider: "shopify".into(),
            keys: Keys { message_id: Digest([0xab; 32]), content: None },
            event_id: "evt_1".into(),
            event_type: "orders/Create".into(),
            received_at: Timestamp::from_millis(1_795_219_200_123),
            secret: "live".into(),
            content_type: "application/json".into(),
            headers: vec![("x-shop".into(), "a.example".into()), ("traceparent".into(), "00-a-b-01".into())],
            source_authenticated: false,
            unauthenticated: false,
            invalid: None,
            twin_of: None,
            held: false,
            redelivery: false,
        }
    }

    pub(crate) fn message(envelope: Envelope, body: &'static [u8]) -> Message {
        Message::new(&Event::restore(envelope, Bytes::from_static(body)), Sequence(7), Attempt::default())
    }

    fn header<'a>(message: &'a Message, name: &str) -> Option<&'a HeaderValue> {
        message.headers().iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    fn text(value: &str) -> Option<HeaderValue> {
        Some(HeaderValue::Text(value.to_owned()))
    }

    #[test]
    fn carries_every_property_and_header() {
        let event = Event::restore(envelope(), Bytes::from_static(b"abc"));
        let message = Message::new(
            &event,
            Sequence(7),
            Attempt { possible_duplicate: true, redelivery: true, replay: true },
        );
        assert_eq!(message.body().as_ptr(), event.body().as_ptr(), "the body is shared, not copied");
        assert_eq!(message.routing_key(), "shop.orders_create");
        assert_eq!(message.event_type(), "orders/Create");
        assert_eq!(message.id().to_string(), "ab".repeat(32));
        assert_eq!(header(&message, "hookgate-source").cloned(), text("shop"));
        assert_eq!(header(&message, "hookgate-provider").cloned(), text("shopify"));
        assert_eq!(header(&message, "hookgate-event-id").cloned(), text("evt_1"));
        assert_eq!(header(&message, "hookgate-event-type").cloned(), text("orders/Create"));
        assert_eq!(header(&message, "hookgate-received-at").cloned(), text("2026-11-21T00:00:00.123Z"));
        assert_eq!(header(&message, "hookgate-sequence"), Some(&HeaderValue::Number(7)));
        assert_eq!(header(&message, "hookgate-secret").cloned(), text("live"));
        assert_eq!(
            header(&message, "hookgate-digest").cloned(),
            text("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            "SHA-256 of «abc», from FIPS 180"
        );
        assert_eq!(header(&message, "hookgate-possible-duplicate"), Some(&HeaderValue::Flag(true)));
        assert_eq!(header(&message, "hookgate-redelivery"), Some(&HeaderValue::Flag(true)));
        assert_eq!(header(&message, "traceparent").cloned(), text("00-a-b-01"));
        assert_eq!(header(&message, "http-x-shop").cloned(), text("a.example"));
        assert!(message.headers().iter().all(|(name, _)| !name.starts_with("x-")));
    }

    #[test]
    fn leaves_out_what_does_not_apply() {
        let plain = Message::new(&Event::restore(envelope(), Bytes::new()), Sequence(0), Attempt::default());
        for name in [
            "hookgate-sequence",
            "hookgate-possible-duplicate",
            "hookgate-redelivery",
            "hookgate-twin-of",
            "hookgate-invalid",
            "hookgate-source-authenticated",
            "hookgate-headers-cut",
        ] {
            assert_eq!(header(&plain, name), None, "{name}");
        }
    }

    #[test]
    fn an_invalid_event_is_routed_by_its_source_with_the_reason() {
        let mut invalid = envelope();
        invalid.invalid = Some("/amount: not a number".into());
        invalid.twin_of = Some(Digest([1; 32]));
        invalid.source_authenticated = true;
        let message = message(invalid, b"{}");
        assert_eq!(message.routing_key(), "invalid.shop");
        assert_eq!(header(&message, "hookgate-invalid").cloned(), text("/amount: not a number"));
        assert_eq!(header(&message, "hookgate-twin-of").cloned(), text(&"01".repeat(32)));
        assert_eq!(header(&message, "hookgate-source-authenticated"), Some(&HeaderValue::Flag(true)));
    }

    #[test]
    fn a_routing_key_is_clean_and_short_whatever_the_type() {
        for (event_type, key) in
            [("", "shop"), ("a b*c#d", "shop.a_b_c_d"), ("ÄÖ.x", "shop.__.x"), ("push\0\r\n", "shop.push___")]
        {
            let mut odd = envelope();
            odd.event_type = event_type.into();
            assert_eq!(message(odd, b"").routing_key(), key);
        }
        let mut long = envelope();
        long.event_type = "é".repeat(4000);
        long.content_type = "é".repeat(300);
        let long = message(long, b"");
        assert_eq!(long.routing_key().len(), 255);
        assert_eq!(long.event_type(), "é".repeat(127), "cut between characters");
        assert_eq!(long.content_type(), "é".repeat(127));
        assert_eq!(header(&long, "hookgate-event-type").cloned(), text(&"é".repeat(4000)));
        assert_eq!(header(&long, "hookgate-content-type").cloned(), text(&"é".repeat(300)));
    }

    #[test]
    fn headers_always_fit_a_frame() {
        let mut large = envelope();
        large.event_id = "i".repeat(1 << 20);
        large.headers = (0..100).map(|n| (format!("x-{n}"), "v".repeat(2000))).collect();
        large.headers.push(("n".repeat(300), "v".into()));
        let large = message(large, b"");
        let bytes: usize = large.headers().iter().map(|(name, _)| name.len()).sum::<usize>()
            + large
                .headers()
                .iter()
                .map(|(_, value)| if let HeaderValue::Text(text) = value { text.len() } else { 8 })
                .sum::<usize>();
        assert!(bytes <= HEADERS_BYTES_MAX + 1024, "{bytes}");
        assert_eq!(header(&large, "hookgate-headers-cut"), Some(&HeaderValue::Flag(true)));
        assert!(header(&large, "hookgate-digest").is_some(), "ours come first");
    }

    #[test]
    fn debug_shows_no_body() {
        let shown = format!("{:?}", message(envelope(), b"secret-in-body"));
        assert!(!shown.contains("secret-in-body") && !shown.contains("a.example"), "{shown}");
    }
}
