//! One pass over a payload with a compiled schema. Ends at the first doubt: that is an error here, and nothing of it is
//! told, since the crate then judges anew.
//!
//! What the tree's parser refuses ends the walk too: both take every value through the same calls of the same parser.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;

use super::check::{Check, Kind};
use super::program::{Held, Link, Quick, Shape};

/// Keys without a number that an object may have where each is compared with all others.
const OTHERS_MAX: usize = 64;
/// Keys that begin so mean something else than a member to the parser of the tree.
const RESERVED: &str = "$serde_json::private";

/// Whether the payload is valid without a doubt.
pub(super) fn holds(program: &Quick, text: &str) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    value(program, program.root(), &mut deserializer).is_ok() && deserializer.end().is_ok()
}

/// One value, and which schemas of the link's place hold of it.
fn value<'de, D: Deserializer<'de>>(program: &Quick, link: Option<&Link>, from: D) -> Result<Held, D::Error> {
    match link {
        None => Skip.deserialize(from).map(|()| 0),
        Some(link) => Walk { program, shape: program.shape(link) }.deserialize(from),
    }
}

fn doubt<E: Error>() -> E {
    E::custom("not sure")
}

#[derive(Clone, Copy)]
struct Walk<'p> {
    program: &'p Quick,
    shape: &'p Shape,
}

impl<'p> Walk<'p> {
    /// Those that allow such a value. None is told where one does not that must.
    fn open<E: Error>(self, kind: Kind) -> Result<Held, E> {
        let held = self.shape.allows[kind as usize];
        if self.shape.must & !held == 0 { Ok(held) } else { Err(doubt()) }
    }

    /// Leaves those of `held` whose own demands the value meets.
    fn ask(self, kind: Kind, mut held: Held, meets: impl Fn(&Check) -> bool) -> Held {
        let mut asks = held & self.shape.asks[kind as usize];
        while asks != 0 {
            let own = asks.trailing_zeros();
            if !meets(&self.shape.checks[own as usize]) {
                held &= !(1 << own);
            }
            asks &= asks - 1;
        }
        held
    }

    fn scalar<E: Error>(self, kind: Kind, meets: impl Fn(&Check) -> bool) -> Result<Held, E> {
        let held = self.open(kind)?;
        self.shape.settle(self.ask(kind, held, meets)).ok_or_else(doubt)
    }

    fn number<E: Error>(self, kind: Kind, number: f64) -> Result<Held, E> {
        self.scalar(kind, |check| check.number(number))
    }

    /// Whether the value of this key may be read, and by what.
    fn member(self, key: &Key, seen: &mut Seen) -> Option<Option<&'p Link>> {
        match key {
            Key::Known(number) => seen.first(*number).then(|| self.shape.members[*number].as_ref()),
            Key::Other(mark) => {
                (!self.shape.counted || seen.other(*mark)).then_some(self.shape.others.as_ref())
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Held;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Held, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Held;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Held, E> {
        self.scalar(Kind::Null, Check::null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Held, E> {
        self.scalar(Kind::Bool, |check| check.boolean(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Held, E> {
        self.number(Kind::Integer, value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Held, E> {
        self.number(Kind::Integer, value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Held, E> {
        self.number(Kind::of_number(value), value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Held, E> {
        self.scalar(Kind::Text, |check| check.text(text))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Held, S::Error> {
        let mut held = self.open(Kind::Array)?;
        let mut count = 0;
        loop {
            let link = self.shape.prefix.get(count).unwrap_or(&self.shape.items).as_ref();
            let Some(there) = seq.next_element_seed(Part { program: self.program, link })? else { break };
            held = link.map_or(held, |link| link.carry(held, there));
            count += 1;
        }
        let held = self.ask(Kind::Array, held, |check| check.elements.holds(count));
        self.shape.settle(held).ok_or_else(doubt)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Held, M::Error> {
        let mut held = self.open(Kind::Object)?;
        let mut seen = Seen::new(self.shape);
        while let Some(key) = map.next_key_seed(KeyOf(self.shape))? {
            let link = self.member(&key, &mut seen).ok_or_else(doubt)?;
            let there = map.next_value_seed(Part { program: self.program, link })?;
            held = link.map_or(held, |link| link.carry(held, there));
        }
        for (own, keys) in &self.shape.required {
            if !seen.has_all(keys) {
                held &= !(1 << own);
            }
        }
        let held = self.ask(Kind::Object, held, |check| check.members.holds(seen.count()));
        self.shape.settle(held).ok_or_else(doubt)
    }
}

/// A member's value or an element.
struct Part<'p> {
    program: &'p Quick,
    link: Option<&'p Link>,
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Held;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Held, D::Error> {
        value(self.program, self.link, from)
    }
}

/// The keys of an object so far.
struct Seen {
    numbers: SmallVec<[u64; 2]>,
    others: SmallVec<[u64; 16]>,
}

impl Seen {
    fn new(shape: &Shape) -> Self {
        let words = shape.members.len().div_ceil(64);
        Self { numbers: SmallVec::from_elem(0, words), others: SmallVec::new() }
    }

    /// Whether the key of that number has not been there.
    fn first(&mut self, number: usize) -> bool {
        let (word, bit) = (&mut self.numbers[number / 64], 1 << (number % 64));
        let first = *word & bit == 0;
        *word |= bit;
        first
    }

    /// Whether a key with that mark has not been there, and is not one too many.
    fn other(&mut self, mark: u64) -> bool {
        let first = self.others.len() < OTHERS_MAX && !self.others.contains(&mark);
        if first {
            self.others.push(mark);
        }
        first
    }

    fn has_all(&self, keys: &[u64]) -> bool {
        keys.iter().zip(&self.numbers).all(|(wanted, seen)| wanted & !seen == 0)
    }

    fn count(&self) -> usize {
        self.others.len() + self.numbers.iter().map(|word| word.count_ones() as usize).sum::<usize>()
    }
}

enum Key {
    /// One that the shape names, by its number.
    Known(usize),
    /// Any other, by its mark.
    Other(u64),
}

struct KeyOf<'p>(&'p Shape);

impl<'de> DeserializeSeed<'de> for KeyOf<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Key, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyOf<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
        if key.starts_with(RESERVED) {
            return Err(doubt());
        }
        let keys = &self.0.keys;
        let other = || Key::Other(if self.0.counted { keys.mark(key) } else { 0 });
        Ok(keys.find(key).map_or_else(other, Key::Known))
    }
}

/// A value that nothing is asked of: read in full, for the tree's parser would read it too.
struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        while seq.next_element_seed(Skip)?.is_some() {}
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while map.next_key_seed(SkipKey)?.is_some() {
            map.next_value_seed(Skip)?;
        }
        Ok(())
    }
}

struct SkipKey;

impl<'de> DeserializeSeed<'de> for SkipKey {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for SkipKey {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        if key.starts_with(RESERVED) { Err(doubt()) } else { Ok(()) }
    }
}
