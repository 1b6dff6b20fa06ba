//! Every scheme of every built-in provider: what is signed by its rules verifies, whatever the body and the key,
//! and one changed byte of what is signed, of the signature or of the key is refused.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::extract::{Pick, form_encoded};
use crate::provider::{Algorithm, Catalog, Encoding, KeyForm, Piece};

/// Every scheme, as a source has it.
fn schemes() -> Vec<Arc<Scheme>> {
    let catalog = Catalog::built_in().unwrap();
    let built = catalog.iter().flat_map(|definition| {
        definition.schemes.iter().map(move |named| {
            let scheme = Scheme::build(definition, Some(&named.name), &BTreeMap::new()).unwrap();
            Arc::new(scheme.at("https://hooks.example.com:8443/base"))
        })
    });
    built.collect()
}

/// What the sender has, and what the source has.
fn keys(scheme: &Scheme, seed: &[u8; 32]) -> (String, String) {
    let public = Ed25519KeyPair::from_seed_unchecked(seed).unwrap().public_key().as_ref().to_vec();
    let (sender, source) =
        if scheme.has_public_keys() { (&seed[..], &public[..]) } else { (&seed[..], &seed[..]) };
    let text = |prefix: &str, key: &[u8]| match scheme.key_form {
        KeyForm::Utf8 | KeyForm::Nfkd | KeyForm::Sha1 | KeyForm::Hex => hex::encode(key),
        KeyForm::Whsec | KeyForm::Whpk => format!("{prefix}{}", STANDARD.encode(key)),
        KeyForm::Base64 | KeyForm::PublicKey => STANDARD.encode(key),
    };
    let prefixes = if scheme.key_form == KeyForm::Whpk { ("whsk_", "whpk_") } else { ("whsec_", "whsec_") };
    (text(prefixes.0, sender), text(prefixes.1, source))
}

/// A request with everything that the scheme wants beside the signature.
fn request(scheme: &Scheme, body: &[u8], id: &str) -> Delivery {
    let pieces = scheme.signed.iter().flat_map(|template| &template.pieces);
    let signed = pieces.filter_map(|piece| if let Piece::Value(pick) = piece { Some(pick) } else { None });
    let mut delivery = delivery(&[]);
    for pick in scheme.require.iter().chain(signed) {
        if let Pick::Header(name) = pick
            && delivery.headers.first(name).is_none()
        {
            delivery.headers.push(name, id.as_bytes());
        }
    }
    delivery.body = Bytes::copy_from_slice(body);
    delivery
}

/// `headers` with the value of `name` changed.
fn with(headers: &Headers, name: &str, change: impl Fn(&mut Vec<u8>)) -> Headers {
    let mut changed = Headers::default();
    for (line, value) in headers.iter() {
        let mut value = value.to_vec();
        if line == name.as_bytes() {
            change(&mut value);
        }
        changed.push(std::str::from_utf8(line).unwrap(), &value);
    }
    changed
}

fn signature_name(scheme: &Scheme) -> &str {
    let Pick::Header(name) = &scheme.signature.from else { panic!("{}: no header", scheme.name) };
    name
}

/// Another character of the same alphabet, never only of another case.
fn other(encoding: Encoding, byte: u8, by: u8) -> u8 {
    let alphabet: &[u8] = match encoding {
        Encoding::Hex | Encoding::HexAnyCase => b"0123456789abcdef",
        Encoding::Base64 | Encoding::Base64Url | Encoding::Text => {
            b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/"
        }
    };
    let at = alphabet.iter().position(|known| *known == byte).unwrap();
    alphabet[(at + 1 + usize::from(by) % (alphabet.len() - 1)) % alphabet.len()]
}

fn form(fields: &[(String, String)]) -> Vec<u8> {
    let field = |(at, (name, value)): (usize, &(String, String))| {
        format!("{at}{}={}", form_encoded(name), form_encoded(value))
    };
    fields.iter().enumerate().map(field).collect::<Vec<_>>().join("&").into_bytes()
}

