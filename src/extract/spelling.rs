//! Other spellings of a body and a target: what some senders sign in the place of the bytes that they send.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// A JSON body with every character outside ASCII as `\uXXXX` (surrogate pairs, lower-case digits). `None` where it
/// has such characters and is no JSON: then it is no other spelling of anything.
pub fn ascii(body: &[u8]) -> Option<Cow<'_, [u8]>> {
    if body.is_ascii() {
        return Some(Cow::Borrowed(body));
    }
    let text = std::str::from_utf8(body).ok().filter(|_| is_json(body))?;
    let mut out = Vec::with_capacity(body.len() * 2);
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character as u8);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            out.extend_from_slice(b"\\u");
            out.extend_from_slice(hex::encode(unit.to_be_bytes()).as_bytes());
        }
    }
    Some(Cow::Owned(out))
}

/// A JSON body without the blanks outside its strings; order and spelling are kept. `None` where it is no JSON.
pub fn compact(body: &[u8]) -> Option<Vec<u8>> {
    if !is_json(body) {
        return None;
    }
    let (mut inside, mut escaped) = (false, false);
    let keep = |byte: &u8| {
        let kept = inside || !b" \t\r\n".contains(byte);
        (inside, escaped) = match byte {
            b'"' if !escaped => (!inside, false),
            b'\\' if inside => (true, !escaped),
            _ => (inside, false),
        };
        kept
    };
    let mut keep = keep;
    Some(body.iter().copied().filter(|byte| keep(byte)).collect())
}

fn is_json(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// Path and query with the escapes of `:/?@!$'()*,;` decoded.
pub fn unescaped(target: &str) -> String {
    const DECODED: &[u8] = b":/?@!$'()*,;";
    let mut out = String::with_capacity(target.len());
    let mut rest = target;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let mut value = [0];
        let digits = after.get(..2).filter(|digits| hex::decode_to_slice(digits, &mut value).is_ok());
        match digits {
            Some(digits) if DECODED.contains(&value[0]) => {
                out.push(char::from(value[0]));
                rest = &after[digits.len()..];
            }
            _ => {
                out.push('%');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The CRC-32 of zip and Ethernet.
pub fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |crc: u32, byte: &u8| {
        let [low, ..] = crc.to_le_bytes();
        TABLE[usize::from(low ^ byte)] ^ (crc >> 8)
    };
    !bytes.iter().fold(!0, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut value, mut bit) = (at as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_is_spelled_in_ascii_and_without_blanks() {
        let text =
            |bytes: Option<Cow<'_, [u8]>>| bytes.map(|bytes| String::from_utf8(bytes.into_owned()).unwrap());
        assert_eq!(
            text(ascii("{\"a\":\"\u{e9}\u{1f980}\\n\"}".as_bytes())).as_deref(),
            Some("{\"a\":\"\\u00e9\\ud83e\\udd80\\n\"}")
        );
        assert_eq!(text(ascii(b"a=1 ")).as_deref(), Some("a=1 "));
        assert_eq!(ascii("\"\\\u{e9}\"".as_bytes()), None, "no JSON, though its spelling is");
        assert_eq!(ascii(b"\"\xff\""), None);
        let spaced = " { \"a b\" : \"c\\\" d\\\\\" ,\r\n\t\"e\": [ 1 , 2 ] } ";
        assert_eq!(compact(spaced.as_bytes()).unwrap(), b"{\"a b\":\"c\\\" d\\\\\",\"e\":[1,2]}");
        assert_eq!(compact(b"[\"\xff\"]"), None);
        assert_eq!(compact(b"{\"a\":1 2}"), None, "no JSON, though its spelling is");
    }

    #[test]
    fn a_target_is_unescaped_in_these_signs_alone() {
        assert_eq!(unescaped("/a%2Fb%3f?c=%2c%26%3d%25%2&d=%zz%"), "/a/b??c=,%26%3d%25%2&d=%zz%");
        assert_eq!(unescaped("%3A%2F%3F%40%21%24%27%28%29%2A%2C%3B%\u{e9}"), ":/?@!$'()*,;%\u{e9}");
        assert_eq!(unescaped("%253A"), "%253A");
    }

    #[test]
    fn crc32_is_that_of_everybody() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    proptest! {
        #[test]
        fn another_spelling_has_the_same_values(text in "\\PC{0,20}", key in "[a-z \u{e9}]{1,4}") {
            let value = serde_json::json!({ key: [text, 1.5, { "x": null }] });
            let spaced = serde_json::to_string_pretty(&value).unwrap();
            let plain = value.to_string();
            prop_assert_eq!(compact(spaced.as_bytes()).unwrap(), plain.as_bytes());
            let spelled = ascii(spaced.as_bytes()).unwrap();
            prop_assert!(spelled.is_ascii());
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&spelled).unwrap(), value);
        }

        #[test]
        fn never_panics_on_any_bytes(body in prop::collection::vec(any::<u8>(), 0..64), target in "[%a2\u{e9}fF/]{0,20}") {
            ascii(&body);
            compact(&body);
            unescaped(&target);
        }
    }
}
