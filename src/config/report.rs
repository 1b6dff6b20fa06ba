//! The one report of everything wrong with a configuration.
//!
//! Findings stand in the order of the layers and lines they came from. Whoever adds one names the key; the
//! place is found here. No finding shows the text of a secret.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use super::layers::Origins;
use super::path::KeyPath;
use super::tree::{Kind, Node};

/// The longest text of a configuration that a report repeats, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a file; line and column count from 1 and are 0 where there is none.
    File {
        /// The path as it was opened.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column, known for text that is not TOML.
        column: usize,
    },
    /// In an environment variable of this name.
    Variable(String),
    /// In a flag that sets this key.
    Flag(String),
    /// Nowhere: it is a default.
    Defaults,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => {
                write!(f, "{}", path.display())?;
                for number in [line, column].into_iter().filter(|number| **number > 0) {
                    write!(f, ":{number}")?;
                }
                Ok(())
            }
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Flag(key) => write!(f, "flag {key}"),
            Self::Defaults => f.write_str("defaults"),
        }
    }
}

/// What is wrong at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Its value; what was found, fit to be shown.
    Value(String),
    /// The key itself, and the known one it looks like.
    UnknownKey(Option<String>),
    /// That it is missing.
    Missing,
    /// That the text around it cannot be read at all, and why.
    Unreadable(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(found) => write!(f, "found {found};"),
            Self::UnknownKey(Some(known)) => write!(f, "unknown key; did you mean `{known}`?"),
            Self::UnknownKey(None) => f.write_str("unknown key;"),
            Self::Missing => f.write_str("missing;"),
            Self::Unreadable(why) => f.write_str(why),
        }
    }
}

/// One thing wrong. Printed on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it was given.
    pub place: Place,
    /// Its key; empty if the text around it could not be read.
    pub key: KeyPath,
    /// What is wrong.
    pub wrong: Wrong,
    /// What would be right; empty if `wrong` says it.
    pub allowed: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_root() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.wrong)?;
        if self.allowed.is_empty() { Ok(()) } else { write!(f, " allowed: {}", self.allowed) }
    }
}

/// Everything wrong with a configuration; printed a line per finding, and their number.
#[derive(Clone, Debug, Default)]
pub struct Report {
    origins: Origins,
    findings: Vec<(usize, Finding)>,
}

impl Report {
    /// An empty report on what came from `origins`.
    pub fn new(origins: Origins) -> Self {
        Self { origins, findings: Vec::new() }
    }

    /// Adds that the value at `key` is wrong: what was `found` (never the text of a secret), and what is
    /// `allowed` or to be done. File and line are found by the key.
    pub fn error(&mut self, key: impl Into<KeyPath>, found: impl Into<String>, allowed: impl Into<String>) {
        self.add(key.into(), Wrong::Value(found.into()), allowed.into());
    }

    /// Adds that `key` is missing, and what is allowed there; unless it is there, and wrong.
    pub fn missing(&mut self, key: impl Into<KeyPath>, allowed: impl Into<String>) {
        let key = key.into();
        if !self.tells_of(&key) {
            self.add(key, Wrong::Missing, allowed.into());
        }
    }

    /// Whether a finding touches `key`, so that its value in the settings is not the one that was given.
    pub fn tells_of(&self, key: &KeyPath) -> bool {
        let touches = |other: &KeyPath| !other.is_root() && (key.holds(other) || other.holds(key));
        self.iter().any(|finding| touches(&finding.key))
    }

    /// Adds that nobody knows `key`, where only `known` keys stand.
    pub fn unknown(&mut self, key: impl Into<KeyPath>, known: &[&str]) {
        let key = key.into();
        let suggestion = key.last_key().and_then(|wrong| nearest(wrong, known));
        self.add(key, Wrong::UnknownKey(suggestion.map(str::to_owned)), known.join(", "));
    }

    /// Takes in what later checks found, less what only follows from a finding of this report.
    pub(super) fn follow(&mut self, later: Self) {
        let mut new = later.findings;
        new.retain(|(_, finding)| !self.tells_of(&finding.key));
        new.into_iter().for_each(|(rank, finding)| self.insert(rank, finding));
    }

