//! Deliveries broken on purpose, each in one way only, so that a refusal proves that this one way is noticed.

use std::time::Duration;

use bytes::Bytes;

use super::stop::Stop;
use crate::clock::Timestamp;
use crate::delivery::Headers;
use crate::extract::Pick;
use crate::provider::Scheme;

/// How long ago a stale delivery was signed, beyond its scheme's own tolerance.
const LONG_AGO: Duration = Duration::from_secs(24 * 60 * 60);
/// The changed character, counted from the end: within every signature, before any padding.
pub(super) const FROM_END: usize = 8;

/// `body` with one byte changed: a digit where there is one, so that JSON stays JSON.
///
/// # Errors
/// Where there is no byte, or the scheme would not notice.
pub(super) fn body(scheme: &Scheme, body: &Bytes) -> Result<Bytes, Stop> {
    if !scheme.covers_body() {
        let name = &scheme.name;
        return Err(Stop::usage(format!("scheme {name} does not sign the body: a changed one is accepted")));
    }
    let mut bytes = body.to_vec();
    let digit = bytes.iter().rposition(u8::is_ascii_digit);
    let Some(byte) = bytes.get_mut(digit.unwrap_or(body.len() / 2)) else {
        return Err(Stop::usage("the body is empty: there is no byte to change"));
    };
    *byte = if digit.is_some() { other(*byte) } else { *byte ^ 1 };
    Ok(bytes.into())
}

/// `headers` with one character of the signature changed for another of its kind.
///
/// # Errors
/// Where the scheme has its signature elsewhere.
pub(super) fn signature(scheme: &Scheme, headers: &Headers) -> Result<Headers, Stop> {
    let Pick::Header(name) = &scheme.signature.from else {
        return Err(Stop::usage(format!("scheme {} has its signature in no header", scheme.name)));
    };
    let mut changed = Headers::default();
    for (line, value) in headers.iter() {
        let mut value = value.to_vec();
        if line == name.as_bytes() {
            let at = value.len().saturating_sub(FROM_END);
            value.iter_mut().skip(at).take(1).for_each(|byte| *byte = other(*byte));
        }
        changed.push(&String::from_utf8_lossy(line), &value);
    }
    Ok(changed)
}

/// A time at which a signature made now would be stale.
///
/// # Errors
/// Where the scheme has no time, or takes any.
pub(super) fn long_ago(scheme: &Scheme, now: Timestamp) -> Result<Timestamp, Stop> {
    let Some(rule) = &scheme.timestamp else {
        let name = &scheme.name;
        return Err(Stop::usage(format!("scheme {name} signs no time: no signature of it is ever stale")));
    };
    let Some(past) = rule.past else {
        let name = &scheme.name;
        return Err(Stop::usage(format!(
            "scheme {name} takes any age: set the source's tolerance, such as {{ past = \"5m\" }}"
        )));
    };
    Ok(now.minus(LONG_AGO + past))
}

/// Another character of the same kind, hexadecimal digits staying such.
pub(super) fn other(byte: u8) -> u8 {
    match byte {
        b'0'..=b'8' => byte + 1,
        b'9' => b'0',
        b'a' => b'b',
        b'b'..=b'z' => b'a',
        b'A' => b'B',
        _ => b'A',
    }
}
