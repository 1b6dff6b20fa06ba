//! The parts of a scheme in checked form, and the names that provider files give them.

use std::fmt;
use std::time::Duration;

use regex::Regex;

use super::definition::Repeated;
use super::grammar::Grammar;
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
    /// The plain digest of text that holds the secret.
    Plain(Digest),
    /// Ed25519: a source's secrets are public keys.
    Ed25519,
    /// ECDSA on P-256 with SHA-1, as DER.
    EcdsaP256Sha1,
    /// ECDSA on P-256 with SHA-256, as DER.
    EcdsaP256Sha256,
    /// The same as the two numbers one after the other, as JSON Web Signatures have it.
    EcdsaP256Sha256Raw,
    /// ECDSA on P-384 with SHA-384, as DER.
    EcdsaP384Sha384,
    /// The same as the two numbers one after the other.
    EcdsaP384Sha384Raw,
    /// RSA PKCS #1 v1.5 with SHA-1.
    RsaPkcs1Sha1,
    /// RSA PKCS #1 v1.5 with SHA-256.
    RsaPkcs1Sha256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    RsaPkcs1Sha384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    RsaPkcs1Sha512,
    /// RSA PSS with SHA-256 and a salt of 32 bytes.
    RsaPssSha256,
    /// A compact JSON Web Token, signed by this algorithm and no other.
    Jwt(Jws),
    /// HTTP Basic: the sender shows user and password.
    Basic,
    /// No signature: the sender shows the secret itself.
    Token,
    /// Nothing is proved: only for sources that say so.
    Unauthenticated,
}

impl Algorithm {
    /// As a provider's file calls it.
    pub fn name(self) -> &'static str {
        ALGORITHMS.into_iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// Whether the secrets of a source are public keys, which cannot sign.
    pub fn has_public_keys(self) -> bool {
        match self {
            Self::Ed25519
            | Self::EcdsaP256Sha1
            | Self::EcdsaP256Sha256
            | Self::EcdsaP256Sha256Raw
            | Self::EcdsaP384Sha384
            | Self::EcdsaP384Sha384Raw
            | Self::RsaPkcs1Sha1
            | Self::RsaPkcs1Sha256
            | Self::RsaPkcs1Sha384
            | Self::RsaPkcs1Sha512
            | Self::RsaPssSha256 => true,
            Self::Jwt(jws) => !matches!(jws, Jws::Hs256 | Jws::Hs384 | Jws::Hs512),
            Self::HmacSha1
            | Self::HmacSha256
            | Self::HmacSha384
            | Self::HmacSha512
            | Self::Plain(_)
            | Self::Basic
            | Self::Token
            | Self::Unauthenticated => false,
        }
    }

    /// Whether nobody signs by it here: with a public key and SHA-1 signatures are only verified.
    pub fn is_only_verified(self) -> bool {
        matches!(self, Self::EcdsaP256Sha1 | Self::RsaPkcs1Sha1)
    }

    /// Whether a signature is made over templates of signed bytes.
    pub fn signs_templates(self) -> bool {
        !matches!(self, Self::Jwt(_) | Self::Basic | Self::Token | Self::Unauthenticated)
    }

    /// Whether the sender shows the secret itself.
    pub fn shows_secret(self) -> bool {
        matches!(self, Self::Basic | Self::Token)
    }
}

/// How a JSON Web Token is signed (RFC 7518).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jws {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    Rs512,
    /// RSA PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Jws {
    /// What a token's `alg` says.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// MD5, for senders that have nothing better.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
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
    /// The UTF-8 bytes of its NFKD form.
    Nfkd,
    /// The SHA-1 digest of its UTF-8 bytes.
    Sha1,
    /// Hexadecimal digits.
    Hex,
    /// Base64, padding optional.
    Base64,
    /// Base64 after an optional `whsec_`, padding optional.
    Whsec,
    /// A public key in base64 after an optional `whpk_`; the private one after `whsk_`.
    Whpk,
    /// A public key as PEM, as DER in base64, in an X.509 certificate or as JWK; the private one as PKCS #8 or JWK.
    PublicKey,
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

impl TimeSource {
    /// Its place, also where that is beside the signature.
    pub fn place(&self) -> Pick {
        match self {
            Self::Signature(name) => Pick::Signature(name.clone()),
            Self::Place(place) => place.clone(),
        }
    }
}

/// As a provider file writes it.
impl fmt::Display for TimeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(name) => write!(f, "signature:{name}"),
            Self::Place(place) => place.fmt(f),
        }
    }
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

/// As people are told what a time must look like.
impl fmt::Display for TimeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seconds => "Unix seconds (digits, such as 1795244400)",
            Self::Milliseconds => "Unix milliseconds (digits, such as 1795244400000)",
            Self::SecondsOrMilliseconds => "Unix seconds, or milliseconds in 13 digits",
            Self::Rfc3339 => "RFC 3339 (such as 2026-11-21T07:00:00Z)",
            Self::Rfc2822 => "RFC 2822 (such as Sat, 21 Nov 2026 07:00:00 GMT)",
        })
    }
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

