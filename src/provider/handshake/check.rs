//! From a definition to a checked handshake; every error in the file is found here, at load.

use std::collections::BTreeMap;

use super::answer::{AnswerRule, Body, Json, Part, Text, is_header_value};
use super::conditions::{Conditions, Wanted};
use super::definition::{AnswerDefinition, Expected, HandshakeDefinition, Scalar};
use super::handshakes::Handshake;
use crate::extract::Pick;
use crate::provider::{Piece, Problem, Template};

/// Places that one handshake reads.
const PLACES_MAX: usize = 16;
/// Headers that HTTP itself sets, or that would make a browser's business of an answer.
const HEADERS_KEPT: [&str; 10] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "location",
    "set-cookie",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-content-type-options",
];
/// Media types that an answer may have: what is echoed must never run in a browser.
const MEDIA_TYPES: [&str; 2] = ["text/plain", "application/json"];

/// The text with a source's settings in it, the second function put over each; `None` where it is an unset one.
pub(in crate::provider) type Fill<'f> = &'f dyn Fn(&str, fn(&str) -> String) -> Option<String>;

/// Checks one handshake; nothing where it has a problem, or needs a setting that is not set.
pub(super) fn handshake(
    raw: &HandshakeDefinition,
    sent: &[String],
    fill: Fill<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Handshake> {
    Check { name: &raw.name, fill, places: Vec::new(), unset: false, problems }.handshake(raw, sent)
}

/// Reads one handshake and collects its problems.
struct Check<'c> {
    name: &'c str,
    fill: Fill<'c>,
    /// Places read so far, each once.
    places: Vec<(Pick, Vec<Wanted>)>,
    /// Whether a setting that it needs is not set.
    unset: bool,
    problems: &'c mut Vec<Problem>,
}

