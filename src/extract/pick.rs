//! Where a value is in a delivery, as provider files write it.

use std::borrow::Cow;
use std::fmt;

use super::form;
use super::json::{self, Pointer};
use crate::delivery::Delivery;

/// Between a place and the pointer into the JSON that its text is.
const INSIDE: &str = " > ";

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
    /// `body`: the whole body as text.
    Body,
    /// `jwt:/pointer`: a claim of the scheme's own token, to be read once that is proved.
    Jwt(Pointer),
    /// `jwt-header:/pointer`: a value of the token's header.
    JwtHeader(Pointer),
    /// `PLACE > json:/pointer`: a value in the JSON that the text at another place is.
    Inside(Box<Self>, Pointer),
}

impl Pick {
    /// Reads `header:…`, `json:/…`, `form:…` or `query:…`, and `… > json:/…` for JSON inside one of them.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some((outer, inner)) = text.rsplit_once(INSIDE) {
            return match (Self::parse(outer)?, Self::parse(inner)?) {
                (outer, Self::Json(pointer)) => Ok(Self::Inside(Box::new(outer), pointer)),
                _ => Err(allowed(text)),
            };
        }
        if text == "body" {
            return Ok(Self::Body);
        }
        let Some((place, name)) = text.split_once(':') else { return Err(allowed(text)) };
        match place {
            "jwt" => Pointer::parse(name).map(Self::Jwt),
            "jwt-header" => Pointer::parse(name).map(Self::JwtHeader),
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
            Self::Form(name) => form::field(&delivery.body, name),
            Self::Query(name) => form::parameter(delivery.query().as_bytes(), name),
            Self::Body => std::str::from_utf8(&delivery.body).ok().map(Cow::Borrowed),
            Self::Jwt(_) | Self::JwtHeader(_) => None,
            Self::Inside(outer, pointer) => {
                let text = outer.read(delivery)?;
                let value = json::find(text.as_bytes(), &[pointer]).pop()??.text()?.into_owned();
                Some(Cow::Owned(value))
            }
        }
    }

    /// The value's text in a token's `claims` (or, for `jwt-header:`, its header), a JSON text.
    pub fn read_claim<'c>(&self, claims: &'c [u8]) -> Option<Cow<'c, str>> {
        match self {
            Self::Jwt(pointer) | Self::JwtHeader(pointer) => json::find(claims, &[pointer]).pop()??.text(),
            Self::Inside(outer, pointer) => {
                let text = outer.read_claim(claims)?;
                let value = json::find(text.as_bytes(), &[pointer]).pop()??.text()?.into_owned();
                Some(Cow::Owned(value))
            }
            Self::Header(_) | Self::Json(_) | Self::Form(_) | Self::Query(_) | Self::Body => None,
        }
    }

    /// Whether it is a claim of the scheme's token, or lies in the text of one.
    pub fn is_claim(&self) -> bool {
        match self {
            Self::Jwt(_) => true,
            Self::Inside(outer, _) => outer.is_claim(),
            _ => false,
        }
    }

    /// Whether it is in the header of the scheme's token.
    pub fn is_token_header(&self) -> bool {
        match self {
            Self::JwtHeader(_) => true,
            Self::Inside(outer, _) => outer.is_token_header(),
            _ => false,
        }
    }

    /// Whether it lies in the body, so that a signed body proves it.
    pub fn is_in_body(&self) -> bool {
        match self {
            Self::Json(_) | Self::Form(_) | Self::Body => true,
            Self::Header(_) | Self::Query(_) | Self::Jwt(_) | Self::JwtHeader(_) => false,
            Self::Inside(outer, _) => outer.is_in_body(),
        }
    }

    /// Reads several at once, so that a JSON body is walked only once.
    pub fn read_all<'p, 'd>(
        picks: impl Iterator<Item = &'p Self> + Clone,
        delivery: &'d Delivery,
    ) -> Vec<Option<Cow<'d, str>>> {
        let pointers: Vec<&Pointer> = picks.clone().filter_map(Self::pointer).collect();
        let mut found =
            if pointers.is_empty() { Vec::new() } else { json::find(&delivery.body, &pointers) }.into_iter();
        let read = |pick: &Self| match pick {
            Self::Json(_) => found.next().flatten().and_then(|value| value.text()),
            _ => pick.read(delivery),
        };
        picks.map(read).collect()
    }

    fn pointer(&self) -> Option<&Pointer> {
        match self {
            Self::Json(pointer) => Some(pointer),
            _ => None,
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
            Self::Body => f.write_str("body"),
            Self::Jwt(pointer) => write!(f, "jwt:{pointer}"),
            Self::JwtHeader(pointer) => write!(f, "jwt-header:{pointer}"),
            Self::Inside(outer, pointer) => write!(f, "{outer}{INSIDE}json:{pointer}"),
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

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&byte))
}

fn allowed(text: &str) -> String {
    format!(
        "`{text}` names no place; allowed: header:NAME, json:/pointer, form:NAME, query:NAME, and after one of \
         them ` > json:/pointer` for JSON inside its text"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::delivery::Headers;

    fn read(place: &str, target: &str, body: &str) -> Option<String> {
        let mut headers = Headers::default();
        headers.push("x-json", b"{\"id\":7}");
        let (method, target, body) = ("POST".to_owned(), target.to_owned(), body.to_owned().into());
        let delivery =
            Delivery { method, target, headers, body, received_at: Timestamp::from_seconds(1_800_000_000) };
        let pick = Pick::parse(place).unwrap();
        assert_eq!(pick.to_string(), place);
        pick.read(&delivery).map(Cow::into_owned)
    }

    #[test]
    fn json_is_read_inside_a_field_a_header_and_a_string() {
        let form = "a=1&payload=%7B%22type%22%3A%22block_actions%22%2C%22n%22%3A2%7D";
        assert_eq!(read("form:payload > json:/type", "/", form).as_deref(), Some("block_actions"));
        assert_eq!(read("form:payload > json:/n", "/", form).as_deref(), Some("2"));
        assert_eq!(read("form:a > json:/n", "/", form), None);
        assert_eq!(read("query:q > json:/0", "/in/x?q=%5B3%5D", "").as_deref(), Some("3"));
        assert_eq!(read("header:x-json > json:/id", "/", "").as_deref(), Some("7"));
        let nested = r#"{"data":"{\"inner\":\"{\\\"id\\\":9}\"}"}"#;
        assert_eq!(read("json:/data > json:/inner", "/", nested).as_deref(), Some("{\"id\":9}"));
        assert_eq!(read("form:payload > json:/type", "/", "{\"payload\":1}"), None);
    }

    #[test]
    fn only_json_lies_inside_and_the_body_is_told_from_the_rest() {
        assert!(Pick::parse("form:a > header:b").is_err());
        assert!(Pick::parse("nowhere > json:/a").is_err());
        for (place, inside) in [
            ("json:/a", true),
            ("form:a", true),
            ("form:a > json:/b", true),
            ("header:a", false),
            ("query:a", false),
            ("query:a > json:/b", false),
        ] {
            assert_eq!(Pick::parse(place).unwrap().is_in_body(), inside, "{place}");
        }
    }
}
