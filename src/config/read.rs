//! From the merged tree to [`Settings`], with every error that is there.
//!
//! serde stops at the first error. So the value it stopped at is reported and taken out, and the tree is read
//! again, until nothing is left to complain of. Each round takes one value out, so the rounds end.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde_path_to_error::Segment;

use super::path::{KeyPath, Step};
use super::report::{Report, shown};
use super::settings::Settings;
use super::tree::{Entry, Kind, Node};

/// The most errors of a kind that reading finds; beyond it the report says so and ends.
const ERRORS_MAX: usize = 500;

/// Reads the settings and reports what is wrong in them; what is wrong has its default.
pub(super) fn settings(mut tree: Node, report: &mut Report) -> Settings {
    let mut told: Vec<KeyPath> = Vec::new();
    while told.len() < ERRORS_MAX {
        let error = match serde_path_to_error::deserialize(&tree) {
            Ok(settings) => return settings,
            Err(error) => error,
        };
        let path = resolve(&tree, error.path());
        // A table that lost a wrong key may be wrong for that alone.
        if !told.iter().any(|earlier| path.holds(earlier)) {
            tell(error.inner(), &path, &tree, report);
        }
        if !tree.remove(&path) {
            return Settings::default();
        }
        told.push(path);
    }
    report.error(KeyPath::default(), format!("{ERRORS_MAX} errors and more"), "a configuration with fewer");
    Settings::default()
}

/// serde's path as ours. Items taken out of a list are passed over by serde, so they are counted in here.
fn resolve(tree: &Node, path: &serde_path_to_error::Path) -> KeyPath {
    let mut node = Some(tree);
    let mut steps = Vec::new();
    for segment in path {
        let step = match segment {
            Segment::Map { key } => Step::Key(key.clone()),
            Segment::Seq { index } => Step::Index(node.map_or(*index, |list| nth_left(list, *index))),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        node = node.and_then(|node| node.child(&step)).map(|(_, child)| child);
        steps.push(step);
    }
    steps.into_iter().collect()
}

/// The place in `list` of the item that is number `index` among those left.
fn nth_left(list: &Node, index: usize) -> usize {
    let Kind::Array(items) = &list.kind else { return index };
    let mut left = items.iter().enumerate().filter(|(_, item)| !matches!(item.kind, Kind::Gone));
    left.nth(index).map_or(index, |(at, _)| at)
}

fn tell(problem: &Problem, path: &KeyPath, tree: &Node, report: &mut Report) {
    match problem {
        Problem::Unknown(known) => report.unknown(path, known),
        Problem::Missing(key) => report.missing(path.key(key), "this table needs it"),
        Problem::Invalid(allowed) => {
            let found = tree.get(path).map_or_else(|| "nothing".to_owned(), |node| shown(path, node));
            report.error(path, found, allowed);
        }
    }
}

/// Why serde stopped. What it found is looked up in the tree, where it is known whether it may be shown.
#[derive(Debug)]
pub(super) enum Problem {
    Unknown(&'static [&'static str]),
    Missing(&'static str),
    /// What is allowed instead.
    Invalid(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(known) => write!(f, "unknown key; allowed: {}", known.join(", ")),
            Self::Missing(key) => write!(f, "{key} is missing"),
            Self::Invalid(allowed) => write!(f, "allowed: {allowed}"),
        }
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    /// The types of `Settings` give what is allowed as their message.
    fn custom<T: fmt::Display>(allowed: T) -> Self {
        Self::Invalid(allowed.to_string())
    }

    fn invalid_type(_found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Invalid(in_words(&expected.to_string()))
    }

    fn invalid_value(_found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Invalid(in_words(&expected.to_string()))
    }

    fn unknown_variant(_found: &str, known: &'static [&'static str]) -> Self {
        Self::Invalid(known.join(", "))
    }

    fn unknown_field(_found: &str, known: &'static [&'static str]) -> Self {
        Self::Unknown(known)
    }

    fn missing_field(key: &'static str) -> Self {
        Self::Missing(key)
    }
}

/// What serde expects of the language's own types, for people.
fn in_words(expected: &str) -> String {
    match expected {
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "a boolean" => "true, false",
        "a string" | "path string" => "text in quotes",
        "a sequence" => "a list in [ ]",
        "a map" => "a table",
        other => other,
    }
    .to_owned()
}

impl<'de> IntoDeserializer<'de, Problem> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.kind {
            Kind::Text(text) => visitor.visit_borrowed_str(text),
            Kind::Integer(number) => match i64::try_from(*number) {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => visitor.visit_i128(*number),
            },
            Kind::Float(number) => visitor.visit_f64(*number),
            Kind::Boolean(truth) => visitor.visit_bool(*truth),
            Kind::Array(items) => {
                let left = items.iter().filter(|item| !matches!(item.kind, Kind::Gone));
                visitor.visit_seq(SeqDeserializer::new(left))
            }
            Kind::Table(entries) => {
                let entry = |(key, entry): (&'de String, &'de Entry)| (key.as_str(), &entry.node);
                visitor.visit_map(MapDeserializer::new(entries.iter().map(entry)))
            }
            Kind::Gone => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match &self.kind {
            Kind::Text(text) => visitor.visit_enum(StrDeserializer::new(text)),
            // `on_limit = 429` means what `"429"` means.
            Kind::Integer(number) if variants.contains(&number.to_string().as_str()) => {
                visitor.visit_enum(number.to_string().into_deserializer())
            }
            Kind::Float(number) if variants.contains(&number.to_string().as_str()) => {
                visitor.visit_enum(number.to_string().into_deserializer())
            }
            _ => Err(de::Error::unknown_variant("", variants)),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
