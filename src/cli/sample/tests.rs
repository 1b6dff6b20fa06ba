//! Samples against the rules that verify, and byte for byte. That those of every provider verify is shown beside
//! their vectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::freshness::{self, Tolerance};
use crate::provider::KeyForm;
use crate::reject::Reject;
use crate::verify::{Key, Verifier};

const SECRET: &[u8] = b"whsec_0123456789abcdef";
/// What a sender with public keys has, and its public key: the same pair as 32 bytes of sevens.
const SEED: [u8; 32] = [7; 32];
const PUBLIC: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";

/// What the sender has, and what the source has.
fn keys(scheme: &Scheme) -> (Vec<u8>, Vec<u8>) {
    let (seed, public) = (hex::encode(SEED), hex::decode(PUBLIC).unwrap());
    match scheme.key_form {
        _ if !scheme.has_public_keys() => (SECRET.to_vec(), SECRET.to_vec()),
        KeyForm::Whpk => (
            format!("whsk_{}", STANDARD.encode(SEED)).into_bytes(),
            format!("whpk_{}", STANDARD.encode(public)).into_bytes(),
        ),
        _ => (seed.into_bytes(), PUBLIC.as_bytes().to_vec()),
    }
}
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn catalog() -> Catalog {
    Catalog::built_in().unwrap()
}

/// The default scheme of `provider`, with `settings`.
fn scheme(provider: &str, name: Option<&str>, settings: &[(&str, &str)]) -> Scheme {
    let settings: BTreeMap<_, _> = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Scheme::build(catalog().get(provider).unwrap(), name, &settings).unwrap().at("https://hooks.example.com")
}

fn wanted(event: &str, id: &str) -> Wanted {
    Wanted { event: Some(event.to_owned()), id: Some(id.to_owned()), data: None }
}

fn sample<'s>(scheme: &'s Scheme, wanted: Wanted) -> Sample<'s> {
    Sample::new(catalog().get(&scheme.provider).unwrap(), scheme, wanted, NOW).unwrap()
}

fn judge(scheme: &Scheme, delivery: Delivery) -> Result<(), Reject> {
    let key = Key::new(scheme, "secret-1", &keys(scheme).1).unwrap();
    let verifier = Verifier::new(Arc::new(scheme.clone()), vec![key]);
    let verified = verifier.verify(delivery, NOW).map_err(|refused| refused.reject)?;
    if let (Some(signed_at), Some(rule)) = (verified.signed_at(), &scheme.timestamp) {
        freshness::judge(signed_at, NOW, Tolerance { past: rule.past, future: rule.future })
            .map_err(|refused| refused.reject)?;
    }
    Ok(())
}

#[test]
fn every_default_event_has_its_sample() {
    for definition in catalog().iter() {
        let Some(rules) = &definition.sample else { continue };
        assert!(Catalog::sample(&definition.name, &rules.event).is_some(), "{}", definition.name);
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
        let delivery = sample.sign("/in/x", &keys(&scheme).0, NOW, Some(broken)).unwrap();
        let differs = delivery.body.iter().zip(sample.body()).filter(|(a, b)| a != b).count();
        assert_eq!(differs, usize::from(broken == Break::Body), "{provider} {broken:?}");
        assert_eq!(delivery.body.len(), sample.body().len());
        assert_eq!(judge(&scheme, delivery), Err(reject), "{provider} {broken:?}");
    }
}

#[test]
fn what_cannot_be_broken_is_said() {
    let github = scheme("github", None, &[]);
    let said = |scheme: &Scheme, broken| {
        sample(scheme, Wanted::default()).sign("/", SECRET, NOW, Some(broken)).unwrap_err()
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
