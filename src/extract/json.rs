//! JSON pointers over raw bytes: one pass, no tree, values given as the text they have in the body.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::alike;

/// A JSON pointer (RFC 6901), split into its unescaped steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    text: String,
    steps: Vec<String>,
}

impl Pointer {
    /// The whole JSON text.
    pub fn root() -> Self {
        Self { text: String::new(), steps: Vec::new() }
    }

    /// The steps below `base`, where this lies inside it.
    pub fn below(&self, base: &Self) -> Option<&[String]> {
        self.steps.strip_prefix(base.steps.as_slice())
    }

    /// The same, as a pointer from the element of an array at `base`: of `/items/0/id` and `/items`, `/id`, with
    /// the element's index.
    pub fn within(&self, base: &Self) -> Option<(usize, Self)> {
        let (index, steps) = self.below(base)?.split_first()?;
        let text = steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1")));
        Some((index.parse().ok()?, Self { text: text.collect(), steps: steps.to_vec() }))
    }

    /// The pointer to what this lies in, and the step from there; `None` for the whole text.
    pub fn parent(&self) -> Option<(Self, String)> {
        let (step, steps) = self.steps.split_last()?;
        let text = self.text.rsplit_once('/').map_or("", |(text, _)| text).to_owned();
        Some((Self { text, steps: steps.to_vec() }, step.clone()))
    }

    /// Reads `/a/b~1c/0`.
    ///
    /// # Errors
    /// Where it does not begin with a slash, or has a `~` that is neither `~0` nor `~1`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("`{text}` is no JSON pointer: it begins with `/`, as in `/data/id`"));
        };
        let steps = rest.split('/').map(|step| unescape(step, text)).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), steps })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn unescape(step: &str, whole: &str) -> Result<String, String> {
    let mut out = String::with_capacity(step.len());
    let mut chars = step.chars();
    while let Some(c) = chars.next() {
        match (c, c == '~') {
            (_, false) => out.push(c),
            (_, true) => match chars.next() {
                Some('0') => out.push('~'),
                Some('1') => out.push('/'),
                _ => return Err(format!("`{whole}` is no JSON pointer: `~` is written `~0` and `/` `~1`")),
            },
        }
    }
    Ok(out)
}

/// A value found in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    raw: &'a str,
    /// Where the value lies in the body.
    pub span: Range<usize>,
}

impl<'a> Found<'a> {
    /// The value as it is written.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Whether it is a number.
    pub fn is_number(&self) -> bool {
        self.raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
    }

    /// The value as text: a string's characters, a number or boolean as written. `None` for null, and for
    /// objects and arrays, which are no names.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        match self.raw.as_bytes().first()? {
            b'"' => characters(self.raw),
            b'n' | b'{' | b'[' => None,
            _ => Some(Cow::Borrowed(self.raw)),
        }
    }
}

/// What a string stands for. `None` where it is half of a surrogate pair, which JSON's grammar lets pass.
fn characters(raw: &str) -> Option<Cow<'_, str>> {
    if raw.contains('\\') {
        return serde_json::from_str::<String>(raw).ok().map(Cow::Owned);
    }
    raw.get(1..raw.len().checked_sub(1)?).map(Cow::Borrowed)
}

/// Looks up all `pointers` in one pass over `body`. A key that stands twice counts where it stands last, as
/// with common parsers. All `None` where the body is not one valid JSON text.
pub fn find<'a>(body: &'a [u8], pointers: &[&Pointer]) -> Vec<Option<Found<'a>>> {
    find_in(body, pointers, false)
}

/// The same; where it is `strict`, nothing is found below a key that stands twice, in whatever case.
pub(super) fn find_in<'a>(body: &'a [u8], pointers: &[&Pointer], strict: bool) -> Vec<Option<Found<'a>>> {
    let mut found = vec![None; pointers.len()];
    // Seen here, since what is passed over is not looked at so closely as what is taken.
    let Ok(text) = std::str::from_utf8(body) else { return found };
    let active: Active<'_> =
        pointers.iter().enumerate().map(|(slot, pointer)| (slot, pointer.steps.as_slice())).collect();
    for (slot, _) in active.iter().filter(|(_, steps)| steps.is_empty()) {
        found[*slot] = Some(root(text));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let walk = Walk { base: body.as_ptr() as usize, strict, active, found: &mut found };
    let whole = walk.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    if whole.is_err() {
        found.iter_mut().for_each(|slot| *slot = None);
    }
    found
}

/// Notes the pointers that a key was met for, each once however many keys there are.
fn meet(met: &mut SmallVec<[usize; 4]>, active: &[(usize, &[String])]) {
    for (slot, _) in active {
        if !met.contains(slot) {
            met.push(*slot);
        }
    }
}

/// Whether anything but null stands where the pointer leads, by keys in whatever case, once or more often; also where
/// the text is no JSON, and so nobody can tell.
pub(super) fn is_there(text: &[u8], pointer: &Pointer) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return true };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let seen = Seek { steps: &pointer.steps }.deserialize(&mut deserializer);
    seen.and_then(|seen| deserializer.end().map(|()| seen)).unwrap_or(true)
}

