//! A body as it may have been before something on the way changed it: white space, line ends, JSON printed again,
//! another charset, base64 around it. Nothing is parsed and printed: JSON is restyled token by token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// Longest body that is restyled.
const RESTYLED_BYTES_MAX: usize = 1 << 20;

/// A body, and what must have happened to it.
pub(super) struct Before {
    /// As a phrase after «it verifies».
    pub what: String,
    /// The bytes.
    pub body: Bytes,
}

/// Every body that `body` may have been, none twice, itself left out.
pub(super) fn before(body: &Bytes) -> Vec<Before> {
    let mut known: Vec<Before> = Vec::new();
    let mut add = |what: &str, candidate: Option<Vec<u8>>| {
        if let Some(candidate) = candidate
            && candidate != **body
            && known.iter().all(|one| *one.body != candidate[..])
        {
            known.push(Before { what: what.to_owned(), body: candidate.into() });
        }
    };
    ends(body, &mut add);
    texts(body, &mut add);
    if body.len() <= RESTYLED_BYTES_MAX && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
        json(body, &mut add);
    }
    known
}

type Add<'a> = &'a mut dyn FnMut(&str, Option<Vec<u8>>);

fn ends(body: &[u8], add: Add<'_>) {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    add(
        "without the newline at its end: an editor, `echo` or `curl -d @file` added one",
        owned(body.strip_suffix(b"\n")),
    );
    add("without the CR LF at its end: something added one", owned(body.strip_suffix(b"\r\n")));
    add("without the white space around it", Some(body.trim_ascii().to_vec()));
    add("with a newline at its end: something cut it off", Some([body, b"\n"].concat()));
    add("with CR LF at its end: something cut it off", Some([body, b"\r\n"].concat()));
    add("without its byte order mark", owned(body.strip_prefix(b"\xef\xbb\xbf")));
}

fn texts(body: &[u8], add: Add<'_>) {
    let lines =
        |from: &str, to: &str| std::str::from_utf8(body).ok().map(|text| text.replace(from, to).into_bytes());
    add("with LF line ends: something made them CR LF", lines("\r\n", "\n"));
    let unified = lines("\r\n", "\n").and_then(|text| String::from_utf8(text).ok());
    add(
        "with CR LF line ends: something made them LF",
        unified.map(|text| text.replace('\n', "\r\n").into_bytes()),
    );
    let text = std::str::from_utf8(body).ok();
    let narrow = text.and_then(|text| text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect());
    add("as the bytes that were read as Latin-1 and written as UTF-8: keep the raw bytes", narrow);
    let wide: String = body.iter().map(|byte| char::from(*byte)).collect();
    add("as UTF-8: something wrote it as Latin-1", Some(wide.into_bytes()));
    let decoded = STANDARD.decode(body.trim_ascii()).ok().filter(|decoded| !decoded.is_empty());
    add("once it is decoded from base64: some gateways hand bodies over like that", decoded);
    let inner: Option<String> = serde_json::from_slice(body).ok();
    add(
        "as the text inside the JSON string that it is: something encoded it once more",
        inner.map(String::into_bytes),
    );
}

/// How JSON is laid out.
#[derive(Clone, Copy)]
enum Layout {
    Compact,
    /// `, ` and `: `, as Python prints it.
    Spaced,
    /// So many blanks a level.
    Pretty(usize),
}

const LAYOUTS: [(&str, Layout); 4] = [
    ("compact", Layout::Compact),
    ("with a blank after each comma and colon", Layout::Spaced),
    ("indented by two blanks", Layout::Pretty(2)),
    ("indented by four blanks", Layout::Pretty(4)),
];

/// How text in JSON is escaped: its name, and what becomes of a string's raw text.
type Escape = (&'static str, fn(&str) -> String);

const ESCAPES: [Escape; 7] = [
    ("", str::to_owned),
    (", `/` written as `\\/`", |raw| raw.replace("\\/", "/").replace('/', "\\/")),
    (", `\\/` written as `/`", |raw| raw.replace("\\/", "/")),
    (", what is not ASCII escaped", escaped),
    (", what is not ASCII escaped and `/` written as `\\/`", |raw| {
        escaped(&raw.replace("\\/", "/").replace('/', "\\/"))
    }),
    (", what is not ASCII written out", written_out),
    (", `<`, `>` and `&` escaped", |raw| {
        raw.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }),
];

fn json(body: &[u8], add: Add<'_>) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    for (escape, apply) in ESCAPES {
        let kept = map_strings(text, apply);
        add(
            &format!("as JSON in its own layout{escape}: something printed it again"),
            Some(kept.clone().into_bytes()),
        );
        for (layout, style) in LAYOUTS {
            let styled = restyled(&kept, style);
            let what = format!("as JSON, {layout}{escape}: something parsed it and printed it again");
            let ended = format!("{styled}\n").into_bytes();
            add(&what, Some(styled.into_bytes()));
            add(&format!("with a newline at its end, {what}"), Some(ended));
        }
    }
}

/// Splits JSON into strings (with their quotes), and what stands between them.
fn pieces(json: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => {
                let end = if quoted { at + 1 } else { at };
                pieces.push(json.get(start..end).unwrap_or_default());
                (start, quoted) = (end, !quoted);
            }
            _ => {}
        }
    }
    pieces.push(json.get(start..).unwrap_or_default());
    pieces
}

