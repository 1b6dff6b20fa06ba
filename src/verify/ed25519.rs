//! Ed25519 keys from a secret's text: the public one that verifies, the private one that signs.
//!
//! A key that could let anybody's signature hold is refused when it is read, not when a delivery comes.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, ParsedPublicKey};
use base64::Engine as _;
use zeroize::Zeroizing;

use super::key::{KeyError, LENIENT};
use super::spki;
use crate::provider::KeyForm;

/// Length of a public key and of a seed, in bytes.
const KEY_BYTES: usize = 32;
/// The x-coordinates' sign bit, which is no part of a point's y.
const SIGN: u8 = 0x80;
/// The y-coordinates of the points of order 1, 2, 4 and 8 in both their spellings, little endian. Under such a
/// "key" signatures hold that nobody made.
const LOW_ORDER: [[u8; KEY_BYTES]; 7] = [
    y(0x00, 0x00, 0x00),
    y(0x01, 0x00, 0x00),
    y(0xec, 0xff, 0x7f),
    y(0xed, 0xff, 0x7f),
    y(0xee, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

const fn y(first: u8, middle: u8, last: u8) -> [u8; KEY_BYTES] {
    let mut bytes = [middle; KEY_BYTES];
    bytes[0] = first;
    bytes[KEY_BYTES - 1] = last;
    bytes
}

/// The public key that a source has.
///
/// # Errors
/// Where the text is not in that form, is a private key, or one that proves nothing.
pub(super) fn public_key(form: KeyForm, text: &[u8]) -> Result<ParsedPublicKey, KeyError> {
    if text.starts_with(b"whsk_") || spki::armoured(text, "PRIVATE KEY") {
        return Err(KeyError::hinted(wanted(form), ": this is the private key, which only the sender has"));
    }
    let refused = || KeyError::new(wanted(form));
    let bytes = match form {
        KeyForm::Whpk => base64(text.strip_prefix(b"whpk_").unwrap_or(text)),
        _ => plain(form, text),
    };
    from_bytes(wanted(form), &bytes.ok_or_else(refused)?)
}

/// The public key of these 32 bytes.
///
/// # Errors
/// Where they are not as many, no point, or one that proves nothing.
pub(super) fn from_bytes(wanted: &'static str, bytes: &[u8]) -> Result<ParsedPublicKey, KeyError> {
    if bytes.len() != KEY_BYTES {
        return Err(KeyError::new(wanted));
    }
    if is_low_order(bytes) {
        return Err(KeyError::hinted(wanted, ": this one is of low order and proves nothing"));
    }
    ParsedPublicKey::new(&ED25519, bytes).map_err(|_| KeyError::new(wanted))
}

/// The private key that a sender has: a seed of 32 bytes, with the public key after it or not, or PKCS #8.
///
/// # Errors
/// Where the text is not in that form.
pub(super) fn key_pair(form: KeyForm, text: &[u8]) -> Result<Ed25519KeyPair, KeyError> {
    let refused = || KeyError::new(wanted_private(form));
    if form == KeyForm::PublicKey {
        let der = spki::pem(text, "PRIVATE KEY").map(Zeroizing::new);
        let der = der.or_else(|| base64(text.trim_ascii())).ok_or_else(refused)?;
        return Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| refused());
    }
    let bytes = match form {
        KeyForm::Whpk => base64(text.strip_prefix(b"whsk_").unwrap_or(text)),
        _ => plain(form, text),
    };
    let bytes = bytes.ok_or_else(refused)?;
    let pair = match bytes.split_at_checked(KEY_BYTES) {
        Some((seed, [])) => Ed25519KeyPair::from_seed_unchecked(seed),
        Some((seed, public)) => Ed25519KeyPair::from_seed_and_public_key(seed, public),
        None => return Err(refused()),
    };
    pair.map_err(|_| refused())
}

fn is_low_order(key: &[u8]) -> bool {
    let same = |y: &[u8; KEY_BYTES]| match (key.split_last(), y.split_last()) {
        (Some((top, rest)), Some((low, head))) => rest == head && top & !SIGN == *low,
        _ => false,
    };
    LOW_ORDER.iter().any(same)
}

fn plain(form: KeyForm, text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    match form {
        KeyForm::Hex => hex::decode(text).ok().map(Zeroizing::new),
        _ => base64(text),
    }
}

fn base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    LENIENT.decode(text).ok().map(Zeroizing::new)
}

fn wanted(form: KeyForm) -> &'static str {
    match form {
        KeyForm::Whpk => "of a public key: 32 bytes as whpk_ and base64",
        KeyForm::Hex => "of a public key: 32 bytes as 64 hexadecimal digits",
        _ => "of a public key: 32 bytes as base64",
    }
}

