//! Fields of a multipart/form-data body. Its delimiter is its first line: the Content-Type that also names it is
//! signed by nobody.

use super::alike;
use crate::delivery::Headers;

/// Parts that are looked at; one in which more stand has no fields beyond them.
const PARTS_MAX: usize = 100;
/// Longest delimiter, its dashes included (RFC 2046 allows 72 characters).
const DELIMITER_MAX: usize = 72;

/// The value of the first part `name` that is no file. `None` where there is none, it is not UTF-8, or the body is
/// no multipart body that ends.
pub(super) fn field<'d>(body: &'d [u8], name: &str) -> Option<&'d str> {
    read(body, name, false)
}

/// The same where all parts `name` are one value, the delimiter is of the `boundary` that is told, and nothing stands in
/// the body in which another reader could see other parts.
pub(super) fn sole_field<'d>(body: &'d [u8], boundary: Option<&str>, name: &str) -> Option<&'d str> {
    let delimiter = body.split(|byte| *byte == b'\n').next()?.trim_ascii_end();
    let fits = |boundary: &str| delimiter.strip_prefix(b"--") == Some(boundary.as_bytes());
    if boundary.is_none_or(fits) { read(body, name, true) } else { None }
}

/// The form that Content-Type says a body is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Announced<'h> {
    /// None at all, or something else.
    Other,
    Urlencoded,
    /// With its boundary; empty where that cannot be told.
    Multipart(&'h str),
}

/// What the headers say of the body.
pub(super) fn announced(headers: &Headers) -> Announced<'_> {
    let types: Vec<&[u8]> = headers
        .iter()
        .filter(|(name, _)| *name == b"content-type")
        .map(|(_, value)| value.trim_ascii())
        .collect();
    let begins = |value: &&[u8], kind: &str| {
        value.get(..kind.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(kind.as_bytes()))
    };
    if !types.iter().any(|value| begins(value, "multipart/")) {
        let urlencoded = types.iter().any(|value| begins(value, "application/x-www-form-urlencoded"));
        return if urlencoded { Announced::Urlencoded } else { Announced::Other };
    }
    let text = if let [one] = types[..] { std::str::from_utf8(one).unwrap_or_default() } else { "" };
    let mut rest = text.find(';').and_then(|at| text.get(at..)).unwrap_or_default();
    while let Some((key, value, after)) = parameter(rest) {
        if key.eq_ignore_ascii_case("boundary") {
            return Announced::Multipart(value);
        }
        rest = after;
    }
    Announced::Multipart("")
}

/// Whether a body has the part `name`, or what some reader could take for one.
pub(super) fn is_there(body: &[u8], name: &str) -> bool {
    let could_be = |part: &Part<'_>| match part {
        Part::Field(own, _) | Part::File(own) => alike::fields(name, own),
        Part::Unknown => true,
    };
    parts(body, true).is_none_or(|parts| parts.iter().any(could_be))
}

fn read<'d>(body: &'d [u8], name: &str, strict: bool) -> Option<&'d str> {
    let mut found = None;
    for part in parts(body, strict)? {
        match part {
            Part::Field(own, value) if own == name => {
                if strict && found.is_some_and(|first| first != value) {
                    return None;
                }
                found = found.or(Some(value));
            }
            Part::Field(own, _) | Part::File(own) if strict && alike::fields(name, own) => return None,
            Part::Unknown if strict => return None,
            _ => {}
        }
    }
    std::str::from_utf8(found?).ok()
}

/// All parts of a body that ends; where it is `strict`, with nothing in it in which another reader could see others.
fn parts(body: &[u8], strict: bool) -> Option<Vec<Part<'_>>> {
    let mut lines = body.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next()?;
    let ending: &[u8] = if first.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
    let delimiter = first.strip_suffix(ending)?;
    if !(3..=DELIMITER_MAX).contains(&delimiter.len()) {
        return None;
    }
    let mut parts = Vec::new();
    let (mut start, mut at) = (first.len(), first.len());
    for line in lines {
        if let Some(rest) = line.strip_prefix(delimiter) {
            let last = rest.starts_with(b"--");
            if last || rest == ending {
                let part = body.get(start..at)?.strip_suffix(ending).unwrap_or_default();
                parts.push(value(part, ending));
                start = at + line.len();
            } else if strict {
                return None;
            }
            if last {
                let ends = body.get(at + delimiter.len() + 2..)?.trim_ascii().is_empty();
                return (ends || !strict).then_some(parts);
            }
        }
        if parts.len() == PARTS_MAX {
            return None;
        }
        at += line.len();
    }
    None
}

