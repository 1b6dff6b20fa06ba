//! Urlencoded forms over raw bytes: a field by name, where its value lies, and all fields as one sorted text.
//!
//! A form is read where signed bytes want one, whatever its Content-Type says: that header is not signed, so
//! nothing that identity or proof depend on may follow it. For a proof it may stand in the way.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use super::alike;
use super::multipart::{self, Announced};
use crate::delivery::Delivery;

/// Fields that a form may have before its sorting is refused; senders have some dozens.
const FIELDS_MAX: usize = 10_000;

/// The field `name` of a body, decoded: the first, or where it is `strict` that which all of them are, in a form that is
/// not announced as another.
pub(super) fn field_in<'d>(delivery: &'d Delivery, name: &str, strict: bool) -> Option<Cow<'d, str>> {
    let body = &delivery.body;
    if !strict {
        return field(body, name);
    }
    match (multipart::announced(&delivery.headers), body.starts_with(b"--")) {
        (Announced::Other | Announced::Urlencoded, false) if !is_other(body) => {
            parameter_in(body, name, true)
        }
        (Announced::Other, true) => multipart::sole_field(body, None, name).map(Cow::Borrowed),
        (Announced::Multipart(boundary), true) => {
            multipart::sole_field(body, Some(boundary), name).map(Cow::Borrowed)
        }
        _ => None,
    }
}

/// The first field `name` of a body, decoded. `None` where there is none, or the body is plainly no form: one
/// that begins like JSON or XML has no fields, whatever `&` and `=` its texts have in them; one that begins with
/// `--` is a multipart body.
fn field<'d>(body: &'d [u8], name: &str) -> Option<Cow<'d, str>> {
    match body {
        [b'-', b'-', ..] => multipart::field(body, name).map(Cow::Borrowed),
        _ if is_other(body) => None,
        _ => parameter_in(body, name, false),
    }
}

/// The parameter `name` of a query, decoded: the first, or where it is `strict` that which all of them are, with none
/// beside it that some parser takes for it.
pub(super) fn parameter_in<'d>(text: &'d [u8], name: &str, strict: bool) -> Option<Cow<'d, str>> {
    let mut all = form_urlencoded::parse(text);
    if !strict {
        return all.find(|(key, _)| key == name).map(|(_, value)| value);
    }
    let mut alike = all.filter(|(key, _)| alike::fields(name, key));
    let (key, first) = alike.next()?;
    let sole = key == name && alike.all(|(key, other)| key == name && other == first);
    (sole && !stands_behind_semicolon(text, name)).then_some(first)
}

/// Whether anything stands in a form's field or a query's parameter `name`, or in one that some parser takes for it.
pub(super) fn has_alike(text: &[u8], name: &str) -> bool {
    form_urlencoded::parse(text).any(|(key, _)| alike::fields(name, &key))
        || stands_behind_semicolon(text, name)
}

/// Whether a parser to which `;` parts fields, too, could find the field there.
fn stands_behind_semicolon(text: &[u8], name: &str) -> bool {
    let more = text.split(|byte| *byte == b'&').flat_map(|pair| pair.split(|byte| *byte == b';').skip(1));
    more.filter_map(|field| form_urlencoded::parse(field).next()).any(|(key, _)| alike::fields(name, &key))
}

/// Whether a body has the field, or something that a reader could take for it.
pub(super) fn is_there(delivery: &Delivery, name: &str) -> bool {
    match &*delivery.body {
        body @ [b'-', b'-', ..] => multipart::is_there(body, name),
        body if is_other(body) => false,
        body => has_alike(body, name),
    }
}

/// Where the value of the first field `name` lies in a body, as it is written there.
pub fn field_span(body: &[u8], name: &str) -> Option<Range<usize>> {
    if is_other(body) || body.starts_with(b"--") { None } else { parameter_span(body, name) }
}

