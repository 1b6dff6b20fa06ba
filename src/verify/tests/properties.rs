//! Every scheme of every built-in provider: what is signed by its rules verifies, whatever the body and the key,
//! and one changed byte of what is signed, of the signature or of the key is refused.

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::sample::Index;

use super::pairs::{Pair, pair};
use super::*;
use crate::extract::{Pick, form_encoded, put};
use crate::provider::{Algorithm, Catalog, Encoding, KeyForm, Piece, TimeSource};

/// A scheme as a source has it, and what its requests have beside the signature.
struct Subject {
    scheme: Arc<Scheme>,
    headers: Vec<(String, String)>,
    /// Two keys, where they are drawn and do not follow from a seed.
    drawn: Option<[Pair; 2]>,
}

static SUBJECTS: LazyLock<Vec<Subject>> = LazyLock::new(|| {
    let families = ["rsa", "ecdsa-p256", "ecdsa-p384"].map(|family| (family, [pair(family), pair(family)]));
    let family = |algorithm: &str| match algorithm {
        "jwt-es256" => "ecdsa-p256",
        "jwt-es384" => "ecdsa-p384",
        other if other.starts_with("ecdsa-p256") => "ecdsa-p256",
        other if other.starts_with("ecdsa-p384") => "ecdsa-p384",
        _ => "rsa",
    };
    let catalog = Catalog::built_in().unwrap();
    let mut subjects = Vec::new();
    for definition in catalog.iter() {
        let sample = definition.sample.clone().unwrap_or_default();
        for raw in &definition.schemes {
            let declared = definition.settings.iter().chain(&raw.settings);
            let made = declared.filter(|(_, setting)| setting.required).map(|(name, _)| {
                let example = sample.settings.get(name).cloned();
                (name.clone(), example.unwrap_or_else(|| format!("made-{}", name.replace('_', "-"))))
            });
            let scheme = Scheme::build(definition, Some(&raw.name), &made.collect()).unwrap();
            let seeded = matches!(scheme.algorithm, Algorithm::Ed25519) || !scheme.has_public_keys();
            let own = family(&raw.algorithm);
            let drawn =
                families.iter().find(|(family, _)| !seeded && *family == own).map(|(_, pairs)| pairs.clone());
            let headers =
                sample.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
            let scheme = Arc::new(scheme.at("https://hooks.example.com:8443/base"));
            subjects.push(Subject { scheme, headers: headers.collect(), drawn });
        }
    }
    subjects
});

impl Subject {
    /// Whether any body will do, and anybody can sign: what else there is has tests of its own.
    fn is_judged(&self) -> bool {
        let scheme = &self.scheme;
        let time = scheme.timestamp.as_ref().and_then(|rule| match &rule.from {
            TimeSource::Place(place) => Some(place),
            TimeSource::Signature(_) => None,
        });
        let mut places = scheme
            .signature
            .places()
            .chain(&scheme.values)
            .chain(&scheme.require)
            .chain(scheme.equal.iter().map(|rule| &rule.place))
            .chain(scheme.matching.iter().map(|rule| &rule.place))
            .chain(time);
        let proves = scheme.algorithm != Algorithm::Unauthenticated && !scheme.algorithm.is_only_verified();
        proves && scheme.each.is_none() && !places.any(Pick::is_in_body)
    }

    /// What the sender has, and what the source has; `right` or another.
    fn keys(&self, seed: &[u8; 32], right: bool) -> (String, String) {
        if let Some([one, other]) = &self.drawn {
            let pair = if right { one } else { other };
            return (pair.private.clone(), pair.public.clone());
        }
        let scheme = &self.scheme;
        let public = Ed25519KeyPair::from_seed_unchecked(seed).unwrap().public_key().as_ref().to_vec();
        let (sender, source) =
            if scheme.has_public_keys() { (&seed[..], &public[..]) } else { (&seed[..], &seed[..]) };
        let text = |prefix: &str, key: &[u8]| match scheme.key_form {
            KeyForm::Utf8 | KeyForm::Nfkd | KeyForm::Sha1 if scheme.algorithm == Algorithm::Basic => {
                format!("user:{}", hex::encode(key))
            }
            KeyForm::Utf8 | KeyForm::Nfkd | KeyForm::Sha1 | KeyForm::Hex => hex::encode(key),
            KeyForm::Whsec | KeyForm::Whpk => format!("{prefix}{}", STANDARD.encode(key)),
            KeyForm::Base64 | KeyForm::PublicKey => STANDARD.encode(key),
        };
        let prefixes =
            if scheme.key_form == KeyForm::Whpk { ("whsk_", "whpk_") } else { ("whsec_", "whsec_") };
        (text(prefixes.0, sender), text(prefixes.1, source))
    }

