//! What one schema asks of one value, its members and elements aside.
//!
//! Numbers are compared as 64-bit floating point. That is exact, whatever the number, since no limit here reaches 2^53:
//! a greater number may be rounded, but never to the other side of a limit.

use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

/// Kinds of values; a number is an integer or not, as JSON Schema tells them apart (`1.0` is one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Integer,
    Fraction,
    Text,
    Array,
    Object,
}

impl Kind {
    pub(super) const ALL: [Self; 7] =
        [Self::Null, Self::Bool, Self::Integer, Self::Fraction, Self::Text, Self::Array, Self::Object];

    /// The kinds that a name in `type` stands for.
    pub(super) fn named(name: &str) -> Option<&'static [Self]> {
        Some(match name {
            "null" => &[Self::Null],
            "boolean" => &[Self::Bool],
            "integer" => &[Self::Integer],
            "number" => &[Self::Integer, Self::Fraction],
            "string" => &[Self::Text],
            "array" => &[Self::Array],
            "object" => &[Self::Object],
            _ => return None,
        })
    }

    pub(super) fn of_number(number: f64) -> Self {
        if number.fract() == 0.0 { Self::Integer } else { Self::Fraction }
    }
}

/// Limits of a count, both of them allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Span {
    const ANY: Self = Self { least: 0, most: u64::MAX };

    pub(super) fn holds(self, count: usize) -> bool {
        (self.least..=self.most).contains(&(count as u64))
    }

    /// Whether a text has so many code points. One has one to four bytes, so most texts need not be counted.
    fn holds_text(self, text: &str) -> bool {
        let bytes = text.len() as u64;
        if bytes <= self.most && bytes.div_ceil(4) >= self.least {
            return true;
        }
        self.holds(text.chars().count())
    }
}

/// A limit of a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    Least(f64),
    Above(f64),
    Most(f64),
    Below(f64),
}

impl Bound {
    fn holds(self, number: f64) -> bool {
        match self {
            Self::Least(limit) => number >= limit,
            Self::Above(limit) => number > limit,
            Self::Most(limit) => number <= limit,
            Self::Below(limit) => number < limit,
        }
    }
}

/// The values of an `enum` or a `const`, none of them an array or object.
#[derive(Debug, Default)]
pub(super) struct Among {
    null: bool,
    bools: [bool; 2],
    numbers: Vec<f64>,
    texts: Vec<Box<str>>,
}

impl Among {
    /// `None` where one of them is no scalar, or a number that is not told apart from all others.
    pub(super) fn of(values: &[Value]) -> Option<Self> {
        let mut among = Self::default();
        for value in values {
            match value {
                Value::Null => among.null = true,
                Value::Bool(value) => among.bools[usize::from(*value)] = true,
                Value::Number(_) => among.numbers.push(exact(value)?),
                Value::String(text) => among.texts.push(text.as_str().into()),
                Value::Array(_) | Value::Object(_) => return None,
            }
        }
        among.texts.sort_unstable();
        Some(among)
    }

    fn text(&self, text: &str) -> bool {
        match self.texts.as_slice() {
            [one] => **one == *text,
            texts => texts.binary_search_by(|one| (**one).cmp(text)).is_ok(),
        }
    }
}

/// A number of a schema that no other number is rounded to or past.
pub(super) fn exact(value: &Value) -> Option<f64> {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    value.as_f64().filter(|number| number.abs() < LIMIT)
}

/// One schema's own demands on a value.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) kinds: Vec<Kind>,
    pub(super) among: Vec<Among>,
    pub(super) bounds: Vec<Bound>,
    pub(super) length: Span,
    pub(super) patterns: Vec<Arc<Validator>>,
    pub(super) elements: Span,
    pub(super) members: Span,
}

impl Check {
    /// Asks nothing.
    pub(super) fn any() -> Self {
        Self {
            kinds: Kind::ALL.to_vec(),
            among: Vec::new(),
            bounds: Vec::new(),
            length: Span::ANY,
            patterns: Vec::new(),
            elements: Span::ANY,
            members: Span::ANY,
        }
    }

    pub(super) fn is_any(&self) -> bool {
        self.kinds.len() == Kind::ALL.len() && Kind::ALL.iter().all(|kind| !self.asks(*kind))
    }

    /// Whether values of that kind are allowed at all.
    pub(super) fn allows(&self, kind: Kind) -> bool {
        let scalar = !matches!(kind, Kind::Array | Kind::Object);
        self.kinds.contains(&kind) && (scalar || self.among.is_empty())
    }

    /// Whether more is asked of a value of a kind that is allowed.
    pub(super) fn asks(&self, kind: Kind) -> bool {
        let more = match kind {
            Kind::Null | Kind::Bool => false,
            Kind::Integer | Kind::Fraction => !self.bounds.is_empty(),
            Kind::Text => self.length != Span::ANY || !self.patterns.is_empty(),
            Kind::Array => self.elements != Span::ANY,
            Kind::Object => self.members != Span::ANY,
        };
        more || !self.among.is_empty()
    }

    pub(super) fn null(&self) -> bool {
        self.among.iter().all(|among| among.null)
    }

    pub(super) fn boolean(&self, value: bool) -> bool {
        self.among.iter().all(|among| among.bools[usize::from(value)])
    }

    pub(super) fn number(&self, number: f64) -> bool {
        self.bounds.iter().all(|bound| bound.holds(number))
            && self.among.iter().all(|among| among.numbers.contains(&number))
    }

    pub(super) fn text(&self, text: &str) -> bool {
        self.length.holds_text(text)
            && self.among.iter().all(|among| among.text(text))
            && (self.patterns.is_empty() || self.matches(text))
    }

    /// By the crate's own reading of a pattern, over a value of this text alone.
    #[cold]
    fn matches(&self, text: &str) -> bool {
        let value = Value::String(text.to_owned());
        self.patterns.iter().all(|pattern| pattern.is_valid(&value))
    }
}
