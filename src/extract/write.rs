//! Values put into a delivery by name, for samples and for whoever signs them: every byte around a value stays as it
//! is. What arrives is never changed: nothing on the way in calls this.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::form;
use super::json::{self, Pointer};
use super::pick::Pick;
use super::xml;
use crate::delivery::{Delivery, Headers};

/// `delivery` with `value` at `place`: in the place of what stands there, else added. A JSON number stays one where the
/// value can be one. `None` where nothing can be put, as at a place beside the signature.
pub fn put(delivery: &Delivery, place: &Pick, value: &str) -> Option<Delivery> {
    put_as(delivery, place, value, false)
}

/// The same, in JSON as a number. `None` also where the value is none.
pub fn put_number(delivery: &Delivery, place: &Pick, value: &str) -> Option<Delivery> {
    value.parse::<u64>().ok()?;
    put_as(delivery, place, value, true)
}

fn put_as(delivery: &Delivery, place: &Pick, value: &str, number: bool) -> Option<Delivery> {
    let body = |body: Vec<u8>| Some(Delivery { body: Bytes::from(body), ..delivery.clone() });
    match place {
        Pick::Header(name) => Some(with_header(delivery, name, Some(value))),
        Pick::Query(name) => Some(with_parameter(delivery, name, value)),
        Pick::Json(pointer) => body(with_json(&delivery.body, pointer, value, number)?),
        Pick::Form(name) => body(with_field(&delivery.body, name, value)?),
        Pick::Xml(path) => body(xml::with(std::str::from_utf8(&delivery.body).ok()?, path, value)?.into()),
        Pick::Body => body(value.into()),
        Pick::Inside(outer, pointer) => {
            let text = outer.read(delivery).unwrap_or_default();
            let text = with_json(text.as_bytes(), pointer, value, number)?;
            put(delivery, outer, std::str::from_utf8(&text).ok()?)
        }
        Pick::InsideXml(outer, path) => {
            let text = outer.read(delivery).unwrap_or_default();
            put(delivery, outer, &xml::with(&text, path, value)?)
        }
        Pick::Base64(outer) => put(delivery, outer, &STANDARD.encode(value)),
        Pick::Match(outer, cut) => {
            let mut text = outer.read(delivery)?.into_owned();
            text.replace_range(cut.span(&text)?, value);
            // What was put there need not be what is read there.
            cut.span(&text).filter(|span| text.get(span.clone()) == Some(value))?;
            put(delivery, outer, &text)
        }
        Pick::Signature(_) | Pick::Item(_) | Pick::Jwt(_) | Pick::JwtHeader(_) => None,
    }
}

/// `delivery` without the value at `place`: a header's lines and a parameter are left out, what is in a body is empty.
/// `None` where there is none, or it cannot be taken out.
pub fn take_out(delivery: &Delivery, place: &Pick) -> Option<Delivery> {
    place.read(delivery)?;
    match place {
        Pick::Header(name) => Some(with_header(delivery, name, None)),
        Pick::Query(name) => Some(without_parameter(delivery, name)),
        place => put(delivery, place, ""),
    }
}

fn with_header(delivery: &Delivery, name: &str, value: Option<&str>) -> Delivery {
    let mut headers = Headers::default();
    let mut value = value;
    for (line, old) in delivery.headers.iter() {
        if line != name.as_bytes() {
            headers.push(&String::from_utf8_lossy(line), old);
        } else if let Some(value) = value.take() {
            headers.push(name, value.as_bytes());
        }
    }
    if let Some(value) = value {
        headers.push(name, value.as_bytes());
    }
    Delivery { headers, ..delivery.clone() }
}

fn with_parameter(delivery: &Delivery, name: &str, value: &str) -> Delivery {
    let (query, encoded) = (delivery.query(), form::encoded(value));
    let query = match form::parameter_span(query.as_bytes(), name) {
        Some(span) => replaced(query.as_bytes(), span, encoded.as_bytes()),
        None if query.is_empty() => format!("{}={encoded}", form::encoded(name)).into_bytes(),
        None => format!("{query}&{}={encoded}", form::encoded(name)).into_bytes(),
    };
    let target = format!("{}?{}", delivery.path(), String::from_utf8_lossy(&query));
    Delivery { target, ..delivery.clone() }
}

