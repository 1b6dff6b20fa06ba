//! Where a value is in a delivery, as provider files write it.

use std::borrow::Cow;
use std::fmt;

use super::json::{self, Pointer};
use crate::delivery::Delivery;

/// A named place in a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// `header:NAME`: the only line of that name; a repeated one is no value.
    Header(String),
    /// `json:/pointer`: a string, number or boolean in the JSON body.
    Json(Pointer),
    /// `form:NAME`: the first field of that name in an urlencoded body, decoded.
    Form(String),
    /// `query:NAME`: the first parameter of that name, decoded.
    Query(String),
}

impl Pick {
    /// Reads `header:…`, `json:/…`, `form:…` or `query:…`.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((place, name)) = text.split_once(':') else { return Err(allowed(text)) };
        match place {
            "header" if is_token(name) => Ok(Self::Header(name.to_ascii_lowercase())),
            "json" => Pointer::parse(name).map(Self::Json),
            "form" if !name.is_empty() => Ok(Self::Form(name.to_owned())),
            "query" if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            _ => Err(allowed(text)),
        }
    }

    /// The value's text. `None` where it is absent, repeated in the headers, or not UTF-8.
    pub fn read<'d>(&self, delivery: &'d Delivery) -> Option<Cow<'d, str>> {
        match self {
            Self::Header(name) => header(delivery, name).map(Cow::Borrowed),
            Self::Json(pointer) => json::find(&delivery.body, &[pointer]).pop()??.text(),
            Self::Form(name) => parameter(&delivery.body, name),
            Self::Query(name) => parameter(delivery.query().as_bytes(), name),
        }
    }

    /// Reads several at once, so that a JSON body is walked only once.
    pub fn read_all<'d>(picks: &[Option<&Self>], delivery: &'d Delivery) -> Vec<Option<Cow<'d, str>>> {
        let pointers: Vec<&Pointer> = picks.iter().filter_map(|pick| pick.and_then(Self::pointer)).collect();
        let mut found =
            if pointers.is_empty() { Vec::new() } else { json::find(&delivery.body, &pointers) }.into_iter();
        let mut read = |pick: &Self| match pick {
            Self::Json(_) => found.next().flatten().and_then(|value| value.text()),
            Self::Header(_) | Self::Form(_) | Self::Query(_) => pick.read(delivery),
        };
        picks.iter().map(|pick| pick.and_then(&mut read)).collect()
    }

    fn pointer(&self) -> Option<&Pointer> {
        match self {
            Self::Json(pointer) => Some(pointer),
            Self::Header(_) | Self::Form(_) | Self::Query(_) => None,
        }
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Json(pointer) => write!(f, "json:{pointer}"),
            Self::Form(name) => write!(f, "form:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

fn header<'d>(delivery: &'d Delivery, name: &str) -> Option<&'d str> {
    let mut values = delivery.headers.iter().filter(|(line, _)| *line == name.as_bytes());
    match (values.next(), values.next()) {
        (Some((_, only)), None) => std::str::from_utf8(only).ok(),
        _ => None,
    }
}

fn parameter<'d>(text: &'d [u8], name: &str) -> Option<Cow<'d, str>> {
    form_urlencoded::parse(text).find(|(key, _)| key == name).map(|(_, value)| value)
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&byte))
}

fn allowed(text: &str) -> String {
    format!("`{text}` names no place; allowed: header:NAME, json:/pointer, form:NAME, query:NAME")
}
