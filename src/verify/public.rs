//! Public keys that verify. A key that could let anybody's signature hold is refused when it is read, not when a
//! delivery comes. Signatures are judged over a digest made piece by piece, so that no body is copied.

use aws_lc_rs::digest;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA1_ASN1, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, ParsedPublicKey,
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA384, RSA_PSS_2048_8192_SHA256,
    RsaParameters,
};

use super::ed25519;
use super::key::KeyError;
use super::spki::{self, Curve, Numbers, Unread};
use crate::provider::{Algorithm, Jws, KeyForm};

const WANTED: &str =
    "of a public key: PEM or base64 of SubjectPublicKeyInfo, PKCS #1 or an X.509 certificate, or JWK";
/// Shorter RSA keys are warned of: whoever can spend enough can break them.
const RSA_BITS_GOOD: usize = 2048;
const RSA_BITS_MIN: usize = 1024;
const RSA_BITS_MAX: usize = 8192;

/// A public key, ready to verify.
pub(super) struct PublicKey {
    parsed: ParsedPublicKey,
    /// What is signed is this digest of the bytes; `None` where it is the bytes themselves.
    digest: Option<&'static digest::Algorithm>,
    /// The id that the key's own text gave it.
    id: Option<String>,
    warning: Option<&'static str>,
}

/// What an algorithm wants of a key.
enum Wanted {
    Rsa(&'static RsaParameters, &'static digest::Algorithm),
    Ec(&'static EcdsaVerificationAlgorithm, Curve, &'static digest::Algorithm),
    Ed25519,
}

impl Wanted {
    fn of(algorithm: Algorithm) -> Option<Self> {
        let (sha1, sha256) = (&digest::SHA1_FOR_LEGACY_USE_ONLY, &digest::SHA256);
        let (sha384, sha512) = (&digest::SHA384, &digest::SHA512);
        Some(match algorithm {
            Algorithm::Ed25519 | Algorithm::Jwt(Jws::EdDsa) => Self::Ed25519,
            Algorithm::EcdsaP256Sha1 => Self::Ec(&ECDSA_P256_SHA1_ASN1, Curve::P256, sha1),
            Algorithm::EcdsaP256Sha256 => Self::Ec(&ECDSA_P256_SHA256_ASN1, Curve::P256, sha256),
            Algorithm::EcdsaP384Sha384 => Self::Ec(&ECDSA_P384_SHA384_ASN1, Curve::P384, sha384),
            Algorithm::EcdsaP256Sha256Raw | Algorithm::Jwt(Jws::Es256) => {
                Self::Ec(&ECDSA_P256_SHA256_FIXED, Curve::P256, sha256)
            }
            Algorithm::EcdsaP384Sha384Raw | Algorithm::Jwt(Jws::Es384) => {
                Self::Ec(&ECDSA_P384_SHA384_FIXED, Curve::P384, sha384)
            }
            Algorithm::RsaPkcs1Sha1 => Self::Rsa(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, sha1),
            Algorithm::RsaPkcs1Sha256 | Algorithm::Jwt(Jws::Rs256) => {
                Self::Rsa(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, sha256)
            }
            Algorithm::RsaPkcs1Sha384 | Algorithm::Jwt(Jws::Rs384) => {
                Self::Rsa(&RSA_PKCS1_2048_8192_SHA384, sha384)
            }
            Algorithm::RsaPkcs1Sha512 | Algorithm::Jwt(Jws::Rs512) => {
                Self::Rsa(&RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, sha512)
            }
            Algorithm::RsaPssSha256 | Algorithm::Jwt(Jws::Ps256) => {
                Self::Rsa(&RSA_PSS_2048_8192_SHA256, sha256)
            }
            _ => return None,
        })
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Rsa(..) => "of a public key for RSA",
            Self::Ec(_, Curve::P256, _) => "of a public key on the curve P-256",
            Self::Ec(_, Curve::P384, _) => "of a public key on the curve P-384",
            Self::Ed25519 => "of a public key for Ed25519",
        }
    }
}

