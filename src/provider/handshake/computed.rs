//! Values made for an answer: digests of values of the request, and MACs with the source's key.
//!
//! Nothing here has a key: who holds it lends a [`Mint`]. A MAC that anybody may ask for signs texts of one shape
//! alone, the [`Computed::shape`], and no delivery whose signed bytes have that shape is believed.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::answer::{Part, Text};
use super::conditions::Asked;

/// How a value is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// The SHA-1 digest.
    Sha1,
    /// The SHA-256 digest.
    Sha256,
    /// The SHA-512 digest.
    Sha512,
    /// HMAC with SHA-1 and the source's key.
    HmacSha1,
    /// HMAC with SHA-256 and the source's key.
    HmacSha256,
    /// HMAC with SHA-512 and the source's key.
    HmacSha512,
}

impl Made {
    /// Whether the source's key goes into it.
    pub fn needs_key(self) -> bool {
        matches!(self, Self::HmacSha1 | Self::HmacSha256 | Self::HmacSha512)
    }
}

/// Makes a value of these bytes; `None` where it needs a key and there is none.
pub type Mint<'m> = &'m dyn Fn(Made, &[u8]) -> Option<Vec<u8>>;

/// How a made value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Hex,
    Base64,
    Base64Url,
}

pub(super) const MADE: [(&str, Made); 6] = [
    ("sha1", Made::Sha1),
    ("sha256", Made::Sha256),
    ("sha512", Made::Sha512),
    ("hmac-sha1", Made::HmacSha1),
    ("hmac-sha256", Made::HmacSha256),
    ("hmac-sha512", Made::HmacSha512),
];

pub(super) const WRITTEN: [(&str, Written); 3] =
    [("hex", Written::Hex), ("base64", Written::Base64), ("base64url", Written::Base64Url)];

/// A value for the answer.
#[derive(Clone, Debug)]
pub(super) struct Computed {
    pub made: Made,
    pub of: Text,
    pub written: Written,
}

impl Computed {
    /// Its text; `None` where there is no key that it needs.
    pub(super) fn render(&self, values: &[Cow<'_, str>], mint: Mint<'_>) -> Option<String> {
        let bytes = mint(self.made, self.of.render(values, &[]).as_bytes())?;
        Some(match self.written {
            Written::Hex => hex::encode(bytes),
            Written::Base64 => STANDARD.encode(bytes),
            Written::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
        })
    }

    /// A regular expression of the texts that it may be made of. The patterns of `places` assert nothing of what
    /// stands beside a value, so what holds for each value alone holds for it here.
    pub(super) fn shape(&self, places: &[Asked]) -> String {
        let part = |part: &Part| match part {
            Part::Literal(text) => regex::escape(text),
            Part::Echo(place) => places.get(*place).map(values).unwrap_or_default(),
            Part::Computed(_) => String::new(),
        };
        format!(r"\A{}\z", self.of.0.iter().map(part).collect::<String>())
    }
}

/// The values that may stand at a place.
fn values(asked: &Asked) -> String {
    let wanted: Vec<String> = asked.wanted.iter().map(|wanted| regex::escape(&wanted.text)).collect();
    match &asked.pattern {
        _ if !wanted.is_empty() => format!("(?:{})", wanted.join("|")),
        Some(pattern) => format!("(?:{})", pattern.text),
        None => r"(?s:.*)".to_owned(),
    }
}

/// Whether a pattern asserts what stands beside a value: then it would mean another thing within a longer text.
pub(super) fn looks_around(pattern: &str) -> bool {
    let mut before = '\0';
    let mut escaped = false;
    for next in pattern.chars() {
        let asserts = match (escaped, next) {
            (true, 'A' | 'z' | 'b' | 'B' | '<' | '>') | (false, '$') => true,
            (false, '^') => before != '[',
            _ => false,
        };
        if asserts {
            return true;
        }
        escaped = !escaped && next == '\\';
        before = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_looks_beside_its_value_is_told() {
        for pattern in ["^a", "a$", r"\Aa", r"a\z", r"\ba", r"a\B", r"\<a", r"\b{start}a", "[a^]", r"\\^"] {
            assert!(looks_around(pattern), "{pattern}");
        }
        for pattern in ["[0-9a-f]{32}", "[^a]+", r"\$\^", r"\d+\.\w*", r"\\z", r"(?i:a|b)"] {
            assert!(!looks_around(pattern), "{pattern}");
        }
    }
}
