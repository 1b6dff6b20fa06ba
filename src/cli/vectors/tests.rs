//! The vectors of the built-in providers are complete: each has a file, and in it every failure that its schemes allow.

mod failures;
mod forms;
mod samples;

use std::collections::BTreeMap;
use std::path::Path;

use self::failures::{Beside, Failure};
use super::*;
use crate::reject::Reject;

/// Vectors that a provider has at least.
const VECTORS_MIN: usize = 6;

/// A vector that got its verdict, by what was found.
struct Ran {
    scheme: Scheme,
    /// `None` where it was accepted.
    refused: Option<Reject>,
    delivery: Delivery,
}

impl Ran {
    /// `None` where it did not hold, or is a handshake.
    fn of(vector: &Vector, catalog: &Catalog) -> Option<Self> {
        vector.judge(catalog).ok()?;
        let verifier = vector.verifier(catalog).ok()?;
        let now = Timestamp::from_seconds(vector.now);
        let delivery = vector.request.delivery(now).ok()?;
        let refused = match (vector.expect, stages::find(&verifier, delivery.clone(), now)) {
            (Expect::Handshake, _) => return None,
            (_, Ok(_)) => None,
            (_, Err(refused)) => Some(refused.reject),
        };
        Some(Self { scheme: Scheme::clone(verifier.scheme()), refused, delivery })
    }

    fn signatures(&self) -> Vec<Option<String>> {
        let places = self.scheme.signature.places();
        places.map(|place| place.read(&self.delivery).map(String::from)).collect()
    }

    /// Whether it fails in this way, beside one that is `accepted`.
    fn shows(&self, failure: &Failure, accepted: &Self) -> bool {
        let same_body = self.delivery.body == accepted.delivery.body;
        self.refused.is_some_and(|reject| failure.refused.contains(&reject))
            && match failure.beside {
                Beside::Any => true,
                Beside::SameBody => same_body,
                Beside::SameSignature => !same_body && self.signatures() == accepted.signatures(),
            }
    }
}

/// The vectors of a provider's file; nothing where it has none.
fn kept(provider: &str) -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{provider}.json"));
    fs::read(path).map_or_else(|_| Vec::new(), |text| serde_json::from_slice(&text).unwrap())
}

/// What the vectors of a provider lack, a line each.
fn missing(definition: &Definition, catalog: &Catalog) -> Vec<String> {
    let name = &definition.name;
    let vectors = kept(name);
    let mut missing = Vec::new();
    if vectors.len() < VECTORS_MIN {
        missing.push(format!("{name}: {} vectors, at least {VECTORS_MIN}", vectors.len()));
    }
    let mut by_scheme: BTreeMap<String, Vec<Ran>> = BTreeMap::new();
    for ran in vectors.iter().filter_map(|vector| Ran::of(vector, catalog)) {
        by_scheme.entry(ran.scheme.name.clone()).or_default().push(ran);
    }
    for scheme in definition.schemes.iter().map(|scheme| &scheme.name) {
        let all = by_scheme.remove(scheme).unwrap_or_default();
        let (accepted, refused): (Vec<Ran>, Vec<Ran>) =
            all.into_iter().partition(|ran| ran.refused.is_none());
        if accepted.is_empty() {
            missing.push(format!("{name}/{scheme}: accepted"));
        }
        let mut wanted: Vec<Failure> = Vec::new();
        for failure in accepted.iter().flat_map(|ran| failures::of(&ran.scheme)) {
            if !wanted.contains(&failure) {
                wanted.push(failure);
            }
        }
        let shown = |failure: &Failure| {
            refused.iter().any(|ran| accepted.iter().any(|accepted| ran.shows(failure, accepted)))
        };
        let lacking = wanted.iter().filter(|failure| !shown(failure));
        missing.extend(lacking.map(|failure| format!("{name}/{scheme}: {}", failure.name)));
    }
    missing
}

#[test]
fn every_failure_that_a_scheme_allows_has_its_vector() {
    let catalog = Catalog::built_in().unwrap();
    let missing: Vec<String> = catalog.iter().flat_map(|definition| missing(definition, &catalog)).collect();
    assert!(missing.is_empty(), "{} missing:\n  {}\n", missing.len(), missing.join("\n  "));
}

#[test]
fn every_file_of_vectors_has_its_provider() {
    let catalog = Catalog::built_in().unwrap();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    for path in files(&[dir]).unwrap() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(catalog.get(name).is_some(), "{}: no provider of that name", path.display());
        let strange = kept(name).into_iter().find(|vector| vector.provider != name);
        assert!(strange.is_none(), "{name}: {:?}", strange.map(|vector| vector.id));
    }
}
