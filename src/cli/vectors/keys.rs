//! Secrets of made vectors: one for each scheme and use, in the form that the provider file wants. They open nothing.
//!
//! Shared keys and Ed25519 keys follow from the scheme's name, so that the same file brings the same vectors; keys of
//! other kinds, whose signatures are random anyway, are drawn.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::cli::stop::Stop;
use crate::provider::{Algorithm, Jws, KeyForm, Scheme};
use crate::verify::Signer;

/// What stands before an Ed25519 seed in PKCS #8.
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// What stands before an Ed25519 public key in a SubjectPublicKeyInfo.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Characters on a line of PEM.
const PEM_LINE: usize = 64;

/// A secret as both sides have it.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Pair {
    /// What a source has, as its vector says it.
    pub held: String,
    /// What the sender signs with.
    pub signs: String,
    /// What a vector calls it.
    pub kind: &'static str,
    /// How a vector says that it is written.
    pub encoding: &'static str,
    /// The id by which deliveries name it, where the scheme has such.
    pub id: Option<String>,
    /// The place of a signature that it goes with, where each has a secret of its own.
    pub slot: Option<u8>,
}

impl Pair {
    /// The secret of a scheme for one `purpose`: another purpose has another.
    ///
    /// # Errors
    /// Where keys of that algorithm cannot be made here.
    pub(in crate::cli) fn of(scheme: &Scheme, purpose: &str) -> Result<Self, Stop> {
        let seed = Sha256::digest(format!("{}/{}/{purpose}", scheme.provider, scheme.name));
        if scheme.has_public_keys() {
            return public(scheme.algorithm, scheme.key_form, &seed);
        }
        let plain = format!("made-{}", hex::encode(seed.get(..16).unwrap_or_default()));
        let (text, encoding) = match scheme.key_form {
            KeyForm::Hex => (hex::encode(seed), "hex"),
            KeyForm::Base64 => (STANDARD.encode(seed), "base64"),
            KeyForm::Whsec => (format!("whsec_{}", STANDARD.encode(seed)), "whsec_ + base64"),
            _ if scheme.algorithm == Algorithm::Basic => (format!("made:{plain}"), "utf8"),
            _ => (plain, "utf8"),
        };
        let kind = match scheme.algorithm {
            Algorithm::Basic => "basic",
            Algorithm::Token => "token",
            _ => "shared",
        };
        Ok(Self { held: text.clone(), signs: text, kind, encoding, id: None, slot: None })
    }

    /// The same with the id by which deliveries name it.
    pub(in crate::cli) fn named(self, id: Option<&str>) -> Self {
        Self { id: id.map(str::to_owned), ..self }
    }

    /// The same for the place of that number alone.
    pub(in crate::cli) fn in_slot(self, slot: u8) -> Self {
        Self { slot: Some(slot), ..self }
    }

    /// What the sender has.
    pub(in crate::cli) fn signer(&self) -> Signer<'_> {
        Signer { secret: self.signs.as_bytes(), id: self.id.as_deref(), slot: self.slot }
    }
}

fn public(algorithm: Algorithm, form: KeyForm, seed: &[u8]) -> Result<Pair, Stop> {
    let failed = |_| Stop::failure("a key pair cannot be made");
    let pem = |private: &[u8], public: &[u8]| Pair {
        held: pem("PUBLIC KEY", public),
        signs: pem("PRIVATE KEY", private),
        kind: "public_key",
        encoding: "pem",
        id: None,
        slot: None,
    };
    let curve: &EcdsaSigningAlgorithm = match algorithm {
        Algorithm::Ed25519 | Algorithm::Jwt(Jws::EdDsa) => return edwards(form, seed),
        Algorithm::EcdsaP384Sha384 | Algorithm::EcdsaP384Sha384Raw | Algorithm::Jwt(Jws::Es384) => {
            &ECDSA_P384_SHA384_ASN1_SIGNING
        }
        Algorithm::EcdsaP256Sha1
        | Algorithm::EcdsaP256Sha256
        | Algorithm::EcdsaP256Sha256Raw
        | Algorithm::Jwt(Jws::Es256) => &ECDSA_P256_SHA256_ASN1_SIGNING,
        _ => {
            let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let private: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
            let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(failed)?;
            return Ok(pem(private.as_ref(), public.as_ref()));
        }
    };
    let pair = EcdsaKeyPair::generate(curve).map_err(failed)?;
    let private = pair.to_pkcs8v1().map_err(failed)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(failed)?;
    Ok(pem(private.as_ref(), public.as_ref()))
}

fn edwards(form: KeyForm, seed: &[u8]) -> Result<Pair, Stop> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Stop::failure("no Ed25519 key"))?;
    let public = pair.public_key().as_ref();
    let (held, signs, encoding) = match form {
        KeyForm::Hex => (hex::encode(public), hex::encode(seed), "hex"),
        KeyForm::Base64 => (STANDARD.encode(public), STANDARD.encode(seed), "base64"),
        KeyForm::Whpk => {
            let [public, seed] = [public, seed].map(|bytes| STANDARD.encode(bytes));
            (format!("whpk_{public}"), format!("whsk_{seed}"), "whpk")
        }
        _ => {
            let private = pem("PRIVATE KEY", &[&ED25519_PKCS8, seed].concat());
            (pem("PUBLIC KEY", &[&ED25519_SPKI, public].concat()), private, "pem")
        }
    };
    Ok(Pair { held, signs, kind: "public_key", encoding, id: None, slot: None })
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {kind}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {kind}-----\n"));
    pem
}