    fn add(&mut self, key: KeyPath, wrong: Wrong, allowed: String) {
        let (rank, place) = self.origins.place_of(&key);
        self.insert(rank, Finding { place, key, wrong, allowed });
    }

    /// Adds a finding whose place is known, in its order.
    pub(super) fn insert(&mut self, rank: usize, finding: Finding) {
        let order = |rank: usize, finding: &Finding| match finding.place {
            Place::File { line, .. } => (rank, line, finding.key.clone()),
            Place::Variable(_) | Place::Flag(_) | Place::Defaults => (rank, 0, finding.key.clone()),
        };
        let new = order(rank, &finding);
        let at = self.findings.partition_point(|(rank, other)| order(*rank, other) <= new);
        self.findings.insert(at, (rank, finding));
    }

    /// The rank of findings in files that the configuration names: after its own.
    pub(super) fn rank_beside(&self) -> usize {
        self.origins.rank_beside()
    }

    /// Where values came from.
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// The findings, in the order of layers and lines.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().map(|(_, finding)| finding)
    }

    /// How many findings there are.
    pub fn len(&self) -> usize {
        self.findings.len()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// `value` if nothing is wrong, otherwise this report.
    ///
    /// # Errors
    /// The report itself, if it has findings.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in self.iter() {
            writeln!(f, "{finding}")?;
        }
        let plural = if self.len() == 1 { "" } else { "s" };
        write!(f, "{} error{plural}", self.len())
    }
}

impl std::error::Error for Report {}

/// The value at `path` as a report shows it: secrets as `"***"`, lists and tables by their kind.
pub(super) fn shown(path: &KeyPath, node: &Node) -> String {
    match &node.kind {
        Kind::Array(_) => "a list".to_owned(),
        Kind::Table(_) => "a table".to_owned(),
        Kind::Gone => "nothing".to_owned(),
        _ if path.is_secret() => "\"***\"".to_owned(),
        Kind::Text(text) => quoted(text),
        Kind::Integer(i128::MAX) => "a number of more than 38 digits".to_owned(),
        Kind::Integer(number) => number.to_string(),
        Kind::Float(number) => format!("{number:?}"),
        Kind::Boolean(truth) => truth.to_string(),
    }
}

/// `text` in quotes, on one line, cut where it is long; what stands in front of a URL's host may be a password.
pub(super) fn quoted(text: &str) -> String {
    let text = &without_user(text);
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?} and more", text.split_at(end).0),
    }
}

/// A URL without what stands between its `//` and the last `@`.
fn without_user(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else { return text.into() };
    rest.rsplit_once('@').map_or(text.into(), |(_, host)| format!("{scheme}://***@{host}").into())
}

/// The known key that `wrong` most likely stands for.
pub fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let edits_max = (wrong.chars().count() / 3).max(1);
    let distance = |key: &&str| strsim::damerau_levenshtein(wrong, key);
    known.iter().copied().filter(|key| distance(key) <= edits_max).min_by_key(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_near() {
        let known = ["path", "provider", "on_limit", "on_twin"];
        assert_eq!(nearest("on_limt", &known), Some("on_limit"));
        assert_eq!(nearest("pth", &known), Some("path"));
        assert_eq!(nearest("rpovider", &known), Some("provider"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("", &known), None);
    }

    #[test]
    fn long_text_is_cut_and_stays_on_one_line() {
        assert_eq!(quoted("a\nb\u{1b}"), "\"a\\nb\\u{1b}\"");
        assert_eq!(quoted("https://u:p@ss/w@h.example/a"), "\"https://***@h.example/a\"");
        assert_eq!(quoted("https://h.example/a"), "\"https://h.example/a\"");
        let cut = quoted(&"é".repeat(500));
        assert_eq!(cut.chars().filter(|c| *c == 'é').count(), SHOWN_CHARS_MAX);
    }

    #[test]
    fn an_empty_report_is_a_success() {
        assert_eq!(Report::default().into_result(7).ok(), Some(7));
        let mut report = Report::default();
        report.error("sink.kind", "\"a\"", "b");
        assert_eq!(report.to_string(), "defaults: sink.kind: found \"a\"; allowed: b\n1 error");
        assert!(report.into_result(7).is_err());
    }
}
