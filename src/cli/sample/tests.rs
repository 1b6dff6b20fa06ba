//! Samples against the rules that verify, and byte for byte.

use std::sync::Arc;

use super::*;
use crate::cli::vectors::keys::Pair;
use crate::freshness::{self, Tolerance};
use crate::provider::Algorithm;
use crate::reject::Reject;
use crate::verify::{Key, Verifier};

/// A secret, and its other half where the source has public keys.
fn pair(scheme: &Scheme, unsigned: &Delivery) -> Pair {
    let told = scheme.key.id.as_ref().map(|place| place.read(unsigned).unwrap_or("key-1".into()));
    Pair::of(scheme, "right").unwrap().named(told.as_deref())
}

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn catalog() -> Catalog {
    Catalog::built_in().unwrap()
}

/// The default scheme of `provider`, with `settings`.
fn scheme(provider: &str, name: Option<&str>, settings: &[(&str, &str)]) -> Scheme {
    let (catalog, settings) = (catalog(), settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    let definition = catalog.get(provider).unwrap();
    let raw = definition.schemes.iter().find(|scheme| name.is_none_or(|name| name == scheme.name)).unwrap();
    let settings = example_settings(definition, raw, &settings.collect());
    let scheme = Scheme::build(definition, Some(&raw.name), &settings);
    scheme
        .unwrap_or_else(|problems| panic!("{provider} {}: {problems:?}", raw.name))
        .at("https://hooks.example.com")
}

fn wanted(event: &str, id: &str) -> Wanted {
    Wanted { event: Some(event.to_owned()), id: Some(id.to_owned()), data: None }
}

fn sample<'s>(scheme: &'s Scheme, wanted: Wanted) -> Sample<'s> {
    Sample::new(catalog().get(&scheme.provider).unwrap(), scheme, wanted, NOW).unwrap()
}

fn judge(scheme: &Scheme, pair: &Pair, delivery: Delivery) -> Result<(), Reject> {
    let key = match scheme.algorithm {
        Algorithm::Unauthenticated => Key::unauthenticated(),
        _ => Key::new(scheme, "secret-1", pair.held.as_bytes()).unwrap().with_id(pair.id.as_deref()),
    };
    let verifier = Verifier::new(Arc::new(scheme.clone()), vec![key]);
    let verified = verifier.verify(delivery, NOW).map_err(|refused| refused.reject)?;
    if let (Some(signed_at), Some(rule)) = (verified.signed_at(), &scheme.timestamp) {
        freshness::judge(signed_at, NOW, Tolerance { past: rule.past, future: rule.future })
            .map_err(|refused| refused.reject)?;
    }
    Ok(())
}

/// Why a sample cannot be sent under a scheme of its provider: nobody signs so any more, or the sample is of another
/// kind than what this scheme signs.
const LEFT_OUT: [&str; 4] = [
    "with a public key and SHA-1 nothing is signed here",
    "where a sample cannot put it",
    "is missing",
    "is no array of 1",
];

#[test]
fn every_sample_of_every_scheme_verifies() {
    let catalog = catalog();
    let (mut seen, mut left_out) = (0, Vec::new());
    let mut wrong = Vec::new();
    for definition in catalog.iter().filter(|one| !Catalog::samples(&one.name).is_empty()) {
        for named in &definition.schemes {
            let scheme = scheme(&definition.name, Some(&named.name), &[]);
            for event in Catalog::samples(&definition.name) {
                let told = format!("{} {} {event}", definition.name, named.name);
                let wanted = Wanted { event: Some(event.clone()), ..Wanted::default() };
                let sample = Sample::new(definition, &scheme, wanted, NOW);
                let sample = sample.unwrap_or_else(|stop| panic!("{told}: {}", stop.why));
                let pair = pair(&scheme, &sample.unsigned("/in/x", NOW));
                match sample.sign("/in/x", pair.signer(), NOW, None) {
                    Ok(delivery) => {
                        wrong.extend(judge(&scheme, &pair, delivery).err().map(|found| (told, found)));
                        seen += 1;
                    }
                    Err(stop) => left_out.push(format!("{told}: {}", stop.why)),
                }
            }
        }
    }
    let known = |text: &&String| LEFT_OUT.iter().any(|reason| text.contains(reason));
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(left_out.iter().all(|text| known(&text)), "{left_out:#?}");
    let providers = catalog.iter().filter(|one| !Catalog::samples(&one.name).is_empty()).count();
    assert!(providers >= 40, "samples of {providers} providers only");
    assert!(seen >= 120 && left_out.len() * 10 <= seen, "{seen} samples sent, left out {left_out:#?}");
}

