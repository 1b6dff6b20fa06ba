//! A digest of the body inside what is signed: with the signature it proves the body.

use std::borrow::Cow;

use subtle::ConstantTimeEq as _;

use super::algorithm::{self, Output};
use crate::extract::Scene;
use crate::provider::BodyDigestRule;
use crate::reject::{Refused, Reject};

/// The digest that the delivery names; `None` where it names none and need not.
///
/// # Errors
/// `CompanionMissing` where it must and names none: then nothing would prove the body.
pub(super) fn named<'d>(rule: &BodyDigestRule, scene: &Scene<'d>) -> Result<Option<Cow<'d, str>>, Refused> {
    let missing =
        || Reject::CompanionMissing.because(format!("{}, the body's digest, is missing", rule.from));
    match rule.from.read_in(scene).filter(|text| !text.is_empty()) {
        None if !rule.optional => Err(missing()),
        text => Ok(text),
    }
}

/// Whether `text`, which is signed, is the digest of the body.
///
/// # Errors
/// `BodyDigestMismatch` where it is that of another body, or no digest.
pub(super) fn check(rule: &BodyDigestRule, text: &str, body: &[u8]) -> Result<(), Refused> {
    let own = Output::of_digest(rule.digest, body);
    match algorithm::decode_bytes(rule.encoding, text, own.as_bytes().len()) {
        Some(told) if bool::from(told.ct_eq(&own)) => Ok(()),
        Some(_) => {
            Err(Reject::BodyDigestMismatch.because(format!("{} is signed, and of another body", rule.from)))
        }
        None => Err(Reject::BodyDigestMismatch.because(format!("{} is signed, and no digest", rule.from))),
    }
}

/// The digest of the body as a sender writes it.
pub(super) fn written(rule: &BodyDigestRule, body: &[u8]) -> String {
    algorithm::encode(rule.encoding, Output::of_digest(rule.digest, body).as_bytes())
}
