//! A body as it may have been before something on the way changed it: white space, line ends, JSON printed again,
//! a form encoded again, another charset or Unicode form, base64 around it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use unicode_normalization::UnicodeNormalization as _;

use super::cause::Cause;
use super::{form, layout};

/// Longest body that is restyled.
const RESTYLED_BYTES_MAX: usize = 1 << 20;
/// The byte order mark of UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A body, and what must have happened to it.
pub(super) struct Before {
    /// The mistake.
    pub cause: Cause,
    /// As a phrase after «it verifies».
    pub what: String,
    /// The bytes.
    pub body: Bytes,
}

/// Every body that `body` may have been until `take` says that it has seen enough, the likeliest first, itself left out.
pub(super) fn before(body: &Bytes, take: &mut dyn FnMut(Before) -> bool) {
    let mut enough = false;
    let mut add = |cause: Cause, what: &str, candidate: Option<Vec<u8>>| {
        if let Some(candidate) = candidate
            && !enough
            && candidate != **body
        {
            enough = take(Before { cause, what: what.to_owned(), body: candidate.into() });
        }
        enough
    };
    let small = body.len() <= RESTYLED_BYTES_MAX;
    let _ = ends(body, &mut add)
        || texts(body, &mut add)
        || (small && json(body, &mut add))
        || (small && normalised(body, &mut add))
        || (small && forms(body, &mut add));
}

/// Takes a candidate; true where no more are wanted.
type Add<'a> = &'a mut dyn FnMut(Cause, &str, Option<Vec<u8>>) -> bool;

fn ends(body: &[u8], add: Add<'_>) -> bool {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let cause = Cause::BodyNewline;
    let cut = "without the newline at its end: an editor, `echo` or `curl -d @file` added one";
    add(cause, cut, owned(body.strip_suffix(b"\n").filter(|rest| !rest.ends_with(b"\r"))))
        || add(cause, "without the CR LF at its end: something added one", owned(body.strip_suffix(b"\r\n")))
        || add(cause, "without the white space around it", Some(body.trim_ascii().to_vec()))
        || add(cause, "with a newline at its end: something cut it off", Some([body, b"\n"].concat()))
        || add(cause, "with CR LF at its end: something cut it off", Some([body, b"\r\n"].concat()))
        || add(Cause::BodyBom, "without its byte order mark", owned(body.strip_prefix(BOM)))
        || add(Cause::BodyBom, "with a byte order mark: something cut it off", Some([BOM, body].concat()))
}

fn texts(body: &[u8], add: Add<'_>) -> bool {
    let lines =
        |from: &str, to: &str| std::str::from_utf8(body).ok().map(|text| text.replace(from, to).into_bytes());
    let unified = lines("\r\n", "\n").and_then(|text| String::from_utf8(text).ok());
    let text = std::str::from_utf8(body).ok();
    let narrow = text.and_then(|text| text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect());
    let wide: String = body.iter().map(|byte| char::from(*byte)).collect();
    let decoded = STANDARD.decode(body.trim_ascii()).ok().filter(|decoded| !decoded.is_empty());
    let inner: Option<String> = serde_json::from_slice(body).ok();
    let unix = unified.as_ref().map(|text| text.replace('\n', "\r\n").into_bytes());
    add(Cause::BodyLineEnds, "with LF line ends: something made them CR LF", lines("\r\n", "\n"))
        || add(Cause::BodyLineEnds, "with CR LF line ends: something made them LF", unix)
        || add(
            Cause::BodyCharset,
            "as the bytes that were read as Latin-1 and written as UTF-8: keep the raw bytes",
            narrow,
        )
        || add(Cause::BodyCharset, "as UTF-8: something wrote it as Latin-1", Some(wide.into_bytes()))
        || add(
            Cause::BodyWrapped,
            "once it is decoded from base64: some gateways hand bodies over like that",
            decoded,
        )
        || add(
            Cause::BodyWrapped,
            "as the text inside the JSON string that it is: something encoded it once more",
            inner.map(String::into_bytes),
        )
}

fn json(body: &[u8], add: Add<'_>) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { return false };
    if !(value.is_object() || value.is_array()) {
        return false;
    }
    for (what, styled) in layout::styles(text).chain(layout::sorted(&value)) {
        let ended = format!("{styled}\n").into_bytes();
        if add(Cause::BodyReserialised, &what, Some(styled.into_bytes()))
            || add(Cause::BodyReserialised, &format!("with a newline at its end, {what}"), Some(ended))
        {
            return true;
        }
    }
    false
}

fn normalised(body: &[u8], add: Add<'_>) -> bool {
    let Some(text) = std::str::from_utf8(body).ok().filter(|text| !text.is_ascii()) else { return false };
    let told = |form: &str| format!("in the Unicode form {form}: something normalised its text");
    add(Cause::BodyNormalised, &told("NFC"), Some(text.nfc().collect::<String>().into_bytes()))
        || add(Cause::BodyNormalised, &told("NFD"), Some(text.nfd().collect::<String>().into_bytes()))
}

fn forms(body: &[u8], add: Add<'_>) -> bool {
    form::encodings(body).any(|(what, form)| add(Cause::FormReencoded, &what, Some(form.into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::layout::samples::{COMPACT, PRETTY, SPACED};

    #[test]
    fn what_was_changed_on_the_way_is_among_the_candidates() {
        let has = |changed: &str, original: &str| {
            let mut found = false;
            before(&Bytes::copy_from_slice(changed.as_bytes()), &mut |one| {
                found |= *one.body == *original.as_bytes();
                found
            });
            found
        };
        assert!(has("a=1\n", "a=1") && has("a=1", "a=1\n") && has("a\r\nb", "a\nb") && has("a\nb", "a\r\nb"));
        assert!(has("Ã©", "é") && has("eyJhIjoxfQ==", "{\"a\":1}") && has("\"{\\\"a\\\":1}\"", "{\"a\":1}"));
        assert!(has(COMPACT, PRETTY) && has(PRETTY, COMPACT) && has(COMPACT, SPACED));
        assert!(has("{\"u\": \"http://é\"}", "{\"u\":\"http:\\/\\/\\u00e9\"}"));
        assert!(has("{\"a\":\"\\u003cb\\u003e é\"}", "{\"a\":\"\\u003cb\\u003e \\u00e9\"}"));
        assert!(has("e\u{301}", "\u{e9}") && has("\u{e9}", "e\u{301}"));
        assert!(has("a=b+c&d=%2F", "a=b%20c&d=%2f") && has("a=b%20c", "a=b+c"));
        assert!(has("{\"b\":1,\"a\":{\"d\":1,\"c\":2}}", "{\"a\":{\"c\":2,\"d\":1},\"b\":1}"));
    }
}