/// Looks along the steps of a pointer for anything but null.
struct Seek<'p> {
    steps: &'p [String],
}

impl<'a> DeserializeSeed<'a> for Seek<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Seek<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<bool, M::Error> {
        let Some((first, rest)) = self.steps.split_first() else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(true);
        };
        let mut seen = false;
        while let Some(key) = map.next_key::<&'a RawValue>()? {
            match characters(key.get()).is_some_and(|key| alike::keys(first, &key)) {
                true => seen |= map.next_value_seed(Seek { steps: rest })?,
                false => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(seen)
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<bool, S::Error> {
        let Some((first, rest)) = self.steps.split_first() else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(true);
        };
        let sought: Option<usize> = first.parse().ok();
        let (mut seen, mut index) = (false, 0);
        loop {
            let next = match sought == Some(index) {
                true => seq.next_element_seed(Seek { steps: rest })?,
                false => seq.next_element::<IgnoredAny>()?.map(|_| false),
            };
            match next {
                Some(found) => seen |= found,
                None => return Ok(seen),
            }
            index += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(self.steps.is_empty())
    }
    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(self.steps.is_empty())
    }
    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(self.steps.is_empty())
    }
    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(self.steps.is_empty())
    }
    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(self.steps.is_empty())
    }
    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

/// The whole text without the blanks around it; whether it is JSON is seen by walking it.
fn root(text: &str) -> Found<'_> {
    let blank = |c: char| b" \t\r\n".contains(&(c as u8)) && c.is_ascii();
    let start = text.len() - text.trim_start_matches(blank).len();
    let raw = text.trim_matches(blank);
    Found { raw, span: start..start + raw.len() }
}

/// The pointers that lead into a value, each with its slot and the steps that are left; nearly always few.
type Active<'p> = SmallVec<[(usize, &'p [String]); 4]>;

struct Walk<'f, 'p, 'a> {
    base: usize,
    strict: bool,
    active: Active<'p>,
    found: &'f mut Vec<Option<Found<'a>>>,
}

impl<'p, 'a> Walk<'_, 'p, 'a> {
    /// The pointers that go on below `key`.
    fn below(&self, key: &str) -> Active<'p> {
        self.going_on(|first| first == key)
    }

    fn going_on(&self, goes: impl Fn(&str) -> bool) -> Active<'p> {
        let next = |&(slot, steps): &(usize, &'p [String])| match steps.split_first() {
            Some((first, rest)) if goes(first) => Some((slot, rest)),
            _ => None,
        };
        self.active.iter().filter_map(next).collect()
    }

    fn forget(&mut self, slots: &[(usize, &[String])]) {
        for &(slot, _) in slots {
            self.found[slot] = None;
        }
    }

    /// Notes the value for the pointers that end here; looks inside it for those that go deeper.
    fn take(&mut self, mut active: Active<'p>, raw: &'a RawValue) {
        let text = raw.get();
        let start = (text.as_ptr() as usize).saturating_sub(self.base);
        for (slot, _) in active.iter().filter(|(_, rest)| rest.is_empty()) {
            self.found[*slot] = Some(Found { raw: text, span: start..start + text.len() });
        }
        active.retain(|(_, rest)| !rest.is_empty());
        let deeper = active;
        if !deeper.is_empty() && text.starts_with(['{', '[']) {
            let walk = Walk { base: self.base, strict: self.strict, active: deeper, found: self.found };
            // The text was just parsed as one valid value, so walking it again cannot fail.
            walk.deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap_or_default();
        }
    }
}

