//! Deliveries broken on purpose, each in one way only, so that a refusal proves that this one way is noticed.

use std::time::Duration;

use bytes::Bytes;

use super::error::SampleError;
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::extract::{self, Pick};
use crate::provider::Scheme;

/// How long ago a stale delivery was signed, beyond its scheme's own tolerance.
const LONG_AGO: Duration = Duration::from_secs(24 * 60 * 60);
/// The changed character, counted from the end: within every signature, before any padding.
pub const FROM_END: usize = 8;

/// `body` with one byte changed: a digit where there is one, so that JSON stays JSON.
///
/// # Errors
/// Where there is no byte, or the scheme would not notice.
pub fn body(scheme: &Scheme, body: &Bytes) -> Result<Bytes, SampleError> {
    if !scheme.covers_body() {
        let name = &scheme.name;
        return Err(SampleError::asked(format!(
            "scheme {name} does not sign the body: a changed one is accepted"
        )));
    }
    let mut bytes = body.to_vec();
    let digit = bytes.iter().rposition(u8::is_ascii_digit);
    let Some(byte) = bytes.get_mut(digit.unwrap_or(body.len() / 2)) else {
        return Err(SampleError::asked("the body is empty: there is no byte to change"));
    };
    *byte = if digit.is_some() { other(*byte) } else { *byte ^ 1 };
    Ok(bytes.into())
}

/// `delivery` with one character of the signature changed for another of its kind.
///
/// # Errors
/// Where it has none.
pub fn signature(scheme: &Scheme, delivery: &Delivery) -> Result<Delivery, SampleError> {
    let changed = |place: &Pick| {
        let value = place.read(delivery)?;
        let at = value.len().saturating_sub(FROM_END);
        let mut bytes = value.into_owned().into_bytes();
        bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = other(*byte));
        extract::put(delivery, place, &String::from_utf8(bytes).ok()?)
    };
    let changed = signature_places(scheme).iter().find_map(changed);
    changed.ok_or_else(|| SampleError::asked(format!("scheme {} has no signature to change", scheme.name)))
}

/// Where a delivery of one element has its signatures.
pub fn signature_places(scheme: &Scheme) -> Vec<Pick> {
    let first = |place: &Pick| match &scheme.each {
        Some(array) => place.of_element(array, 0),
        None => Some(place.clone()),
    };
    scheme.signature.places().filter_map(first).collect()
}

/// A time at which a signature made now would be stale.
///
/// # Errors
/// Where the scheme has no time, or takes any.
pub fn long_ago(scheme: &Scheme, now: Timestamp) -> Result<Timestamp, SampleError> {
    let Some(rule) = &scheme.timestamp else {
        let name = &scheme.name;
        return Err(SampleError::asked(format!(
            "scheme {name} signs no time: no signature of it is ever stale"
        )));
    };
    let Some(past) = rule.past else {
        let name = &scheme.name;
        return Err(SampleError::asked(format!(
            "scheme {name} takes any age: set the source's tolerance, such as {{ past = \"5m\" }}"
        )));
    };
    Ok(now.minus(LONG_AGO + past))
}

/// Another character of the same kind, hexadecimal digits staying such.
pub fn other(byte: u8) -> u8 {
    match byte {
        b'0'..=b'8' => byte + 1,
        b'9' => b'0',
        b'a' => b'b',
        b'b'..=b'z' => b'a',
        b'A' => b'B',
        _ => b'A',
    }
}
