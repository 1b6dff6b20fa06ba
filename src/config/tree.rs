//! A tree of values in which each key and value knows its line.
//!
//! Made from TOML text by [`parse`] or from a bare value by [`scalar`]; taken apart and put together again
//! around the `config` crate, which merges and knows no lines.

use std::collections::BTreeMap;
use std::fmt;

use config::{Map, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::path::{KeyPath, Step};

/// A value and the line it begins on; line 0 where there is no line.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Clone)]
pub(super) enum Kind {
    Text(String),
    Integer(i128),
    Float(f64),
    Boolean(bool),
    Array(Vec<Node>),
    Table(BTreeMap<String, Entry>),
    /// Taken out after an error, so that its neighbours in a list keep their places.
    Gone,
}

impl fmt::Debug for Kind {
    /// Without values: a text may be a plain secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text(…)",
            Self::Integer(_) => "Integer(…)",
            Self::Float(_) => "Float(…)",
            Self::Boolean(_) => "Boolean(…)",
            Self::Array(_) => "Array(…)",
            Self::Table(_) => "Table(…)",
            Self::Gone => "Gone",
        })
    }
}

/// A value under a key, and the line of the key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) node: Node,
}

/// A place in a text where it is not TOML.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) message: String,
}

impl Node {
    pub(super) fn table(entries: BTreeMap<String, Entry>) -> Self {
        Self { line: 0, kind: Kind::Table(entries) }
    }

    /// The value at `path`.
    pub(super) fn get(&self, path: &KeyPath) -> Option<&Node> {
        path.steps().iter().try_fold(self, |node, step| node.child(step).map(|(_, child)| child))
    }

    /// One step down: the line to show for it, and the value.
    pub(super) fn child(&self, step: &Step) -> Option<(usize, &Node)> {
        match (&self.kind, step) {
            (Kind::Table(entries), Step::Key(key)) => entries.get(key).map(|entry| (entry.line, &entry.node)),
            (Kind::Array(items), Step::Index(index)) => items.get(*index).map(|item| (item.line, item)),
            _ => None,
        }
    }

    /// Takes out the value at `path`. A list keeps its length. False if there is nothing to take out.
    pub(super) fn remove(&mut self, path: &KeyPath) -> bool {
        let Some((last, way)) = path.steps().split_last() else { return false };
        let parent = way.iter().try_fold(self, |node, step| node.child_mut(step));
        match (parent.map(|node| &mut node.kind), last) {
            (Some(Kind::Table(entries)), Step::Key(key)) => entries.remove(key).is_some(),
            (Some(Kind::Array(items)), Step::Index(index)) => {
                let item = items.get_mut(*index);
                item.map(|item| item.kind = Kind::Gone).is_some()
            }
            _ => false,
        }
    }

    pub(super) fn child_mut(&mut self, step: &Step) -> Option<&mut Node> {
        match (&mut self.kind, step) {
            (Kind::Table(entries), Step::Key(key)) => entries.get_mut(key).map(|entry| &mut entry.node),
            (Kind::Array(items), Step::Index(index)) => items.get_mut(*index),
            _ => None,
        }
    }

    /// This tree for the `config` crate, which writes `origin` to each value.
    pub(super) fn to_value(&self, origin: &String) -> Value {
        let kind = match &self.kind {
            Kind::Text(text) => ValueKind::String(text.clone()),
            Kind::Integer(number) => ValueKind::I128(*number),
            Kind::Float(number) => ValueKind::Float(*number),
            Kind::Boolean(truth) => ValueKind::Boolean(*truth),
            Kind::Array(items) => ValueKind::Array(items.iter().map(|item| item.to_value(origin)).collect()),
            Kind::Table(entries) => ValueKind::Table(
                entries.iter().map(|(key, entry)| (key.clone(), entry.node.to_value(origin))).collect(),
            ),
            Kind::Gone => ValueKind::Nil,
        };
        Value::new(Some(origin), kind)
    }

    /// The tree that the `config` crate merged; without lines.
    pub(super) fn from_value(value: Value) -> Self {
        let kind = match value.kind {
            ValueKind::Nil => Kind::Gone,
            ValueKind::Boolean(truth) => Kind::Boolean(truth),
            ValueKind::I64(number) => Kind::Integer(number.into()),
            ValueKind::U64(number) => Kind::Integer(number.into()),
            ValueKind::I128(number) => Kind::Integer(number),
            ValueKind::U128(number) => Kind::Integer(i128::try_from(number).unwrap_or(i128::MAX)),
            ValueKind::Float(number) => Kind::Float(number),
            ValueKind::String(text) => Kind::Text(text),
            ValueKind::Array(items) => Kind::Array(items.into_iter().map(Self::from_value).collect()),
            ValueKind::Table(entries) => Kind::Table(Self::entries(entries)),
        };
        Self { line: 0, kind }
    }

    fn entries(entries: Map<String, Value>) -> BTreeMap<String, Entry> {
        let entry = |value| Entry { line: 0, node: Self::from_value(value) };
        entries.into_iter().map(|(key, value)| (key, entry(value))).collect()
    }
}

