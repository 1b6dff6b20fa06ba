//! What `hookgate verify` says of a request that is an event: what names it, and what it is known by where nothing does.

use serde_json::{Value, json};

use crate::batch::{self, Cut, Unsplit};
use crate::cli::output;
use crate::cli::places::spelled;
use crate::cli::send::target::Target;
use crate::clock::Timestamp;
use crate::dedup::key::EventKey;
use crate::event::{Part, Split};
use crate::provider::EventPlace;
use crate::units::ago;
use crate::verify::Verified;

/// Elements of a batch whose ids are shown.
const ELEMENTS_SHOWN: usize = 5;

/// A request that verifies.
pub(super) struct Accepted<'v> {
    verified: &'v Verified,
    target: &'v Target<'v>,
    now: Timestamp,
    key: EventKey,
    /// What becomes of the events in it, where its provider sends several in one.
    cut: Option<Cut>,
}

impl<'v> Accepted<'v> {
    pub(super) fn new(verified: &'v Verified, target: &'v Target<'v>, now: Timestamp) -> Self {
        let source = target.name().unwrap_or_default();
        let key = EventKey::derive(source, verified);
        let wanted = if target.splits() { target.events() } else { &[] };
        let cut = batch::cut(source, verified, &key, wanted);
        Self { verified, target, now, key, cut }
    }

    /// A key holds its source's name: without one there is none to show.
    fn message_id(&self) -> Option<String> {
        self.target.name().map(|_| self.key.keys().message_id.to_string())
    }

    fn age(&self) -> Option<i64> {
        self.verified.signed_at().map(|at| self.now.millis_since(at))
    }

    /// Where the array of the batch is; empty where the provider sends one event in each request.
    fn each(&self) -> &str {
        self.verified.scheme().batch.as_ref().map_or("", |rule| &rule.each)
    }

    fn id(&self) -> String {
        let digest = if self.verified.covers_body() {
            "the digest of what is signed"
        } else {
            "the digest of the body"
        };
        match self.key.event_id() {
            "" => format!("{}: {digest} is the key", none(self.verified.scheme().event.ids())),
            id => id.to_owned(),
        }
    }

    fn event_type(&self) -> String {
        match self.key.event_type() {
            "" => none(self.verified.scheme().event.types()),
            event_type => event_type.to_owned(),
        }
    }

