//! The event key: what makes two deliveries one event. Minted from a [`Verified`] only.
//!
//! It is computed from signed bytes wherever there are any; an id that is not signed is only ever added to the
//! digest of what is, so that a stolen id swallows nothing and a changed one is seen as a twin.

use std::borrow::Cow;
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::delivery::Delivery;
use crate::event::{Digest, Keys};
use crate::extract::{self, FormText, Pick, Scene};
use crate::provider::{EventPlace, Piece, Scheme, Template, UrlPort};
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
        let found = scheme.event.read(delivery, verified.claims());
        let (event_id, event_type) = (found.id, found.event_type);
        let named = |kind: &str| Parts::new(source, &scheme.name, kind);
        // Where a digest of the body may be left out, what stands in such a body swallows nothing that is proved.
        let proved = verified.covers_body() == scheme.covers_body();
        let identified = scheme.unique_ids && !event_id.is_empty();
        let raw = scheme.raw_values();
        let keys = if (verified.covers_body() || !raw.is_empty()) && !(found.id_signed && identified) {
            let covered = Covered::of(scheme, delivery, &raw);
            let unsigned = named("event").add(&covered.divided());
            let event = identity(unsigned, &event_id, &found.id_parts).add(event_type.as_bytes());
            let content = named("content").add(&covered.joined());
            Keys { message_id: event.finish(), content: Some(content.finish()) }
        } else if !identified {
            let body = named(if proved { "body" } else { "unproved body" });
            let body = body.add(&body_digest(scheme, &delivery.body));
            let whole = match event_id.is_empty() {
                true => body,
                false => identity(body, &event_id, &found.id_parts).add(event_type.as_bytes()),
            };
            Keys { message_id: whole.finish(), content: None }
        } else {
            let kind = match (proved, found.id_parts.is_empty()) {
                (true, true) => "id",
                (true, false) => "ids",
                (false, true) => "unproved id",
                (false, false) => "unproved ids",
            };
            let parts = identity(named(kind), &event_id, &found.id_parts);
            let parts = found
                .id_place
                .map(|place| other_ids(scheme, delivery, place))
                .into_iter()
                .flatten()
                .fold(parts, |parts, id| parts.add(id.as_bytes()));
            Keys { message_id: parts.finish(), content: None }
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

/// An id: a composite part by part, so that no two read alike whose parts differ.
fn identity(parts: Parts, id: &str, id_parts: &[Cow<'_, str>]) -> Parts {
    match id_parts {
        [] => parts.add(id.as_bytes()),
        several => several.iter().fold(parts, |parts, part| parts.add(part.as_bytes())),
    }
}

/// Where every element of an array is signed by itself, the ids of those after the first: a delivery of two events is
/// not the one of the first alone.
fn other_ids(scheme: &Scheme, delivery: &Delivery, place: &EventPlace) -> Vec<String> {
    let items: Vec<Pick> = place.picks().filter_map(|pick| scheme.item_of(pick)).collect();
    let scene = Scene::of(delivery);
    let Some(text) = scheme.each.as_ref().filter(|_| !items.is_empty()).and_then(|each| each.json(&scene))
    else {
        return Vec::new();
    };
    let elements = extract::elements(text.as_bytes(), None, usize::MAX).unwrap_or_default();
    let ids = elements.iter().skip(1).flat_map(|element| {
        let within = Scene { item: text.get(element.clone()), ..scene };
        Pick::read_all(items.iter(), &within)
            .into_iter()
            .map(|id| id.unwrap_or_default().into_owned())
            .collect::<Vec<_>>()
    });
    ids.collect()
}

/// What the signature covers: the body, or the fields of its form, and the URL where that is signed too. The URL is
/// the configured one with the path and query as received, whichever of its forms was signed.
struct Covered<'d> {
    url: Option<String>,
    fields: Option<Vec<(String, String)>>,
    /// The JSON values that are signed in the place of the body.
    raw: Option<Vec<u8>>,
    scheme: &'d Scheme,
    body: &'d [u8],
}

impl<'d> Covered<'d> {
    fn of(scheme: &'d Scheme, delivery: &'d Delivery, raw: &[&Pick]) -> Self {
        let signed = scheme.origin.as_ref().filter(|_| scheme.signed.iter().all(Template::covers_url));
        let origin = signed.map_or("", |origin| origin.text(UrlPort::Configured));
        let unescaped = |piece: &Piece| *piece == Piece::UrlUnescaped;
        let target = match scheme.signed.iter().any(|template| template.pieces.iter().any(unescaped)) {
            true => Cow::Owned(extract::unescaped(&delivery.target)),
            false => Cow::Borrowed(delivery.target.as_str()),
        };
        let url = scheme.covers_target().then(|| [origin, &target].concat());
        let form = FormText { repeats: scheme.covers_repeats(), ..scheme.form_text.clone() };
        let fields = scheme.covers_form_alone().then(|| form.fields(delivery)).flatten();
        let scene = Scene::to_prove(delivery);
        let texts = || raw.iter().filter_map(|pick| pick.json(&scene)).collect::<Vec<_>>().join("\n");
        let raw = (!raw.is_empty()).then(|| texts().into_bytes());
        Self { url, fields, raw, scheme, body: &delivery.body }
    }

    /// The digest of its parts, each told from the next.
    fn divided(&self) -> [u8; 32] {
        let body = match (&self.fields, &self.raw) {
            (_, Some(raw)) => Parts(Sha256::new()).add(raw).finish().0,
            (Some(_), None) => {
                self.texts().fold(Parts(Sha256::new()), |parts, text| parts.add(text)).finish().0
            }
            (None, None) => body_digest(self.scheme, self.body),
        };
        let url = self.url.as_ref().map(|url| Parts(Sha256::new()).add(url.as_bytes()).add(&body));
        url.map_or(body, |parts| parts.finish().0)
    }

    /// The digest of its parts in one, as they are signed. A captured request can be divided otherwise, some of its
    /// form moved to the query or a value to its name: that is a twin, and no event of its own.
    fn joined(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.url.as_deref().unwrap_or_default());
        match (&self.fields, &self.raw) {
            (_, Some(raw)) => hash.update(raw),
            (Some(fields), None) => hash.update(self.scheme.form_text.joined(fields)),
            (None, None) => feed_body(self.scheme, self.body, &mut hash),
        }
        hash.finalize().into()
    }

    fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().flatten().flat_map(|field| self.scheme.form_text.texts(field)).map(str::as_bytes)
    }
}

