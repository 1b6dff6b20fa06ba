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
}
