//! The values that are computed for an answer, and that none of them is a signature that somebody could use.

use std::collections::BTreeMap;

use regex::bytes::{Regex as Shape, RegexBuilder};

use super::Check;
use crate::provider::handshake::computed::{Computed, MADE, WRITTEN, looks_around};
use crate::provider::handshake::definition::ComputedDefinition;

/// Values that one handshake computes.
const COMPUTED_MAX: usize = 8;
/// Size of a compiled shape, in bytes.
const SHAPE_BYTES_MAX: usize = 4 << 20;
/// Beginnings of the algorithms whose secrets are keys that a MAC can be made with.
const SHARED: [&str; 5] = ["hmac-", "token", "basic", "md5", "sha"];

impl Check<'_> {
    pub(super) fn computed(&mut self, raw: &BTreeMap<String, ComputedDefinition>) -> Vec<Computed> {
        if raw.len() > COMPUTED_MAX {
            self.add("computed", &format!("{} values", raw.len()), &format!("at most {COMPUTED_MAX}"));
        }
        // None is known by its name yet, so none is made of another.
        let computed: Vec<Option<Computed>> = raw.iter().map(|(name, one)| self.one(name, one)).collect();
        self.computed = raw.keys().cloned().collect();
        computed.into_iter().collect::<Option<_>>().unwrap_or_default()
    }

    fn one(&mut self, name: &str, raw: &ComputedDefinition) -> Option<Computed> {
        let made = self.named(&format!("computed.{name}.algorithm"), &raw.algorithm, &MADE);
        let written = self.named(&format!("computed.{name}.encoding"), &raw.encoding, &WRITTEN);
        let of = self.text(&format!("computed.{name}.of"), &raw.of);
        Some(Computed { made: made?, of, written: written? })
    }

    fn named<T: Copy>(&mut self, key: &str, text: &str, table: &[(&str, T)]) -> Option<T> {
        let found = table.iter().find(|(name, _)| *name == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
            self.add(key, &format!("{text:?}"), &names.join(", "));
        }
        found
    }

    /// What is signed with the source's key for anybody who asks. Each place in such a text has a shape of its own, so
    /// that a delivery with a text of that shape can be told.
    pub(super) fn shapes(&mut self, verify: bool, algorithm: &str, computed: &[Computed]) -> Vec<Shape> {
        let keyed: Vec<&Computed> = computed.iter().filter(|computed| computed.made.needs_key()).collect();
        if !keyed.is_empty() && !SHARED.iter().any(|shared| algorithm.starts_with(shared)) {
            let allowed = "a digest: the secrets of this scheme are no keys that a MAC can be made with";
            self.add("computed", &format!("an HMAC in a scheme with {algorithm:?}"), allowed);
        }
        if verify {
            return Vec::new();
        }
        keyed.into_iter().filter_map(|computed| self.shape(computed)).collect()
    }

    fn shape(&mut self, computed: &Computed) -> Option<Shape> {
        for place in computed.of.echoed() {
            let Some(asked) = self.places.get(place) else { continue };
            let (pick, shaped) =
                (asked.pick.to_string(), asked.pattern.is_some() || !asked.wanted.is_empty());
            let around = asked.pattern.as_ref().is_some_and(|pattern| looks_around(&pattern.text));
            if !shaped {
                let allowed = "a `match.matching` on every place that an HMAC without `verify` is made of";
                self.add("computed", &format!("{pick}, of any shape"), allowed);
            }
            if around {
                let allowed = "no `^`, `$` or `\\b` in it: the whole value is matched anyway";
                self.add("match.matching", &format!("the pattern of {pick}"), allowed);
            }
        }
        let shape = RegexBuilder::new(&computed.shape(&self.places)).size_limit(SHAPE_BYTES_MAX).build();
        if shape.is_err() {
            self.add("computed", "a text whose shape is too large", "shorter patterns in `match.matching`");
        }
        shape.ok()
    }
}
