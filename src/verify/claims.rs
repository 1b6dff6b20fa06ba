//! What a proved token must say: its own time, the claims of the provider's file, and the digest of the request.
//! Never looks at a token that is not proved.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::extract::{self, Pointer};
use crate::provider::{ClaimValue, Expires, TokenRule};
use crate::reject::{Refused, Reject, quoted};

/// Values of a claim, and of what it may be, that a refusal shows.
const SHOWN_MAX: usize = 4;

/// Judges the claims of a proved token at `now`.
///
/// # Errors
/// `TokenExpired`, `TokenPremature`, `ClaimMismatch` or `RequestDigestMismatch`; with the value of no claim but the one
/// that was compared.
pub(super) fn check(
    rule: &TokenRule,
    claims: &[u8],
    delivery: &Delivery,
    now: Timestamp,
) -> Result<(), Refused> {
    let object = serde_json::from_slice::<&RawValue>(claims).is_ok_and(|whole| whole.get().starts_with('{'));
    if !object {
        return Err(Reject::ClaimMismatch.because("the token's claims are no JSON object"));
    }
    times(rule, claims, now)?;
    let pointers: Vec<&Pointer> = rule.claims.iter().map(|(pointer, _)| pointer).collect();
    if !pointers.is_empty() {
        let found = extract::find(claims, &pointers);
        for ((pointer, wanted), found) in rule.claims.iter().zip(found) {
            let value: Option<Value> = found.and_then(|found| serde_json::from_str(found.raw()).ok());
            if !value.as_ref().is_some_and(|value| is_one_of(value, wanted)) {
                let (found, wanted) =
                    (value.as_ref().map_or_else(|| "missing".to_owned(), shown), named(wanted));
                let detail = format!("the claim {pointer} is {found}; the scheme demands {wanted}");
                return Err(Reject::ClaimMismatch.because(detail));
            }
        }
    }
    match &rule.request_digest {
        None => Ok(()),
        Some(place) => {
            let told = place.read_claim(claims).unwrap_or_default();
            let own = request_digest(delivery);
            if bool::from(told.as_bytes().ct_eq(own.as_bytes())) {
                return Ok(());
            }
            let detail = format!("{place} is not the digest of this method, path and query");
            Err(Reject::RequestDigestMismatch.because(detail))
        }
    }
}

/// An array holds if one of its elements does.
fn is_one_of(value: &Value, wanted: &[ClaimValue]) -> bool {
    let is = |value: &Value, wanted: &ClaimValue| match wanted {
        ClaimValue::Text(text) => value.as_str() == Some(text),
        ClaimValue::Flag(flag) => value.as_bool() == Some(*flag),
        ClaimValue::Number(number) => value.as_i64() == Some(*number),
    };
    match value {
        Value::Array(all) => all.iter().any(|value| wanted.iter().any(|wanted| is(value, wanted))),
        one => wanted.iter().any(|wanted| is(one, wanted)),
    }
}

/// The value of a claim, bounded.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Number(_) | Value::Bool(_) | Value::Null => value.to_string(),
        Value::Object(_) => "an object".to_owned(),
        Value::Array(all) if all.is_empty() => "an empty list".to_owned(),
        Value::Array(all) => {
            let first = all.iter().take(SHOWN_MAX).map(|value| match value {
                Value::Array(_) => "a list".to_owned(),
                value => shown(value),
            });
            let more = if all.len() > SHOWN_MAX { ", …" } else { "" };
            format!("a list of {}: {}{more}", all.len(), first.collect::<Vec<_>>().join(", "))
        }
    }
}

/// What a claim may be, by the provider's file and the source's settings.
fn named(wanted: &[ClaimValue]) -> String {
    let value = |value: &ClaimValue| match value {
        ClaimValue::Text(text) => quoted(text),
        ClaimValue::Flag(flag) => flag.to_string(),
        ClaimValue::Number(number) => number.to_string(),
    };
    let more = if wanted.len() > SHOWN_MAX { " or another" } else { "" };
    wanted.iter().take(SHOWN_MAX).map(value).collect::<Vec<_>>().join(" or ") + more
}

fn times(rule: &TokenRule, claims: &[u8], now: Timestamp) -> Result<(), Refused> {
    if rule.expires == Expires::Ignored {
        return Ok(());
    }
    let leeway = i64::try_from(rule.leeway.as_millis()).unwrap_or(i64::MAX);
    if let Some(end) = time(claims, "/exp")? {
        if now.millis() >= end.saturating_add(leeway) {
            return Err(Reject::TokenExpired
                .because(format!("the token ended {} s ago", now.millis().saturating_sub(end) / 1000)));
        }
    } else if rule.expires == Expires::Required {
        return Err(Reject::ClaimMismatch.because("the token has no exp, which the scheme demands"));
    }
    if let Some(start) = time(claims, "/nbf")?
        && now.millis() < start.saturating_sub(leeway)
    {
        let ahead = start.saturating_sub(now.millis()) / 1000;
        return Err(Reject::TokenPremature.because(format!("the token begins to hold in {ahead} s")));
    }
    Ok(())
}

/// A NumericDate (RFC 7519) in milliseconds: a JSON number of seconds, which may have a fraction.
fn time(claims: &[u8], pointer: &str) -> Result<Option<i64>, Refused> {
    let name = pointer;
    let Ok(pointer) = Pointer::parse(pointer) else { return Ok(None) };
    let Some(found) = extract::find(claims, &[&pointer]).pop().flatten() else { return Ok(None) };
    let malformed = || {
        let found = quoted(found.raw());
        Reject::ClaimMismatch.because(format!("the claim {name} is {found}, which is no time in seconds"))
    };
    let seconds: f64 = serde_json::from_str(found.raw()).map_err(|_| malformed())?;
    // The last second of the year 9999; beyond it nobody means a time.
    if !(0.0..=253_402_300_799.0).contains(&seconds) {
        return Err(malformed());
    }
    Ok(Some((seconds * 1000.0) as i64))
}

/// Percent-encoded by RFC 3986: a form's own writing differs in three characters.
fn escaped(text: &str) -> String {
    extract::form_encoded(text).replace('+', "%20").replace('*', "%2A").replace("%7E", "~")
}

/// SHA-256 of `METHOD&path&query`, the query's names and values decoded, sorted (by UTF-16 code units, as its senders
/// sort) and encoded in one way (Atlassian's query string hash): 64 lower-case hexadecimal digits.
pub(super) fn request_digest(delivery: &Delivery) -> String {
    let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
    let mut parameters: BTreeMap<Vec<u16>, (String, Vec<String>)> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(delivery.query().as_bytes()).filter(|(name, _)| name != "jwt")
    {
        let (_, values) = parameters.entry(units(&name)).or_insert_with(|| (escaped(&name), Vec::new()));
        values.push(value.into_owned());
    }
    let mut pairs = Vec::with_capacity(parameters.len());
    for (name, mut values) in parameters.into_values() {
        values.sort_by_cached_key(|value| units(value));
        let values: Vec<String> = values.iter().map(|value| escaped(value)).collect();
        pairs.push(format!("{name}={}", values.join(",")));
    }
    let path = delivery.path().strip_suffix('/').unwrap_or(delivery.path()).replace('&', "%26");
    let path = if path.is_empty() { "/" } else { path.as_str() };
    let canonical = format!("{}&{path}&{}", delivery.method.to_ascii_uppercase(), pairs.join("&"));
    hex::encode(Sha256::digest(canonical))
}