/// Reads a TOML document, or tells every place where it is none.
pub(super) fn parse(text: &str) -> Result<Node, Vec<SyntaxError>> {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node { line: 1, kind: lines.table(table.get_ref()) });
    }
    let mut found: Vec<SyntaxError> = errors.iter().map(|error| lines.error(text, error)).collect();
    // What follows the first error of a line is mostly its echo.
    found.sort_by_key(|error| (error.line, error.column));
    found.dedup_by_key(|error| error.line);
    Err(found)
}

/// Reads the value of a variable or flag: a TOML list, inline table, number, boolean or quoted text is taken
/// as such, anything else as the text that it is.
pub(super) fn scalar(text: &str) -> Node {
    let kind = match DeValue::parse(text) {
        Ok(value) if !matches!(value.get_ref(), DeValue::Datetime(_)) => {
            Lines(Vec::new()).value(value.get_ref()).kind
        }
        Ok(_) | Err(_) => Kind::Text(text.to_owned()),
    };
    Node { line: 0, kind }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line of the byte at `offset`, from 1; 0 if there are no lines.
    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }

    fn error(&self, text: &str, error: &toml::de::Error) -> SyntaxError {
        let offset = error.span().map_or(0, |span| span.start).min(text.len());
        let line = self.line(offset);
        let start = self.0.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = text.get(start..offset).unwrap_or_default();
        SyntaxError { line, column: before.chars().count() + 1, message: error.message().to_owned() }
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        Node { line: self.line(value.span().start), ..self.value(value.get_ref()) }
    }

    fn value(&self, value: &DeValue<'_>) -> Node {
        let kind = match value {
            DeValue::String(text) => Kind::Text(text.to_string()),
            DeValue::Integer(number) => {
                // Beyond 128 bits every number is out of range alike.
                Kind::Integer(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX))
            }
            DeValue::Float(number) => Kind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(truth) => Kind::Boolean(*truth),
            DeValue::Datetime(at) => Kind::Text(at.to_string()),
            DeValue::Array(items) => Kind::Array(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => self.table(table),
        };
        Node { line: 0, kind }
    }

    fn table(&self, table: &DeTable<'_>) -> Kind {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| Entry {
            line: self.line(key.span().start),
            node: self.node(value),
        };
        let name = |key: &Spanned<std::borrow::Cow<'_, str>>| key.get_ref().to_string();
        Kind::Table(table.iter().map(|(key, value)| (name(key), entry((key, value)))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, path: &str) -> usize {
        let tree = parse(text).unwrap();
        let path = KeyPath::from(path);
        let parent = tree.get(&path.parent()).unwrap();
        parent.child(path.steps().last().unwrap()).unwrap().0
    }

    #[test]
    fn every_key_and_item_knows_its_line() {
        let text = "a.b = 1\n[c.d]\ne = [\n  { f = 1 },\n  2,\n]\n[[g]]\nh = 1\n[[g]]\nh = 2\n";
        assert_eq!(line(text, "a.b"), 1);
        assert_eq!(line(text, "c.d"), 2);
        assert_eq!(line(text, "c.d.e"), 3);
        assert_eq!(line(text, "c.d.e[0].f"), 4);
        assert_eq!(line(text, "c.d.e[1]"), 5);
        assert_eq!(line(text, "g[1].h"), 10);
    }

    #[test]
    fn a_bare_value_is_toml_where_it_can_be() {
        assert!(matches!(scalar("8").kind, Kind::Integer(8)));
        assert!(matches!(scalar("true").kind, Kind::Boolean(true)));
        assert!(matches!(scalar("[\"a\"]").kind, Kind::Array(items) if items.len() == 1));
        assert!(matches!(scalar("{ env = \"A\" }").kind, Kind::Table(_)));
        for (text, taken) in [
            ("1MiB", "1MiB"),
            ("\"8\"", "8"),
            ("2026-01-01", "2026-01-01"),
            ("", ""),
            ("a b", "a b"),
            ("[a", "[a"),
        ] {
            assert!(matches!(scalar(text).kind, Kind::Text(found) if found == taken), "{text:?}");
        }
    }

    #[test]
    fn numbers_beyond_any_range_stay_numbers() {
        let text = format!("a = {}", "9".repeat(60));
        assert!(matches!(parse(&text).unwrap().get(&"a".into()).unwrap().kind, Kind::Integer(i128::MAX)));
    }

    #[test]
    fn every_broken_line_is_told_once() {
        let errors = parse("a = \nb = 1\nc = = 2\nd = \"x\n").unwrap_err();
        let lines: Vec<usize> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [1, 3, 4]);
        assert_eq!(errors[1].column, 5);
    }

    #[test]
    fn nesting_without_end_is_an_error() {
        for open in ["[", "{ a = "] {
            assert!(parse(&format!("a = {}", open.repeat(100_000))).is_err());
            assert!(matches!(scalar(&open.repeat(100_000)).kind, Kind::Text(_)));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_tree_or_an_error_within_it(text in "([a-c]|[\\[\\]{}=.,\"'#\\n\\r ]|[0-9eE+-]|\\PC){0,80}") {
            let lines = text.matches('\n').count() + 1;
            for error in parse(&text).err().unwrap_or_default() {
                proptest::prop_assert!((1..=lines).contains(&error.line), "{error:?}");
            }
            scalar(&text);
        }
    }
}
