//! What a scheme demands beside a signature, and how signatures stand in what carries them: every mistake in it is
//! found at load.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use super::build::Check;
use super::definition::{SignatureDefinition, Texts};
use super::grammar::{Grammar, PairsForm};
use super::rules::{ALGORITHMS, Algorithm, EqualRule, MatchingRule};
use super::template::{Piece, Template};
use crate::extract::{Pick, Pointer};

/// Places that `{n}` may stand for, and places in a list.
const PLACES_MAX: u16 = 100;
/// Prefixes of the grammar `choices`.
const CHOICES_MAX: usize = 8;
/// Bytes that a compiled pattern may take; matching is linear whatever it is.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// How much a signature proves of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    /// Nothing.
    Nothing,
    /// It, where it has only signs that ids have: what stands beside it is signed in one text with it.
    Plain,
    /// It, whatever it is.
    Whole,
}

/// How much every template proves of the value at `pick`. What is proved within each element of an array is proved
/// of the element of any number.
pub(super) fn proof(signed: &[Template], each: Option<&Pick>, pick: &Pick) -> Proof {
    let item = within(each, pick);
    let of = |template: &Template| match &item {
        _ if template.contains(pick) => Proof::Whole,
        _ if template.proves(pick) => Proof::Plain,
        Some(item) if template.proves(item) => Proof::Plain,
        _ => Proof::Nothing,
    };
    signed.iter().map(of).min().unwrap_or(Proof::Nothing)
}

/// The place within an element of `each` that `pick` is in one of them.
pub(super) fn within(each: Option<&Pick>, pick: &Pick) -> Option<Pick> {
    let pointer: Option<(usize, Pointer)> = match (each?, pick) {
        (Pick::Json(base), Pick::Json(pointer)) => pointer.within(base),
        (Pick::Inside(outer, base), Pick::Inside(same, pointer)) if outer == same => pointer.within(base),
        _ => None,
    };
    pointer.map(|(_, pointer)| Pick::Item(pointer))
}

/// Every place in the templates, once.
pub(super) fn values(signed: &[Template]) -> Vec<Pick> {
    let mut values: Vec<Pick> = Vec::new();
    for pick in signed.iter().flat_map(Template::picks) {
        if !values.contains(pick) {
            values.push(pick.clone());
        }
    }
    values
}

/// Whether a grammar has values beside the signatures.
pub(super) fn names_values(grammar: &Grammar) -> bool {
    match grammar {
        Grammar::Pairs(_) | Grammar::Sets { .. } | Grammar::Positional { .. } | Grammar::Pattern { .. } => {
            true
        }
        Grammar::Plain { .. } | Grammar::Choices { .. } | Grammar::Versions { .. } => false,
    }
}

/// Whether a piece has in it all of the body, or all of the array at `each`.
fn is_whole(piece: &Piece, each: &Pick) -> bool {
    let body = matches!(piece, Piece::Body | Piece::BodyAs(_) | Piece::FormSorted | Piece::FormSortedAll);
    let place = piece.pick().is_some_and(|pick| {
        *pick.root() == Pick::Body || *pick == Pick::Json(Pointer::root()) || each.is_within(pick)
    });
    body || place || matches!(piece, Piece::Raw(of) if !matches!(of.root(), Pick::Item(_)))
}

impl Check {
    pub(super) fn equal(&mut self, raw: &BTreeMap<String, Texts>) -> Vec<EqualRule> {
        let mut rules = Vec::with_capacity(raw.len());
        for (place, wanted) in raw {
            if wanted.0.is_empty() {
                self.add("equal", &format!("{place:?} with no value"), "one value or a list of values");
            }
            let place = self.place("equal", place);
            rules.extend(place.map(|place| EqualRule { place, wanted: wanted.0.clone() }));
        }
        rules
    }

    pub(super) fn matching(&mut self, raw: &BTreeMap<String, String>) -> Vec<MatchingRule> {
        let mut rules = Vec::with_capacity(raw.len());
        for (place, pattern) in raw {
            let pattern = self.pattern("matching", pattern);
            if let (Some(place), Some(pattern)) = (self.place("matching", place), pattern) {
                rules.push(MatchingRule { place, pattern });
            }
        }
        rules
    }

    /// A pattern over a whole value.
    fn pattern(&mut self, key: &str, text: &str) -> Option<Regex> {
        let build = |text: &str| RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
        // Alone first: put into the group below, half a pattern could become a whole one.
        match build(text).and_then(|_| build(&format!("\\A(?:{text})\\z"))) {
            Ok(pattern) => Some(pattern),
            Err(_) => {
                let allowed = "a regular expression without back references and look-around, of bounded size when compiled";
                self.add(key, &format!("{text:?}"), allowed);
                None
            }
        }
    }

