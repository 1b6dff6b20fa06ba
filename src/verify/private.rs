//! Private keys, as senders have them: what `send`, `sign` and tests make signatures with. Nothing here verifies.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaKeyPair, RsaSignatureEncoding,
};
use base64::Engine as _;
use zeroize::Zeroizing;

use super::ed25519;
use super::key::{KeyError, LENIENT};
use super::spki;
use crate::provider::{Algorithm, Jws, KeyForm};

const WANTED: &str = "of the sender's private key: PKCS #8 as PEM or base64";
const SHA1: &str = "of a key that can sign: with SHA-1 nothing is signed any more, only verified";

/// A private key, ready to sign.
pub(super) enum PrivateKey {
    Ed25519(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair, &'static RsaSignatureEncoding),
}

/// How an algorithm signs.
enum Signs {
    Ec(&'static EcdsaSigningAlgorithm),
    Rsa(&'static RsaSignatureEncoding),
    Ed25519,
}

impl PrivateKey {
    /// The private key of a sender, for that algorithm.
    ///
    /// # Errors
    /// Where the text is no such key, or the algorithm is one that is only verified.
    pub(super) fn read(algorithm: Algorithm, form: KeyForm, text: &[u8]) -> Result<Self, KeyError> {
        let signs = signs(algorithm)?;
        if matches!(signs, Signs::Ed25519) {
            return ed25519::key_pair(form, text).map(Self::Ed25519);
        }
        let refused = || KeyError::new(WANTED);
        let armour = |kind: &str| spki::pem(text, kind).map(Zeroizing::new);
        let plain = || LENIENT.decode(text.trim_ascii()).ok().map(Zeroizing::new);
        let pkcs8 = armour("PRIVATE KEY").or_else(plain);
        match signs {
            Signs::Ec(algorithm) => {
                let pair = match (pkcs8, armour("EC PRIVATE KEY")) {
                    (Some(der), _) => EcdsaKeyPair::from_pkcs8(algorithm, &der),
                    (None, Some(der)) => EcdsaKeyPair::from_private_key_der(algorithm, &der),
                    (None, None) => return Err(refused()),
                };
                pair.map(Self::Ec).map_err(|_| refused())
            }
            Signs::Rsa(encoding) => {
                let pair = match (pkcs8, armour("RSA PRIVATE KEY")) {
                    (Some(der), _) => RsaKeyPair::from_pkcs8(&der),
                    (None, Some(der)) => RsaKeyPair::from_der(&der),
                    (None, None) => return Err(refused()),
                };
                pair.map(|pair| Self::Rsa(pair, encoding)).map_err(|_| refused())
            }
            Signs::Ed25519 => Err(refused()),
        }
    }

    /// The signature over `message`.
    ///
    /// # Errors
    /// Where the key is too short for the algorithm.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let refused = || KeyError::hinted(WANTED, ": this one cannot sign by this algorithm");
        match self {
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::Ec(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| refused())?;
                Ok(signature.as_ref().to_vec())
            }
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature).map_err(|_| refused())?;
                Ok(signature)
            }
        }
    }
}

fn signs(algorithm: Algorithm) -> Result<Signs, KeyError> {
    Ok(match algorithm {
        Algorithm::Ed25519 | Algorithm::Jwt(Jws::EdDsa) => Signs::Ed25519,
        Algorithm::EcdsaP256Sha256 => Signs::Ec(&ECDSA_P256_SHA256_ASN1_SIGNING),
        Algorithm::EcdsaP384Sha384 => Signs::Ec(&ECDSA_P384_SHA384_ASN1_SIGNING),
        Algorithm::EcdsaP256Sha256Raw | Algorithm::Jwt(Jws::Es256) => {
            Signs::Ec(&ECDSA_P256_SHA256_FIXED_SIGNING)
        }
        Algorithm::EcdsaP384Sha384Raw | Algorithm::Jwt(Jws::Es384) => {
            Signs::Ec(&ECDSA_P384_SHA384_FIXED_SIGNING)
        }
        Algorithm::RsaPkcs1Sha256 | Algorithm::Jwt(Jws::Rs256) => Signs::Rsa(&RSA_PKCS1_SHA256),
        Algorithm::RsaPkcs1Sha384 | Algorithm::Jwt(Jws::Rs384) => Signs::Rsa(&RSA_PKCS1_SHA384),
        Algorithm::RsaPkcs1Sha512 | Algorithm::Jwt(Jws::Rs512) => Signs::Rsa(&RSA_PKCS1_SHA512),
        Algorithm::RsaPssSha256 | Algorithm::Jwt(Jws::Ps256) => Signs::Rsa(&RSA_PSS_SHA256),
        Algorithm::RsaPkcs1Sha1 | Algorithm::EcdsaP256Sha1 => return Err(KeyError::new(SHA1)),
        _ => return Err(KeyError::new("of a shared key")),
    })
}