impl Check<'_> {
    fn add(&mut self, key: &str, found: &str, allowed: &str) {
        let key = format!("handshakes.{}.{key}", self.name);
        self.problems.push(Problem { key, found: found.to_owned(), allowed: allowed.to_owned() });
    }

    fn handshake(&mut self, raw: &HandshakeDefinition, sent: &[String]) -> Option<Handshake> {
        let matching = &raw.conditions;
        let methods = if matching.methods.is_empty() { sent.to_vec() } else { matching.methods.clone() };
        if methods.iter().any(|method| method.is_empty() || method.bytes().any(|b| !b.is_ascii_uppercase())) {
            self.add("match.methods", &format!("{methods:?}"), "HTTP methods in upper case, such as GET");
        }
        for (place, expected) in &matching.equal {
            let wanted = self.wanted(expected);
            self.equal(place, wanted);
        }
        for place in &matching.present {
            self.place("match.present", place);
        }
        let answer = self.answer(&raw.answer);
        self.selects(raw, &methods, sent);
        if self.places.len() > PLACES_MAX {
            self.add("match", &format!("{} places", self.places.len()), &format!("at most {PLACES_MAX}"));
        }
        let conditions = Conditions {
            methods,
            content_type: matching.content_type.as_ref().map(|text| text.to_ascii_lowercase()),
            empty_body: matching.empty_body,
            places: std::mem::take(&mut self.places),
        };
        let handshake =
            Handshake { name: raw.name.as_str().into(), verify: raw.verify, conditions, answer: answer? };
        (!self.unset).then_some(handshake)
    }

    /// A handshake that every event would be is a mistake, and would lose them all.
    fn selects(&mut self, raw: &HandshakeDefinition, methods: &[String], sent: &[String]) {
        let own_method = !methods.iter().any(|method| sent.contains(method));
        if !own_method && self.places.is_empty() && !raw.conditions.empty_body {
            let allowed = "a method that no event comes with, `empty_body`, or at least one place";
            self.add("match", "what every event is", allowed);
        }
    }

    fn wanted(&mut self, expected: &Expected) -> Vec<Wanted> {
        let values = match expected {
            Expected::One(one) => std::slice::from_ref(one),
            Expected::Any(any) => any,
        };
        if values.is_empty() {
            self.add("match.equal", "an empty list", "at least one value");
        }
        values.iter().map(|value| self.scalar(value)).collect()
    }

    fn scalar(&mut self, value: &Scalar) -> Wanted {
        match value {
            Scalar::Text(text) => Wanted { text: self.fill(text, str::to_owned), string: true },
            Scalar::Number(number) => Wanted { text: number.to_string(), string: false },
            Scalar::Flag(flag) => Wanted { text: flag.to_string(), string: false },
        }
    }

    /// `text` with its settings. Each must have a value: a condition on half a text would hold for too many.
    fn fill(&mut self, text: &str, escape: fn(&str) -> String) -> String {
        for (name, _) in text.split("${").skip(1).filter_map(|rest| rest.split_once('}')) {
            let setting = format!("${{{name}}}");
            match (self.fill)(&setting, escape) {
                Some(same) if same == setting => {
                    self.add("settings", &setting, "a setting that the file declares")
                }
                Some(value) if !value.is_empty() => {}
                _ => self.unset = true,
            }
        }
        (self.fill)(text, escape).unwrap_or_default()
    }

    /// Adds a condition on the value at a place.
    fn equal(&mut self, text: &str, wanted: Vec<Wanted>) {
        let Some(number) = self.place("match.equal", text) else { return };
        if !self.places[number].1.is_empty() {
            self.add("match.equal", &format!("{text:?} twice"), "each place once");
        }
        self.places[number].1 = wanted;
    }

    /// The number of a place that the file names.
    fn place(&mut self, key: &str, text: &str) -> Option<usize> {
        match Pick::parse(text) {
            Ok(pick) => Some(self.number(&pick)),
            Err(allowed) => {
                self.add(key, &format!("{text:?}"), &allowed);
                None
            }
        }
    }

    /// The number of a place; one read for the first time must hold a value, whatever else is asked of it.
    fn number(&mut self, pick: &Pick) -> usize {
        let known = self.places.iter().position(|(place, _)| place == pick);
        known.unwrap_or_else(|| {
            self.places.push((pick.clone(), Vec::new()));
            self.places.len() - 1
        })
    }

    fn answer(&mut self, raw: &AnswerDefinition) -> Option<AnswerRule> {
        if !(200..=299).contains(&raw.status) {
            self.add("answer.status", &raw.status.to_string(), "200 to 299");
        }
        let body = match (&raw.text, &raw.json) {
            (Some(_), Some(_)) => {
                self.add("answer", "`text` and `json`", "one of them");
                return None;
            }
            (None, Some(json)) => Body::Json(self.json(json)?),
            (text, None) => Body::Text(self.text("answer.text", text.as_deref().unwrap_or_default())),
        };
        let empty = matches!(&body, Body::Text(text) if text.0.is_empty());
        if matches!(raw.status, 204 | 205) && !empty {
            self.add("answer", &format!("a body with status {}", raw.status), "no body");
        }
        let headers = self.headers(&raw.headers, &body, empty);
        let echoes = |number: &usize| {
            let texts = headers.iter().map(|(_, text)| text);
            texts.chain(body.texts()).any(|text| text.0.contains(&Part::Echo(*number)))
        };
        let echoed = (0..self.places.len()).filter(echoes).collect();
        Some(AnswerRule { status: raw.status, headers, body, echoed })
    }

    /// All headers of the answer: the file's, the media type, and the word that a browser shall not guess one.
    fn headers(&mut self, raw: &BTreeMap<String, String>, body: &Body, empty: bool) -> Vec<(String, Text)> {
        let fixed = |text: &str| Text(vec![Part::Literal(text.to_owned())]);
        let mut headers = Vec::new();
        for (name, value) in raw {
            let (name, text) = (name.to_ascii_lowercase(), self.text("answer.headers", value));
            self.header(&name, &text);
            headers.push((name, text));
        }
        if !empty && !headers.iter().any(|(name, _)| name == "content-type") {
            let [text, json] = MEDIA_TYPES;
            let media_type = if matches!(body, Body::Json(_)) { json } else { text };
            headers.push(("content-type".to_owned(), fixed(media_type)));
        }
        headers.push(("x-content-type-options".to_owned(), fixed("nosniff")));
        headers
    }

    fn header(&mut self, name: &str, text: &Text) {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) || HEADERS_KEPT.contains(&name) {
            let allowed = format!("names of `a-z`, `0-9`, `-`, `_`, but for {}", HEADERS_KEPT.join(", "));
            self.add("answer.headers", &format!("{name:?}"), &allowed);
        }
        let literal: String = text.0.iter().map(Part::literal).collect();
        if !is_header_value(&literal) {
            self.add("answer.headers", &format!("{literal:?}"), "visible ASCII");
        }
        let essence = literal.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if name == "content-type" && (text.echoes() || !MEDIA_TYPES.contains(&&*essence)) {
            self.add("answer.headers", &format!("content-type {literal:?}"), &MEDIA_TYPES.join(", "));
        }
    }

    fn json(&mut self, value: &toml::Value) -> Option<Json> {
        Some(match value {
            toml::Value::String(text) => Json::Text(self.text("answer.json", text)),
            toml::Value::Integer(number) => Json::Fixed((*number).into()),
            toml::Value::Boolean(flag) => Json::Fixed((*flag).into()),
            toml::Value::Array(items) => {
                Json::List(items.iter().map(|item| self.json(item)).collect::<Option<_>>()?)
            }
            toml::Value::Table(items) => {
                let item = |(key, item): (&String, &toml::Value)| Some((key.clone(), self.json(item)?));
                Json::Table(items.iter().map(item).collect::<Option<_>>()?)
            }
            toml::Value::Float(_) | toml::Value::Datetime(_) => {
                let allowed = "text, whole numbers, booleans, lists and tables";
                self.add("answer.json", value.type_str(), allowed);
                return None;
            }
        })
    }

    /// A text in which `{PLACE}` echoes.
    fn text(&mut self, key: &str, text: &str) -> Text {
        let filled = self.fill(text, Template::escape);
        let pieces = match Template::parse(&filled) {
            Ok(template) => template.pieces,
            Err(problem) => {
                self.add(key, &format!("{text:?}"), &problem);
                return Text::default();
            }
        };
        let mut parts = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match piece {
                Piece::Literal(text) => parts.push(Part::Literal(text)),
                Piece::Value(pick) => parts.push(Part::Echo(self.number(&pick))),
                _ => self.add(key, &format!("{text:?}"), "text and places, such as {json:/challenge}"),
            }
        }
        Text(parts)
    }
}
