//! A source as a diagnosis knows it: its scheme and its secrets as they were written.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::provider::Scheme;
use crate::provider::secret::{self, Secret};

/// A secret's text, wiped when dropped; shown by its label alone.
pub struct KnownSecret {
    label: String,
    text: Zeroizing<Vec<u8>>,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

impl From<&Secret> for KnownSecret {
    fn from(secret: &Secret) -> Self {
        Self {
            label: secret.label().to_owned(),
            text: Zeroizing::new(secret.expose().to_vec()),
            not_before: secret.not_before(),
            not_after: secret.not_after(),
        }
    }
}

impl KnownSecret {
    #[cfg(test)]
    pub(super) fn of(text: &[u8]) -> Self {
        let text = Zeroizing::new(text.to_vec());
        Self { label: "held".to_owned(), text, not_before: None, not_after: None }
    }

    /// The name that it is shown under.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its fingerprint, as [`secret::fingerprint`] has it.
    pub fn fingerprint(&self) -> String {
        secret::fingerprint(&self.text)
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether it counts at `now`.
    pub(super) fn is_active(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|from| now >= from) && self.not_after.is_none_or(|until| now < until)
    }
}

impl fmt::Debug for KnownSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KnownSecret({})", self.label)
    }
}

/// A source: how its senders sign, and with what.
#[derive(Debug)]
pub struct Endpoint {
    /// The source's name; empty where only a provider is known.
    pub name: String,
    /// Its scheme.
    pub scheme: Arc<Scheme>,
    /// Its secrets.
    pub secrets: Vec<KnownSecret>,
}
