//! What a reload changes, told apart by name: for the log, for the answer of a call, and to know whether there is
//! anything to be done.

use serde_json::{Value, json};

use crate::audit::TARGET;

/// Names in one field of a log line; more are counted.
const NAMES_MAX: usize = 50;

/// Names, in order.
pub(super) type Names = Vec<String>;

/// What a reload changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Sources that were not there.
    pub added: Names,
    /// Sources that are no longer.
    pub removed: Names,
    /// Sources of which anything differs, their secrets included.
    pub changed: Names,
    /// Secrets that were not there, as `source/label`.
    pub secrets_added: Names,
    /// Secrets that are no longer.
    pub secrets_removed: Names,
    /// Secrets with another text, time or id under the same label.
    pub secrets_replaced: Names,
    /// Keys that belong to no single source.
    pub settings: Vec<&'static str>,
}

impl Changes {
    /// Whether nothing differs.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether sources have come or gone.
    pub(super) fn other_sources(&self) -> bool {
        !(self.added.is_empty() && self.removed.is_empty())
    }

    /// One line in the log: an operator's action.
    pub(super) fn tell(&self, operator: &str, milliseconds: u64) {
        let (added, removed, changed) = (line(&self.added), line(&self.removed), line(&self.changed));
        let secrets_added = line(&self.secrets_added);
        let (secrets_removed, secrets_replaced) = (line(&self.secrets_removed), line(&self.secrets_replaced));
        let settings = self.settings.join(", ");
        tracing::info!(
            target: TARGET,
            audit = "action",
            operator,
            action = "reload",
            added,
            removed,
            changed,
            secrets_added,
            secrets_removed,
            secrets_replaced,
            settings,
            milliseconds,
            "reloaded the configuration"
        );
    }

    /// As data.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "sources": { "added": self.added, "removed": self.removed, "changed": self.changed },
            "secrets": {
                "added": self.secrets_added,
                "removed": self.secrets_removed,
                "replaced": self.secrets_replaced,
            },
            "settings": self.settings,
        })
    }
}

fn line(names: &Names) -> String {
    let mut line = names.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(NAMES_MAX).filter(|more| *more > 0) {
        line.push_str(&format!(" and {more} more"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_counted() {
        let names: Names = (0..60).map(|n| format!("s{n}")).collect();
        let text = line(&names);
        assert!(text.starts_with("s0, s1, ") && text.ends_with("s49 and 10 more"), "{text}");
        assert_eq!(line(&names[..2].to_vec()), "s0, s1");
        assert!(Changes::default().is_empty());
    }
}
