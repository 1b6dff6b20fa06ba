//! The way to a value: `sources.stripe.secrets[0].label`.

use std::fmt;

/// One step into a table or a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// A key with the tables and lists around it. Read from its text by `KeyPath::from`, and printed the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(Vec<Step>);

impl KeyPath {
    /// This path and one key more.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    /// This path and a place in its list, counted from 0.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    pub(super) fn with(&self, step: Step) -> Self {
        let mut longer = self.clone();
        longer.0.push(step);
        longer
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether there is no step at all.
    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last key of the path, if it ends with one.
    pub(super) fn last_key(&self) -> Option<&str> {
        match self.0.last() {
            Some(Step::Key(key)) => Some(key),
            Some(Step::Index(_)) | None => None,
        }
    }

    /// The path without its last step.
    pub(super) fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// Whether `other` is this path or lies inside it.
    pub(super) fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// Whether a text here is a secret's own text, which no message may show.
    pub(super) fn is_secret(&self) -> bool {
        let mut keys = self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        });
        let inside = match keys.next() {
            Some("sources") => keys.nth(1) == Some("secrets"),
            Some("admin") => matches!(keys.next(), Some("token" | "read_token" | "worker_token")),
            Some("notices") => keys.next() == Some("secret"),
            Some("sink" | "dedup") => keys.next() == Some("url"),
            _ => false,
        };
        inside && keys.next().is_none_or(|key| !REFERENCE_KEYS.contains(&key))
    }
}

/// Keys of a secret reference whose text is no secret.
const REFERENCE_KEYS: [&str; 6] = ["env", "file", "credential", "label", "not_before", "not_after"];

impl From<&str> for KeyPath {
    /// Takes `a.b[0].c` apart. Quoted keys are not known here; add them with [`KeyPath::key`].
    fn from(text: &str) -> Self {
        let mut steps = Vec::new();
        for part in text.split('.').filter(|part| !part.is_empty()) {
            let mut pieces = part.split('[');
            steps.extend(pieces.next().filter(|key| !key.is_empty()).map(|key| Step::Key(key.to_owned())));
            steps
                .extend(pieces.filter_map(|piece| piece.trim_end_matches(']').parse().ok().map(Step::Index)));
        }
        Self(steps)
    }
}

impl From<String> for KeyPath {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&KeyPath> for KeyPath {
    fn from(path: &KeyPath) -> Self {
        path.clone()
    }
}

impl FromIterator<Step> for KeyPath {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    f.write_str(if at > 0 { "." } else { "" })?;
                    write_key(f, key)?;
                }
            }
        }
        Ok(())
    }
}

/// Bare where TOML allows it, quoted and escaped otherwise.
fn write_key(f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !key.is_empty() && key.chars().all(bare) { f.write_str(key) } else { write!(f, "{key:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_printed_as_it_is_read() {
        for text in ["ingress", "sources.my-shop.secrets[1].label", "a[0][2].b"] {
            assert_eq!(KeyPath::from(text).to_string(), text);
        }
        assert_eq!(KeyPath::from("a").key("b.c").key("").to_string(), "a.\"b.c\".\"\"");
    }

    #[test]
    fn the_text_of_secrets_is_known_by_its_place() {
        for secret in [
            "sources.a.secrets",
            "sources.a.secrets[0]",
            "sources.a.secrets[0].value",
            "admin.token",
            "admin.read_token",
            "notices.secret",
            "sink.url.value",
            "dedup.url",
        ] {
            assert!(KeyPath::from(secret).is_secret(), "{secret}");
        }
        for open in [
            "sources.secrets",
            "sources.a.secrets[0].env",
            "sources.secrets.provider",
            "sink.kind",
            "admin.listen",
            "sink.url.file",
        ] {
            assert!(!KeyPath::from(open).is_secret(), "{open}");
        }
    }
}
