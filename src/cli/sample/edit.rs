//! Single values of a sample's body changed for others: every byte around them stays as it is.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::extract::{Pick, Pointer, find, form_encoded, form_field_span};

/// The text of the value at `place`. None where there is none, or the place is outside the body.
pub(super) fn text(body: &[u8], place: &Pick) -> Option<String> {
    match place {
        Pick::Json(pointer) => Some(find(body, &[pointer]).pop()??.text()?.into_owned()),
        Pick::Form(name) => {
            let written = body.get(form_field_span(body, name)?)?;
            form_urlencoded::parse(&[b"=", written].concat()).next().map(|(_, value)| value.into_owned())
        }
        Pick::Inside(outer, pointer) => text(text(body, outer)?.as_bytes(), &Pick::Json(pointer.clone())),
        Pick::Xml(_) => place.read(&of(body)).map(Cow::into_owned),
        _ => None,
    }
}

/// `body` with the value at `place` changed for what `new` makes of its text. None where there is no value, or
/// `new` makes none of it.
pub(super) fn changed(body: &[u8], place: &Pick, new: &dyn Fn(&str) -> Option<String>) -> Option<Vec<u8>> {
    let old = text(body, place)?;
    match place {
        Pick::Json(pointer) => json(body, pointer, &new(&old)?),
        Pick::Form(name) => {
            Some(replaced(body, form_field_span(body, name)?, form_encoded(&new(&old)?).as_bytes()))
        }
        Pick::Inside(outer, pointer) => {
            let value = new(&old)?;
            let inner = |text: &str| String::from_utf8(json(text.as_bytes(), pointer, &value)?).ok();
            changed(body, outer, &inner)
        }
        Pick::Xml(_) => {
            let value = new(&old)?;
            xml(body, &old, &value).filter(|body| text(body, place).is_some_and(|found| found == value))
        }
        _ => None,
    }
}

/// The first element with that text gets the other one.
fn xml(body: &[u8], old: &str, value: &str) -> Option<Vec<u8>> {
    let written = format!(">{old}<");
    let at = body.windows(written.len()).position(|window| window == written.as_bytes())?;
    let value = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Some(replaced(body, at + 1..at + 1 + old.len(), value.as_bytes()))
}

/// A delivery that is nothing but its body.
fn of(body: &[u8]) -> Delivery {
    Delivery {
        method: String::new(),
        target: String::new(),
        headers: Headers::default(),
        body: Bytes::copy_from_slice(body),
        received_at: Timestamp::from_seconds(0),
    }
}

/// A number stays one, where the new value can be one.
fn json(body: &[u8], pointer: &Pointer, value: &str) -> Option<Vec<u8>> {
    let span = find(body, &[pointer]).pop()??.span;
    let number = body.get(span.start).is_some_and(u8::is_ascii_digit);
    let written: Cow<'_, str> = match number && value.parse::<u64>().is_ok() {
        true => value.into(),
        false => serde_json::Value::from(value).to_string().into(),
    };
    Some(replaced(body, span, written.as_bytes()))
}

fn replaced(body: &[u8], span: Range<usize>, value: &[u8]) -> Vec<u8> {
    let (before, rest) = body.split_at(span.start);
    [before, value, rest.get(span.len()..).unwrap_or_default()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(body: &str, place: &str, value: &str) -> Option<String> {
        let changed = changed(body.as_bytes(), &Pick::parse(place).unwrap(), &|_| Some(value.to_owned()));
        changed.map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn only_the_value_changes_wherever_it_lies() {
        let cases = [
            ("{ \"a\" : 1, \"b\":2}", "json:/a", "34", "{ \"a\" : 34, \"b\":2}"),
            ("{\"a\":1}", "json:/a", "x\"", "{\"a\":\"x\\\"\"}"),
            ("x=%31&id=a+b&&id=c", "form:id", "1&2", "x=%31&id=1%262&&id=c"),
            (
                "<a><x>1</x><b>1&amp;2</b><b>1</b></a>",
                "xml:/a/x",
                "2<3",
                "<a><x>2&lt;3</x><b>1&amp;2</b><b>1</b></a>",
            ),
            ("p=%7B%22id%22%3A%22a%22%7D&q", "form:p > json:/id", "b", "p=%7B%22id%22%3A%22b%22%7D&q"),
        ];
        for (body, place, value, want) in cases {
            assert_eq!(with(body, place, value).as_deref(), Some(want));
            assert_eq!(text(want.as_bytes(), &Pick::parse(place).unwrap()).as_deref(), Some(value));
        }
    }

    #[test]
    fn what_is_not_there_is_not_changed() {
        for place in ["json:/b", "form:b", "form:a > json:/b", "header:a", "query:a"] {
            assert_eq!(with("{\"a\":1}", place, "1"), None, "{place}");
        }
    }
}