fn without_parameter(delivery: &Delivery, name: &str) -> Delivery {
    let named = |pair: &&str| !form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| key == name);
    let query: Vec<&str> = delivery.query().split('&').filter(named).collect();
    let target = match query.join("&") {
        query if query.is_empty() => delivery.path().to_owned(),
        query => format!("{}?{query}", delivery.path()),
    };
    Delivery { target, ..delivery.clone() }
}

fn with_field(body: &[u8], name: &str, value: &str) -> Option<Vec<u8>> {
    let encoded = form::encoded(value);
    if let Some(span) = form::field_span(body, name) {
        return Some(replaced(body, span, encoded.as_bytes()));
    }
    let pair = format!("{}={encoded}", form::encoded(name));
    match body {
        [] => Some(pair.into_bytes()),
        // In JSON, XML and multipart there are no fields to stand beside.
        [b'{' | b'[' | b'<' | b'-', ..] => None,
        body => Some([body, b"&", pair.as_bytes()].concat()),
    }
}

fn with_json(text: &[u8], pointer: &Pointer, value: &str, number: bool) -> Option<Vec<u8>> {
    let text = if text.is_empty() { b"{}" } else { text };
    let written =
        |number: bool| if number { value.to_owned() } else { serde_json::Value::from(value).to_string() };
    if let Some(found) = json::find(text, &[pointer]).pop()? {
        let kept = found.is_number() && value.parse::<u64>().is_ok_and(|own| own.to_string() == value);
        return Some(replaced(text, found.span, written(number || kept).as_bytes()));
    }
    let mut lacking = written(number);
    let mut above = pointer.clone();
    while let Some((outer, step)) = above.parent() {
        if let Some(found) = json::find(text, &[&outer]).pop()? {
            return with_member(text, found.span, &step, &lacking);
        }
        lacking = nested(&step, &lacking);
        above = outer;
    }
    None
}

/// `inner` as the member `step` of nothing else.
fn nested(step: &str, inner: &str) -> String {
    if step == "0" { format!("[{inner}]") } else { format!("{{{}:{inner}}}", serde_json::Value::from(step)) }
}

/// `text` with a further first member in the object at `span`, or the only one in an empty array or object.
fn with_member(text: &[u8], span: Range<usize>, step: &str, value: &str) -> Option<Vec<u8>> {
    let inside = text.get(span.start + 1..span.end.checked_sub(1)?)?;
    let empty = inside.trim_ascii().is_empty();
    match text.get(span.start)? {
        b'{' | b'[' if empty => Some(replaced(text, span, nested(step, value).as_bytes())),
        b'{' => {
            let member = format!("{}:{value},", serde_json::Value::from(step));
            Some(replaced(text, span.start + 1..span.start + 1, member.as_bytes()))
        }
        _ => None,
    }
}