fn map_strings(json: &str, apply: fn(&str) -> String) -> String {
    let each = |piece: &str| if piece.starts_with('"') { apply(piece) } else { piece.to_owned() };
    pieces(json).into_iter().map(each).collect()
}

fn restyled(json: &str, layout: Layout) -> String {
    let mut out = String::with_capacity(json.len());
    let mut depth = 0_usize;
    let mut opened = false;
    for piece in pieces(json) {
        if piece.starts_with('"') {
            break_line(&mut out, layout, depth, std::mem::take(&mut opened));
            out.push_str(piece);
            continue;
        }
        for c in piece.chars().filter(|c| !c.is_ascii_whitespace()) {
            let empty = opened && matches!(c, '}' | ']');
            if !matches!(c, '}' | ']') {
                break_line(&mut out, layout, depth, std::mem::take(&mut opened));
            }
            match c {
                '{' | '[' => (depth, opened) = (depth + 1, true),
                '}' | ']' => {
                    (depth, opened) = (depth.saturating_sub(1), false);
                    break_line(&mut out, layout, depth, !empty);
                }
                _ => {}
            }
            out.push(c);
            match (c, layout) {
                (',', Layout::Pretty(_)) => break_line(&mut out, layout, depth, true),
                (',', Layout::Spaced) | (':', Layout::Spaced | Layout::Pretty(_)) => out.push(' '),
                _ => {}
            }
        }
    }
    out
}

/// A new line at `depth`, where one is `due` and the layout has lines.
fn break_line(out: &mut String, layout: Layout, depth: usize, due: bool) {
    if let (Layout::Pretty(blanks), true) = (layout, due) {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth * blanks));
    }
}

/// What is not ASCII as `\uXXXX`, in lower case as nearly everybody writes it.
fn escaped(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut units = [0_u16; 2];
    for c in raw.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

/// The other way round: `\uXXXX` beyond ASCII as the character.
fn written_out(raw: &str) -> String {
    let (mut out, mut units, mut rest) = (String::with_capacity(raw.len()), Vec::new(), raw);
    while !rest.is_empty() {
        let unit = rest.strip_prefix("\\u").and_then(|hex| u16::from_str_radix(hex.get(..4)?, 16).ok());
        let taken = match unit {
            Some(unit) if unit > 0x7f => {
                units.push(unit);
                6
            }
            _ => {
                out.push_str(&String::from_utf16_lossy(&std::mem::take(&mut units)));
                let escape = rest.starts_with('\\') && rest.is_char_boundary(2);
                if escape { 2 } else { rest.chars().next().map_or(1, char::len_utf8) }
            }
        };
        if units.is_empty() {
            out.push_str(rest.get(..taken).unwrap_or_default());
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    out.push_str(&String::from_utf16_lossy(&units));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRETTY: &str = "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b \\\" {,\": \"x: y\",\n  \"c\": []\n}";
    const COMPACT: &str = "{\"a\":[1,{}],\"b \\\" {,\":\"x: y\",\"c\":[]}";
    const SPACED: &str = "{\"a\": [1, {}], \"b \\\" {,\": \"x: y\", \"c\": []}";

    #[test]
    fn json_is_restyled_and_its_strings_stay() {
        for from in [PRETTY, COMPACT, SPACED] {
            assert_eq!(restyled(from, Layout::Compact), COMPACT);
            assert_eq!(restyled(from, Layout::Spaced), SPACED);
            assert_eq!(restyled(from, Layout::Pretty(2)), PRETTY);
        }
        let value: serde_json::Value = serde_json::from_str(COMPACT).unwrap();
        assert_eq!(restyled(COMPACT, Layout::Pretty(2)), serde_json::to_string_pretty(&value).unwrap());
    }

    #[test]
    fn escapes_go_both_ways() {
        assert_eq!(escaped("\"é😀/\""), "\"\\u00e9\\ud83d\\ude00/\"");
        assert_eq!(
            written_out("\"a\\u00e9\\ud83d\\ude00b\\\\u00e9\\n\\u0041\""),
            "\"aé😀b\\\\u00e9\\n\\u0041\""
        );
        assert_eq!(written_out("\\u00e"), "\\u00e");
    }

    #[test]
    fn what_was_changed_on_the_way_is_among_the_candidates() {
        let has = |changed: &str, original: &str| {
            before(&Bytes::copy_from_slice(changed.as_bytes()))
                .iter()
                .any(|one| *one.body == *original.as_bytes())
        };
        assert!(has("a=1\n", "a=1") && has("a=1", "a=1\n") && has("a\r\nb", "a\nb") && has("a\nb", "a\r\nb"));
        assert!(has("Ã©", "é") && has("eyJhIjoxfQ==", "{\"a\":1}") && has("\"{\\\"a\\\":1}\"", "{\"a\":1}"));
        assert!(has(COMPACT, PRETTY) && has(PRETTY, COMPACT) && has(COMPACT, SPACED));
        assert!(has("{\"u\": \"http://é\"}", "{\"u\":\"http:\\/\\/\\u00e9\"}"));
        assert!(has("{\"a\":\"\\u003cb\\u003e é\"}", "{\"a\":\"\\u003cb\\u003e \\u00e9\"}"));
        let all = before(&Bytes::from_static(b"{\"a\": \"<\"}\n"));
        let distinct: std::collections::BTreeSet<&[u8]> = all.iter().map(|one| &*one.body).collect();
        assert_eq!(distinct.len(), all.len());
    }
}
