//! What a handshake, or an event, is answered with: texts, headers, media types.

use std::collections::BTreeMap;

use super::{Check, of_delivery};
use crate::provider::Template;
use crate::provider::handshake::answer::{AnswerRule, Body, Json, Part, Text, is_header_value};
use crate::provider::handshake::definition::AnswerDefinition;

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
const MEDIA_TYPES: [&str; 3] = ["text/plain", "application/json", XML];
/// XML may run in a browser: only fixed text has it.
const XML: &str = "text/xml";

impl Check<'_> {
    pub(super) fn answer(&mut self, raw: &AnswerDefinition) -> Option<AnswerRule> {
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
        let empty = body.is_empty();
        if matches!(raw.status, 204 | 205) && !empty {
            self.add("answer", &format!("a body with status {}", raw.status), "no body");
        }
        let headers = self.headers(&raw.headers, &body);
        Some(AnswerRule { status: raw.status, headers, body })
    }

    /// All headers of the answer: the file's, the media type, and the word that a browser shall not guess one.
    fn headers(&mut self, raw: &BTreeMap<String, String>, body: &Body) -> Vec<(String, Text)> {
        let fixed = |text: &str| Text(vec![Part::Literal(text.to_owned())]);
        let mut headers = Vec::new();
        for (name, value) in raw {
            let (name, text) = (name.to_ascii_lowercase(), self.text("answer.headers", value));
            self.header(&name, &text, body);
            headers.push((name, text));
        }
        if !body.is_empty() && !headers.iter().any(|(name, _)| name == "content-type") {
            let [text, json, _] = MEDIA_TYPES;
            let media_type = if matches!(body, Body::Json(_)) { json } else { text };
            headers.push(("content-type".to_owned(), fixed(media_type)));
        }
        headers.push(("x-content-type-options".to_owned(), fixed("nosniff")));
        headers
    }

    fn header(&mut self, name: &str, text: &Text, body: &Body) {
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
        if name != "content-type" {
            return;
        }
        if text.varies() || !MEDIA_TYPES.contains(&&*essence) {
            self.add("answer.headers", &format!("content-type {literal:?}"), &MEDIA_TYPES.join(", "));
        }
        if essence == XML && body.texts().iter().any(|text| text.varies()) {
            self.add("answer", "a value echoed in text/xml", "fixed text, or another media type");
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

    /// A text in which `{PLACE}` echoes, and `{computed:NAME}` is what is made.
    pub(super) fn text(&mut self, key: &str, text: &str) -> Text {
        let filled = self.fill(text, Template::escape);
        match self.parts(&filled) {
            Ok(parts) => Text(parts),
            Err(problem) => {
                let allowed =
                    format!("{problem}: text, {{computed:NAME}} and places, such as {{json:/challenge}}");
                self.add(key, &format!("{text:?}"), &allowed);
                Text::default()
            }
        }
    }

    fn parts(&mut self, text: &str) -> Result<Vec<Part>, String> {
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(next) = rest.chars().next() {
            let doubled = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}"));
            if doubled.is_none() && next == '}' {
                return Err("a `}` without its `{`".to_owned());
            }
            if doubled.is_some() || next != '{' {
                literal.push(next);
                rest = doubled.unwrap_or_else(|| rest.get(next.len_utf8()..).unwrap_or_default());
                continue;
            }
            let inside = rest.strip_prefix('{').unwrap_or_default();
            let (name, after) = inside.split_once('}').ok_or("a `{` without its `}`")?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(self.part(name)?);
            rest = after;
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(parts)
    }

    fn part(&mut self, name: &str) -> Result<Part, String> {
        if let Some(name) = name.strip_prefix("computed:") {
            let number = self.computed.iter().position(|known| known == name);
            return number.map(Part::Computed).ok_or_else(|| format!("no value {name:?} is computed"));
        }
        of_delivery(name).map(|pick| Part::Echo(self.number(&pick)))
    }
}
