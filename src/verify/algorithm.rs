//! The MACs and plain digests, and signatures as bytes. Comparing is constant in time and done nowhere else.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use subtle::{Choice, ConstantTimeEq};

use crate::provider::{Algorithm, Digest, Encoding, Jws};

/// A MAC that has its key and waits for bytes; cloned for each delivery, so the key is set up once.
#[derive(Clone)]
pub(super) enum Mac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl Mac {
    /// Sets up the key; `None` for algorithms that have no MAC.
    pub(super) fn new(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::HmacSha1 => Hmac::new_from_slice(key).ok().map(Self::Sha1),
            Algorithm::HmacSha256 | Algorithm::Jwt(Jws::Hs256) => {
                Hmac::new_from_slice(key).ok().map(Self::Sha256)
            }
            Algorithm::HmacSha384 | Algorithm::Jwt(Jws::Hs384) => {
                Hmac::new_from_slice(key).ok().map(Self::Sha384)
            }
            Algorithm::HmacSha512 | Algorithm::Jwt(Jws::Hs512) => {
                Hmac::new_from_slice(key).ok().map(Self::Sha512)
            }
            _ => None,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(mac) => mac.update(bytes),
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha384(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Output {
        match self {
            Self::Sha1(mac) => Output::from_bytes(&mac.finalize().into_bytes()),
            Self::Sha256(mac) => Output::from_bytes(&mac.finalize().into_bytes()),
            Self::Sha384(mac) => Output::from_bytes(&mac.finalize().into_bytes()),
            Self::Sha512(mac) => Output::from_bytes(&mac.finalize().into_bytes()),
        }
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac(…)")
    }
}

/// A plain digest under way.
pub(super) enum Hash {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hash {
    pub(super) fn new(digest: Digest) -> Self {
        match digest {
            Digest::Md5 => Self::Md5(Md5::new()),
            Digest::Sha1 => Self::Sha1(Sha1::new()),
            Digest::Sha256 => Self::Sha256(Sha256::new()),
            Digest::Sha384 => Self::Sha384(Sha384::new()),
            Digest::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hash) => hash.update(bytes),
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha384(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Output {
        match self {
            Self::Md5(hash) => Output::from_bytes(&hash.finalize()),
            Self::Sha1(hash) => Output::from_bytes(&hash.finalize()),
            Self::Sha256(hash) => Output::from_bytes(&hash.finalize()),
            Self::Sha384(hash) => Output::from_bytes(&hash.finalize()),
            Self::Sha512(hash) => Output::from_bytes(&hash.finalize()),
        }
    }
}

/// Longest MAC or digest, in bytes.
const OUTPUT_MAX: usize = 64;
/// Longest signature by a public key, in bytes: RSA of 8192 bits.
const SIGNATURE_MAX: usize = 1024;

/// Bytes of a MAC, digest or signature, zero-padded; compared in constant time only.
#[derive(Clone)]
pub(super) struct Output {
    bytes: [u8; OUTPUT_MAX],
    len: u8,
    /// A signature that has no fixed length; nothing is ever compared with it.
    long: Option<Box<[u8]>>,
}

impl Output {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut output = Self { bytes: [0; OUTPUT_MAX], len: 0, long: None };
        let known = bytes.get(..OUTPUT_MAX).unwrap_or(bytes);
        if let Some(space) = output.bytes.get_mut(..known.len()) {
            space.copy_from_slice(known);
            output.len = u8::try_from(known.len()).unwrap_or_default();
        }
        output
    }

    /// The digest of `bytes`.
    pub(super) fn of_digest(digest: Digest, bytes: &[u8]) -> Self {
        let mut hash = Hash::new(digest);
        hash.update(bytes);
        hash.finish()
    }

    fn of_signature(bytes: Vec<u8>) -> Self {
        Self { bytes: [0; OUTPUT_MAX], len: 0, long: Some(bytes.into()) }
    }

    /// What stands for a token of any length, so that comparing tells nothing of the secret's.
    pub(super) fn of_token(token: &[u8]) -> Self {
        Self::from_bytes(&Sha256::digest(token))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match &self.long {
            Some(long) => long,
            None => self.bytes.get(..usize::from(self.len)).unwrap_or_default(),
        }
    }
}

impl ConstantTimeEq for Output {
    fn ct_eq(&self, other: &Self) -> Choice {
        let short = Choice::from(u8::from(self.long.is_none() && other.long.is_none()));
        // A length is the algorithm's and no secret.
        self.as_bytes().ct_eq(other.as_bytes()) & short
    }
}

/// The length of every signature of that algorithm; `None` where it depends on the key or on the signature.
const fn length(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::Plain(Digest::Md5) => Some(16),
        Algorithm::HmacSha1 | Algorithm::Plain(Digest::Sha1) => Some(20),
        Algorithm::HmacSha256 | Algorithm::Plain(Digest::Sha256) => Some(32),
        Algorithm::HmacSha384 | Algorithm::Plain(Digest::Sha384) => Some(48),
        Algorithm::HmacSha512 | Algorithm::Plain(Digest::Sha512) | Algorithm::Ed25519 => Some(64),
        _ => None,
    }
}

/// A candidate's bytes; `None` where it is not strictly in that encoding, or too long or short for a signature.
pub(super) fn decode(algorithm: Algorithm, encoding: Encoding, text: &str) -> Option<Output> {
    if algorithm.shows_secret() {
        return bytes(encoding, text).map(|token| Output::of_token(&token));
    }
    match length(algorithm) {
        Some(len) => decode_bytes(encoding, text, len),
        None if text.len() > 2 * SIGNATURE_MAX => None,
        None => strict(encoding, text)
            .filter(|bytes| (1..=SIGNATURE_MAX).contains(&bytes.len()))
            .map(Output::of_signature),
    }
}

/// The bytes of a signature of no fixed length.
fn strict(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex if has_upper_case(text) => None,
        Encoding::Text => None,
        _ => bytes(encoding, text),
    }
}

/// Whether any letter is in upper case; every byte is looked at, which is faster than to stop at the first.
fn has_upper_case(text: &str) -> bool {
    text.bytes().fold(false, |any, byte| any | byte.is_ascii_uppercase())
}

/// Exactly `len` bytes; `None` where the text is not strictly these in that encoding.
pub(super) fn decode_bytes(encoding: Encoding, text: &str, len: usize) -> Option<Output> {
    let mut bytes = [0_u8; OUTPUT_MAX];
    let space = bytes.get_mut(..len)?;
    match encoding {
        Encoding::Hex if has_upper_case(text) => return None,
        Encoding::Hex | Encoding::HexAnyCase => hex::decode_to_slice(text, space).ok()?,
        Encoding::Base64 | Encoding::Base64Url => {
            let engine = if encoding == Encoding::Base64 { &STANDARD } else { &URL_SAFE_NO_PAD };
            // The slice decoder wants room for what padding could have stood for.
            let mut room = [0_u8; OUTPUT_MAX + 3];
            let len = engine.decode_slice(text, &mut room).ok()?;
            space.copy_from_slice(room.get(..len).filter(|bytes| bytes.len() == space.len())?);
        }
        Encoding::Text => return None,
    }
    Some(Output::from_bytes(space))
}

fn bytes(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Text => Some(text.as_bytes().to_vec()),
        Encoding::Base64 => STANDARD.decode(text).ok(),
        Encoding::Base64Url => URL_SAFE_NO_PAD.decode(text).ok(),
        Encoding::Hex | Encoding::HexAnyCase => hex::decode(text).ok(),
    }
}

/// The text of a signature or digest in that encoding.
pub(super) fn encode(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Hex | Encoding::HexAnyCase => hex::encode(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
        Encoding::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
        Encoding::Text => String::from_utf8_lossy(bytes).into_owned(),
    }
}
