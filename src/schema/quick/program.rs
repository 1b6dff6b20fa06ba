//! A compiled schema: a table for each place that a payload can have, and what follows at a place from its parts.
//!
//! Only data and its reading; `shape` makes it, `walk` runs it.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::Arc;

use serde_json::Value;

use super::check::{Check, Kind};
use super::read::{self, Rule};
use super::{shape, walk};

/// Which of a place's schemas hold, a bit each.
pub(super) type Held = u64;

/// Schemas at one place, at most.
pub(super) const AT_ONCE_MAX: usize = Held::BITS as usize;

/// A schema for the quick look.
#[derive(Debug)]
pub(in crate::schema) struct Quick {
    shapes: Vec<Shape>,
    root: Option<Link>,
}

impl Quick {
    /// Compiles a schema that the crate has compiled too.
    ///
    /// # Errors
    /// What in it has to be left to the crate; all payloads are, then.
    pub(in crate::schema) fn compile(schema: &Value) -> Result<Self, String> {
        let nodes = read::nodes(schema)?;
        let (shapes, root) = shape::build(&nodes)?;
        Ok(Self { shapes, root })
    }

    /// Whether the body is surely one that the crate calls valid. `false` says nothing of it.
    pub(in crate::schema) fn surely_valid(&self, body: &[u8]) -> bool {
        std::str::from_utf8(body).is_ok_and(|text| walk::holds(self, text))
    }

    pub(super) fn root(&self) -> Option<&Link> {
        self.root.as_ref()
    }

    pub(super) fn shape(&self, link: &Link) -> &Shape {
        &self.shapes[link.shape]
    }
}

/// What follows at a place from one of its parts. A part that any value suits has no link.
#[derive(Debug)]
pub(super) struct Link {
    /// The part's table.
    pub(super) shape: usize,
    /// Pairs of a schema here and one there that it needs.
    pub(super) needs: Vec<(u8, u8)>,
}

impl Link {
    /// Of those that hold here, which still do when those do there.
    pub(super) fn carry(&self, here: Held, there: Held) -> Held {
        let failed = self.needs.iter().filter(|(_, part)| there & (1 << part) == 0);
        failed.fold(here, |held, (own, _)| held & !(1 << own))
    }
}

/// All schemas that apply at one place, merged into one table.
#[derive(Debug)]
pub(super) struct Shape {
    /// What each asks of the value itself.
    pub(super) checks: Vec<Arc<Check>>,
    /// Those without which the payload is not valid.
    pub(super) must: Held,
    /// By kind of value: which allow it, and which of them ask more of it.
    pub(super) allows: [Held; Kind::ALL.len()],
    pub(super) asks: [Held; Kind::ALL.len()],
    /// What follows from others here, in an order in which these come first.
    pub(super) rules: Vec<(u8, Rule<u8>)>,
    pub(super) keys: Keys,
    /// By the key's number.
    pub(super) members: Vec<Option<Link>>,
    /// Of keys that have no number.
    pub(super) others: Option<Link>,
    /// Keys that a schema wants, as bits of their numbers.
    pub(super) required: Vec<(u8, Vec<u64>)>,
    /// Whether it matters how many members there are, or that no key without a number stands twice.
    pub(super) counted: bool,
    pub(super) prefix: Vec<Option<Link>>,
    pub(super) items: Option<Link>,
}

impl Shape {
    /// Of the schemas in `held`, those that hold after what follows from others. `None` where one is missing that
    /// must hold.
    pub(super) fn settle(&self, mut held: Held) -> Option<Held> {
        for (own, rule) in &self.rules {
            if !follows(rule, held) {
                held &= !(1 << own);
            }
        }
        (self.must & !held == 0).then_some(held)
    }
}

fn follows(rule: &Rule<u8>, held: Held) -> bool {
    let holds = |part: &u8| held & (1 << part) != 0;
    match rule {
        Rule::All(parts) => parts.iter().all(holds),
        Rule::Any(parts) => parts.iter().any(holds),
        Rule::One(parts) => parts.iter().filter(|part| holds(part)).count() == 1,
        Rule::Not(part) => !holds(part),
        Rule::If(test, then, other) => {
            let branch = if holds(test) { then } else { other };
            branch.as_ref().is_none_or(holds)
        }
    }
}

/// The keys of an object that a schema names, numbered.
#[derive(Debug, Default)]
pub(super) struct Keys(HashMap<Box<str>, usize, BuildHasherDefault<Mark>>);

impl Keys {
    /// The key's number, a new one where it has none.
    pub(super) fn add(&mut self, key: &str) -> usize {
        let next = self.0.len();
        *self.0.entry(key.into()).or_insert(next)
    }

    pub(super) fn find(&self, key: &str) -> Option<usize> {
        self.0.get(key).copied()
    }

    /// A number that equal keys share; others may.
    pub(super) fn mark(&self, key: &str) -> u64 {
        self.0.hasher().hash_one(key)
    }
}

/// A hash for tables whose keys are the operator's, so that nobody can choose them to be slow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark(u64);

impl Mark {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Mark {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let last = rest.iter().fold(rest.len() as u64, |word, byte| word << 8 | u64::from(*byte));
        self.mix(last);
    }

    fn write_u8(&mut self, _end: u8) {}

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}