impl<'a> DeserializeSeed<'a> for Walk<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Walk<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<M: MapAccess<'a>>(mut self, mut map: M) -> Result<(), M::Error> {
        let mut met = SmallVec::<[usize; 4]>::new();
        while let Some(key) = map.next_key::<&'a RawValue>()? {
            let key = characters(key.get());
            let below = key.as_deref().map_or_else(Active::new, |key| self.below(key));
            self.forget(&below);
            if let (true, Some(key)) = (self.strict, &key) {
                let alike = self.going_on(|first| first != key && alike::keys(first, key));
                self.forget(&alike);
                meet(&mut met, &alike);
            }
            // Pointers that have one key in common have it twice in common, too.
            let twice = self.strict && below.iter().any(|(slot, _)| met.contains(slot));
            if below.is_empty() || twice {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            meet(&mut met, &below);
            let raw = map.next_value::<&'a RawValue>()?;
            self.take(below, raw);
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'a>>(mut self, mut seq: S) -> Result<(), S::Error> {
        let mut index = 0_usize;
        let last = self.active.iter().filter_map(|(_, steps)| steps.first()?.parse::<usize>().ok()).max();
        loop {
            let sought = last.is_some_and(|last| index <= last);
            let below = if sought { self.below(&index.to_string()) } else { Active::new() };
            if below.is_empty() {
                if seq.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(());
                }
            } else {
                let Some(raw) = seq.next_element::<&'a RawValue>()? else { return Ok(()) };
                self.take(below, raw);
            }
            index += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(body: &str, pointers: &[&str]) -> Vec<Option<String>> {
        let pointers: Vec<Pointer> = pointers.iter().map(|p| Pointer::parse(p).unwrap()).collect();
        find(body.as_bytes(), &pointers.iter().collect::<Vec<_>>())
            .iter()
            .map(|found| found.as_ref().and_then(|f| f.text().map(Cow::into_owned)))
            .collect()
    }

    #[test]
    fn finds_several_values_in_one_pass() {
        let body = r#"{"id":"evt_1","type":"a\/b","data":{"n":12.50,"list":[1,{"x":true}]},"none":null}"#;
        let found =
            texts(body, &["/id", "/type", "/data/n", "/data/list/1/x", "/none", "/data", "/missing/at/all"]);
        let want = [Some("evt_1"), Some("a/b"), Some("12.50"), Some("true"), None, None, None];
        assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), want);
    }

    #[test]
    fn what_is_found_depends_on_nothing_else_that_is_sought() {
        let all = |body: &[u8]| {
            let pointers = ["/id", "/a/b/c", "/a/0"].map(|text| Pointer::parse(text).unwrap());
            let texts = |pointers: &[&Pointer]| -> Vec<Option<String>> {
                let found = find(body, pointers).into_iter();
                found.map(|found| Some(found?.text()?.into_owned())).collect()
            };
            let together = texts(&pointers.each_ref());
            let alone: Vec<_> = pointers.iter().flat_map(|pointer| texts(&[pointer])).collect();
            assert_eq!(together, alone);
            together[..2].iter().map(|text| text.as_deref().unwrap_or("-")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(all(b"{\"id\":1,\"x\":[\"\xff\"]}"), "- -", "no UTF-8 in what is passed over");
        assert_eq!(all(br#"{"id":1,"a":1e999}"#), "1 -", "a number that no float holds");
        assert_eq!(all(br#"{"id":1,"a":{"b":{"c":1,"\ud800":2,"c":3}}}"#), "1 3", "half a pair in a key");
        assert_eq!(all(br#"{"\u0069d":1,"a":{"b":{"\u0063":2}}}"#), "1 2", "escapes in keys");
    }

    #[test]
    fn spans_point_into_the_body() {
        let body = br#" { "a" : { "b" : "v" } } "#;
        let pointer = Pointer::parse("/a/b").unwrap();
        let found = find(body, &[&pointer]).remove(0).unwrap();
        assert_eq!(&body[found.span], br#""v""#);
    }

    #[test]
    fn the_last_of_a_repeated_key_counts_and_broken_json_has_nothing() {
        assert_eq!(texts(r#"{"a":1,"a":2}"#, &["/a"]), [Some("2".to_owned())]);
        assert_eq!(texts(r#"{"a":{"b":1},"a":3}"#, &["/a/b"]), [None]);
        for broken in [r#"{"a":1"#, r#"{"a":1}x"#, "", "\u{feff}{}", r#"{"a":1,}"#] {
            assert_eq!(texts(broken, &["/a"]), [None], "{broken}");
        }
    }

    #[test]
    fn the_root_is_a_value_and_a_pointer_can_be_told_from_another() {
        let of = |body: &'static str| find(body.as_bytes(), &[&Pointer::root()]).remove(0);
        assert_eq!(of(" \"a\"\n").unwrap().text().as_deref(), Some("a"));
        assert_eq!(of(" [1] ").unwrap().span, 1..4);
        assert_eq!(of("[1").map(|found| found.raw), None);
        assert_eq!(of(""), None);
        let (base, deep) = (Pointer::parse("/items").unwrap(), Pointer::parse("/items/3/a~1b").unwrap());
        assert_eq!(deep.within(&base), Some((3, Pointer::parse("/a~1b").unwrap())));
        assert_eq!(base.within(&deep), None);
        assert_eq!(deep.within(&Pointer::root()), None);
    }

    #[test]
    fn pointers_are_unescaped_and_checked() {
        assert_eq!(texts(r#"{"a/b":{"c~d":1}}"#, &["/a~1b/c~0d"]), [Some("1".to_owned())]);
        assert!(Pointer::parse("a").is_err());
        assert!(Pointer::parse("/a~2").is_err());
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[a-c\"\\\\\u{e9}/]{0,4}".prop_map(Into::into)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_parsed_tree(tree in json(), steps in prop::collection::vec("[a-c]|0|1", 1..4)) {
            let pointer = format!("/{}", steps.join("/"));
            let want = tree.pointer(&pointer).and_then(|value| match value {
                serde_json::Value::String(text) => Some(text.clone()),
                serde_json::Value::Bool(_) | serde_json::Value::Number(_) => Some(value.to_string()),
                _ => None,
            });
            prop_assert_eq!(texts(&tree.to_string(), &[&pointer]), [want]);
        }

        #[test]
        fn never_panics_on_any_bytes(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let pointer = Pointer::parse("/a/0").unwrap();
            find(&body, &[&pointer]);
        }
    }
}
