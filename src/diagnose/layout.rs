//! JSON in other layouts and escapings. Nothing is parsed and printed but where its keys are put in order: text is
//! restyled token by token.

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

/// Every layout and escaping of `text`, which is JSON, with what must have happened to it and whether only escapes differ.
pub(super) fn styles(text: &str) -> impl Iterator<Item = (String, String)> {
    ESCAPES.into_iter().flat_map(move |(escape, apply)| {
        let kept = map_strings(text, apply);
        let own = (format!("as JSON in its own layout{escape}: something printed it again"), kept.clone());
        let styled = LAYOUTS.into_iter().map(move |(layout, style)| {
            let what = format!("as JSON, {layout}{escape}: something parsed it and printed it again");
            (what, restyled(&kept, style))
        });
        std::iter::once(own).chain(styled)
    })
}

/// The same JSON with the keys of every object in alphabetical order, in each layout.
pub(super) fn sorted(value: &serde_json::Value) -> impl Iterator<Item = (String, String)> {
    let text = in_order(value).to_string();
    LAYOUTS.into_iter().map(move |(layout, style)| {
        let what = format!(
            "as JSON, {layout}, its keys in alphabetical order: something parsed it and printed it again"
        );
        (what, restyled(&text, style))
    })
}

fn in_order(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            keys.into_iter().filter_map(|key| Some((key.clone(), in_order(map.get(key)?)))).collect()
        }
        serde_json::Value::Array(items) => items.iter().map(in_order).collect(),
        _ => value.clone(),
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

/// How many keys the JSON object that `body` is has, where they are all in alphabetical order.
pub(super) fn sorted_keys(body: &[u8]) -> Option<usize> {
    #[derive(Default)]
    struct Keys(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_map(Visitor)
        }
    }
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Keys;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
            let mut keys = Keys::default();
            while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                keys.0.push(key);
            }
            Ok(keys)
        }
    }
    let Keys(keys) = serde_json::from_slice(body).ok()?;
    keys.is_sorted().then_some(keys.len())
}

/// One value in each layout, for the tests here and of the candidates.
#[cfg(test)]
pub mod samples {
    pub const PRETTY: &str =
        "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b \\\" {,\": \"x: y\",\n  \"c\": []\n}";
    pub const COMPACT: &str = "{\"a\":[1,{}],\"b \\\" {,\":\"x: y\",\"c\":[]}";
    pub const SPACED: &str = "{\"a\": [1, {}], \"b \\\" {,\": \"x: y\", \"c\": []}";
}

#[cfg(test)]
mod tests {
    use super::samples::{COMPACT, PRETTY, SPACED};
    use super::*;

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
}
