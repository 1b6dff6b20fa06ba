//! How data is printed: text for people, or JSON objects, one a line, whose keys stay as they are.
//!
//! What subcommands print often comes from outside; nothing printed here makes a terminal obey it.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::Value;

/// Marks of direction that make text read otherwise than it is.
const DIRECTION: [std::ops::RangeInclusive<char>; 3] =
    ['\u{200e}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];

/// The form of data on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people; control characters escaped
    #[default]
    Text,
    /// JSON objects, one a line
    Json,
}

/// Prints one JSON object on a line of its own.
///
/// # Errors
/// Where nobody reads any more.
pub(super) fn json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{}", json_text(value))
}

/// JSON on one line, as it may be printed.
pub(super) fn json_text(value: &Value) -> String {
    harmless_json(&value.to_string())
}

/// Whether a terminal would obey it, or show what follows otherwise than it is.
fn is_obeyed(c: char) -> bool {
    c.is_control() || DIRECTION.iter().any(|range| range.contains(&c))
}

/// The same JSON: what a terminal would obey can only stand in its strings, where it is escaped.
fn harmless_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_obeyed(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// `text` on one line, without what a terminal would obey.
pub(super) fn line(text: &str) -> String {
    harmless(text, false)
}

/// `text` without what a terminal would obey; line breaks and tabs stay.
pub(super) fn block(text: &str) -> String {
    harmless(text, true)
}

fn harmless(text: &str, breaks: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let kept = breaks && matches!(c, '\n' | '\t');
        if !kept && is_obeyed(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NASTY: &str = "\u{1b}[2J\u{9b}31m\r\u{7}\u{202e}\u{7f}";

    #[test]
    fn a_terminal_is_given_nothing_to_obey() {
        for shown in [line(NASTY), block(NASTY)] {
            assert!(shown.chars().all(|c| (' '..='~').contains(&c)), "{shown:?}");
            assert!(shown.starts_with("\\u{1b}[2J\\u{9b}31m\\u{d}"), "{shown:?}");
        }
        assert_eq!((line("a\n\tb").as_str(), block("a\n\tb").as_str()), ("a\\u{a}\\u{9}b", "a\n\tb"));
    }

    #[test]
    fn json_stays_the_same_json_on_one_line() {
        let value = json!({ "text": format!("{NASTY}é\n\""), "n": 1 });
        let mut out = Vec::new();
        json(&mut out, &value).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(shown.lines().count(), 1);
        assert!(!shown.trim_end().contains(is_obeyed), "{shown:?}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }
}
