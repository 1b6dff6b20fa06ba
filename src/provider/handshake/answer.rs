//! What a handshake is answered with: the file's texts with values of the delivery in them, of bounded size.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::provider::PinnedUrl;
use crate::reject::{Refused, Reject};

/// Longest value that is echoed, in bytes. Challenges have 20 to a few hundred.
pub(super) const ECHO_BYTES_MAX: usize = 2048;

/// An answer, whole: nothing is added to it but what HTTP itself needs.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

impl Text {
    fn render(&self, values: &[Cow<'_, str>]) -> String {
        let part = |part: &Part| match part {
            Part::Literal(text) => text.clone(),
            Part::Echo(place) => {
                values.get(*place).map(|value| value.clone().into_owned()).unwrap_or_default()
            }
        };
        self.0.iter().map(part).collect()
    }

    pub(super) fn echoes(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Echo(_)))
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
    fn render(&self, values: &[Cow<'_, str>]) -> serde_json::Value {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Text(text) => text.render(values).into(),
            Self::List(items) => items.iter().map(|item| item.render(values)).collect(),
            Self::Table(items) => {
                items.iter().map(|(key, item)| (key.clone(), item.render(values))).collect()
            }
        }
    }
}

impl Part {
    /// Its fixed text; nothing for an echo.
    pub(super) fn literal(&self) -> &str {
        match self {
            Self::Literal(text) => text,
            Self::Echo(_) => "",
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
}

impl Json {
    fn texts(&self) -> Vec<&Text> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::Text(text) => vec![text],
            Self::List(items) => items.iter().flat_map(Self::texts).collect(),
            Self::Table(items) => items.values().flat_map(Self::texts).collect(),
        }
    }
}

/// What is answered, checked.
#[derive(Clone, Debug)]
pub(super) struct AnswerRule {
    pub status: u16,
    /// Headers, names in lower case, all that the answer has.
    pub headers: Vec<(String, Text)>,
    pub body: Body,
    /// Numbers of the places that are echoed.
    pub echoed: Vec<usize>,
}

impl AnswerRule {
    /// The answer with `values` in it.
    ///
    /// # Errors
    /// `ChallengeRefused` where a value is too long to be echoed, or not text that a header can hold.
    pub(super) fn render(
        &self,
        name: &Arc<str>,
        values: &[Cow<'_, str>],
    ) -> Result<HandshakeAnswer, Refused> {
        let bytes = |place: &usize| values.get(*place).map_or(0, |value| value.len());
        if let Some(long) = self.echoed.iter().map(bytes).find(|bytes| *bytes > ECHO_BYTES_MAX) {
            let detail = format!("{name}: a value of {long} bytes to echo; at most {ECHO_BYTES_MAX} are");
            return Err(Reject::ChallengeRefused.because(detail));
        }
        let mut headers = Vec::with_capacity(self.headers.len());
        for (header, text) in &self.headers {
            let value = text.render(values);
            if !is_header_value(&value) {
                let detail = format!("{name}: a value to echo in {header} that no header can hold");
                return Err(Reject::ChallengeRefused.because(detail));
            }
            headers.push((header.clone(), value));
        }
        let body = match &self.body {
            Body::Text(text) => text.render(values),
            Body::Json(json) => json.render(values).to_string(),
        };
        Ok(HandshakeAnswer { name: Arc::clone(name), status: self.status, headers, body, visit: None })
    }
}

/// Visible ASCII and inner spaces.
pub(super) fn is_header_value(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text
}
