//! The samples of the built-in providers as `hookgate send` sends them: each verifies under every scheme that can sign
//! it here, and no two are one event.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cli::sample::{Sample, Wanted};
use crate::cli::stages;
use crate::cli::vectors::draft::{Draft, NOW};
use crate::provider::{Algorithm, Catalog, Definition};
use crate::reject::Reject;
use crate::verify::{Key, Verifier};

/// Providers of which a sample can be sent, at least.
const PROVIDERS_MIN: usize = 40;
/// Providers whose samples nobody can sign here: a signature inside the body, or one that wants a key of theirs.
const NEVER_SENT: [&str; 0] = [];

/// A sample of `event` under the scheme of `draft`.
fn sample<'d>(draft: &'d Draft<'_>, event: &str) -> Sample<'d> {
    let wanted = Wanted { event: Some(event.to_owned()), ..Wanted::default() };
    Sample::new(draft.definition, &draft.scheme, wanted, NOW)
        .unwrap_or_else(|stop| panic!("{}/{event}: {}", draft.definition.name, stop.why))
}

/// Every scheme of a provider under which something can be sent: where a delivery names its key, no sample does.
fn drafts(definition: &Definition) -> Vec<Draft<'_>> {
    let built = definition.schemes.iter().map(|named| Draft::new(definition, &named.name, &BTreeMap::new()));
    built.filter_map(Result::ok).filter(|draft| draft.scheme.key.id.is_none()).collect()
}

/// Whether the sample is accepted under that scheme. One that was written for another scheme of the provider may lack
/// what this one wants; its signature never fails.
fn verifies(draft: &Draft<'_>, event: &str) -> bool {
    let secret = draft.secret.signs.as_bytes();
    let Ok(delivery) = sample(draft, event).sign("/in/x", secret, NOW, None) else { return false };
    let key = match draft.scheme.algorithm {
        Algorithm::Unauthenticated => Key::unauthenticated(),
        _ => Key::new(&draft.scheme, "live", draft.secret.held.as_bytes()).unwrap(),
    };
    let found = stages::find(&Verifier::new(Arc::new(draft.scheme.clone()), vec![key]), delivery, NOW);
    let refused = found.err().map(|refused| refused.reject);
    assert_ne!(
        refused,
        Some(Reject::SignatureMismatch),
        "{}/{} {event}",
        draft.definition.name,
        draft.scheme.name
    );
    refused.is_none()
}

#[test]
fn every_sample_verifies_when_it_is_sent_and_forty_providers_have_one() {
    let catalog = Catalog::built_in().unwrap();
    let (mut sent, mut never) = (0, Vec::new());
    for definition in catalog.iter() {
        let drafts = drafts(definition);
        let events = Catalog::samples(&definition.name);
        let (some, none): (Vec<&String>, Vec<&String>) = events.iter().partition(|event| {
            let verifies: Vec<bool> = drafts.iter().map(|draft| verifies(draft, event)).collect();
            verifies.contains(&true)
        });
        sent += usize::from(!some.is_empty());
        never.extend(none.iter().map(|event| format!("{}/{event}", definition.name)));
    }
    assert!(sent >= PROVIDERS_MIN, "samples of {sent} providers only");
    assert_eq!(never, NEVER_SENT, "samples that can be sent under no scheme");
}

#[test]
fn every_sample_differs_from_the_next() {
    let catalog = Catalog::built_in().unwrap();
    let mut equal = Vec::new();
    for definition in catalog.iter() {
        let drafts = drafts(definition);
        let Some(draft) = drafts.first() else { continue };
        for event in Catalog::samples(&definition.name) {
            let (one, other) = (sample(draft, &event), sample(draft, &event));
            let headers = |sample: &Sample<'_>| {
                let delivery = sample.unsigned("/in/x", NOW);
                delivery.headers.iter().map(|(_, value)| value.to_vec()).collect::<Vec<_>>()
            };
            if one.body() == other.body() && headers(&one) == headers(&other) {
                equal.push(format!("{}/{event}", definition.name));
            }
        }
    }
    assert_eq!(equal, Vec::<String>::new(), "the second of them would be a duplicate");
}
