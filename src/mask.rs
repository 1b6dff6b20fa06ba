//! What of a body is not shown: places in JSON, by pointers. Pure.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// What stands in the place of what is not shown.
const SHOWN: &str = "***";
/// A step that means every element or member.
const ANY: &str = "*";
/// Longest pointer in characters, and its most steps.
const LONGEST: usize = 1_024;
const STEPS_MAX: usize = 64;

/// A JSON pointer (RFC 6901), in which a step `*` means every element of an array or every member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// What text is allowed.
    pub const EXPECTED: &str = "a JSON pointer such as \"/customer/email\" or \"/items/*/card\", at most 64 steps, with ~0 for ~ and ~1 for /";
}

impl FromStr for Pointer {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let rest = text.strip_prefix('/').filter(|_| text.len() <= LONGEST).ok_or(())?;
        let steps: Vec<String> = rest.split('/').map(unescaped).collect::<Option<_>>().ok_or(())?;
        if steps.len() <= STEPS_MAX { Ok(Self(steps)) } else { Err(()) }
    }
}

fn unescaped(step: &str) -> Option<String> {
    let escapes = step.split('~').skip(1);
    let right = escapes.into_iter().all(|rest| rest.starts_with(['0', '1']));
    right.then(|| step.replace("~1", "/").replace("~0", "~"))
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

/// All places of a source's bodies that are not shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask(Vec<Pointer>);

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|pointer| writeln!(f, "{pointer}"))
    }
}

impl Mask {
    /// These places.
    pub fn new(pointers: Vec<Pointer>) -> Self {
        Self(pointers)
    }

    /// Whether all is shown.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The body with `***` in these places, as JSON written anew; `None` where there are some and it is no JSON, so that
    /// nobody can say where they are.
    pub fn applied(&self, body: &[u8]) -> Option<Vec<u8>> {
        if self.is_empty() {
            return Some(body.to_vec());
        }
        let mut value: Value = serde_json::from_slice(body).ok()?;
        self.0.iter().for_each(|pointer| hide(&mut value, &pointer.0));
        serde_json::to_vec(&value).ok()
    }
}

fn hide(value: &mut Value, steps: &[String]) {
    let Some((step, rest)) = steps.split_first() else {
        *value = SHOWN.into();
        return;
    };
    match value {
        Value::Object(members) if step == ANY => members.values_mut().for_each(|member| hide(member, rest)),
        Value::Object(members) => {
            if let Some(member) = members.get_mut(step) {
                hide(member, rest);
            }
        }
        Value::Array(elements) if step == ANY => elements.iter_mut().for_each(|element| hide(element, rest)),
        Value::Array(elements) => {
            // "+1" and "01" are no indices by the RFC; who writes them means one: rather hidden than shown.
            let at = step.parse().ok().and_then(|at: usize| elements.get_mut(at));
            at.into_iter().for_each(|element| hide(element, rest));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(pointers: &[&str]) -> Mask {
        Mask::new(pointers.iter().map(|pointer| pointer.parse().unwrap()).collect())
    }

    #[test]
    fn what_is_pointed_at_is_hidden_and_nothing_else() {
        let body = br#"{"a":{"b":"x","c":[1,{"d":"y"},{"d":"z"}]},"m/n":"u","~":"v","n":7}"#;
        for (pointers, shown) in [
            (&["/a/b"][..], r#"{"a":{"b":"***","c":[1,{"d":"y"},{"d":"z"}]},"m/n":"u","~":"v","n":7}"#),
            (&["/a/c/1/d"], r#"{"a":{"b":"x","c":[1,{"d":"***"},{"d":"z"}]},"m/n":"u","~":"v","n":7}"#),
            (&["/a/c/*/d"], r#"{"a":{"b":"x","c":[1,{"d":"***"},{"d":"***"}]},"m/n":"u","~":"v","n":7}"#),
            (&["/a/*"], r#"{"a":{"b":"***","c":"***"},"m/n":"u","~":"v","n":7}"#),
            (&["/m~1n", "/~0"], r#"{"a":{"b":"x","c":[1,{"d":"y"},{"d":"z"}]},"m/n":"***","~":"***","n":7}"#),
            (
                &["/n/none", "/a/c/9", "/a/c/x", "/q"],
                r#"{"a":{"b":"x","c":[1,{"d":"y"},{"d":"z"}]},"m/n":"u","~":"v","n":7}"#,
            ),
        ] {
            let masked = mask(pointers).applied(body).unwrap();
            let masked: Value = serde_json::from_slice(&masked).unwrap();
            assert_eq!(masked, serde_json::from_str::<Value>(shown).unwrap(), "{pointers:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_shown_where_something_is_hidden() {
        assert_eq!(mask(&["/a"]).applied(b"a=secret"), None);
        assert_eq!(mask(&["/a"]).applied(&[b'['; 100_000]), None, "too deep to be read");
        assert_eq!(mask(&[]).applied(b"a=open").as_deref(), Some(&b"a=open"[..]));
        // Of two members of one name the last counts, and neither is shown.
        let twice = mask(&["/a"]).applied(br#"{"a":"one","a":"two"}"#).unwrap();
        assert_eq!(twice, br#"{"a":"***"}"#);
    }

    #[test]
    fn a_pointer_is_written_as_it_is_read() {
        for text in ["/", "/a", "/a/*/b", "/m~1n/~0", "/a//b"] {
            assert_eq!(text.parse::<Pointer>().map(|pointer| pointer.to_string()), Ok(text.to_owned()));
        }
        let long = "/a".repeat(65);
        for wrong in ["", "a", "/~2", "/~", long.as_str()] {
            assert_eq!(wrong.parse::<Pointer>(), Err(()), "{wrong}");
        }
    }
}
