//! The event key: what makes two deliveries one event. Minted from a [`Verified`] only.
//!
//! It is computed from signed bytes wherever there are any; an id that is not signed is only ever added to the
//! digest of what is, so that a stolen id swallows nothing and a changed one is seen as a twin.

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::delivery::Delivery;
use crate::event::{Digest, Keys};
use crate::extract;
use crate::provider::{Scheme, Template, UrlPort};
use crate::verify::Verified;

/// An event's identity, with the id and type that the provider gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventKey {
    keys: Keys,
    event_id: String,
    event_type: String,
}

impl EventKey {
    /// Derives the key of a verified delivery to `source`.
    pub fn derive(source: &str, verified: &Verified) -> Self {
        let scheme = verified.scheme();
        let delivery = verified.delivery();
        let found = scheme.event.read(delivery);
        let (event_id, event_type) = (found.id, found.event_type);
        let named = |kind: &str| Parts::new(source, &scheme.name, kind);
        let keys = if scheme.covers_body() && !found.id_signed {
            let digest = content_digest(scheme, delivery);
            let unsigned = [event_id.as_bytes(), event_type.as_bytes()];
            let event = unsigned.iter().fold(named("event").add(&digest), |parts, part| parts.add(part));
            Keys { message_id: event.finish(), content: Some(named("content").add(&digest).finish()) }
        } else if event_id.is_empty() {
            let digest = body_digest(scheme, &delivery.body);
            Keys { message_id: named("body").add(&digest).finish(), content: None }
        } else {
            Keys { message_id: named("id").add(event_id.as_bytes()).finish(), content: None }
        };
        Self { keys, event_id: event_id.into_owned(), event_type: event_type.into_owned() }
    }

    /// What deliveries of this event and its twins share.
    pub fn keys(&self) -> Keys {
        self.keys
    }

    /// The provider's id; empty where it gave none.
    pub fn event_id(&self) -> &str {
        &self.event_id
    }

    /// The provider's event type; empty where it gave none.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Takes id and type out, the key being used up.
    pub fn into_names(self) -> (String, String) {
        (self.event_id, self.event_type)
    }
}

/// A hash over parts of which none can be mistaken for another: each has its length before it.
struct Parts(Sha256);

impl Parts {
    fn new(source: &str, scheme: &str, kind: &str) -> Self {
        Self(Sha256::new()).add(source.as_bytes()).add(scheme.as_bytes()).add(kind.as_bytes())
    }

    fn add(mut self, part: &[u8]) -> Self {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// The digest of what the signature covers: the body, or the fields of its form, and the URL where that is signed
/// too. The URL is the configured one with the path and query as received, whichever of its forms was signed.
fn content_digest(scheme: &Scheme, delivery: &Delivery) -> [u8; 32] {
    let form = scheme.covers_form_alone().then(|| extract::form_sorted(&delivery.body)).flatten();
    let digest = form.map_or_else(|| body_digest(scheme, &delivery.body), |form| Sha256::digest(form).into());
    match &scheme.origin {
        Some(origin) if scheme.signed.iter().all(Template::covers_url) => {
            let url = [origin.text(UrlPort::Configured), &delivery.target].concat();
            Parts(Sha256::new()).add(url.as_bytes()).add(&digest).finish().0
        }
        _ => digest,
    }
}

/// The body's digest, less the values that differ between deliveries of one event.
fn body_digest(scheme: &Scheme, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut from = 0;
    for span in volatile_spans(scheme, body) {
        hash.update(body.get(from..span.start).unwrap_or_default());
        from = span.end;
    }
    hash.update(body.get(from..).unwrap_or_default());
    hash.finalize().into()
}

fn volatile_spans(scheme: &Scheme, body: &[u8]) -> Vec<Range<usize>> {
    if scheme.volatile.is_empty() {
        return Vec::new();
    }
    let pointers: Vec<_> = scheme.volatile.iter().collect();
    let mut spans: Vec<_> =
        extract::find(body, &pointers).into_iter().flatten().map(|found| found.span).collect();
    spans.sort_by_key(|span| span.start);
    // One pointer may lie inside another's value: only the outer span counts.
    let mut outer: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        if outer.last().is_none_or(|last| span.start >= last.end) {
            outer.push(span);
        }
    }
    outer
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(parts: &[Vec<u8>]) -> Digest {
        parts.iter().fold(Parts(Sha256::new()), |hash, part| hash.add(part)).finish()
    }

    proptest! {
        /// Short parts over a small alphabet: whatever could be confused soon is.
        #[test]
        fn the_encoding_of_key_parts_is_injective(
            one in prop::collection::vec(prop::collection::vec(prop::sample::select(vec![0_u8, 1, b':', b'/', b'a']), 0..4), 0..5),
            two in prop::collection::vec(prop::collection::vec(prop::sample::select(vec![0_u8, 1, b':', b'/', b'a']), 0..4), 0..5),
        ) {
            prop_assert_eq!(hash(&one) == hash(&two), one == two);
        }
    }
}
