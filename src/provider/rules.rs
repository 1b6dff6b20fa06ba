//! The parts of a scheme in checked form, and the names that provider files give them.

use std::time::Duration;

use regex::Regex;

use super::definition::{Grammar, Repeated};
use crate::extract::Pick;

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-1.
    HmacSha1,
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-384.
    HmacSha384,
    /// HMAC with SHA-512.
    HmacSha512,
    /// Ed25519: a source's secrets are public keys.
    Ed25519,
    /// No signature: the sender shows the secret itself.
    Token,
}

/// A hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Lower-case hexadecimal digits.
    Hex,
    /// Hexadecimal digits of either case.
    HexAnyCase,
    /// Canonical, padded base64.
    Base64,
    /// Canonical base64 of the alphabet for URLs, without padding.
    Base64Url,
    /// The bytes themselves.
    Text,
}

/// How a key is made from a secret's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// Its UTF-8 bytes, prefixes and all.
    Utf8,
    /// Hexadecimal digits.
    Hex,
    /// Base64, padding optional.
    Base64,
    /// Base64 after an optional `whsec_`, padding optional.
    Whsec,
    /// A public key in base64 after an optional `whpk_`; the private one after `whsk_`.
    Whpk,
    /// A public key as SubjectPublicKeyInfo, the private one as PKCS #8: PEM, or DER in base64.
    Spki,
}

/// A digest of the body inside what is signed: it proves the body.
#[derive(Clone, Debug)]
pub struct BodyDigestRule {
    /// The place, which every template covers.
    pub from: Pick,
    /// Of which hash.
    pub digest: Digest,
    /// How it is written.
    pub encoding: Encoding,
    /// Whether it may be absent; then nothing proves the body.
    pub optional: bool,
}

/// Where the signature is and how it is written.
#[derive(Clone, Debug)]
pub struct SignatureRule {
    /// The place.
    pub from: Pick,
    /// What a repeated header means.
    pub repeated: Repeated,
    /// How signatures stand in the value.
    pub grammar: Grammar,
    /// How each is written.
    pub encoding: Encoding,
    /// Further places, in order.
    pub more: Vec<Pick>,
    /// Whether the places are numbered, so that after one that is not there none counts.
    pub numbered: bool,
    /// Whether a secret of a slot goes with the place of that number alone.
    pub slots: bool,
    /// The expression of the grammar `pattern`.
    pub pattern: Option<Regex>,
    /// Prefixes of the grammar `choices` and what each stands for, longest first.
    pub choices: Vec<(String, Algorithm)>,
}

impl SignatureRule {
    /// All places, in order.
    pub fn places(&self) -> impl Iterator<Item = &Pick> {
        std::iter::once(&self.from).chain(&self.more)
    }
}

/// A value that must stand at a place.
#[derive(Clone, Debug)]
pub struct EqualRule {
    /// The place.
    pub place: Pick,
    /// What may stand there.
    pub wanted: Vec<String>,
}

/// A pattern that the whole value at a place must match.
#[derive(Clone, Debug)]
pub struct MatchingRule {
    /// The place.
    pub place: Pick,
    /// The pattern, from the value's start to its end.
    pub pattern: Regex,
}

/// Where the time of signing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// A named value beside the signature.
    Signature(String),
    /// A place of its own.
    Place(Pick),
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Unix seconds.
    Seconds,
    /// Unix milliseconds.
    Milliseconds,
    /// Unix milliseconds where it has 13 digits, else seconds.
    SecondsOrMilliseconds,
    /// RFC 3339 with any offset.
    Rfc3339,
    /// RFC 2822, and so the date of HTTP.
    Rfc2822,
}

/// Where the time of signing is and how old it may be.
#[derive(Clone, Debug)]
pub struct TimestampRule {
    /// Where.
    pub from: TimeSource,
    /// How it is written.
    pub unit: TimeUnit,
    /// Whether JSON must have it as a number.
    pub number: bool,
    /// Oldest age accepted; `None` = any.
    pub past: Option<Duration>,
    /// Farthest future accepted; `None` = any.
    pub future: Option<Duration>,
}

pub(super) const ALGORITHMS: [(&str, Algorithm); 6] = [
    ("hmac-sha1", Algorithm::HmacSha1),
    ("hmac-sha256", Algorithm::HmacSha256),
    ("hmac-sha384", Algorithm::HmacSha384),
    ("hmac-sha512", Algorithm::HmacSha512),
    ("ed25519", Algorithm::Ed25519),
    ("token", Algorithm::Token),
];
pub(super) const ENCODINGS: [(&str, Encoding); 5] = [
    ("hex", Encoding::Hex),
    ("hex-any-case", Encoding::HexAnyCase),
    ("base64", Encoding::Base64),
    ("base64url", Encoding::Base64Url),
    ("text", Encoding::Text),
];
pub(super) const KEY_FORMS: [(&str, KeyForm); 6] = [
    ("utf8", KeyForm::Utf8),
    ("hex", KeyForm::Hex),
    ("base64", KeyForm::Base64),
    ("whsec", KeyForm::Whsec),
    ("whpk", KeyForm::Whpk),
    ("spki", KeyForm::Spki),
];
pub(super) const TIME_UNITS: [(&str, TimeUnit); 5] = [
    ("seconds", TimeUnit::Seconds),
    ("milliseconds", TimeUnit::Milliseconds),
    ("seconds-or-milliseconds", TimeUnit::SecondsOrMilliseconds),
    ("rfc3339", TimeUnit::Rfc3339),
    ("rfc2822", TimeUnit::Rfc2822),
];
