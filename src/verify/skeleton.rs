//! A text for a regular expression: its fixed signs, its named groups filled with values, and the least that its other
//! parts take. For signing alone; whether the text matches is its caller's to see.

/// The text, with `values` in the groups of their names; `None` where the expression has choices or nested groups, or a
/// named group without a value.
pub(super) fn filled(pattern: &str, values: &[(&str, &str)]) -> Option<String> {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        let (piece, after) = match next {
            '(' => group(rest, values)?,
            '[' => (member(rest)?, rest.get(class(rest)?..)?),
            '\\' => escape(rest)?,
            '^' | '$' => (String::new(), rest.get(1..)?),
            '.' => ("x".to_owned(), rest.get(1..)?),
            '|' | ')' | '*' | '+' | '?' | '{' => return None,
            sign => (sign.to_string(), rest.get(sign.len_utf8()..)?),
        };
        let (needed, after) = match after.chars().next() {
            Some('*' | '?') if next != '(' => (false, after.get(1..)?),
            Some('*' | '?' | '+') => (true, after.get(1..)?),
            Some('{') => return None,
            _ => (true, after),
        };
        if needed {
            text.push_str(&piece);
        }
        rest = after;
    }
    Some(text)
}

/// The value of the named group that `rest` begins with, and what stands after it.
fn group<'r>(rest: &'r str, values: &[(&str, &str)]) -> Option<(String, &'r str)> {
    let inside = rest.strip_prefix("(?P<").or_else(|| rest.strip_prefix("(?<"))?;
    let (name, inside) = inside.split_once('>')?;
    let value = values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)?;
    let mut left = inside;
    loop {
        let next = left.chars().next()?;
        let step = match next {
            ')' => return Some((value.to_owned(), left.get(1..)?)),
            '(' => return None,
            '[' => class(left)?,
            '\\' => 2,
            sign => sign.len_utf8(),
        };
        left = left.get(step..)?;
    }
}

/// The length of the class that `rest` begins with.
fn class(rest: &str) -> Option<usize> {
    let inside = rest.get(1..)?;
    let negated = usize::from(inside.starts_with('^'));
    // A bracket that stands first is one of the signs.
    let first = usize::from(inside.get(negated..)?.starts_with(']'));
    let head = 1 + negated + first;
    let mut escaped = false;
    for (at, sign) in rest.get(head..)?.char_indices() {
        match sign {
            ']' if !escaped => return Some(head + at + 1),
            _ => escaped = sign == '\\' && !escaped,
        }
    }
    None
}

/// A sign of the class that `rest` begins with, where that is plain.
fn member(rest: &str) -> Option<String> {
    let first = rest.chars().nth(1)?;
    first.is_ascii_alphanumeric().then(|| first.to_string())
}

/// What the escape that `rest` begins with stands for.
fn escape(rest: &str) -> Option<(String, &str)> {
    let sign = rest.chars().nth(1)?;
    let text = match sign {
        'd' => "0".to_owned(),
        's' => " ".to_owned(),
        'w' => "x".to_owned(),
        sign if sign.is_ascii_alphanumeric() => return None,
        sign => sign.to_string(),
    };
    Some((text, rest.get(1 + sign.len_utf8()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_signs_and_named_groups_make_a_text_that_matches() {
        let values = [("t", "17"), ("signature", "ab-c")];
        for (pattern, want) in [
            ("t=(?P<t>[0-9]+),v1=(?P<signature>[^, ]+)", Some("t=17,v1=ab-c")),
            ("t=(?P<t>[^,=]*), *v1=(?<signature>[^,=]*)", Some("t=17,v1=ab-c")),
            ("^v\\d+\\.(?P<signature>[^\\])]+)x?$", Some("v0.ab-c")),
            ("[A-Z]+ (?P<signature>.*)", Some("A ab-c")),
            ("(?P<signature>(a|b)+)", None),
            ("(?P<other>a)(?P<signature>b)", None),
            ("a|(?P<signature>b)", None),
            ("(?P<signature>b", None),
            ("[", None),
            ("\\", None),
        ] {
            let text = filled(pattern, &values);
            assert_eq!(text.as_deref(), want, "{pattern}");
            if let Some(text) = text {
                assert!(regex::Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(&text), "{pattern}");
            }
        }
    }
}
