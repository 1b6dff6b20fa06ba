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
            let covered = Covered::of(scheme, delivery);
            let unsigned = [event_id.as_bytes(), event_type.as_bytes()];
            let event =
                unsigned.iter().fold(named("event").add(&covered.divided()), |parts, part| parts.add(part));
            let content = named("content").add(&covered.joined());
            Keys { message_id: event.finish(), content: Some(content.finish()) }
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

    /// The identity of one element of the event's body: by the values of its own proved `id` where it has one, else by
    /// this event's identity and its place.
    pub fn of_element(&self, source: &str, scheme: &str, id: &[String], index: u32) -> Digest {
        let named = |kind: &str| Parts::new(source, scheme, kind);
        match id {
            [] => named("element").add(&self.keys.message_id.0).add(&index.to_le_bytes()).finish(),
            id => id.iter().fold(named("item"), |parts, value| parts.add(value.as_bytes())).finish(),
        }
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

/// What the signature covers: the body, or the fields of its form, and the URL where that is signed too. The URL is
/// the configured one with the path and query as received, whichever of its forms was signed.
struct Covered<'d> {
    url: Option<String>,
    fields: Option<Vec<(String, String)>>,
    scheme: &'d Scheme,
    body: &'d [u8],
}

impl<'d> Covered<'d> {
    fn of(scheme: &'d Scheme, delivery: &'d Delivery) -> Self {
        let signed = scheme.origin.as_ref().filter(|_| scheme.signed.iter().all(Template::covers_url));
        let url = signed.map(|origin| [origin.text(UrlPort::Configured), &delivery.target].concat());
        let fields = scheme.covers_form_alone().then(|| extract::form_fields(&delivery.body)).flatten();
        Self { url, fields, scheme, body: &delivery.body }
    }

    /// The digest of its parts, each told from the next.
    fn divided(&self) -> [u8; 32] {
        let body = match &self.fields {
            Some(_) => self.texts().fold(Parts(Sha256::new()), |parts, text| parts.add(text)).finish().0,
            None => body_digest(self.scheme, self.body),
        };
        let url = self.url.as_ref().map(|url| Parts(Sha256::new()).add(url.as_bytes()).add(&body));
        url.map_or(body, |parts| parts.finish().0)
    }

    /// The digest of its parts in one, as they are signed. A captured request can be divided otherwise, some of its
    /// form moved to the query or a value to its name: that is a twin, and no event of its own.
    fn joined(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.url.as_deref().unwrap_or_default());
        match &self.fields {
            Some(_) => self.texts().for_each(|text| hash.update(text)),
            None => feed_body(self.scheme, self.body, &mut hash),
        }
        hash.finalize().into()
    }

    fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().flatten().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()])
    }
}

/// The body's digest, less the values that differ between deliveries of one event.
fn body_digest(scheme: &Scheme, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    feed_body(scheme, body, &mut hash);
    hash.finalize().into()
}

