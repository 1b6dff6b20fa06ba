//! Names that some parsers take for one and the same. What stands under such a name beside a signed value could be
//! what a worker reads in its place.

use std::collections::HashSet;

/// Whether a parser that workers use could give the field or parameter `other` as `name`, or in its place. PHP writes
/// `.`, blanks and a `[` that nothing closes as `_`, ends a name at NUL, and makes what stands before another `[` an array;
/// Rack drops brackets around a name. In forms the case of letters tells names apart: senders put the names of a mail's
/// headers beside their own.
pub(super) fn fields(name: &str, other: &str) -> bool {
    if name == other {
        return true;
    }
    if !base(name).eq(base(other)) {
        return false;
    }
    // Of an array's elements only those are in each other's place of which one holds the other.
    match (element(name), element(other)) {
        (Some(one), Some(two)) => one.starts_with(two) || two.starts_with(one),
        _ => true,
    }
}

/// The names of fields, to look up whether another is of the same array or name as any of them.
pub(super) struct Names(HashSet<String>);

impl Names {
    pub(super) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        Self(names.map(|name| base(name).collect()).collect())
    }

    pub(super) fn any(&self, other: &str) -> bool {
        self.0.contains(&base(other).collect::<String>())
    }
}

/// Whether a parser could give the member `other` of a JSON object as `key`: Go looks keys up in any case.
pub(super) fn keys(key: &str, other: &str) -> bool {
    key == other || folded(key.chars()).eq(folded(other.chars()))
}

/// The name of the variable that a field becomes.
fn base(name: &str) -> impl Iterator<Item = char> + '_ {
    let end = opening(name).or_else(|| name.find('\0')).unwrap_or(name.len());
    let own = name.get(..end).unwrap_or(name).trim_start_matches([' ', '[', ']']).trim_end_matches(']');
    own.chars().map(|sign| if matches!(sign, '.' | ' ' | '[') { '_' } else { sign })
}

/// What stands from the first bracket on, where the field is an array's element.
fn element(name: &str) -> Option<&str> {
    name.get(opening(name)?..)
}

/// Where the first bracket opens that is closed later, behind a name.
fn opening(name: &str) -> Option<usize> {
    let own = name.find(|sign| !matches!(sign, ' ' | '[' | ']'))?;
    let open = own + name.get(own..)?.find(['[', '\0'])?;
    let rest = name.get(open..)?;
    (rest.starts_with('[') && rest.contains(']')).then_some(open)
}

fn folded(signs: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
    signs.flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_field_in_some_language_are_alike() {
        for (name, other, alike) in [
            ("out_sum", "out_sum", true),
            ("out_sum", "out.sum", true),
            ("out_sum", "out sum", true),
            ("out_sum", "  out.sum[]", true),
            ("out_sum", "Out_sum", false),
            ("out_sum", "out[sum", true),
            ("out_sum", "[out_sum]", true),
            ("out_sum", "out_sum]", true),
            ("out_sum", "out_sum[a][b]", true),
            ("out_sum", "outsum", false),
            ("out_sum", "out_sum2", false),
            ("data[id]", "data[id]", true),
            ("data[id]", "Data[id]", false),
            ("data[id]", "data[name]", false),
            ("data[id]", "data", true),
            ("data", "data[id]", true),
            ("data[id]", "data[id][]", true),
            ("data.id", "data[id", true),
            ("id", "id\0x", true),
            ("data[id]", "dat[id]", false),
        ] {
            assert_eq!(fields(name, other), alike, "{name} {other}");
            assert!(!alike || Names::new([name].into_iter()).any(other), "{name} {other}");
        }
        for (key, other, alike) in [
            ("data", "Data", true),
            ("kiss", "\u{212a}I\u{17f}s", true),
            ("data", "dat", false),
            ("a_b", "a.b", false),
        ] {
            assert_eq!(keys(key, other), alike, "{key} {other}");
        }
    }
}
