//! The keys of a JSON object that a body is; values are walked over and never kept.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};

/// Whether `body` is one JSON object with exactly these `keys`, which are sorted, each once. Any body where there are
/// none.
pub(super) fn only(keys: &[String], body: &[u8]) -> bool {
    if keys.is_empty() {
        return true;
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let seen = json.deserialize_map(Exactly { keys });
    seen.is_ok() && json.end().is_ok()
}

struct Exactly<'k> {
    keys: &'k [String],
}

impl<'de> Visitor<'de> for Exactly<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with exactly the keys that the handshake names")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let mut seen = vec![false; self.keys.len()];
        while let Some(at) = map.next_key_seed(Position { keys: self.keys })? {
            match seen.get_mut(at) {
                Some(once @ false) => *once = true,
                Some(true) | None => return Err(M::Error::custom("a key that stands twice")),
            }
            map.next_value::<IgnoredAny>()?;
        }
        if seen.contains(&false) { Err(M::Error::custom("a key that is missing")) } else { Ok(()) }
    }
}

/// Reads a key as its number among those that may stand there.
struct Position<'k> {
    keys: &'k [String],
}

impl<'de> DeserializeSeed<'de> for Position<'_> {
    type Value = usize;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Position<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of the keys that the handshake names")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<usize, E> {
        self.keys.binary_search_by(|known| known.as_str().cmp(key)).map_err(|_| E::custom("another key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_exactly_the_keys_or_it_is_another() {
        let keys = ["a".to_owned(), "challenge".to_owned()];
        for body in
            [r#"{"challenge":"c","a":{"deep":[1,{"x":null}]}}"#, " {\"a\":1,\n\"ch\\u0061llenge\":2} "]
        {
            assert!(only(&keys, body.as_bytes()), "{body}");
        }
        for body in [
            "",
            "[]",
            "null",
            r#"{"challenge":"c"}"#,
            r#"{"challenge":"c","a":1,"b":2}"#,
            r#"{"challenge":"c","a":1,"a":2}"#,
            r#"{"challenge":"c","a":1} x"#,
            r#"{"challenge":"c","a":1"#,
            r#"["challenge","a"]"#,
        ] {
            assert!(!only(&keys, body.as_bytes()), "{body}");
        }
        assert!(only(&[], b"anything"));
    }

    #[test]
    fn depth_ends_in_no_panic() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let _found: bool = only(&["a".to_owned()], deep.as_bytes());
    }
}
