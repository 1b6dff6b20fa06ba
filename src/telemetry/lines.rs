//! The last thing that a log line passes: what a terminal or a reader of lines would obey is escaped in it.
//!
//! What strangers write reaches the log in quotes, but also through errors of libraries and from who knows where else.
//! Here a line is whole: whatever is in it, it stays one line of characters that are shown as they are.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// How a character is written that must not be obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escapes {
    /// As in JSON strings, the only place of a JSON line where such a character can stand.
    Json,
    /// As in Rust's.
    Text,
    /// As in Rust's; the colours of the formatter, which escapes those of others, stay.
    Colours,
}

/// Makes writers of whole lines to `W`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines<W> {
    escapes: Escapes,
    to: fn() -> W,
}

impl<W> Lines<W> {
    pub(super) fn new(escapes: Escapes, to: fn() -> W) -> Self {
        Self { escapes, to }
    }
}

impl<'a, W: Write + 'a> MakeWriter<'a> for Lines<W> {
    type Writer = Line<W>;

    fn make_writer(&'a self) -> Line<W> {
        Line { escapes: self.escapes, to: (self.to)() }
    }
}

/// Takes one line, in one write.
pub(super) struct Line<W> {
    escapes: Escapes,
    to: W,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if text.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            self.to.write_all(line)?;
        } else {
            let mut safe = self.escapes.apply(&String::from_utf8_lossy(text));
            safe.push('\n');
            self.to.write_all(safe.as_bytes())?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Escapes {
    fn apply(self, line: &str) -> String {
        let mut safe = String::with_capacity(line.len() + 64);
        for char in line.chars() {
            if !is_obeyed(char) || (self == Self::Colours && char == '\u{1b}') {
                safe.push(char);
                continue;
            }
            match self {
                Self::Text | Self::Colours => safe.extend(char.escape_default()),
                Self::Json => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        safe.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
        }
        safe
    }
}

/// Whether a character moves, hides or reorders what stands around it.
fn is_obeyed(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(escapes: Escapes, line: &str) -> String {
        let mut bytes = Vec::new();
        Line { escapes, to: &mut bytes }.write_all(line.as_bytes()).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_stays_one_line_of_what_is_shown_as_it_is() {
        let plain = "a \"quoted\" line, 100 %: é 漢 🦀\n";
        for escapes in [Escapes::Json, Escapes::Text, Escapes::Colours] {
            assert_eq!(written(escapes, plain), plain);
        }
        let hostile = "a\r\nb\u{1b}[2Jc\u{7f}\u{9b}31md\u{202e}e\u{2028}f\u{200b}\n";
        assert_eq!(
            written(Escapes::Text, hostile),
            "a\\r\\nb\\u{1b}[2Jc\\u{7f}\\u{9b}31md\\u{202e}e\\u{2028}f\\u{200b}\n"
        );
        assert_eq!(
            written(Escapes::Colours, "\u{1b}[31ma\u{1b}[0m\nb\u{85}\n"),
            "\u{1b}[31ma\u{1b}[0m\\nb\\u{85}\n"
        );
    }

    #[test]
    fn json_stays_json_and_means_the_same() {
        let hostile = "a\u{7f}\u{9b}\u{202e}\u{2066}\u{feff}\u{e0041}é\r\n\u{1b}";
        let line = serde_json::json!({ "found": hostile }).to_string() + "\n";
        let safe = written(Escapes::Json, &line);
        assert_eq!(safe.trim_end().chars().filter(|c| is_obeyed(*c)).count(), 0, "{safe:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap()["found"], hostile);
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_logged_stays_on_its_line(text in "\\PC{0,40}|[\\x00-\\x1f\\x7f-\\x9f\\u{2028}\\u{202e}a-z]{0,40}") {
            let safe = written(Escapes::Text, &format!("{text}\n"));
            proptest::prop_assert!(safe.ends_with('\n') && !safe.trim_end_matches('\n').chars().any(is_obeyed));
        }
    }
}
