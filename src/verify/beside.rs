//! What a scheme demands of a delivery beside its signature, looked at before anything is computed.

use subtle::ConstantTimeEq as _;

use crate::extract::Scene;
use crate::provider::{EmptyBody, Scheme};
use crate::reject::{Refused, Reject};

/// Whether everything is there, and what it must be.
///
/// # Errors
/// `CompanionMissing`, `CompanionWrong` or `BodyEmpty`; never with a value in its detail.
pub(super) fn check(scheme: &Scheme, scene: &Scene<'_>) -> Result<(), Refused> {
    let missing = |place: &dyn std::fmt::Display| {
        Reject::CompanionMissing.because(format!("{place} is missing or empty"))
    };
    for place in &scheme.require {
        if place.read_in(scene).is_none_or(|value| value.is_empty()) {
            return Err(missing(place));
        }
    }
    if scheme.empty_body == EmptyBody::Refuse && scene.delivery.body.is_empty() {
        return Err(Reject::BodyEmpty.into());
    }
    for rule in &scheme.equal {
        let value = rule.place.read_in(scene).ok_or_else(|| missing(&rule.place))?;
        // A setting may be a token that the sender has to know.
        let same = |wanted: &String| bool::from(wanted.as_bytes().ct_eq(value.as_bytes()));
        if !rule.wanted.iter().fold(false, |any, wanted| any | same(wanted)) {
            return Err(Reject::CompanionWrong.because(format!("{} is not what it must be", rule.place)));
        }
    }
    for rule in &scheme.matching {
        let value = rule.place.read_in(scene).ok_or_else(|| missing(&rule.place))?;
        if !rule.pattern.is_match(&value) {
            return Err(
                Reject::CompanionWrong.because(format!("{} is not of the form it must have", rule.place))
            );
        }
    }
    Ok(())
}