/// The same of the first parameter `name` of a query.
pub(super) fn parameter_span(text: &[u8], name: &str) -> Option<Range<usize>> {
    let mut start = 0;
    for pair in text.split(|byte| *byte == b'&') {
        let end = start + pair.len();
        let assign = pair.iter().position(|byte| *byte == b'=');
        let key = pair.get(..assign.unwrap_or(pair.len())).unwrap_or_default();
        if !pair.is_empty() && form_urlencoded::parse(key).next().is_some_and(|(key, _)| key == name) {
            return Some(assign.map_or(end, |at| start + at + 1)..end);
        }
        start = end + 1;
    }
    None
}

/// `value` as it is written in a form.
pub fn encoded(value: &str) -> String {
    form_urlencoded::byte_serialize(value.as_bytes()).collect()
}

/// How all fields of a form are written as one text; by default names and values one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormText {
    /// What stands between two fields.
    pub separator: String,
    /// What stands between a field's name and its value.
    pub assign: String,
    /// Whether the values are written alone.
    pub values_alone: bool,
    /// Names of fields that are left out.
    pub except: Vec<String>,
    /// Whether fields of no value are left out.
    pub valued_alone: bool,
    /// Whether equal pairs are written as often as they stand there.
    pub repeats: bool,
    /// Whether a body has no such text where a name stands twice in it.
    pub once: bool,
}

impl FormText {
    /// The fields of a body that are written, decoded: by name, then by value, in the order of UTF-16 code units. `None`
    /// where they are not UTF-8, more than anybody sends, or a name stands twice that may not; and where any reader could
    /// take the body for something else than an urlencoded form, of which not all need be signed.
    pub fn fields(&self, delivery: &Delivery) -> Option<Vec<(String, String)>> {
        let mut all =
            Some(delivery).filter(|delivery| is_form(delivery)).and_then(|form| all_fields(&form.body))?;
        if self.once && all.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        if !self.repeats {
            all.dedup();
        }
        let left_out = |(name, value): &(String, String)| {
            self.except.contains(name) || self.valued_alone && value.is_empty()
        };
        let (out, written): (Vec<_>, Vec<_>) = all.drain(..).partition(left_out);
        // Nobody signed that field, and a worker could read it in the place of one that is signed.
        let names =
            alike::Names::new(written.iter().filter(|_| !out.is_empty()).map(|(name, _)| name.as_str()));
        // To some parsers a `;` parts fields, too, and what stands behind one in a field that is left out nobody signed.
        let hidden = !out.is_empty() && delivery.body.contains(&b';');
        (!hidden && !out.iter().any(|(name, _)| names.any(name))).then_some(written)
    }

    /// What is written of a field.
    pub fn texts<'f>(&self, (name, value): &'f (String, String)) -> impl Iterator<Item = &'f str> {
        (!self.values_alone).then_some(name.as_str()).into_iter().chain([value.as_str()])
    }

    /// The text of a body. Two forms may read alike.
    pub fn of(&self, delivery: &Delivery) -> Option<String> {
        Some(self.joined(&self.fields(delivery)?))
    }

    /// The text of those fields.
    pub fn joined(&self, fields: &[(String, String)]) -> String {
        let mut text = String::new();
        for (at, field) in fields.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { &self.separator });
            for (part, written) in self.texts(field).enumerate() {
                text.push_str(if part == 0 { "" } else { &self.assign });
                text.push_str(written);
            }
        }
        text
    }
}

/// Every field's name and value, decoded: sorted by name, then by value, in the order of UTF-16 code units; a pair
/// that stands there twice counts twice. `None` where the fields are not UTF-8, since two different bodies would
/// then read alike, or more than anybody sends.
pub fn all_fields(body: &[u8]) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if fields.len() == FIELDS_MAX {
            return None;
        }
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let name = text_of(parts.next().unwrap_or_default())?;
        fields.push((name, text_of(parts.next().unwrap_or_default())?));
    }
    fields.sort_unstable_by(|a, b| by_units(&a.0, &b.0).then_with(|| by_units(&a.1, &b.1)));
    Some(fields)
}

/// The order of UTF-16 code units. That of bytes differs from it in one way: what UTF-16 has as a surrogate pair comes
/// before U+E000, and in UTF-8 begins with a greater byte. Beginnings that are equal are not decoded, since a body may
/// have ten thousand of them.
fn by_units(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let Some(at) = one.iter().zip(other).position(|(one, other)| one != other) else {
        return one.len().cmp(&other.len());
    };
    let unit = |byte: u8| if matches!(byte, 0xee | 0xef) { u16::from(byte) + 0x10 } else { u16::from(byte) };
    unit(one[at]).cmp(&unit(other[at]))
}

