//! Private keys of senders and the public ones of their sources, made anew for each test.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A sender's private key and the source's public one, as PEM.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) private: String,
    pub(super) public: String,
}

/// Bytes of that kind as PEM.
pub(super) fn armoured(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der))
}

/// A pair for an algorithm of that name.
pub(super) fn pair(algorithm: &str) -> Pair {
    let pems = |private: &[u8], public: &[u8]| Pair {
        private: armoured("PRIVATE KEY", private),
        public: armoured("PUBLIC KEY", public),
    };
    if algorithm.contains("p384") || algorithm.ends_with("es384") {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        return pems(pair.to_pkcs8v1().unwrap().as_ref(), public.as_ref());
    }
    if algorithm.contains("p256") || algorithm.ends_with("es256") {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        return pems(pair.to_pkcs8v1().unwrap().as_ref(), public.as_ref());
    }
    if algorithm.contains("ed") {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        return pems(pair.to_pkcs8v1().unwrap().as_ref(), public.as_ref());
    }
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    pems(private.as_ref(), public.as_ref())
}
