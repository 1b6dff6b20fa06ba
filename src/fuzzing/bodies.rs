//! Bodies: JSON, forms, multipart, XML, and other spellings. What is picked lies in the body and reads as another
//! parser reads it; nothing grows beyond its input.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::extract::{self, FormText, NoElements, Pick, Pointer, Spelling};

/// Elements that are asked for; few, so that a fuzzer finds longer arrays.
const ELEMENTS_MAX: usize = 8;

/// The first line, and all that follows it.
pub(super) fn line(data: &[u8]) -> (Cow<'_, str>, &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    (String::from_utf8_lossy(&data[..end]), data.get(end + 1..).unwrap_or_default())
}

/// A request with that body and no headers.
pub(super) fn posted(body: &[u8]) -> Delivery {
    Delivery {
        method: "POST".to_owned(),
        target: "/in/acme".to_owned(),
        headers: Headers::default(),
        body: Bytes::copy_from_slice(body),
        received_at: Timestamp::default(),
    }
}

/// A pointer in the first line, and a body.
pub fn json(data: &[u8]) {
    let (text, body) = line(data);
    let pointer = if text.is_empty() { Ok(Pointer::root()) } else { Pointer::parse(&text) };
    let Ok(pointer) = pointer else { return };
    let two = Pointer::parse("/a/0").expect("it is one");
    let found = extract::find(body, &[&pointer, &two]);
    assert_eq!(found[..1], extract::find(body, &[&pointer])[..], "what else is sought changes nothing");
    for found in found.iter().flatten() {
        assert_eq!(found.raw().as_bytes(), &body[found.span.clone()]);
        assert!(serde_json::from_str::<&RawValue>(found.raw()).is_ok());
        assert!(found.text().is_none_or(|text| text.len() <= found.raw().len()));
    }
    if let Ok(tree) = serde_json::from_slice::<Value>(body) {
        let wanted = tree.pointer(&pointer.to_string());
        assert_eq!(found[0].is_some(), wanted.is_some(), "as the tree has it");
        if let (Some(found), Some(wanted)) = (&found[0], wanted) {
            assert_eq!(serde_json::from_str::<Value>(found.raw()).ok().as_ref(), Some(wanted));
            assert_eq!(found.is_number(), wanted.is_number());
        }
    }
    elements(body, &pointer);
}

fn elements(body: &[u8], pointer: &Pointer) {
    let found = extract::elements(body, Some(pointer), ELEMENTS_MAX);
    let tree = serde_json::from_slice::<Value>(body).ok();
    let array = tree.as_ref().and_then(|tree| tree.pointer(&pointer.to_string())?.as_array());
    match (found, array) {
        (Ok(spans), array) => {
            assert!(spans.len() <= ELEMENTS_MAX);
            assert!(array.is_none_or(|array| array.len() == spans.len()));
            for (at, span) in spans.iter().enumerate() {
                let element = &body[span.clone()];
                // A tree holds no number beyond a float's range, which is JSON all the same.
                if let Err(error) = serde_json::from_slice::<IgnoredAny>(element) {
                    panic!("an element is no JSON: {error}");
                }
                assert!(
                    array.is_none_or(|all| serde_json::from_slice(element).ok().as_ref() == Some(&all[at]))
                );
            }
            assert!(spans.windows(2).all(|pair| pair[0].end < pair[1].start), "in order, a comma between");
        }
        (Err(NoElements::TooMany(_)), array) => assert!(array.is_none_or(|all| all.len() > ELEMENTS_MAX)),
        (Err(NoElements::NoArray), array) => assert!(array.is_none()),
    }
}

/// A field's name in the first line, and a form, which is read as a query too.
pub fn form(data: &[u8]) {
    let (name, body) = line(data);
    if name.is_empty() {
        return;
    }
    let delivery = posted(body);
    let value = Pick::Form(name.to_string()).read(&delivery).map(Cow::into_owned);
    let span = extract::form_field_span(body, &name);
    if !body.starts_with(b"--") {
        assert_eq!(value.is_some(), span.is_some(), "a field is found and lies somewhere, or neither");
    }
    if let (Some(value), Some(span)) = (&value, span) {
        let decoded = extract::form_decoded(&body[span]);
        assert_eq!(String::from_utf8_lossy(&decoded), *value, "where it lies is what it says");
    }
    if let Some(fields) = extract::form_all_fields(body) {
        let all = FormText { repeats: true, ..FormText::default() };
        assert!(all.of(&delivery).is_none_or(|sorted| sorted.len() <= body.len()));
        let told_once = FormText::default().fields(&delivery).unwrap_or_default();
        assert!(told_once.windows(2).all(|pair| pair[0] != pair[1]));
        let sole = FormText {
            except: vec![name.to_string()],
            valued_alone: true,
            once: true,
            ..FormText::default()
        };
        if let Some(sole) = sole.fields(&delivery) {
            assert!(sole.windows(2).all(|pair| pair[0].0 != pair[1].0));
            assert!(sole.iter().all(|(field, value)| *field != name && !value.is_empty()));
        }
        let units = |text: &str| text.encode_utf16().collect::<Vec<_>>();
        let ordered = |pair: &[(String, String)]| {
            (units(&pair[0].0), units(&pair[0].1)) <= (units(&pair[1].0), units(&pair[1].1))
        };
        assert!(fields.windows(2).all(ordered), "in the order of UTF-16");
        for (name, value) in &fields {
            let written = format!("{}={}", extract::form_encoded(name), extract::form_encoded(value));
            let read = extract::form_all_fields(written.as_bytes()).expect("it was just written");
            assert_eq!(read, [(name.clone(), value.clone())]);
        }
    }
    if let Ok(query) = std::str::from_utf8(body) {
        let delivery = Delivery { target: format!("/in/acme?{query}"), ..posted(b"") };
        let parameter = Pick::Query(name.into_owned()).read(&delivery);
        assert!(value.is_none() || body.starts_with(b"--") || parameter.as_deref() == value.as_deref());
    }
}

