//! The stages from a delivery to what it is, in the order of the pipeline, for subcommands that keep and count nothing.

use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::freshness::{self, Tolerance};
use crate::provider::HandshakeAnswer;
use crate::reject::{Refused, Reject};
use crate::verify::{Verified, Verifier};

/// What a delivery turned out to be.
pub(super) enum Found {
    /// An event.
    Event(Box<Verified>),
    /// A question about the endpoint.
    Handshake(HandshakeAnswer),
}

/// What `serve` would find at `now`, under the tolerance that the scheme has.
///
/// # Errors
/// The first refusal.
pub(super) fn find(verifier: &Verifier, delivery: Delivery, now: Timestamp) -> Result<Found, Refused> {
    let scheme = verifier.scheme();
    if let Some(answer) = verifier.answer_at_path(&delivery, now)? {
        return Ok(Found::Handshake(answer));
    }
    if !scheme.takes(&delivery.method) {
        let detail = format!("{}; allowed: {}", delivery.method, scheme.allowed_methods().join(", "));
        return Err(Reject::MethodNotAllowed.because(detail));
    }
    if let Some(answer) = verifier.answer_anybody(&delivery, now)? {
        return Ok(Found::Handshake(answer));
    }
    let verified = verifier.verify(delivery, now)?;
    if let (Some(signed_at), Some(rule)) = (verified.signed_at(), &scheme.timestamp) {
        freshness::judge(signed_at, now, Tolerance { past: rule.past, future: rule.future })?;
    }
    if let Some(answer) = verifier.answer(&verified, now)? {
        return Ok(Found::Handshake(answer));
    }
    if !scheme.sends(&verified.delivery().method) {
        return Err(Reject::MethodNotAllowed.because("this method is for handshakes alone"));
    }
    Ok(Found::Event(Box::new(verified)))
}