#[test]
fn every_default_event_has_its_sample() {
    for definition in catalog().iter() {
        let Some(rules) = &definition.sample else { continue };
        assert!(Catalog::sample_of(definition, &rules.event).unwrap().is_some(), "{}", definition.name);
    }
}

#[test]
fn a_fresh_id_keeps_every_other_byte() {
    let scheme = scheme("stripe", None, &[]);
    let original = Catalog::sample("stripe", "invoice.paid").unwrap().body;
    let sample = sample(&scheme, wanted("invoice.paid", "evt_a\"b"));
    let old = &b"\"evt_1TkGac2eGrovePineInvPaid1\""[..];
    let at = original.windows(old.len()).position(|window| window == old).unwrap();
    let body = sample.body();
    assert_eq!(body[..at], original[..at]);
    assert!(body[at..].starts_with(br#""evt_a\"b""#));
    assert_eq!(body[body.len() - (original.len() - at - old.len())..], original[at + old.len()..]);
}

#[test]
fn the_same_id_is_the_same_event_and_another_id_is_not() {
    for (provider, event) in [("github", "push"), ("github", "issues"), ("shopify", "orders/create")] {
        let scheme = scheme(provider, None, &[]);
        let body = |id: &str| sample(&scheme, wanted(event, id)).body().clone();
        assert_eq!(body("one"), body("one"), "{provider} {event}");
        assert_ne!(body("one"), body("two"), "{provider} {event}");
        assert_eq!(body("one").len(), Catalog::sample(provider, event).unwrap().body.len());
        serde_json::from_slice::<serde_json::Value>(&body("two")).unwrap();
    }
}

#[test]
fn every_sample_differs_from_the_next() {
    let mut same = Vec::new();
    for definition in catalog().iter().filter(|one| !Catalog::samples(&one.name).is_empty()) {
        let scheme = scheme(&definition.name, None, &[]);
        for event in Catalog::samples(&definition.name) {
            let made = || sample(&scheme, Wanted { event: Some(event.clone()), ..Wanted::default() });
            if made().body() == made().body() {
                same.push(format!("{} {event}", definition.name));
            }
        }
    }
    assert!(same.is_empty(), "{same:?}");
}

#[test]
fn fresh_values_have_the_form_of_the_old_ones() {
    let seed = [7, 200, 31, 90];
    for (old, form) in [
        ("1042", "9999"),
        ("__a1b2c3d4e5f60718", "__xxxxxxxxxxxxxxxx"),
        ("052652ac-5d1c-464a-812a-7dd18bbfba8c", "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
        ("8a25ff1d98", "xxxxxxxxxx"),
        ("k9Qd0ZQ3zvLrP0nCW3hSuN", "a9Aa9AA9aaAaA9aAA9aAaA"),
    ] {
        let fresh = alike(old, &seed).unwrap();
        assert_ne!(fresh, old);
        assert_eq!(fresh.len(), old.len());
        for ((new, form), was) in fresh.chars().zip(form.chars()).zip(old.chars()) {
            let same = match form {
                '9' => new.is_ascii_digit(),
                'x' => new.is_ascii_hexdigit() && !new.is_ascii_uppercase(),
                'a' => new.is_ascii_lowercase(),
                'A' => new.is_ascii_uppercase(),
                _ => new == was,
            };
            assert!(same, "{old} {fresh}");
        }
    }
    assert_eq!((alike("user-1042", &seed), alike("", &seed), alike("a word", &seed)), (None, None, None));
}

#[test]
fn ids_look_like_the_providers() {
    let stripe = scheme("stripe", None, &[]);
    let id = sample(&stripe, Wanted::default()).id;
    assert!(id.starts_with("evt_") && id.len() == 28, "{id}");
    let github = scheme("github", None, &[]);
    let made = sample(&github, Wanted::default());
    assert_eq!(made.id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{}", made.id);
    assert_eq!(made.headers.first("x-github-delivery"), Some(made.id.as_bytes()));
    assert_eq!(made.headers.first("x-github-event"), Some(&b"push"[..]));
}

#[test]
fn settings_that_name_headers_get_them() {
    let settings = [("id", "header:X-Id"), ("type", "header:X-Type")];
    let scheme = scheme("generic", Some("token"), &settings);
    let sample = sample(&scheme, wanted("order.created", "o-1"));
    assert_eq!(sample.headers.first("x-id"), Some(&b"o-1"[..]));
    assert_eq!(sample.headers.first("x-type"), Some(&b"order.created"[..]));
}

#[test]
fn each_break_is_refused_for_its_own_reason() {
    let cases = [
        ("stripe", Break::Body, Reject::SignatureMismatch),
        ("stripe", Break::Signature, Reject::SignatureMismatch),
        ("stripe", Break::Time, Reject::Stale),
        ("github", Break::Body, Reject::SignatureMismatch),
        ("github", Break::Signature, Reject::SignatureMismatch),
        ("shopify", Break::Body, Reject::SignatureMismatch),
        ("shopify", Break::Signature, Reject::SignatureMismatch),
        ("slack", Break::Body, Reject::SignatureMismatch),
        ("slack", Break::Signature, Reject::SignatureMismatch),
        ("slack", Break::Time, Reject::Stale),
        ("twilio", Break::Body, Reject::SignatureMismatch),
        ("twilio", Break::Signature, Reject::SignatureMismatch),
        ("gitlab", Break::Signature, Reject::SignatureMismatch),
        ("standard_webhooks", Break::Body, Reject::SignatureMismatch),
        ("standard_webhooks", Break::Signature, Reject::SignatureMismatch),
        ("svix", Break::Time, Reject::Stale),
        ("discord", Break::Body, Reject::SignatureMismatch),
        ("discord", Break::Signature, Reject::SignatureMismatch),
    ];
    for (provider, broken, reject) in cases {
        let scheme = scheme(provider, None, &[]);
        let sample = sample(&scheme, Wanted::default());
        let pair = pair(&scheme, &sample.unsigned("/in/x", NOW));
        let delivery = sample.sign("/in/x", pair.signer(), NOW, Some(broken)).unwrap();
        let differs = delivery.body.iter().zip(sample.body()).filter(|(a, b)| a != b).count();
        assert_eq!(differs, usize::from(broken == Break::Body), "{provider} {broken:?}");
        assert_eq!(delivery.body.len(), sample.body().len());
        assert_eq!(judge(&scheme, &pair, delivery), Err(reject), "{provider} {broken:?}");
    }
}

#[test]
fn what_cannot_be_broken_is_said() {
    let github = scheme("github", None, &[]);
    let said = |scheme: &Scheme, broken| {
        let signer = Signer::new(b"0123456789abcdef");
        sample(scheme, Wanted::default()).sign("/", signer, NOW, Some(broken)).unwrap_err()
    };
    let stop = said(&github, Break::Time);
    assert_eq!(stop, Stop::usage("scheme hub-signature-256 signs no time: no signature of it is ever stale"));
    let bearer = scheme("generic", Some("bearer"), &[]);
    assert!(said(&bearer, Break::Body).why.contains("does not sign the body"));
}

#[test]
fn an_unknown_event_lists_the_samples() {
    let scheme = scheme("shopify", None, &[]);
    let definition = catalog().get("shopify").unwrap().clone();
    let stop = Sample::new(&definition, &scheme, wanted("orders/creat", "x"), NOW).unwrap_err();
    assert!(stop.why.contains("there is: orders/create, products/update"), "{}", stop.why);
}

#[test]
fn a_body_of_ones_own_is_sent_as_it_is() {
    let scheme = scheme("stripe", None, &[]);
    let data = b" { \"id\" : \"mine\" } \n".to_vec();
    let own = Wanted { data: Some(data.clone()), ..Wanted::default() };
    assert_eq!(sample(&scheme, own).body().as_ref(), data);
    let own = Wanted { data: Some(data), id: Some("evt_2".to_owned()), event: None };
    assert_eq!(sample(&scheme, own).body().as_ref(), b" { \"id\" : \"evt_2\" } \n");
    let without = Wanted { data: Some(b"{}".to_vec()), id: Some("evt_2".to_owned()), event: None };
    let definition = catalog().get("stripe").unwrap().clone();
    assert!(Sample::new(&definition, &scheme, without, NOW).unwrap_err().why.contains("/id"));
}
