//! Samples against the rules that verify: each of every scheme, and each break of one.

use std::sync::Arc;

use crate::cli::vectors::keys::Pair;
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::freshness::{self, Tolerance};
use crate::provider::{Algorithm, Catalog, Scheme};
use crate::reject::Reject;
use crate::sample::{Break, Sample, Wanted, example_settings};
use crate::verify::{Key, Verifier};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// The scheme of that name, or the default, of `definition`, with examples for what a source would set.
fn scheme(provider: &str, name: Option<&str>) -> Scheme {
    let catalog = Catalog::built_in().unwrap();
    let definition = catalog.get(provider).unwrap();
    let raw = definition.schemes.iter().find(|scheme| name.is_none_or(|name| name == scheme.name)).unwrap();
    let settings = example_settings(definition, raw, &Default::default());
    let scheme = Scheme::build(definition, Some(&raw.name), &settings);
    scheme
        .unwrap_or_else(|problems| panic!("{provider} {}: {problems:?}", raw.name))
        .at("https://hooks.example.com")
}

/// A secret, and its other half where the source has public keys.
fn pair(scheme: &Scheme, unsigned: &Delivery) -> Pair {
    let told = scheme.key.id.as_ref().map(|place| place.read(unsigned).unwrap_or("key-1".into()));
    Pair::of(scheme, "right").unwrap().named(told.as_deref())
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
    let catalog = Catalog::built_in().unwrap();
    let (mut seen, mut left_out) = (0, Vec::new());
    let mut wrong = Vec::new();
    for definition in catalog.iter().filter(|one| !Catalog::samples(&one.name).is_empty()) {
        for named in &definition.schemes {
            let scheme = scheme(&definition.name, Some(&named.name));
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
        let (catalog, scheme) = (Catalog::built_in().unwrap(), scheme(provider, None));
        let sample = Sample::new(catalog.get(provider).unwrap(), &scheme, Wanted::default(), NOW).unwrap();
        let pair = pair(&scheme, &sample.unsigned("/in/x", NOW));
        let delivery = sample.sign("/in/x", pair.signer(), NOW, Some(broken)).unwrap();
        let differs = delivery.body.iter().zip(sample.body()).filter(|(a, b)| a != b).count();
        assert_eq!(differs, usize::from(broken == Break::Body), "{provider} {broken:?}");
        assert_eq!(delivery.body.len(), sample.body().len());
        assert_eq!(judge(&scheme, &pair, delivery), Err(reject), "{provider} {broken:?}");
    }
}