    fn batch(&self, cut: &Cut) -> String {
        let each = self.each();
        match cut {
            Cut::Whole(Unsplit::NoArray) => {
                format!("none: no JSON array at {each}, the delivery is handed on whole")
            }
            Cut::Whole(why) => format!("at {each}, the delivery is handed on whole: {why}"),
            Cut::Unwanted => format!("at {each}, none of its elements is of a type in the source's `events`"),
            Cut::Parts(split) => {
                let (all, wanted) = (split.elements as usize, split.parts.len());
                let wanted = if wanted < all { format!("{wanted} wanted, ") } else { String::new() };
                let fate = match self.target.splits() {
                    true => "each is handed on by itself",
                    false => "handed on whole; a source with `split = true` hands on each by itself",
                };
                format!("{all} element(s) at {each}, {wanted}{fate}; {}", shown(split))
            }
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let scheme = self.verified.scheme();
        let mut text = format!("accepted: {}/{}\n", scheme.provider, scheme.name);
        let mut fact = |label: &str, found: &str| {
            if !found.is_empty() {
                text.push_str(&format!("  {label:<11} {}\n", output::line(found)));
            }
        };
        fact("event id", &self.id());
        fact("event type", &self.event_type());
        fact("message id", &self.message_id().unwrap_or_default());
        fact("batch", &self.cut.as_ref().map(|cut| self.batch(cut)).unwrap_or_default());
        fact("secret", self.verified.secret());
        if let (Some(at), Some(age)) = (self.verified.signed_at(), self.age()) {
            fact("signed at", &format!("{at}, {}", ago(age)));
        }
        text
    }

    /// As data.
    pub(super) fn to_json(&self) -> Value {
        let scheme = self.verified.scheme();
        json!({
            "accepted": true,
            "provider": *scheme.provider,
            "scheme": scheme.name,
            "event_id": self.key.event_id(),
            "event_type": self.key.event_type(),
            "message_id": self.message_id(),
            "batch": self.cut.as_ref().map(|cut| self.batch_json(cut)),
            "secret": &**self.verified.secret(),
            "signed_at": self.verified.signed_at().map(|at| at.to_string()),
            "age_milliseconds": self.age(),
        })
    }

    fn batch_json(&self, cut: &Cut) -> Value {
        let split = if let Cut::Parts(split) = cut { Some(split) } else { None };
        let whole = if let Cut::Whole(why) = cut { Some(why.to_string()) } else { None };
        json!({
            "each": self.each(),
            "split": self.target.splits(),
            "elements": split.map(|split| split.elements),
            "wanted": split.map_or(0, |split| split.parts.len()),
            "ids": split.map(|split| first(split).map(|part| part.event_id.as_str()).collect::<Vec<_>>()),
            "whole": whole,
        })
    }
}

/// That nothing stands at any of the places.
fn none(places: &[EventPlace]) -> String {
    match places {
        [] => "none, no place is configured".to_owned(),
        places => format!("none at {}", spelled(places)),
    }
}

fn first(split: &Split) -> impl Iterator<Item = &Part> {
    split.parts.iter().take(ELEMENTS_SHOWN)
}

/// The ids of the first elements.
fn shown(split: &Split) -> String {
    let id = |part: &Part| if part.event_id.is_empty() { "none".to_owned() } else { part.event_id.clone() };
    let more = if split.parts.len() > ELEMENTS_SHOWN { ", …" } else { "" };
    format!("ids: {}{more}", first(split).map(id).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Input, Loaded, load};
    use crate::delivery::{Delivery, Headers};
    use crate::provider::Catalog;
    use crate::verify::{Key, Verifier, sign};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const SECRET: &str = "a secret of some length";
    const SIGNED: &str = "signed = [\"{body}\"]\nalgorithm = \"hmac-sha256\"";
    const TOKEN: &str = "algorithm = \"token\"";

    fn loaded(more: &[(&str, &str)]) -> Loaded {
        let own = [("sources.shop.provider", "acme"), ("sources.shop.secrets", "[{ env = \"KEY\" }]")];
        let flags = own.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let env = [("KEY", SECRET)].into_iter().collect();
        load(Input { env, flags: flags.collect(), ..Default::default() }).unwrap()
    }

    /// What is said of a body that a provider of these rules and proof signs, to a source with `more` settings.
    fn told(rules: &str, proof: &str, body: &str, more: &[(&str, &str)]) -> (String, Value) {
        let dir = tempfile::tempdir().unwrap();
        let encoding = if proof == TOKEN { "text" } else { "hex" };
        let file = format!(
            "name = \"acme\"\ntitle = \"Acme\"\n{rules}\n[[schemes]]\nname = \"default\"\n{proof}\n\
             signature = {{ from = \"header:X-Sig\", encoding = \"{encoding}\" }}\n"
        );
        std::fs::write(dir.path().join("acme.toml"), file).unwrap();
        let mut catalog = Catalog::default();
        catalog.add_folder(dir.path()).unwrap();
        let loaded = loaded(more);
        let target = Target::find("shop", Some(&loaded), &catalog).unwrap();
        let scheme = target.scheme_as(None, &[]).unwrap();
        let (method, target_path, headers) = ("POST".to_owned(), target.path(), Headers::default());
        let body = body.to_owned().into();
        let mut delivery = Delivery { method, target: target_path, headers, body, received_at: NOW };
        sign(&scheme, SECRET.as_bytes(), &mut delivery, NOW).unwrap();
        let key = Key::new(&scheme, "live", SECRET.as_bytes()).unwrap();
        let verified = Verifier::new(Arc::new(scheme), vec![key]).verify(delivery, NOW).unwrap();
        let accepted = Accepted::new(&verified, &target, NOW);
        (accepted.text(), accepted.to_json())
    }

    fn holds(text: &str, lines: &[&str]) {
        let lacking: Vec<_> = lines.iter().filter(|line| !text.lines().any(|own| own == **line)).collect();
        assert!(lacking.is_empty(), "{lacking:?} in\n{text}");
    }

    #[test]
    fn a_place_where_nothing_is_has_a_line_and_says_what_the_key_is() {
        let event = "event = { id = [\"json:/meta/evnt/uid\", \"json:/uid\"], type = \"json:/kind\" }";
        let body = "{\"kind\": \"sent\"}";
        let (text, data) = told(event, SIGNED, body, &[]);
        let id = "  event id    none at json:/meta/evnt/uid, else json:/uid: the digest of what is signed is the key";
        holds(&text, &[id, "  event type  sent"]);
        assert!(data["event_id"] == "" && data["batch"].is_null(), "{data}");
        let (text, _) = told(event, TOKEN, "{}", &[]);
        let id =
            "  event id    none at json:/meta/evnt/uid, else json:/uid: the digest of the body is the key";
        holds(&text, &[id, "  event type  none at json:/kind"]);
        let (text, _) = told("", SIGNED, body, &[]);
        let none = "none, no place is configured";
        let id = format!("  event id    {none}: the digest of what is signed is the key");
        holds(&text, &[&id, &format!("  event type  {none}")]);
    }

    #[test]
    fn the_elements_of_a_batch_are_counted_and_the_first_named() {
        let batch = "batch = { each = \"json:/data/items\", id = \"item:/id\", type = \"item:/t\" }";
        let items = |count: usize| {
            let items: Vec<String> =
                (0..count).map(|n| format!("{{\"id\": \"e{n}\", \"t\": \"t{}\"}}", n % 2)).collect();
            format!("{{\"data\": {{\"items\": [{}]}}}}", items.join(","))
        };
        let splits = ("sources.shop.split", "true");
        let (text, data) = told(batch, SIGNED, &items(7), &[splits]);
        let line = "  batch       7 element(s) at json:/data/items, each is handed on by itself; ids: e0, e1, e2, e3, e4, …";
        holds(&text, &[line]);
        assert!(
            data["batch"]["elements"] == 7 && data["batch"]["ids"].as_array().unwrap().len() == 5,
            "{data}"
        );
        let (text, _) = told(batch, SIGNED, &items(2), &[]);
        assert!(
            text.contains("2 element(s) at json:/data/items, handed on whole; a source with `split"),
            "{text}"
        );
        let wanted = ("sources.shop.events", "[\"t1\"]");
        let (text, _) = told(batch, SIGNED, &items(3), &[splits, wanted]);
        assert!(text.contains("3 element(s) at json:/data/items, 1 wanted, each is handed on"), "{text}");
        let (text, _) = told(batch, SIGNED, &items(1), &[splits, wanted]);
        assert!(text.contains("none of its elements is of a type in the source's `events`"), "{text}");
        let (text, data) = told(&batch.replace("items", "itemz"), SIGNED, &items(2), &[splits]);
        holds(
            &text,
            &["  batch       none: no JSON array at json:/data/itemz, the delivery is handed on whole"],
        );
        assert!(data["batch"]["whole"].is_string(), "{data}");
        assert!(told(batch, SIGNED, &items(0), &[splits]).0.contains("handed on whole: its array is empty"));
    }
}