    /// The array whose elements are judged one by one, with nothing in the templates that costs a pass over the body
    /// for each.
    pub(super) fn each(&mut self, text: &str, signed: &[Template]) -> Option<Pick> {
        let place = self.place("each", text)?;
        if !matches!(place, Pick::Json(_) | Pick::Inside(..)) {
            self.add("each", &format!("{text:?}"), "json:/pointer, or PLACE > json:/pointer");
            return None;
        }
        let pieces = signed.iter().flat_map(|template| &template.pieces);
        let mut whole: Vec<String> =
            pieces.filter(|piece| is_whole(piece, &place)).map(Piece::to_string).collect();
        whole.dedup();
        if !whole.is_empty() {
            let found = format!("{} in `signed`, which is more than one element", whole.join(", "));
            self.add("each", &found, "places within an element, such as {item:/id}");
        }
        Some(place)
    }

    /// Every place of the signature; `{n}` stands for numbers.
    pub(super) fn signature_places(&mut self, raw: &SignatureDefinition) -> Vec<Pick> {
        if raw.from.0.is_empty() || raw.from.0.len() > usize::from(PLACES_MAX) {
            let found = format!("{} places", raw.from.0.len());
            self.add("signature.from", &found, &format!("1 to {PLACES_MAX} places"));
        }
        let numbered = raw.from.0.iter().any(|text| text.contains("{n}"));
        let count = raw.count.unwrap_or(0);
        if numbered != (1..=PLACES_MAX).contains(&count) || numbered && raw.from.0.len() > 1 {
            let allowed = format!("1 to {PLACES_MAX}, with one `signature.from` that has {{n}} in it");
            self.add("signature.count", &count.to_string(), &allowed);
            return Vec::new();
        }
        if raw.slots && raw.from.0.len() < 2 {
            self.add("signature.slots", "true with one place", "true with a list of places");
        }
        let texts: Vec<String> = match raw.from.0.first() {
            Some(text) if numbered => (1..=count).map(|n| text.replace("{n}", &n.to_string())).collect(),
            _ => raw.from.0.clone(),
        };
        texts.iter().filter_map(|text| self.place("signature.from", text)).collect()
    }

    /// What a grammar needs beside its texts: the pattern, the choices.
    pub(super) fn grammar(&mut self, grammar: &Grammar) -> (Option<Regex>, Vec<(String, Algorithm)>) {
        let (mut pattern, mut choices) = (None, Vec::new());
        let mut filled = |parts: &[&str], some: bool| {
            if parts.iter().any(|part| part.is_empty()) || !some {
                let allowed = "a separator, an assign and at least one key or name, none of them empty";
                self.add("signature.grammar", "an empty part", allowed);
            }
        };
        let pairs =
            |pairs: &PairsForm| (pairs.separator.clone(), pairs.assign.clone(), !pairs.keys.is_empty());
        match grammar {
            Grammar::Plain { .. } => {}
            Grammar::Pairs(form) => {
                let (separator, assign, some) = pairs(form);
                filled(&[&separator, &assign], some);
            }
            Grammar::Sets { separator: between, pairs: form } => {
                let (separator, assign, some) = pairs(form);
                filled(&[between, &separator, &assign], some);
            }
            Grammar::Versions { separator, assign, keys } => filled(&[separator, assign], !keys.is_empty()),
            Grammar::Positional { separator, .. } if separator.is_empty() => {
                self.add(
                    "signature.grammar.separator",
                    "\"\"",
                    "what stands between the items, such as \",\"",
                );
            }
            Grammar::Positional { .. } => {}
            Grammar::Pattern { pattern: text } => {
                pattern = self.pattern("signature.grammar.pattern", text);
                let group =
                    |pattern: &Regex| pattern.capture_names().flatten().any(|name| name == "signature");
                if pattern.as_ref().is_some_and(|pattern| !group(pattern)) {
                    let allowed = "a pattern with a group (?P<signature>…)";
                    self.add("signature.grammar.pattern", &format!("{text:?}"), allowed);
                }
            }
            Grammar::Choices { choices: raw } => choices = self.choices(raw),
        }
        (pattern, choices)
    }

    fn choices(&mut self, raw: &BTreeMap<String, String>) -> Vec<(String, Algorithm)> {
        let mut choices = Vec::with_capacity(raw.len());
        if !(1..=CHOICES_MAX).contains(&raw.len()) {
            let found = format!("{} choices", raw.len());
            self.add("signature.grammar.choices", &found, &format!("1 to {CHOICES_MAX}"));
        }
        for (prefix, name) in raw {
            let algorithm = self.one_of("signature.grammar.choices", name, &ALGORITHMS);
            if prefix.is_empty() || !name.starts_with("hmac-") {
                let found = format!("{prefix:?} = {name:?}");
                self.add("signature.grammar.choices", &found, "a prefix, and an algorithm hmac-…");
            }
            choices.extend(algorithm.map(|algorithm| (prefix.clone(), algorithm)));
        }
        choices.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        choices
    }
}
