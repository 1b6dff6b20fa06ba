//! A part of a text, cut out by a regular expression.

use std::fmt;
use std::ops::Range;

use regex::{Regex, RegexBuilder};

/// Bytes that a compiled expression may take; matching is linear whatever it is.
const PATTERN_BYTES_MAX: usize = 1 << 18;
/// Bytes of a text that anything is cut out of: longer than a header line, and far shorter than a body.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// A regular expression that all of a text must match, with one group: the part that counts.
#[derive(Clone, Debug)]
pub struct Cut {
    text: String,
    pattern: Regex,
}

impl PartialEq for Cut {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cut {}

impl Cut {
    /// Reads an expression such as `sig1=(.*)`.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let build = |text: &str| RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
        // Alone first: put into the group below, half an expression could become a whole one.
        let built = build(text).and_then(|_| build(&format!("\\A(?:{text})\\z")));
        let found = match built.as_ref().map(|pattern| pattern.captures_len() - 1) {
            Ok(1) => None,
            Ok(0) => Some("has no group".to_owned()),
            Ok(groups) => Some(format!("has {groups} groups")),
            Err(regex::Error::CompiledTooBig(_)) => Some("is too large when compiled".to_owned()),
            Err(_) => Some("is no regular expression, or one with back references or look-around".to_owned()),
        };
        match (built, found) {
            (Ok(pattern), None) => Ok(Self { text: text.to_owned(), pattern }),
            (_, found) => Err(format!(
                "`match:{text}` {}; allowed: one with exactly one group, which is the part that counts, such as \
                 `match:sig1=(.*)`; others begin with `(?:`",
                found.unwrap_or_default()
            )),
        }
    }

    /// Where the part lies in `text`.
    pub(super) fn span(&self, text: &str) -> Option<Range<usize>> {
        let short = Some(text).filter(|text| text.len() <= TEXT_BYTES_MAX)?;
        Some(self.pattern.captures(short)?.get(1)?.range())
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_an_expression_that_all_of_the_text_matches_is_cut_out() {
        let cut = |pattern: &str, text: &str| {
            Cut::parse(pattern).unwrap().span(text).map(|span| text[span].to_owned())
        };
        for (pattern, text, want) in [
            ("sig1=(.*)", "sig1=(\"date\");created=1", Some("(\"date\");created=1")),
            ("sig1=(.*)", " sig1=a", None),
            (".*;created=([0-9]+)(?:;.*)?", "(\"a\");created=17;keyid=\"x\"", Some("17")),
            ("a|(b)", "a", None),
            ("(é+)x", "ééx", Some("éé")),
            ("()", "", Some("")),
        ] {
            assert_eq!(cut(pattern, text).as_deref(), want, "{pattern} {text}");
        }
        let long = |len| cut("(.*)", &"x".repeat(len)).is_some();
        assert_eq!((long(TEXT_BYTES_MAX), long(TEXT_BYTES_MAX + 1)), (true, false));
    }

    #[test]
    fn an_expression_without_its_one_group_is_told() {
        for pattern in ["", "a", "(a)(b)", "(a", "a)(b", "(a)\\1", "(?:a)", "(x{1000}{1000})"] {
            assert!(Cut::parse(pattern).unwrap_err().contains("exactly one group"), "{pattern}");
        }
    }
}