/// What a part is.
enum Part<'d> {
    /// A field, with its name and value.
    Field(&'d str, &'d [u8]),
    /// A file, with its field's name.
    File(&'d str),
    /// Nothing that can be told for certain.
    Unknown,
}

/// What a part says that it is.
fn value<'d>(part: &'d [u8], ending: &[u8]) -> Part<'d> {
    let mut at = 0;
    let mut named: Option<(&str, Option<&str>)> = None;
    for line in part.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if line == ending {
            let content = part.get(at..).unwrap_or_default();
            return match named {
                Some((name, None)) => Part::Field(name, content),
                Some((name, Some(file))) if !file.is_empty() => Part::File(name),
                _ => Part::Unknown,
            };
        }
        let Some((header, rest)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(':'))
        else {
            return Part::Unknown;
        };
        if header.trim().eq_ignore_ascii_case("content-disposition") {
            named = disposition(rest);
        }
    }
    Part::Unknown
}

/// The name that a Content-Disposition gives a field, `form-data; name="x"`, and that of its file.
fn disposition(text: &str) -> Option<(&str, Option<&str>)> {
    let (kind, mut rest) = text.trim().split_at_checked("form-data".len())?;
    let (mut name, mut file) = (None, None);
    while let Some((key, value, after)) = parameter(rest) {
        match key.to_ascii_lowercase().as_str() {
            "name" => name = Some(value),
            "filename" | "filename*" => file = Some(value),
            _ => {}
        }
        rest = after;
    }
    let whole = rest.trim().is_empty() && kind.eq_ignore_ascii_case("form-data");
    Some((name.filter(|_| whole)?, file))
}

/// The next `; key=value` or `; key="value"`, and what stands after it. A quotation mark in a name is written `%22`.
fn parameter(text: &str) -> Option<(&str, &str, &str)> {
    let (key, value) = text.trim_start().strip_prefix(';')?.split_once('=')?;
    if let Some(quoted) = value.strip_prefix('"') {
        let (value, after) = quoted.split_once('"')?;
        return Some((key.trim(), value, after));
    }
    let end = value.find(';').unwrap_or(value.len());
    let (value, after) = value.split_at(end);
    Some((key.trim(), value.trim(), after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BODY: &[u8] = b"--xYz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\nContent-Type: text/plain\r\n\r\nx\r\n\
        --xYz\r\nContent-Type: text/plain\r\ncontent-disposition: form-data; name=\"json\"\r\n\r\n{\"a\":\r\n --xYz\r\n--xYzz\r\n1}\r\n\
        --xYz\r\nContent-Disposition: form-data; name=json\r\n\r\nsecond\r\n--xYz\r\nContent-Disposition: form-data; name=e\r\n\r\n\r\n--xYz--\r\n";

    #[test]
    fn the_first_part_of_a_name_that_is_no_file_is_its_field() {
        assert_eq!(field(BODY, "json"), Some("{\"a\":\r\n --xYz\r\n--xYzz\r\n1}"));
        assert_eq!(field(BODY, "file"), None, "a file is no field");
        assert_eq!(field(BODY, "e"), Some(""));
        assert_eq!(field(BODY, "none"), None);
        let lines = String::from_utf8(BODY.to_vec()).unwrap().replace("\r\n", "\n");
        assert_eq!(field(lines.as_bytes(), "json"), Some("{\"a\":\n --xYz\n--xYzz\n1}"));
    }

    #[test]
    fn a_body_that_does_not_end_or_is_no_text_has_no_fields() {
        let cut = &BODY[..BODY.len() - 9];
        assert_eq!(field(cut, "json"), None);
        assert_eq!(field(b"--x", "a"), None);
        assert_eq!(field(b"--\r\n", "a"), None);
        let bytes = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n\xff\r\n--x--\r\n";
        assert_eq!(field(bytes, "a"), None);
        let part = "--x\nContent-Disposition: form-data; name=a\n\n1\n";
        assert_eq!(field(format!("{}--x--", part.repeat(99)).as_bytes(), "a"), Some("1"));
        assert_eq!(field(format!("{}--x--", part.repeat(101)).as_bytes(), "a"), None);
    }

    proptest! {
        #[test]
        fn any_text_survives_writing_and_reading(value in "\\PC{0,20}", name in "[a-z\\[\\] ]{1,8}") {
            let body = format!("--x-y\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n--x-y--\r\n");
            prop_assert_eq!(field(body.as_bytes(), &name), Some(&*value));
        }

        #[test]
        fn never_panics_on_any_bytes(body in prop::collection::vec(any::<u8>(), 0..64), text in "[-x\\r\\n:;=\"a]{0,60}") {
            field(&body, "a");
            field(format!("--x\n{text}").as_bytes(), "a");
        }
    }
}