    /// A request with everything that the scheme wants beside the signature.
    fn request(&self, body: &[u8], id: &str) -> Delivery {
        let scheme = &self.scheme;
        let mut request = delivery(&[]);
        request.body = Bytes::copy_from_slice(body);
        request.method = scheme.methods[0].clone();
        self.headers.iter().for_each(|(name, value)| request.headers.push(name, value.as_bytes()));
        for rule in &scheme.equal {
            request = put(&request, &rule.place, &rule.wanted[0]).unwrap_or(request);
        }
        let pieces = scheme.signed.iter().flat_map(|template| &template.pieces);
        let signed =
            pieces.filter_map(|piece| if let Piece::Value(pick) = piece { Some(pick) } else { None });
        for pick in scheme.require.iter().chain(signed).filter(|pick| !pick.is_in_body()) {
            if pick.read(&request).is_none() {
                request = put(&request, pick, id).unwrap_or(request);
            }
        }
        request
    }

    /// The id of the key that the request names, or is to name.
    fn key_id(&self, request: &Delivery) -> Option<String> {
        let place = self.scheme.key.id.as_ref()?;
        Some(place.read(request).map_or_else(|| "key-1".to_owned(), |id| id.into_owned()))
    }

    fn verdict(&self, source: &str, id: Option<&str>, delivery: Delivery) -> Result<Verified, Reject> {
        let key = Key::new(&self.scheme, "live", source.as_bytes()).unwrap().with_id(id);
        let verifier = Verifier::new(Arc::clone(&self.scheme), vec![key]);
        verifier.verify(delivery, NOW).map_err(|refused| refused.reject)
    }
}

/// Another character of the same alphabet, never only of another case.
fn other(encoding: Encoding, byte: u8, by: u8) -> u8 {
    let alphabet: &[u8] = match encoding {
        Encoding::Hex | Encoding::HexAnyCase => b"0123456789abcdef",
        Encoding::Base64 | Encoding::Base64Url | Encoding::Text => {
            b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/-_"
        }
    };
    let at = alphabet.iter().position(|known| *known == byte).unwrap_or(0);
    alphabet[(at + 1 + usize::from(by) % (alphabet.len() - 1)) % alphabet.len()]
}

/// `request` with the value at `place` changed.
fn with(request: &Delivery, place: &Pick, change: impl Fn(&mut Vec<u8>)) -> Delivery {
    let mut value = place.read(request).unwrap().into_owned().into_bytes();
    change(&mut value);
    put(request, place, std::str::from_utf8(&value).unwrap()).unwrap()
}