fn wanted_private(form: KeyForm) -> &'static str {
    match form {
        KeyForm::Whpk => "of the sender's private key: 32 or 64 bytes as whsk_ and base64",
        KeyForm::PublicKey => "of the sender's private key: PKCS #8 as PEM or base64",
        KeyForm::Hex => "of the sender's private key: 32 or 64 bytes as hexadecimal digits",
        _ => "of the sender's private key: 32 or 64 bytes as base64",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Algorithm;
    use crate::verify::public::PublicKey;
    use aws_lc_rs::signature::KeyPair as _;
    use base64::engine::general_purpose::STANDARD;

    const SEED: [u8; 32] = [7; 32];
    /// What stands before the key in a SubjectPublicKeyInfo (RFC 8410).
    const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

    fn public() -> Vec<u8> {
        Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap().public_key().as_ref().to_vec()
    }

    /// A private key's text and its public one's, in every form.
    fn pairs() -> Vec<(KeyForm, String, String)> {
        let both = [&SEED[..], &public()].concat();
        let spki = STANDARD.encode([&SPKI_HEAD[..], &public()].concat());
        let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
        let pkcs8 = STANDARD.encode(pair.to_pkcs8v1().unwrap().as_ref());
        let (base64, whole) = (STANDARD.encode(public()), STANDARD.encode(&both));
        let armoured = |kind: &str, text: &str| {
            let (first, rest) = text.split_at(20);
            format!("-----BEGIN {kind}-----\n{first}\n{rest}\n-----END {kind}-----\n")
        };
        vec![
            (KeyForm::Hex, hex::encode(SEED), hex::encode(public())),
            (KeyForm::Hex, hex::encode(&both), hex::encode_upper(public())),
            (KeyForm::Base64, STANDARD.encode(SEED), base64.clone()),
            (KeyForm::Whpk, format!("whsk_{whole}"), format!("whpk_{base64}")),
            (KeyForm::Whpk, whole, base64.trim_end_matches('=').to_owned()),
            (KeyForm::PublicKey, pkcs8.clone(), spki.clone()),
            (KeyForm::PublicKey, armoured("PRIVATE KEY", &pkcs8), armoured("PUBLIC KEY", &spki)),
        ]
    }

    #[test]
    fn keys_of_every_form_sign_and_verify() {
        for (form, private, public) in pairs() {
            let signature = key_pair(form, private.as_bytes()).unwrap().sign(b"text");
            let key = PublicKey::read(Algorithm::Ed25519, form, public.as_bytes()).unwrap();
            let holds = |text: &[u8]| {
                let mut message = key.message();
                message.update(text);
                key.holds(&message.finish(), signature.as_ref())
            };
            assert!(holds(b"text") && !holds(b"texts"), "{form:?}");
        }
    }

    #[test]
    fn a_key_of_the_wrong_length_or_form_is_refused_with_what_is_wanted() {
        let public = hex::encode(public());
        let cases = [
            (KeyForm::Hex, &public[..62], "64 hexadecimal digits"),
            (KeyForm::Hex, "zz", "64 hexadecimal digits"),
            (KeyForm::Whpk, "whpk_AAAA", "whpk_ and base64"),
            (KeyForm::Whpk, "whsk_AAAA", "only the sender has"),
            (
                KeyForm::PublicKey,
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
                "only the sender has",
            ),
            (KeyForm::PublicKey, "AAAA", "SubjectPublicKeyInfo"),
            (KeyForm::Base64, "", "32 bytes as base64"),
        ];
        for (form, text, part) in cases {
            let told = PublicKey::read(Algorithm::Ed25519, form, text.as_bytes());
            let told = told.map(|_| ()).unwrap_err().to_string();
            assert!(told.contains(part), "{told}");
            assert!(text.is_empty() || !told.contains(text), "{told}");
        }
        for text in ["", "00", &public[..62], &"00".repeat(33)] {
            assert!(key_pair(KeyForm::Hex, text.as_bytes()).is_err(), "{text}");
        }
        let mixed = hex::encode([&SEED[..], &[9; 32]].concat());
        assert!(key_pair(KeyForm::Hex, mixed.as_bytes()).is_err(), "a seed beside another's public key");
    }

    #[test]
    fn keys_of_low_order_are_refused_in_both_signs() {
        for low in LOW_ORDER {
            for sign in [0, SIGN] {
                let mut key = low;
                key[31] |= sign;
                let told = public_key(KeyForm::Hex, hex::encode(key).as_bytes()).unwrap_err().to_string();
                assert!(told.contains("low order"), "{told}");
            }
        }
    }
}
