//! Other spellings of a body and a target: what some senders sign in the place of the bytes that they send.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// How deep objects and arrays may stand inside each other where they are sorted.
const DEPTH_MAX: usize = 64;

/// One of the ways to spell a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// With every character outside ASCII as `\uXXXX`.
    Ascii,
    /// Without the blanks outside its strings.
    Compact,
    /// The same, every object's members in the order of their keys.
    Sorted,
}

impl Spelling {
    /// All of them, in an order in which one can be made of the other.
    pub const ALL: [Self; 3] = [Self::Ascii, Self::Compact, Self::Sorted];

    /// The body spelled so. `None` where it is no JSON, or none that has one such spelling.
    pub fn of(self, body: &[u8]) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Ascii => ascii(body),
            Self::Compact => compact(body).map(Cow::Owned),
            Self::Sorted => sorted(&compact(body)?).map(Cow::Owned),
        }
    }
}

/// A JSON body with every character outside ASCII as `\uXXXX` (surrogate pairs, lower-case digits). `None` where it
/// has such characters and is no JSON: then it is no other spelling of anything.
fn ascii(body: &[u8]) -> Option<Cow<'_, [u8]>> {
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
fn compact(body: &[u8]) -> Option<Vec<u8>> {
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

/// JSON without blanks, every object's members in the order of their keys' code points. `None` where a key stands
/// twice, so that two bodies would be spelled alike, or the text is nested deeper than anybody's.
fn sorted(compact: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(compact.len());
    let mut open: Vec<Option<Members<'_>>> = Vec::new();
    let mut rest = compact;
    while let Some(first) = rest.first() {
        let len = if *first == b'"' { string_len(rest)? } else { 1 };
        let (token, after) = rest.split_at_checked(len)?;
        rest = after;
        match (first, open.last_mut()) {
            (b'"', Some(Some(members))) if members.at_key() => members.begin(token, out.len())?,
            (b',', Some(Some(members))) => members.end(out.len()),
            (b'}', Some(Some(members))) => members.sort(&mut out)?,
            _ => {}
        }
        out.extend_from_slice(token);
        match first {
            b'{' => open.push(Some(Members { start: out.len(), known: Vec::new() })),
            b'[' => open.push(None),
            b'}' | b']' => drop(open.pop()),
            _ => {}
        }
        if open.len() > DEPTH_MAX {
            return None;
        }
    }
    Some(out)
}

/// The members of an object that is being written: key, and where the member begins and ends.
struct Members<'c> {
    start: usize,
    known: Vec<(Cow<'c, str>, usize, Option<usize>)>,
}

impl<'c> Members<'c> {
    fn at_key(&self) -> bool {
        self.known.last().is_none_or(|(_, _, end)| end.is_some())
    }

    fn begin(&mut self, key: &'c [u8], at: usize) -> Option<()> {
        let inner = key.get(1..key.len().checked_sub(1)?)?;
        let key = match inner.contains(&b'\\') {
            true => Cow::Owned(serde_json::from_slice(key).ok()?),
            false => Cow::Borrowed(std::str::from_utf8(inner).ok()?),
        };
        self.known.push((key, at, None));
        Some(())
    }

    fn end(&mut self, at: usize) {
        if let Some((_, _, end)) = self.known.last_mut() {
            *end = Some(at);
        }
    }

    /// Puts what was written of the object in order; `None` where a key stands twice.
    fn sort(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.end(out.len());
        if self.known.is_sorted_by(|one, next| one.0 < next.0) {
            return Some(());
        }
        self.known.sort_by(|one, next| one.0.cmp(&next.0));
        if self.known.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        let written = out.split_off(self.start);
        for (at, (_, start, end)) in self.known.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"" } else { b"," });
            out.extend_from_slice(written.get(start - self.start..(*end)? - self.start)?);
        }
        Some(())
    }
}

/// The length of the string that valid JSON begins with.
fn string_len(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    let end = text.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    Some(end + 2)
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
    fn json_is_sorted_at_every_depth_and_spelled_as_it_was() {
        let sorted = |text: &str| {
            Spelling::Sorted.of(text.as_bytes()).map(|bytes| String::from_utf8(bytes.into_owned()).unwrap())
        };
        for (text, want) in [
            (
                "{ \"b\" : 1.50 , \"a\" : [ {\"d\":\"}\\\",\",\"c\":{}} , 2 ] }",
                "{\"a\":[{\"c\":{},\"d\":\"}\\\",\"},2],\"b\":1.50}",
            ),
            (
                "{\"z\":{\"b\":{\"y\":1,\"x\":\"b\"},\"a\":null},\"\\u0061\":0}",
                "{\"\\u0061\":0,\"z\":{\"a\":null,\"b\":{\"x\":\"b\",\"y\":1}}}",
            ),
            ("[3,1,\"b\",\"a\",{}]", "[3,1,\"b\",\"a\",{}]"),
            ("{\"b\":\"\\\\\",\"B\":1,\"\":2}", "{\"\":2,\"B\":1,\"b\":\"\\\\\"}"),
            ("{\"\u{1f600}\":1,\"\u{ffff}\":2}", "{\"\u{ffff}\":2,\"\u{1f600}\":1}"),
            (" 7 ", "7"),
            ("{}", "{}"),
        ] {
            assert_eq!(sorted(text).as_deref(), Some(want), "{text}");
        }
        for text in [
            "{\"a\":1,\"\\u0061\":1}",
            "{\"b\":{\"a\":1,\"c\":2,\"a\":1}}",
            "{\"\\ud800\":1}",
            "{\"a\":1",
            "a=1",
        ] {
            assert_eq!(sorted(text), None, "{text}");
        }
        let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!((sorted(&deep(DEPTH_MAX)).is_some(), sorted(&deep(DEPTH_MAX + 1))), (true, None));
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

        /// The tree of this library has its keys sorted.
        #[test]
        fn sorted_is_what_a_tree_with_sorted_keys_is(keys in prop::collection::btree_set("\\PC{0,3}", 0..6), seed in any::<u64>()) {
            let member = |at: usize, key: &String| {
                let value = if at.is_multiple_of(2) { format!("{at}") } else { format!("{{{:?}:[],\"\":{{}}}}", "x") };
                format!("{}:{value}", serde_json::to_string(key).unwrap())
            };
            let mut members: Vec<String> = keys.iter().enumerate().map(|(at, key)| member(at, key)).collect();
            let turn = seed as usize % members.len().max(1);
            members.rotate_left(turn);
            let text = format!("{{{}}}", members.join(", "));
            let tree: std::collections::BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
            let want = serde_json::to_string(&tree).unwrap().replace("{\"x\":[],\"\":{}}", "{\"\":{},\"x\":[]}");
            prop_assert_eq!(Spelling::Sorted.of(text.as_bytes()).unwrap().into_owned(), want.into_bytes());
        }

        #[test]
        fn never_panics_on_any_bytes(body in prop::collection::vec(any::<u8>(), 0..64), target in "[%a2\u{e9}fF/]{0,20}") {
            for spelling in Spelling::ALL {
                spelling.of(&body);
            }
            unescaped(&target);
        }
    }
}