/// Whether any of the body is among what is signed.
fn looks_at_body(scheme: &Scheme) -> bool {
    let pieces = scheme.signed.iter().flat_map(|template| &template.pieces);
    let body = |piece: &Piece| {
        matches!(piece, Piece::Body | Piece::BodyAs(_) | Piece::FormSorted | Piece::FormSortedAll)
    };
    scheme.covers_body() || pieces.into_iter().any(body)
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

#[test]
fn most_schemes_are_judged_below() {
    let judged = SUBJECTS.iter().filter(|subject| subject.is_judged()).count();
    assert!(judged * 10 >= SUBJECTS.len() * 8, "{judged} of {}", SUBJECTS.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn signing_and_verifying_agree_and_one_changed_byte_is_refused(
        seed in any::<[u8; 32]>(),
        raw in prop::collection::vec(any::<u8>(), 1..200),
        fields in prop::collection::vec(("\\PC{0,6}", "\\PC{0,12}"), 1..6),
        id in "[a-zA-Z0-9_]{1,20}",
        (at, by) in (any::<Index>(), any::<u8>()),
    ) {
        for subject in SUBJECTS.iter().filter(|subject| subject.is_judged()) {
            let scheme = &subject.scheme;
            let told = format!("{} {}", scheme.provider, scheme.name);
            let (sender, source) = subject.keys(&seed, true);
            let (body, changed) = bodies(scheme, &raw, &fields, &at);
            let mut good = subject.request(&body, &id);
            let key_id = subject.key_id(&good);
            let key_id = key_id.as_deref();
            let signer = Signer { id: key_id, ..Signer::new(sender.as_bytes()) };
            let signed = signer.sign(scheme, &mut good, NOW);
            prop_assert!(signed.is_ok(), "{}: {}", &told, signed.unwrap_err());
            let found = subject.verdict(&source, key_id, good.clone()).map(drop);
            prop_assert_eq!(found, Ok(()), "{} as signed", &told);

            let other_body = subject.verdict(&source, key_id, Delivery { body: changed.into(), ..good.clone() });
            prop_assert!(other_body.is_err() || !scheme.covers_body(), "{} another body", &told);
            prop_assert!(other_body.is_ok() || looks_at_body(scheme), "{} another body, not signed", &told);

            let tail = if scheme.algorithm.shows_secret() { 16 } else { 20 };
            let altered = with(&good, &scheme.signature.from, |value| {
                // Within the signature, before any padding.
                let place = value.len() - 4 - at.index(tail);
                value[place] = other(scheme.signature.encoding, value[place], by);
            });
            prop_assert!(subject.verdict(&source, key_id, altered).is_err(), "{} another signature", &told);

            let mut other_seed = seed;
            other_seed[at.index(32)] ^= 1 << (by % 8);
            let (_, other_source) = subject.keys(&other_seed, false);
            let other_key = subject.verdict(&other_source, key_id, good.clone());
            prop_assert!(other_key.is_err(), "{} another key", &told);
            if key_id.is_some() {
                let other_id = subject.verdict(&source, Some("another"), good.clone());
                prop_assert_eq!(other_id.map(drop), Err(Reject::UnknownKey), "{} another key's id", &told);
            }

            if scheme.signs_url() {
                let mut target = good.target.clone();
                target.push(char::from(b'a' + by % 26));
                let moved = subject.verdict(&source, key_id, Delivery { target, ..good.clone() });
                prop_assert!(moved.is_err(), "{} another URL", &told);
            }
            for pick in scheme.signed.iter().flat_map(|template| &template.pieces) {
                let Piece::Value(pick) = pick else { continue };
                let renamed = with(&good, pick, |value| value.push(b'x'));
                let renamed = subject.verdict(&source, key_id, renamed);
                prop_assert!(renamed.is_err(), "{} another {pick}", &told);
            }
        }
    }

    #[test]
    fn nothing_that_arrives_makes_verification_panic(
        lines in prop::collection::vec(("[a-z-]{1,12}", prop::collection::vec(any::<u8>(), 0..90)), 0..4),
        signature in prop::collection::vec(any::<u8>(), 0..140),
        text in "\\PC{0,90}",
        body in prop::collection::vec(any::<u8>(), 0..60),
        query in "[ -~]{0,30}",
    ) {
        for subject in SUBJECTS.iter().filter(|subject| subject.scheme.algorithm != Algorithm::Unauthenticated) {
            let (_, source) = subject.keys(&[7; 32], true);
            let mut delivery = subject.request(&body, "1");
            delivery.target = format!("/in/x?{query}");
            lines.iter().for_each(|(name, value)| delivery.headers.push(name, value));
            match &subject.scheme.signature.from {
                Pick::Header(name) => delivery.headers.push(name, &signature),
                place => delivery = put(&delivery, place, &text).unwrap_or(delivery),
            }
            let id = subject.key_id(&delivery);
            prop_assert!(subject.verdict(&source, id.as_deref(), delivery).is_err());
        }
    }
}