/// A field's name in the first line; what follows stands once as the body, once as a part's content.
pub fn multipart(data: &[u8]) {
    let (name, rest) = line(data);
    if name.is_empty() {
        return;
    }
    let pick = Pick::Form(name.to_string());
    let whole = posted(&[b"--", rest].concat());
    if let Some(value) = pick.read(&whole) {
        assert!(value.is_empty() || whole.body.windows(value.len()).any(|part| part == value.as_bytes()));
        let told = whole.body.windows(4).any(|part| part.eq_ignore_ascii_case(b"form"));
        assert!(told, "somebody says that it is a field");
    }
    let delimiter = "--------------------------d74496d66958873e";
    let plain = !name.contains(['"', '\\', '\r', '\u{fffd}']) && std::str::from_utf8(rest).is_ok();
    if !plain || rest.windows(delimiter.len()).any(|part| part == delimiter.as_bytes()) {
        return;
    }
    let head = "Content-Disposition: form-data; name";
    let other = format!("{delimiter}\r\n{head}=\"x{name}\"\r\n\r\nother\r\n");
    let file =
        format!("{delimiter}\r\n{head}=\"{name}\"; filename=\"a\"\r\nContent-Type: a/b\r\n\r\nfile\r\n");
    let field = format!("{delimiter}\r\n{head}=\"{name}\"\r\n\r\n");
    let end = format!("\r\n{delimiter}--\r\n");
    let body = [other.as_bytes(), file.as_bytes(), field.as_bytes(), rest, end.as_bytes()].concat();
    let delivery = posted(&body);
    assert_eq!(pick.read(&delivery).as_deref().map(str::as_bytes), Some(rest), "what a part holds is found");
}

/// A path in the first line, and a body.
pub fn xml(data: &[u8]) {
    let (text, body) = line(data);
    let Ok(pick) = Pick::parse(&format!("xml:{text}")) else { return };
    assert_eq!(Pick::parse(&pick.to_string()), Ok(pick.clone()));
    let (delivery, root) = (posted(body), Pick::parse("xml:/a/@b").expect("it is one"));
    let found = pick.read(&delivery);
    assert!(found.as_ref().is_none_or(|value| value.len() <= body.len()), "no entity grows");
    let scene = extract::Scene::of(&delivery);
    assert_eq!(Pick::read_all([&root, &pick].into_iter(), &scene)[1], found, "in whatever company");
    let Ok(value) = std::str::from_utf8(body) else { return };
    let legal =
        |sign: char| matches!(sign, '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    if value.chars().all(legal) {
        let written = format!("<a b=\"1\"><c>{}</c></a>", quick_xml::escape::escape(value));
        let inner = Pick::parse("xml:/a/c").expect("it is one");
        assert_eq!(inner.read(&posted(written.as_bytes())).as_deref(), Some(value));
    }
}

/// Other spellings of a body.
pub fn spelling(body: &[u8]) {
    let value = serde_json::from_slice::<Value>(body).ok();
    for spelling in Spelling::ALL {
        let Some(spelled) = spelling.of(body) else {
            assert!(value.is_none() || spelling == Spelling::Sorted, "JSON can be spelled");
            continue;
        };
        let most = if spelling == Spelling::Ascii { 3 * body.len() } else { body.len() };
        assert!(spelled.len() <= most && (spelling != Spelling::Ascii || spelled.is_ascii()));
        assert!(value.is_none() || serde_json::from_slice(&spelled).ok() == value, "the same values");
        assert_eq!(spelling.of(&spelled).as_deref(), Some(&*spelled), "once is enough");
    }
    // A tree of this library has its members in order.
    if let (Some(value), true) = (&value, Spelling::Sorted.of(body).is_some()) {
        let tree = value.to_string();
        assert_eq!(Spelling::Sorted.of(tree.as_bytes()).as_deref(), Some(tree.as_bytes()));
    }
    if let Ok(target) = std::str::from_utf8(body) {
        let plain = extract::unescaped(target);
        assert!(plain.len() <= target.len());
        assert!(target.contains('%') || plain == target);
    }
    let mut changed = body.to_vec();
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
        assert_ne!(extract::crc32(body), extract::crc32(&changed), "it tells one bit");
    }
}
