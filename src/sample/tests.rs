//! Samples byte for byte. That each verifies is tested where keys are made, at `hookgate vectors`.

use super::event::alike;
use super::{Break, Sample, SampleError, Wanted, example_settings};
use crate::clock::Timestamp;
use crate::provider::{Catalog, Scheme};
use crate::verify::Signer;

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
    assert_eq!(made.unsigned("/", NOW).headers.first("x-github-delivery"), Some(made.id.as_bytes()));
    assert_eq!(made.unsigned("/", NOW).headers.first("x-github-event"), Some(&b"push"[..]));
}

#[test]
fn settings_that_name_headers_get_them() {
    let settings = [("id", "header:X-Id"), ("type", "header:X-Type")];
    let scheme = scheme("generic", Some("token"), &settings);
    let sample = sample(&scheme, wanted("order.created", "o-1"));
    assert_eq!(sample.unsigned("/", NOW).headers.first("x-id"), Some(&b"o-1"[..]));
    assert_eq!(sample.unsigned("/", NOW).headers.first("x-type"), Some(&b"order.created"[..]));
}

#[test]
fn what_cannot_be_broken_is_said() {
    let github = scheme("github", None, &[]);
    let said = |scheme: &Scheme, broken| {
        let signer = Signer::new(b"0123456789abcdef");
        sample(scheme, Wanted::default()).sign("/", signer, NOW, Some(broken)).unwrap_err()
    };
    let none = said(&github, Break::Time);
    assert_eq!(
        none,
        SampleError::asked("scheme hub-signature-256 signs no time: no signature of it is ever stale")
    );
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