/// The body's digest, less the values that differ between deliveries of one event.
fn body_digest(scheme: &Scheme, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    feed_body(scheme, body, &mut hash);
    hash.finalize().into()
}

/// Bodies that are signed the same are the same: one that is spelled otherwise counts by what is signed of it.
fn feed_body(scheme: &Scheme, body: &[u8], hash: &mut Sha256) {
    let mut spelled = Cow::Borrowed(body);
    for spelling in scheme.respellings() {
        let other = spelling.of(&spelled).map(Cow::into_owned);
        spelled = other.map_or(spelled, Cow::Owned);
    }
    let body = &*spelled;
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
    fn what_a_form_has_beside_its_signed_fields_makes_no_other_event() {
        let form = "algorithm = \"hmac-sha256\"\nsigned = [\"{form_sorted}\"]\n\
                    form_sorted = { separator = \"&\", assign = \"=\", except = [\"kind\"], empty = false }\n";
        let values = form.replace(", assign = \"=\"", "");
        for (rules, ours, others) in [
            (form, "a=1&b=2&kind=x", "b=2&kind=y&a=1&c="),
            (form, "a=1&b=2", "kind=&b=2&a=1"),
            (&values, "a=1&b=2", "c=1&d=2"),
        ] {
            let keys = |body| key(rules, ("/in/x", "", body)).keys();
            assert_eq!(keys(ours), keys(others), "{others}");
            assert_ne!(keys(ours), keys("a=1&b=3"));
        }
        let keys = |body| key(form, ("/in/x", "", body)).keys();
        let (one, divided) = (keys("a=1&b=2"), keys("a=1%26b%3D2"));
        assert_eq!(one.content, divided.content, "the same signed bytes: a twin");
    }

    #[test]
    fn what_stands_beside_the_signed_value_of_a_body_makes_no_other_event() {
        let rules = "algorithm = \"hmac-sha256\"\nsigned = [\"{raw json:/data}\"]\n";
        for ids in ["", "event = { id = \"json:/data/id\" }\n"] {
            let keys = |body| key(&format!("{rules}{ids}"), ("/in/x", "", body)).keys();
            let one = keys(r#"{"event":"paid","data":{"id":7}}"#);
            assert_eq!(one, keys(r#"{ "data":{"id":7}, "event":"failed", "id":8 }"#), "{ids}");
            assert_ne!(one, keys(r#"{"event":"paid","data":{"id":8}}"#), "{ids}");
        }
        let beside = rules.replace("{raw", "{json:/event}.{raw");
        let keys = |body| key(&beside, ("/in/x", "", body)).keys();
        let (paid, refunded) =
            (r#"{"event":"paid","data":{"id":7}}"#, r#"{"event":"refunded","data":{"id":7}}"#);
        assert_ne!(keys(paid), keys(refunded), "what is signed beside it tells events apart");
        let named = format!("{rules}event = {{ id = \"json:/id\" }}\n");
        let keys = |body| key(&named, ("/in/x", "", body)).keys();
        let (one, other) = (keys(r#"{"id":1,"data":{"n":7}}"#), keys(r#"{"id":2,"data":{"n":7}}"#));
        assert_ne!(one.message_id, other.message_id);
        assert_eq!(one.content, other.content, "another id over the same signed bytes: a twin");
    }

    #[test]
    fn json_beside_a_form_is_told_apart_as_json() {
        let both = "algorithm = \"hmac-sha256\"\nsigned = [\"{form_sorted}\", \"{body:sorted}\"]\n\
                    form_sorted = { separator = \"&\", assign = \"=\", empty = false }\n";
        let keys = |rules: &str, body| key(rules, ("/in/x", "", body)).keys();
        assert_eq!(keys(both, r#"{"a":1,"b":2}"#), keys(both, r#"{"b":2, "a":1}"#), "signed alike");
        assert_ne!(keys(both, r#"{"order":1}"#), keys(both, r#"{"order":2,"z":"zz"}"#));
        let turned = both.replace("\"{form_sorted}\", \"{body:sorted}\"", "\"{body}\", \"{form_sorted}\"");
        assert_ne!(keys(&turned, r#"{"order":1}"#), keys(&turned, r#"{"order":2,"z":"zz"}"#));
    }

    #[test]
    fn members_in_another_order_are_one_event_where_they_are_signed_sorted() {
        let rules = "algorithm = \"hmac-sha256\"\nsigned = [\"{body:sorted}\"]\n";
        let keys = |body| key(rules, ("/in/x", "", body)).keys();
        assert_eq!(keys(r#"{"a":1,"b":{"c":2,"d":3}}"#), keys(r#"{ "b": {"d":3,"c":2}, "a":1 }"#));
        assert_ne!(keys(r#"{"a":1,"b":[2,3]}"#), keys(r#"{"a":1,"b":[3,2]}"#));
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

    #[test]
    fn a_composite_is_told_apart_part_by_part_and_spelled_bodies_are_one() {
        let rules = r#"
algorithm = "hmac-sha256"
signed = ["{body:compact}"]
event = { id = ["{json:/a}:{json:/b}", "json:/a"] }
"#;
        let of = |body: &str| key(rules, ("/in/x", "", body));
        let one = of(r#"{"a":"1:2","b":"3"}"#);
        assert_eq!(one.event_id(), "1:2:3");
        let other = of(r#"{"a":"1","b":"2:3"}"#);
        assert_eq!(one.event_id(), other.event_id());
        assert_ne!(one.keys(), other.keys());
        assert_eq!(one.keys(), of(r#"{ "b": "3", "a": "1:2", "c": 0 }"#).keys(), "the same signed id");
        assert_eq!(of(r#"{"a":"1:2"}"#).event_id(), "1:2", "without a part there is no composite");
        assert_ne!(of(r#"{"a":"1:2:3"}"#).keys(), one.keys());
        let bare = rules.split_once("event").unwrap().0;
        let of = |body: &str| key(bare, ("/in/x", "", body)).keys();
        assert_eq!(of("{\"a\":1}"), of("{ \"a\" : 1 }"), "signed alike: a blank is no new event");
        assert_ne!(of("{\"a\":1}"), of("{\"a\":2}"));
        for (piece, alike) in
            [("{body:sha256}", false), ("{body:compact:sha256}", true), ("{body:sorted}", true)]
        {
            let digested = bare.replace("{body:compact}", piece);
            let of = |body: &str| key(&digested, ("/in/x", "", body)).keys();
            assert_eq!(of("{\"a\":1}") == of("{ \"a\" : 1 }"), alike, "{piece}");
        }
    }

    #[test]
    fn a_delivery_of_two_signed_elements_is_not_that_of_the_first() {
        let rules = r#"
algorithm = "token"
each = "json:/items"
signature = { from = "item:/s", encoding = "text" }
event = { id = "{json:/items/0/id}:{json:/items/0/n}" }
"#;
        let file = format!("name = \"acme\"\ntitle = \"Acme\"\n[[schemes]]\nname = \"default\"\n{rules}");
        let definition: Definition = toml::from_str(&file).unwrap();
        let scheme = Arc::new(Scheme::build(&definition, None, &BTreeMap::new()).unwrap());
        let of = |body: &str| {
            let (method, target, body) = ("POST".to_owned(), "/".to_owned(), body.to_owned().into());
            let delivery = Delivery { method, target, headers: Headers::default(), body, received_at: NOW };
            let verifier = Verifier::new(Arc::clone(&scheme), vec![Key::new(&scheme, "live", b"k").unwrap()]);
            verifier.verify(delivery, NOW).map(|verified| EventKey::derive("shop", &verified)).ok()
        };
        let (one, two) = (r#"{"s":"k","id":1,"n":2}"#, r#"{"s":"k","id":3,"n":4}"#);
        let alone = of(&format!("{{\"items\":[{one}]}}")).unwrap();
        let both = of(&format!("{{\"items\":[{one},{two}]}}")).unwrap();
        assert_eq!((alone.event_id(), both.event_id()), ("1:2", "1:2"));
        assert_ne!(alone.keys(), both.keys());
        assert_eq!(both.keys(), of(&format!("{{ \"items\": [{one}, {two}] }}")).unwrap().keys());
        let forged = two.replace("\"k\"", "\"x\"");
        for refused in
            [format!("{{\"items\":[{one},{forged}]}}"), "{\"items\":[]}".to_owned(), "{}".to_owned()]
        {
            assert!(of(&refused).is_none(), "{refused}");
        }
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
