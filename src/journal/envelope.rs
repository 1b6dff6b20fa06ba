//! How an event's envelope lies in a record's head. Pure: bytes in, an [`Event`] or nothing out, no panic on any bytes.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 32 | message id |
//! | 32 | 32 | content key, zero where there is none |
//! | 64 | 32 | twin of, zero where it is none |
//! | 96 | 8 | received at, Unix ms, signed |
//! | 104 | 1 | bits: 1 content, 2 twin, 4 source authenticated, 8 invalid, 16 held, 32 redelivery, 64 unauthenticated, 128 split |
//! | 105 | 3 | number of headers |
//! | 108 | | texts, each its length (4) and UTF-8 bytes: source, provider, secret, event id, event type, content type, why invalid (empty where valid), then name and value of each header |
//! | | | how it is split, where the bit says so: see `parts.rs` |

use std::sync::Arc;

use bytes::Bytes;

use super::parts;
use super::record::u32_at;
use crate::clock::Timestamp;
use crate::event::{Digest, Envelope, Event, Keys};

const FIXED: usize = 108;
const CONTENT: u8 = 1;
const TWIN: u8 = 2;
const SOURCE_AUTHENTICATED: u8 = 4;
const INVALID: u8 = 8;
const HELD: u8 = 16;
const REDELIVERY: u8 = 32;
const UNAUTHENTICATED: u8 = 64;
const SPLIT: u8 = 128;
const HEADERS_MAX: usize = (1 << 24) - 1;

/// What recovery and the relay's scan need to know of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline<'a> {
    pub(super) keys: Keys,
    pub(super) received_at: Timestamp,
    pub(super) source: &'a str,
}

/// What a choice among records looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary<'a> {
    /// The event's identity.
    pub message_id: Digest,
    /// When its delivery came in.
    pub received_at: Timestamp,
    /// Its source.
    pub source: &'a str,
    /// The provider's own id of the event; empty where it gave none.
    pub event_id: &'a str,
    /// The provider's event type; empty where it gave none.
    pub event_type: &'a str,
}

/// The fields that a choice looks at; none where these bytes are no envelope.
pub(super) fn summary(head: &[u8]) -> Option<Summary<'_>> {
    let Outline { keys, received_at, source } = outline(head)?;
    let mut texts = Texts(head.get(FIXED..)?);
    let (_source, _provider, _secret) = (texts.next()?, texts.next()?, texts.next()?);
    let (event_id, event_type) = (texts.next()?, texts.next()?);
    Some(Summary { message_id: keys.message_id, received_at, source, event_id, event_type })
}

/// Bytes of the event's head.
pub(super) fn size(event: &Event) -> usize {
    let envelope = event.envelope();
    let texts = [
        &*envelope.source,
        &*envelope.provider,
        &*envelope.secret,
        &*envelope.event_id,
        &*envelope.event_type,
        &*envelope.content_type,
        envelope.invalid.as_deref().unwrap_or_default(),
    ];
    let headers = envelope.headers.iter().take(HEADERS_MAX);
    FIXED
        + texts.iter().map(|text| 4 + text.len()).sum::<usize>()
        + headers.map(|(name, value)| 8 + name.len() + value.len()).sum::<usize>()
        + event.split().map_or(0, |split| parts::size(split))
}

/// Writes the event's head at the end of `out`.
pub(super) fn put(out: &mut Vec<u8>, event: &Event) {
    let envelope = event.envelope();
    let zero = Digest([0; 32]);
    out.extend_from_slice(&envelope.keys.message_id.0);
    out.extend_from_slice(&envelope.keys.content.unwrap_or(zero).0);
    out.extend_from_slice(&envelope.twin_of.unwrap_or(zero).0);
    out.extend_from_slice(&envelope.received_at.millis().to_le_bytes());
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let bits = bit(envelope.keys.content.is_some(), CONTENT)
        | bit(envelope.twin_of.is_some(), TWIN)
        | bit(envelope.source_authenticated, SOURCE_AUTHENTICATED)
        | bit(envelope.invalid.is_some(), INVALID)
        | bit(envelope.held, HELD)
        | bit(envelope.redelivery, REDELIVERY)
        | bit(envelope.unauthenticated, UNAUTHENTICATED)
        | bit(event.split().is_some(), SPLIT);
    let headers = envelope.headers.len().min(HEADERS_MAX) as u32;
    out.extend_from_slice(&(headers << 8 | u32::from(bits)).to_le_bytes());
    put_text(out, &envelope.source);
    put_text(out, &envelope.provider);
    put_text(out, &envelope.secret);
    put_text(out, &envelope.event_id);
    put_text(out, &envelope.event_type);
    put_text(out, &envelope.content_type);
    put_text(out, envelope.invalid.as_deref().unwrap_or_default());
    for (name, value) in envelope.headers.iter().take(HEADERS_MAX) {
        put_text(out, name);
        put_text(out, value);
    }
    if let Some(split) = event.split() {
        parts::put(out, split);
    }
}

/// The fields at the front of the head; none where these bytes are no envelope.
pub(super) fn outline(head: &[u8]) -> Option<Outline<'_>> {
    let bits = *head.get(104)?;
    let content = digest_at(head, 32)?;
    Some(Outline {
        keys: Keys { message_id: digest_at(head, 0)?, content: (bits & CONTENT != 0).then_some(content) },
        received_at: Timestamp::from_millis(i64::from_le_bytes(*head.get(96..)?.first_chunk::<8>()?)),
        source: Texts(head.get(FIXED..)?).next()?,
    })
}

/// The whole event; none where these bytes are no envelope.
pub(super) fn event(head: &[u8], body: Bytes) -> Option<Event> {
    let Outline { keys, received_at, .. } = outline(head)?;
    let bits = *head.get(104)?;
    let count = (u32_at(head, 104)? >> 8) as usize;
    let mut texts = Texts(head.get(FIXED..)?);
    let mut envelope = Envelope {
        source: Arc::from(texts.next()?),
        provider: Arc::from(texts.next()?),
        secret: Arc::from(texts.next()?),
        event_id: texts.next()?.to_owned(),
        event_type: texts.next()?.to_owned(),
        content_type: texts.next()?.to_owned(),
        invalid: Some(texts.next()?.to_owned()).filter(|_| bits & INVALID != 0),
        keys,
        received_at,
        headers: Vec::with_capacity(count.min(texts.0.len() / 8)),
        source_authenticated: bits & SOURCE_AUTHENTICATED != 0,
        twin_of: Some(digest_at(head, 64)?).filter(|_| bits & TWIN != 0),
        held: bits & HELD != 0,
        redelivery: bits & REDELIVERY != 0,
        unauthenticated: bits & UNAUTHENTICATED != 0,
    };
    for _ in 0..count {
        envelope.headers.push((texts.next()?.to_owned(), texts.next()?.to_owned()));
    }
    let split = match bits & SPLIT {
        0 => texts.0.is_empty().then_some(None),
        _ => parts::read(texts.0).map(Some),
    };
    Some(Event::restore(envelope, body).in_parts(split?))
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn digest_at(head: &[u8], at: usize) -> Option<Digest> {
    head.get(at..)?.first_chunk::<32>().copied().map(Digest)
}

/// What is left of the length-prefixed texts.
pub(super) struct Texts<'a>(pub(super) &'a [u8]);

impl<'a> Texts<'a> {
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let len = u32_at(self.0, 0)? as usize;
        let (text, rest) = self.0.get(4..)?.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}
