//! The MACs and plain digests, and signatures as bytes. Comparing is constant in time and done nowhere else.

use std::convert::Infallible;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize as _;

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

    /// The MAC of `bytes`.
    pub(super) fn of(&self, bytes: &[u8]) -> Output {
        let one = |take: &mut dyn FnMut(&[u8])| {
            take(bytes);
            Ok::<_, Infallible>(())
        };
        match self.of_pieces(one) {
            Ok(output) => output,
            Err(never) => match never {},
        }
    }

    /// The MAC of the pieces that `feed` gives, in order.
    ///
    /// # Errors
    /// Those of `feed`.
    pub(super) fn of_pieces<E>(
        &self,
        feed: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<(), E>,
    ) -> Result<Output, E> {
        match self {
            Self::Sha1(keyed) => made(keyed.clone(), feed),
            Self::Sha256(keyed) => made(keyed.clone(), feed),
            Self::Sha384(keyed) => made(keyed.clone(), feed),
            Self::Sha512(keyed) => made(keyed.clone(), feed),
        }
    }
}

fn made<M: hmac::Mac, E>(
    mut mac: M,
    feed: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<(), E>,
) -> Result<Output, E> {
    feed(&mut |bytes| mac.update(bytes))?;
    Ok(Output::from_bytes(&mac.finalize().into_bytes()))
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

/// Bytes of a MAC, digest or signature; compared in constant time only.
#[derive(Clone)]
pub(super) enum Output {
    /// Zero-padded.
    Short { bytes: [u8; OUTPUT_MAX], len: u8 },
    /// A signature that has no fixed length; nothing is ever compared with it.
    Long(Box<[u8]>),
}

impl Output {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let fill = |space: &mut [u8]| {
            space.copy_from_slice(bytes);
            Some(())
        };
        Self::filled(bytes.len(), fill).unwrap_or_else(|| Self::Long(bytes.into()))
    }

    /// Of `len` bytes that `fill` writes; `None` where it can't, or `len` is beyond any digest's.
    fn filled(len: usize, fill: impl FnOnce(&mut [u8]) -> Option<()>) -> Option<Self> {
        let mut bytes = [0; OUTPUT_MAX];
        fill(bytes.get_mut(..len)?)?;
        Some(Self::Short { bytes, len: u8::try_from(len).ok()? })
    }

    /// The digest of `bytes`.
    pub(super) fn of_digest(digest: Digest, bytes: &[u8]) -> Self {
        let mut hash = Hash::new(digest);
        hash.update(bytes);
        hash.finish()
    }

    /// What stands for a token of any length, so that comparing tells nothing of the secret's.
    pub(super) fn of_token(token: &[u8]) -> Self {
        Self::from_bytes(&Sha256::digest(token))
    }

    /// Overwrites it, where it stands for a token.
    pub(super) fn wipe(&mut self) {
        match self {
            Self::Short { bytes, .. } => bytes.zeroize(),
            Self::Long(long) => long.zeroize(),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { bytes, len } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(long) => long,
        }
    }
}

impl ConstantTimeEq for Output {
    fn ct_eq(&self, other: &Self) -> Choice {
        match (self, other) {
            // A length is the algorithm's and no secret.
            (Self::Short { .. }, Self::Short { .. }) => self.as_bytes().ct_eq(other.as_bytes()),
            _ => Choice::from(0),
        }
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
            .map(|bytes| Output::Long(bytes.into())),
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
    Output::filled(len, |space| {
        let decoded = match encoding {
            Encoding::Hex => base16ct::lower::decode(text, space).ok()?.len(),
            Encoding::HexAnyCase => base16ct::mixed::decode(text, space).ok()?.len(),
            Encoding::Base64 => decode_base64(&STANDARD, text, space)?,
            Encoding::Base64Url => decode_base64(&URL_SAFE_NO_PAD, text, space)?,
            Encoding::Text => return None,
        };
        (decoded == len).then_some(())
    })
}

/// How many bytes the text stands for; `None` where they are more than there is space for.
fn decode_base64(engine: &impl Engine, text: &str, space: &mut [u8]) -> Option<usize> {
    // The slice decoder wants room for what padding could have stood for.
    let mut room = [0_u8; OUTPUT_MAX + 3];
    let len = engine.decode_slice(text, &mut room).ok()?;
    space.get_mut(..len)?.copy_from_slice(room.get(..len)?);
    Some(len)
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
