//! What is answered: the file's texts with values of the delivery in them, of bounded size.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::provider::PinnedUrl;
use crate::reject::{Refused, Reject};

/// Longest value that is echoed, in bytes. Challenges have 20 to a few hundred.
pub(super) const ECHO_BYTES_MAX: usize = 2048;

/// An answer, whole: nothing is added to it but what HTTP itself needs.
#[derive(Clone, Debug)]
pub struct HandshakeAnswer {
    /// Name of the handshake.
    pub name: Arc<str>,
    /// HTTP status, 200 to 299.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; never HTML.
    pub body: String,
    /// The URL that is to be called once this is answered.
    pub visit: Option<PinnedUrl>,
    /// The value that is to be the source's secret. It is kept before this is answered, or this is not answered.
    pub capture: Option<Captured>,
}

impl HandshakeAnswer {
    /// Whether it has no body and nothing is done beside it.
    pub fn says_nothing(&self) -> bool {
        self.body.is_empty() && self.visit.is_none() && self.capture.is_none()
    }

    /// What is sent, and nothing of what is done beside.
    pub fn into_event_answer(self) -> EventAnswer {
        EventAnswer { status: self.status, headers: self.headers, body: self.body }
    }
}

/// A secret that a sender showed. Its debug form is no part of it, and its memory is wiped.
#[derive(Clone)]
pub struct Captured(Zeroizing<String>);

impl Captured {
    pub(super) fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The secret's text. What takes it must keep it out of logs, errors and metrics.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Captured(…)")
    }
}

/// What every accepted event of a scheme is answered with, in place of the gateway's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventAnswer {
    /// HTTP status, 200 to 299; a source's own comes over it.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; may be empty.
    pub body: String,
}

/// Text with echoed values in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(pub Vec<Part>);

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Fixed text.
    Literal(String),
    /// The value at the place of that number.
    Echo(usize),
    /// The computed value of that number.
    Computed(usize),
}

impl Text {
    pub(super) fn render(&self, values: &[Cow<'_, str>], computed: &[String]) -> String {
        let mut rendered = String::new();
        for part in &self.0 {
            rendered.push_str(match part {
                Part::Literal(text) => text,
                Part::Echo(place) => values.get(*place).map_or("", |value| &**value),
                Part::Computed(number) => computed.get(*number).map_or("", String::as_str),
            });
        }
        rendered
    }

    /// Whether it is more than fixed text.
    pub(super) fn varies(&self) -> bool {
        self.0.iter().any(|part| !matches!(part, Part::Literal(_)))
    }

    /// Numbers of the places that are echoed.
    pub(super) fn echoed(&self) -> impl Iterator<Item = usize> {
        self.0.iter().filter_map(|part| match part {
            Part::Echo(place) => Some(*place),
            Part::Literal(_) | Part::Computed(_) => None,
        })
    }
}

/// A body.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// Text; may be empty.
    Text(Text),
    /// JSON.
    Json(Json),
}

/// JSON with echoed values in its strings.
#[derive(Clone, Debug)]
pub(super) enum Json {
    /// A number or boolean.
    Fixed(serde_json::Value),
    /// A string.
    Text(Text),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Table(BTreeMap<String, Json>),
}

impl Json {
    fn render(&self, values: &[Cow<'_, str>], computed: &[String]) -> serde_json::Value {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Text(text) => text.render(values, computed).into(),
            Self::List(items) => items.iter().map(|item| item.render(values, computed)).collect(),
            Self::Table(items) => {
                items.iter().map(|(key, item)| (key.clone(), item.render(values, computed))).collect()
            }
        }
    }

    fn texts(&self) -> Vec<&Text> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::Text(text) => vec![text],
            Self::List(items) => items.iter().flat_map(Self::texts).collect(),
            Self::Table(items) => items.values().flat_map(Self::texts).collect(),
        }
    }
}

impl Part {
    /// Its fixed text; nothing for a value.
    pub(super) fn literal(&self) -> &str {
        match self {
            Self::Literal(text) => text,
            Self::Echo(_) | Self::Computed(_) => "",
        }
    }
}

impl Body {
    /// Every text in it.
    pub(super) fn texts(&self) -> Vec<&Text> {
        match self {
            Self::Text(text) => vec![text],
            Self::Json(json) => json.texts(),
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.0.is_empty())
    }
}

/// What is answered, checked.
#[derive(Clone, Debug)]
pub(super) struct AnswerRule {
    pub status: u16,
    /// Headers, names in lower case, all that the answer has.
    pub headers: Vec<(String, Text)>,
    pub body: Body,
}

impl AnswerRule {
    /// Every text in it.
    pub(super) fn texts(&self) -> impl Iterator<Item = &Text> {
        self.headers.iter().map(|(_, text)| text).chain(self.body.texts())
    }

    /// The answer of the handshake `name` with the values in it.
    ///
    /// # Errors
    /// `ChallengeRefused` where a value is no text that a header can hold.
    pub(super) fn render(
        &self,
        name: &str,
        values: &[Cow<'_, str>],
        computed: &[String],
    ) -> Result<EventAnswer, Refused> {
        let mut headers = Vec::with_capacity(self.headers.len());
        for (header, text) in &self.headers {
            let value = text.render(values, computed);
            if !is_header_value(&value) {
                let detail = format!("{name}: a value to echo in {header} that no header can hold");
                return Err(Reject::ChallengeRefused.because(detail));
            }
            headers.push((header.clone(), value));
        }
        let body = match &self.body {
            Body::Text(text) => text.render(values, computed),
            Body::Json(json) => json.render(values, computed).to_string(),
        };
        Ok(EventAnswer { status: self.status, headers, body })
    }
}

/// Visible ASCII and inner spaces.
pub(super) fn is_header_value(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text
}