/// Whether a body is an urlencoded form to every reader, or empty: it begins as a name does, and neither with what JSON
/// and XML begin with, nor with a comment or a blank that some readers pass over.
fn is_form(delivery: &Delivery) -> bool {
    let announced = multipart::announced(&delivery.headers);
    let multipart = matches!(announced, Announced::Multipart(_)) || delivery.body.starts_with(b"--");
    let begins = |first: &u8| first.is_ascii_alphanumeric() || b"_%&=+.-$~*!".contains(first);
    !multipart && delivery.body.first().is_none_or(begins)
}

/// Whether a body begins like JSON or XML, in UTF-8 or, which a NUL or a byte order mark gives away, in UTF-16.
fn is_other(body: &[u8]) -> bool {
    let text = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    text.first().is_some_and(|first| b"{[<\" \t\r\n\0\xfe\xff".contains(first))
}

/// A name or value as UTF-8.
fn text_of(written: &[u8]) -> Option<String> {
    String::from_utf8(decoded(written)).ok()
}

/// `+` as a blank and `%XX` as its byte; a `%` without two digits stands for itself.
pub fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let escape = text.get(at + 1..at + 3).filter(|_| byte == b'%');
        let mut value = [0];
        if escape.is_some_and(|digits| hex::decode_to_slice(digits, &mut value).is_ok()) {
            bytes.extend(value);
            at += 3;
        } else {
            bytes.push(if byte == b'+' { b' ' } else { byte });
            at += 1;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::delivery::Headers;
    use proptest::prelude::*;

    fn posted(body: &[u8]) -> Delivery {
        let (method, target, body) = ("POST".to_owned(), "/".to_owned(), body.to_vec().into());
        Delivery { method, target, headers: Headers::default(), body, received_at: Timestamp::default() }
    }

    #[test]
    fn fields_are_sorted_by_name_then_value_and_told_once() {
        let sorted = |body: &[u8]| FormText::default().of(&posted(body));
        let sorted_all = |body: &[u8]| FormText { repeats: true, ..FormText::default() }.of(&posted(body));
        let cases = [
            ("", ""),
            ("b=2&a=1", "a1b2"),
            ("a=2&a=1&a=2", "a1a2"),
            ("B=1&a=1&A=1", "A1B1a1"),
            ("a=x+y&b=%2B%2b", "ax yb++"),
            ("a&b=&&=c", "cab"),
            ("a=%zz%4", "a%zz%4"),
            ("k=a=b", "ka=b"),
            ("%F0%9F%98%80=1&%EF%BF%BD=2", "\u{1f600}1\u{fffd}2"),
        ];
        for (body, want) in cases {
            assert_eq!(sorted(body.as_bytes()).as_deref(), Some(want), "{body}");
        }
        assert_eq!(sorted_all(b"a=2&a=1&a=2").as_deref(), Some("a1a2a2"));
    }

    #[test]
    fn fields_are_written_as_the_sender_does() {
        let plain = FormText {
            separator: "&".to_owned(),
            assign: "=".to_owned(),
            except: vec!["sign".to_owned()],
            once: true,
            ..FormText::default()
        };
        let valued = FormText { valued_alone: true, ..plain.clone() };
        let bare = FormText { values_alone: true, separator: "|".to_owned(), ..plain.clone() };
        for (form, body, want) in [
            (&plain, "sign=x&b=2%263&a=", Some("a=&b=2&3")),
            (&valued, "sign=x&b=2+3&a=&a0=1", Some("a0=1&b=2 3")),
            (&bare, "b=2&c=&a=1", Some("1|2|")),
            (&plain, "sign=x", Some("")),
            (&plain, "a=1&b=2&a=1", None),
            (&valued, "{\"x\":\"&a=1&\"}", None),
            (&valued, "\u{feff}{\"x\":\"&a=1&\"}", None),
            (&valued, "--b\r\n&a=1", None),
            (&valued, "data[id]=1&data=", None),
            (&valued, "id=1&id%00=", None),
            (&plain, "a=1&a=2", None),
            (&valued, "a=1&a=", None),
            (&plain, "sign=1&sign=2", None),
            (&valued, "total_amount=1&total.amount=", None),
            (&valued, "a=1&a[]=", None),
            (&valued, "a_b=1&a[b=", None),
            (&plain, "a=1&sign=x;b=2", None),
            (&valued, "/*&a=1&*/{}", None),
            (&valued, "\u{b}{\"x\":\"&a=1&\"}", None),
            (&valued, "\u{a0}{\"x\":\"&a=1&\"}", None),
        ] {
            assert_eq!(form.of(&posted(body.as_bytes())).as_deref(), want, "{body}");
        }
    }

    #[test]
    fn what_some_reader_takes_for_another_kind_of_body_is_no_form() {
        let of = |kind: &str| {
            let mut form = posted(b"x=\r\n--b\r\n&id=7");
            form.headers.push("content-type", kind.as_bytes());
            FormText::default().of(&form).is_some()
        };
        assert!(of("application/x-www-form-urlencoded") && of("text/plain"));
        assert!(!of("multipart/form-data; boundary=b"));
        for body in [&b"\0{"[..], b"\xff\xfe{\0", b"\xfe\xff\0{", b"<a>", b" a=1"] {
            assert_eq!(FormText::default().of(&posted(body)), None, "{body:?}");
        }
        assert_eq!(FormText::default().of(&posted(b"")).as_deref(), Some(""));
    }

    #[test]
    fn what_is_not_text_or_has_too_many_fields_is_not_sorted() {
        let sorted = |body: &[u8]| FormText::default().of(&posted(body));
        assert_eq!(sorted(b"a=%FF"), None);
        assert_eq!(sorted(b"a=\xff"), None);
        assert!(sorted("a&".repeat(FIELDS_MAX).as_bytes()).is_some());
        assert_eq!(sorted("a&".repeat(FIELDS_MAX + 1).as_bytes()), None);
    }

    #[test]
    fn a_body_that_is_no_form_has_no_fields() {
        for body in ["{\"text\":\"&id=1&\"}", "<a b=\"&id=1&\"/>", "[\"&id=1\"]", " &id=1", "\"&id=1&\""] {
            assert_eq!(field(body.as_bytes(), "id"), None, "{body}");
            assert_eq!(field_span(body.as_bytes(), "id"), None, "{body}");
        }
    }

    #[test]
    fn a_field_is_found_where_it_lies() {
        let body = b"&x&a%20b=1%2B1&id=&id=7";
        assert_eq!(field(body, "a b").as_deref(), Some("1+1"));
        assert_eq!(&body[field_span(body, "a b").unwrap()], b"1%2B1");
        assert_eq!(&body[field_span(body, "id").unwrap()], b"");
        assert_eq!(field_span(body, "x"), Some(2..2));
        assert_eq!(field_span(body, "y"), None);
    }

    proptest! {
        #[test]
        fn any_text_survives_writing_and_reading(name in "\\PC{1,8}", value in "\\PC{0,12}") {
            let body = format!("{}={}", encoded(&name), encoded(&value));
            // A body that begins with two dashes is one of parts.
            let whole = (!name.starts_with("--")).then(|| format!("{name}{value}"));
            prop_assert_eq!(FormText::default().of(&posted(body.as_bytes())), whole);
            let found = parameter_in(body.as_bytes(), &name, true);
            prop_assert_eq!(found.as_deref(), Some(&*value));
        }

        #[test]
        fn the_order_is_that_of_utf_16(one in "[a-c\u{7ff}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}]{0,3}", other in "[a-c\u{7ff}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}]{0,3}") {
            prop_assert_eq!(by_units(&one, &other), one.encode_utf16().cmp(other.encode_utf16()));
        }

        #[test]
        fn never_panics_on_any_bytes(body in prop::collection::vec(any::<u8>(), 0..64)) {
            FormText::default().of(&posted(&body));
            field(&body, "a");
            field_span(&body, "a");
        }
    }
}
