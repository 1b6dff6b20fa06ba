//! The least text that a regular expression matches, for places of made requests where a provider file demands a form.
//! Nothing is proved by it: whether the whole expression takes the text is looked at once it is made.

use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Longest text that is made, in bytes.
const BYTES_MAX: usize = 512;
/// Signs that are taken from a class before any others.
const PLAIN: [char; 6] = ['a', '1', 'A', '0', 'x', '-'];

/// A text that `pattern` matches as a whole; `None` where none is found.
pub(super) fn text(pattern: &str) -> Option<String> {
    let mut text = String::new();
    grow(&regex_syntax::parse(pattern).ok()?, &mut text)?;
    let whole = Regex::new(&format!(r"\A(?:{pattern})\z")).ok()?;
    whole.is_match(&text).then_some(text)
}

/// Adds what the expression needs at least.
fn grow(part: &Hir, text: &mut String) -> Option<()> {
    match part.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(class) => text.push(member(class)?),
        HirKind::Repetition(repeated) => {
            for _ in 0..repeated.min {
                grow(&repeated.sub, text)?;
            }
        }
        HirKind::Capture(group) => grow(&group.sub, text)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| grow(part, text))?,
        HirKind::Alternation(choices) => grow(choices.first()?, text)?,
    }
    (text.len() <= BYTES_MAX).then_some(())
}

/// A sign of the class, a plain one where it has such.
fn member(class: &Class) -> Option<char> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.ranges().iter().map(|range| (range.start(), range.end())).collect(),
        Class::Bytes(class) => {
            class.ranges().iter().map(|range| (range.start().into(), range.end().into())).collect()
        }
    };
    let holds = |sign: &char| ranges.iter().any(|(first, last)| (first..=last).contains(&sign));
    PLAIN.into_iter().find(holds).or(ranges.first().map(|(first, _)| *first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_text_is_one_that_matches() {
        for (pattern, least) in [
            (r"[0-9a-f]{8}", Some("aaaaaaaa")),
            (
                r"https://sns\.[a-z]{2}(-[a-z]+)+-[0-9]+\.example\.com(\.cn)?/x",
                Some("https://sns.aa-a-1.example.com/x"),
            ),
            (r"\A(?:v1|v2)\z", Some("v1")),
            (r"[^a-z]", Some("1")),
            (r"(?i:abc)", Some("abc")),
            (r"a{1000}", None),
            (r"[^\s\S]", None),
            (r"(", None),
        ] {
            let found = text(pattern);
            assert_eq!(found.as_deref().map(str::to_lowercase), least.map(str::to_owned), "{pattern}");
        }
    }
}
