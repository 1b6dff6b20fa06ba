//! Regular expressions of provider files: over whole values, in linear time, of bounded size.

use regex::{Regex, RegexBuilder};

/// Longest expression, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// Size of a compiled expression, in bytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// The expression, held against whole values.
///
/// # Errors
/// A sentence that tells what is allowed.
pub(super) fn whole(text: &str) -> Result<Regex, String> {
    let allowed = || {
        format!(
            "a regular expression without look-around and back-references, of at most {TEXT_BYTES_MAX} bytes"
        )
    };
    // By itself first: `a)|(b` would be one only within the brackets.
    if text.len() > TEXT_BYTES_MAX || Regex::new(text).is_err() {
        return Err(allowed());
    }
    let bounded = RegexBuilder::new(&format!(r"\A(?:{text})\z")).size_limit(COMPILED_BYTES_MAX).build();
    bounded.map_err(|_| allowed())
}

/// Whether an expression matches `https://` URLs alone, whose host it spells: labels, classes of letters and digits,
/// groups; then a `/`, which only groups may leave out.
pub(super) fn pins_host(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else { return false };
    let (mut depth, mut ended) = (0_usize, false);
    let mut chars = rest.chars();
    while let Some(next) = chars.next() {
        let fits = match next {
            '\\' => chars.next().is_some_and(|escaped| ended || ".-dw".contains(escaped)),
            '[' => class(&mut chars).is_some_and(|class| ended || is_plain(&class)),
            '(' => {
                depth += 1;
                true
            }
            ')' => {
                depth = depth.saturating_sub(1);
                true
            }
            '|' => depth > 0,
            '/' if depth == 0 => {
                ended = true;
                true
            }
            _ => ended || next.is_ascii_alphanumeric() || "-?:+*{},|".contains(next),
        };
        if !fits {
            return false;
        }
    }
    ended
}

/// What stands in a class, whose `[` is read.
fn class(chars: &mut std::str::Chars<'_>) -> Option<String> {
    let mut inside = String::new();
    loop {
        match chars.next()? {
            ']' => return Some(inside),
            '\\' => inside.extend(['\\', chars.next()?]),
            next => inside.push(next),
        }
    }
}

/// Whether a class holds letters, digits, `-` and `_` alone.
fn is_plain(class: &str) -> bool {
    let known = class.replace("a-z", "").replace("A-Z", "").replace("0-9", "").replace("\\d", "");
    known.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && !known.get(1..known.len().saturating_sub(1)).unwrap_or_default().contains('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_value_is_matched_and_no_part_of_it() {
        let pattern = whole("[0-9a-f]{4}|x").unwrap();
        for (value, holds) in
            [("00ff", true), ("x", true), ("00ff\n", false), ("a00ff", false), ("00fx", false)]
        {
            assert_eq!(pattern.is_match(value), holds, "{value:?}");
        }
        for bad in ["a)|(b", "(?=a)", r"(a)\1", "[", r"\w{1,1000}{1,1000}", &"a".repeat(513)] {
            assert!(whole(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_host_of_a_url_to_call_is_the_files_word() {
        for good in [
            r"https://sns\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/.*",
            r"https://(?:api|eu)\.example\.com/a/[^?]+\?x=.*",
            "https://localhost/a|b".strip_suffix("|b").unwrap(),
        ] {
            assert!(pins_host(good), "{good}");
        }
        for bad in [
            "http://a/",
            "https://.*/",
            "https://a.com/",
            r"https://[^/]+/",
            r"https://[a-z./]+/",
            r"https://[!-~]+/",
            r"https://[0-z]+/",
            r"https://a\.com",
            r"https://a\.com/|.*",
            r"https://\S+/",
            r"https://a\.com@b\.com/",
            "(?i)https://a/",
        ] {
            assert!(!pins_host(bad), "{bad}");
        }
    }
}