/// How the body is made: raw bytes, or fields where fields are signed.
fn bodies(scheme: &Scheme, raw: &[u8], fields: &[(String, String)], at: &Index) -> (Vec<u8>, Vec<u8>) {
    let mut changed = raw.to_vec();
    if scheme.covers_form_alone() {
        let mut more = fields.to_vec();
        more[at.index(fields.len())].1.push('x');
        return (form(fields), form(&more));
    }
    changed[at.index(raw.len())] ^= 1 << at.index(8);
    (raw.to_vec(), changed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn signing_and_verifying_agree_and_one_changed_byte_is_refused(
        seed in any::<[u8; 32]>(),
        raw in prop::collection::vec(any::<u8>(), 1..200),
        fields in prop::collection::vec(("\\PC{0,6}", "\\PC{0,12}"), 1..6),
        id in "[a-zA-Z0-9_]{1,20}",
        (at, by) in (any::<Index>(), any::<u8>()),
    ) {
        for scheme in schemes() {
            let told = format!("{} {}", scheme.provider, scheme.name);
            let (sender, source) = keys(&scheme, &seed);
            let (body, changed) = bodies(&scheme, &raw, &fields, &at);
            let mut good = request(&scheme, &body, &id);
            sign(&scheme, sender.as_bytes(), &mut good, NOW).unwrap();
            prop_assert!(verdict(&scheme, &source, good.clone()).is_ok(), "{} as signed", &told);

            let other_body = verdict(&scheme, &source, Delivery { body: changed.into(), ..good.clone() });
            prop_assert_eq!(other_body.is_err(), scheme.covers_body(), "{} another body", &told);

            let name = signature_name(&scheme);
            let tail = if scheme.algorithm == Algorithm::Token { 16 } else { 20 };
            let headers = with(&good.headers, name, |value| {
                // Within the signature, before any padding.
                let place = value.len() - 4 - at.index(tail);
                value[place] = other(scheme.signature.encoding, value[place], by);
            });
            let other_signature = verdict(&scheme, &source, Delivery { headers, ..good.clone() });
            prop_assert!(other_signature.is_err(), "{} another signature", &told);

            let mut other_seed = seed;
            other_seed[at.index(32)] ^= 1 << (by % 8);
            let (_, other_source) = keys(&scheme, &other_seed);
            prop_assert!(verdict(&scheme, &other_source, good.clone()).is_err(), "{} another key", &told);

            if scheme.signs_url() {
                let mut target = good.target.clone();
                target.push(char::from(b'a' + by % 26));
                let moved = verdict(&scheme, &source, Delivery { target, ..good.clone() });
                prop_assert!(moved.is_err(), "{} another URL", &told);
            }
            for pick in scheme.signed.iter().flat_map(|template| &template.pieces) {
                let Piece::Value(Pick::Header(name)) = pick else { continue };
                let headers = with(&good.headers, name, |value| value.push(b'x'));
                let renamed = verdict(&scheme, &source, Delivery { headers, ..good.clone() });
                prop_assert!(renamed.is_err(), "{} another {name}", &told);
            }
        }
    }

    #[test]
    fn nothing_that_arrives_makes_verification_panic(
        lines in prop::collection::vec(("[a-z-]{1,12}", prop::collection::vec(any::<u8>(), 0..90)), 0..4),
        signature in prop::collection::vec(any::<u8>(), 0..140),
        body in prop::collection::vec(any::<u8>(), 0..60),
        query in "[ -~]{0,30}",
    ) {
        for scheme in schemes() {
            let (_, source) = keys(&scheme, &[7; 32]);
            let mut delivery = request(&scheme, &body, "1");
            delivery.target = format!("/in/x?{query}");
            lines.iter().for_each(|(name, value)| delivery.headers.push(name, value));
            delivery.headers.push(signature_name(&scheme), &signature);
            prop_assert!(verdict(&scheme, &source, delivery).is_err());
        }
    }
}
