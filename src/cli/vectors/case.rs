//! What becomes a made vector: a request, the secrets that its source has, and what it must be.

use super::keys::Pair;
use crate::delivery::Delivery;

/// A request and what it must be.
pub(super) struct Case {
    /// The last part of its id.
    pub name: String,
    /// What it must be.
    pub verdict: Verdict,
    /// The secrets that the source has.
    pub secrets: Vec<Pair>,
    /// The request.
    pub delivery: Delivery,
}

/// What a request must be.
pub(super) enum Verdict {
    /// An event.
    Accepted,
    /// Refused, and why in words.
    Refused(String),
    /// The handshake of that name.
    Handshake(String),
}

impl Case {
    /// An event.
    pub(super) fn accepted(name: impl Into<String>, secrets: Vec<Pair>, delivery: Delivery) -> Self {
        Self { name: name.into(), verdict: Verdict::Accepted, secrets, delivery }
    }

    /// A request to be refused because of `why`.
    pub(super) fn refused(
        name: impl Into<String>,
        why: impl Into<String>,
        secrets: Vec<Pair>,
        delivery: Delivery,
    ) -> Self {
        Self { name: name.into(), verdict: Verdict::Refused(why.into()), secrets, delivery }
    }
}

/// A place, a prefix or a name as a part of an id.
pub(super) fn slug(text: &str) -> String {
    let name = text.split_once(':').map_or(text, |(_, name)| name);
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    plain.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_without_its_kind() {
        for (text, want) in [("header:X-One", "x-one"), ("json:/a/b", "a-b"), ("sha256=", "sha256")] {
            assert_eq!(slug(text), want);
        }
    }
}