pub(super) const DIGESTS: [(&str, Digest); 5] = [
    ("sha256", Digest::Sha256),
    ("sha384", Digest::Sha384),
    ("sha512", Digest::Sha512),
    ("sha1", Digest::Sha1),
    ("md5", Digest::Md5),
];
pub(super) const ALGORITHMS: [(&str, Algorithm); 33] = [
    ("hmac-sha1", Algorithm::HmacSha1),
    ("hmac-sha256", Algorithm::HmacSha256),
    ("hmac-sha384", Algorithm::HmacSha384),
    ("hmac-sha512", Algorithm::HmacSha512),
    ("md5", Algorithm::Plain(Digest::Md5)),
    ("sha1", Algorithm::Plain(Digest::Sha1)),
    ("sha256", Algorithm::Plain(Digest::Sha256)),
    ("sha384", Algorithm::Plain(Digest::Sha384)),
    ("sha512", Algorithm::Plain(Digest::Sha512)),
    ("ed25519", Algorithm::Ed25519),
    ("ecdsa-p256-sha1", Algorithm::EcdsaP256Sha1),
    ("ecdsa-p256-sha256", Algorithm::EcdsaP256Sha256),
    ("ecdsa-p256-sha256-raw", Algorithm::EcdsaP256Sha256Raw),
    ("ecdsa-p384-sha384", Algorithm::EcdsaP384Sha384),
    ("ecdsa-p384-sha384-raw", Algorithm::EcdsaP384Sha384Raw),
    ("rsa-pkcs1-sha1", Algorithm::RsaPkcs1Sha1),
    ("rsa-pkcs1-sha256", Algorithm::RsaPkcs1Sha256),
    ("rsa-pkcs1-sha384", Algorithm::RsaPkcs1Sha384),
    ("rsa-pkcs1-sha512", Algorithm::RsaPkcs1Sha512),
    ("rsa-pss-sha256", Algorithm::RsaPssSha256),
    ("jwt-hs256", Algorithm::Jwt(Jws::Hs256)),
    ("jwt-hs384", Algorithm::Jwt(Jws::Hs384)),
    ("jwt-hs512", Algorithm::Jwt(Jws::Hs512)),
    ("jwt-rs256", Algorithm::Jwt(Jws::Rs256)),
    ("jwt-rs384", Algorithm::Jwt(Jws::Rs384)),
    ("jwt-rs512", Algorithm::Jwt(Jws::Rs512)),
    ("jwt-ps256", Algorithm::Jwt(Jws::Ps256)),
    ("jwt-es256", Algorithm::Jwt(Jws::Es256)),
    ("jwt-es384", Algorithm::Jwt(Jws::Es384)),
    ("jwt-eddsa", Algorithm::Jwt(Jws::EdDsa)),
    ("basic", Algorithm::Basic),
    ("token", Algorithm::Token),
    ("none", Algorithm::Unauthenticated),
];
pub(super) const ENCODINGS: [(&str, Encoding); 5] = [
    ("hex", Encoding::Hex),
    ("hex-any-case", Encoding::HexAnyCase),
    ("base64", Encoding::Base64),
    ("base64url", Encoding::Base64Url),
    ("text", Encoding::Text),
];
pub(super) const KEY_FORMS: [(&str, KeyForm); 8] = [
    ("utf8", KeyForm::Utf8),
    ("nfkd", KeyForm::Nfkd),
    ("sha1", KeyForm::Sha1),
    ("hex", KeyForm::Hex),
    ("base64", KeyForm::Base64),
    ("whsec", KeyForm::Whsec),
    ("whpk", KeyForm::Whpk),
    ("public-key", KeyForm::PublicKey),
];
pub(super) const TIME_UNITS: [(&str, TimeUnit); 5] = [
    ("seconds", TimeUnit::Seconds),
    ("milliseconds", TimeUnit::Milliseconds),
    ("seconds-or-milliseconds", TimeUnit::SecondsOrMilliseconds),
    ("rfc3339", TimeUnit::Rfc3339),
    ("rfc2822", TimeUnit::Rfc2822),
];

/// The names that provider files have for values, by the key that they stand at.
#[cfg(test)]
pub fn names() -> [(&'static str, Vec<&'static str>); 4] {
    fn of<T, const N: usize>(table: [(&'static str, T); N]) -> Vec<&'static str> {
        table.into_iter().map(|(name, _)| name).collect()
    }
    [
        ("/$defs/SchemeDefinition/properties/algorithm", of(ALGORITHMS)),
        ("/$defs/SchemeDefinition/properties/secret", of(KEY_FORMS)),
        ("/$defs/SignatureDefinition/properties/encoding", of(ENCODINGS)),
        ("/$defs/TimestampDefinition/properties/unit", of(TIME_UNITS)),
    ]
}