fn feed_body(scheme: &Scheme, body: &[u8], hash: &mut Sha256) {
    let mut from = 0;
    for span in volatile_spans(scheme, body) {
        hash.update(body.get(from..span.start).unwrap_or_default());
        from = span.end;
    }
    hash.update(body.get(from..).unwrap_or_default());
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

    use std::collections::BTreeMap;
    use std::sync::Arc;

    use crate::clock::Timestamp;
    use crate::delivery::Headers;
    use crate::provider::Definition;
    use crate::verify::{Key, Verifier, sign};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const SECRET: &[u8] = b"a secret of some length";

    /// The key of a request that `rules` sign: target, `x-id` and body.
    fn key(rules: &str, (target, id, body): (&str, &str, &str)) -> EventKey {
        let file = format!(
            "name = \"acme\"\ntitle = \"Acme\"\n[[schemes]]\nname = \"default\"\n\
             signature = {{ from = \"header:X-Sig\", encoding = \"hex\" }}\n{rules}"
        );
        let definition: Definition = toml::from_str(&file).unwrap();
        let scheme = Scheme::build(&definition, None, &BTreeMap::new()).unwrap().at("https://a.example");
        let mut headers = Headers::default();
        headers.push("x-id", id.as_bytes());
        let (method, target, body) = ("POST".to_owned(), target.to_owned(), body.to_owned().into());
        let mut delivery = Delivery { method, target, headers, body, received_at: NOW };
        sign(&scheme, SECRET, &mut delivery, NOW).unwrap();
        let verifier =
            Key::new(&scheme, "live", SECRET).map(|key| Verifier::new(Arc::new(scheme), vec![key]));
        EventKey::derive("shop", &verifier.unwrap().verify(delivery, NOW).unwrap())
    }

    const FORM: &str = r#"
algorithm = "hmac-sha1"
signed = ["{url}{form_sorted}"]
event = { id = "header:X-Id", type = "form:Status" }
"#;

    #[test]
    fn a_signed_url_and_form_are_the_content_whatever_their_writing() {
        let one = key(FORM, ("/in/x?a=1", "1", "Status=sent&To=%2B1"));
        assert_eq!((one.event_id(), one.event_type()), ("1", "sent"));
        assert_eq!(one, key(FORM, ("/in/x?a=1", "1", "To=%2b1&Status=sent&To=%2B1")), "the same fields");
        let content = |key: &EventKey| key.keys().content.unwrap();
        for (request, twin) in [
            (("/in/x?a=1", "2", "Status=sent&To=%2B1"), true),
            (("/in/x?a=2", "1", "Status=sent&To=%2B1"), false),
            (("/in/x?a=1", "1", "Status=sent&To=%2B2"), false),
        ] {
            let other = key(FORM, request);
            assert_ne!(one.keys().message_id, other.keys().message_id, "{request:?}");
            assert_eq!(content(&one) == content(&other), twin, "{request:?}");
        }
    }

    #[test]
    fn fields_that_only_their_joined_text_proves_name_no_event_alone() {
        let rules = FORM.replace("header:X-Id", "form:Id");
        let one = key(&rules, ("/in/x", "", "Id=7&Status=sent"));
        let split = key(&rules, ("/in/x", "", "Id7=&Status=sent"));
        assert_eq!((one.event_id(), split.event_id()), ("7", ""));
        assert_eq!(
            one.keys().content,
            split.keys().content,
            "the same signed bytes: a twin, no event of its own"
        );
        assert!(one.keys().content.is_some());
    }

    #[test]
    fn signed_bytes_that_are_divided_otherwise_are_a_twin_and_swallow_nothing() {
        let body_too = FORM.replace("{form_sorted}", "{body}").replace("form:Status", "header:X-Type");
        for (rules, ours, others) in [
            (FORM, ("/in/x?a=1", "1", "To=7&Word=go"), ("/in/x?a=1To7", "1", "Word=go")),
            (FORM, ("/in/x?a=1", "1", "To=7&Word=go"), ("/in/x?a=1", "1", "To7=&Word=go")),
            (&body_too, ("/in/x?a=1", "1", "22 {}"), ("/in/x?a=12", "1", "2 {}")),
        ] {
            let (one, other) = (key(rules, ours).keys(), key(rules, others).keys());
            assert_eq!(one.content, other.content, "{others:?}");
            assert_ne!(one.message_id, other.message_id, "{others:?}");
        }
    }

    #[test]
    fn a_signed_digest_makes_body_and_url_the_content() {
        let rules = r#"
algorithm = "hmac-sha256"
signed = ["{url}"]
body_digest = { from = "query:digest", algorithm = "sha256", encoding = "hex" }
event = { id = "header:X-Id" }
"#;
        let one = key(rules, ("/in/x", "1", "{}"));
        assert_eq!(one, key(rules, ("/in/x", "1", "{}")));
        assert_ne!(one.keys().content, key(rules, ("/in/x", "1", "{ }")).keys().content);
        assert_eq!(one.keys().content, key(rules, ("/in/x", "2", "{}")).keys().content);
    }

    #[test]
    fn the_first_place_that_holds_a_value_names_the_event() {
        let rules = r#"
algorithm = "hmac-sha256"
signed = ["{body}"]
event = { id = ["json:/id", "form:id", "form:payload > json:/id", "header:X-Id"], type = ["json:/n", { when = "form:command", text = "command" }] }
"#;
        let told = |body: &str| {
            let key = key(rules, ("/in/x", "h", body));
            (key.event_id().to_owned(), key.event_type().to_owned(), key.keys().content.is_none())
        };
        let names = |id: &str, kind: &str, signed: bool| (id.to_owned(), kind.to_owned(), signed);
        assert_eq!(told("{\"id\":\"a\",\"n\":2}"), names("a", "2", true));
        assert_eq!(told("id=b&command=%2Fgo"), names("b", "command", true));
        assert_eq!(told("payload=%7B%22id%22%3A7%7D"), names("7", "", true));
        assert_eq!(told("{\"id\":\"\"}"), names("h", "", false));
        assert_eq!(told("<a>&id=1</a>"), names("h", "", false));
        assert_eq!(told(""), names("h", "", false));
    }

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