fn replaced(text: &[u8], span: Range<usize>, value: &[u8]) -> Vec<u8> {
    let (before, rest) = text.split_at(span.start.min(text.len()));
    [before, value, rest.get(span.len()..).unwrap_or_default()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn delivery(target: &str, body: &str) -> Delivery {
        let mut headers = Headers::default();
        [("a", "1"), ("b", "2"), ("a", "3")]
            .iter()
            .for_each(|(name, value)| headers.push(name, value.as_bytes()));
        let (method, target, body) = ("POST".to_owned(), target.to_owned(), body.to_owned().into());
        Delivery { method, target, headers, body, received_at: Timestamp::from_seconds(1_800_000_000) }
    }

    fn with(body: &str, place: &str, value: &str) -> Option<String> {
        let place = Pick::parse(place).unwrap();
        let written = put(&delivery("/", body), &place, value)?;
        assert_eq!(place.read(&written).as_deref(), Some(value), "{body} {place}");
        Some(String::from_utf8(written.body.to_vec()).unwrap())
    }

    #[test]
    fn only_the_value_changes_wherever_it_lies() {
        for (body, place, value, want) in [
            ("{ \"a\" : 1, \"b\":2}", "json:/a", "34", "{ \"a\" : 34, \"b\":2}"),
            ("{ \"a\" : 1}", "json:/a", "034", "{ \"a\" : \"034\"}"),
            ("{\"a\":1}", "json:/a", "x\"", "{\"a\":\"x\\\"\"}"),
            ("x=%31&id=a+b&&id=c", "form:id", "1&2", "x=%31&id=1%262&&id=c"),
            ("p=%7B%22id%22%3A%22a%22%7D&q", "form:p > json:/id", "b", "p=%7B%22id%22%3A%22b%22%7D&q"),
            ("<a> <b>1</b></a>", "xml:/a/b", "2", "<a> <b>2</b></a>"),
            ("{\"d\":\"PGE+MTwvYT4=\"}", "json:/d > base64 > xml:/a", "2", "{\"d\":\"PGE+MjwvYT4=\"}"),
            ("{\"a\":\"t=1;u\"}", "json:/a > match:t=([0-9]+);.*", "25", "{\"a\":\"t=25;u\"}"),
            ("anything", "body", "else", "else"),
        ] {
            assert_eq!(with(body, place, value).as_deref(), Some(want));
        }
    }

    #[test]
    fn what_is_not_there_is_added_where_it_can_be() {
        for (body, place, want) in [
            ("", "json:/a/0/b", Some("{\"a\":[{\"b\":\"v\"}]}")),
            ("", "json:/0/b", Some("[{\"b\":\"v\"}]")),
            ("{ \"c\":1}", "json:/a/b", Some("{\"a\":{\"b\":\"v\"}, \"c\":1}")),
            ("{\"a\":[]}", "json:/a/0", Some("{\"a\":[\"v\"]}")),
            ("{\"a\":1}", "json:/a/b", None),
            ("{\"a\":[1]}", "json:/a/1", None),
            ("", "form:f", Some("f=v")),
            ("a=1", "form:f", Some("a=1&f=v")),
            ("{}", "form:f", None),
            ("", "form:f > base64 > json:/a", Some("f=eyJhIjoidiJ9")),
            ("", "xml:/a/b", Some("<a><b>v</b></a>")),
            ("", "signature:t", None),
            ("a=x", "form:a > match:t=(.*)", None),
            ("a=t%3D1", "form:a > match:t=([0-9])", None),
        ] {
            assert_eq!(with(body, place, "v").as_deref(), want, "{body} {place}");
        }
    }

    #[test]
    fn headers_and_parameters_are_put_in_order_and_taken_out_whole() {
        let read = |delivery: &Delivery| {
            let lines = delivery.headers.iter().map(|(name, value)| [name, b"=", value].concat());
            (String::from_utf8(lines.collect::<Vec<_>>().join(&b' ')).unwrap(), delivery.target.clone())
        };
        let own = delivery("/in?q=%31&r=2", "");
        let place = |text: &str| Pick::parse(text).unwrap();
        let with = |text: &str| read(&put(&own, &place(text), "x y").unwrap());
        assert_eq!(with("header:A").0, "a=x y b=2");
        assert_eq!(with("header:c").0, "a=1 b=2 a=3 c=x y");
        assert_eq!(with("query:q").1, "/in?q=x+y&r=2");
        assert_eq!(with("query:s").1, "/in?q=%31&r=2&s=x+y");
        assert_eq!(put(&delivery("/in", ""), &place("query:s"), "1").unwrap().target, "/in?s=1");
        assert_eq!(read(&take_out(&own, &place("header:b")).unwrap()).0, "a=1 a=3");
        assert_eq!(read(&take_out(&own, &place("query:q")).unwrap()).1, "/in?r=2");
        assert!(take_out(&own, &place("query:t")).is_none());
    }
}