impl PublicKey {
    /// The public key that a source has, for that algorithm.
    ///
    /// # Errors
    /// Where the text is not in that form, is a private key, another algorithm's, or one that proves nothing.
    pub(super) fn read(algorithm: Algorithm, form: KeyForm, text: &[u8]) -> Result<Self, KeyError> {
        let Some(wanted) = Wanted::of(algorithm) else { return Err(KeyError::new("of a shared key")) };
        if form != KeyForm::PublicKey {
            let parsed = ed25519::public_key(form, text)?;
            return Ok(Self { parsed, digest: None, id: None, warning: None });
        }
        let found = spki::read(text).map_err(|unread| match unread {
            Unread::Private => {
                KeyError::hinted(WANTED, ": this is the private key, which only the sender has")
            }
            Unread::OtherUse => KeyError::hinted(WANTED, ": this JWK is not for verifying signatures"),
            Unread::Unknown => KeyError::new(WANTED),
        })?;
        if let (Algorithm::Jwt(jws), Some(own)) = (algorithm, &found.algorithm)
            && own != jws.name()
        {
            return Err(KeyError::hinted(wanted.name(), ": this JWK is for another algorithm"));
        }
        let (parsed, digest, warning) = match (&wanted, &found.numbers) {
            (Wanted::Rsa(parameters, digest), Numbers::Rsa { n, e }) => {
                let (parsed, warning) = rsa(parameters, n, e)?;
                (parsed, Some(*digest), warning)
            }
            (Wanted::Ec(parameters, curve, digest), Numbers::Ec { curve: own, point }) if curve == own => {
                (on_curve(parameters, *curve, point)?, Some(*digest), None)
            }
            (Wanted::Ed25519, Numbers::Ed25519(bytes)) => (ed25519::from_bytes(WANTED, bytes)?, None, None),
            _ => return Err(KeyError::hinted(wanted.name(), ": this is a key of another kind")),
        };
        Ok(Self { parsed, digest, id: found.id, warning })
    }

    /// The id that the key's own text gave it.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What an operator should know of it.
    pub(super) fn warning(&self) -> Option<&'static str> {
        self.warning
    }

    /// What gathers the bytes that were signed: a digest, where the algorithm signs one.
    pub(super) fn message(&self) -> Message {
        match self.digest {
            Some(algorithm) => Message::Digest(Box::new(digest::Context::new(algorithm))),
            None => Message::Whole(Vec::new()),
        }
    }

    /// Whether `signature` is this key's over what was gathered.
    pub(super) fn holds(&self, message: &Gathered, signature: &[u8]) -> bool {
        match message {
            Gathered::Digest(digest) => self.parsed.verify_digest_sig(digest, signature).is_ok(),
            Gathered::Whole(bytes) => self.parsed.verify_sig(bytes, signature).is_ok(),
        }
    }
}

/// Signed bytes on their way to a verdict.
pub(super) enum Message {
    Digest(Box<digest::Context>),
    Whole(Vec<u8>),
}

/// Signed bytes, complete.
pub(super) enum Gathered {
    Digest(digest::Digest),
    Whole(Vec<u8>),
}

impl Message {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Digest(context) => context.update(bytes),
            Self::Whole(whole) => whole.extend_from_slice(bytes),
        }
    }

    pub(super) fn finish(self) -> Gathered {
        match self {
            Self::Digest(context) => Gathered::Digest(context.finish()),
            Self::Whole(whole) => Gathered::Whole(whole),
        }
    }
}

/// An even modulus is no product of two odd primes; under the exponent 1 every text is its own signature.
fn rsa(
    parameters: &'static RsaParameters,
    n: &[u8],
    e: &[u8],
) -> Result<(ParsedPublicKey, Option<&'static str>), KeyError> {
    let refuse = |hint| Err(KeyError::hinted("of a public key for RSA", hint));
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return refuse(": this one has fewer than 1024 bits, or more than 8192");
    }
    if bits < parameters.min_modulus_len() as usize {
        return refuse(": this one has fewer than the 2048 bits that this algorithm wants");
    }
    if !odd(n) || !odd(e) || e == [1] {
        return refuse(": this one's modulus or exponent is even, or its exponent is 1: it proves nothing");
    }
    if e.len() > 4 {
        return refuse(": this one's exponent has more than 32 bits");
    }
    let parsed = PublicKeyComponents { n, e }.to_parsed_public_key(parameters);
    let warning = (bits < RSA_BITS_GOOD).then_some("an RSA key of fewer than 2048 bits can be broken");
    parsed.map(|parsed| (parsed, warning)).or_else(|_| refuse(": this one's numbers do not fit each other"))
}

/// Points are written as SEC 1 has them, compressed or not; the hybrid form is nobody's.
fn on_curve(
    parameters: &'static EcdsaVerificationAlgorithm,
    curve: Curve,
    point: &[u8],
) -> Result<ParsedPublicKey, KeyError> {
    let refused = || KeyError::hinted(WANTED, ": this point is not on the curve");
    let len = match point.first() {
        Some(4) => 1 + 2 * curve.bytes(),
        Some(2 | 3) => 1 + curve.bytes(),
        _ => return Err(refused()),
    };
    if point.len() != len {
        return Err(refused());
    }
    ParsedPublicKey::new(parameters, point).map_err(|_| refused())
}
