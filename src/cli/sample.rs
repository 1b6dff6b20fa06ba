//! A sample event as its provider would send it: the provider's documented payload with an id of its own, the
//! headers that its file names, and a signature by the rules that verify.
//!
//! No body is parsed and printed again: fresh values take the place of exactly the old values' bytes.

use std::fs::File;
use std::io::{self, Read as _};

use bytes::Bytes;
use clap::ValueEnum;
use sha2::{Digest as _, Sha256};

use super::stop::Stop;
use super::tamper;
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::extract::{Pick, Pointer, find};
use crate::provider::{Catalog, Definition, SampleDefinition, Scheme};
use crate::verify::sign;

/// Shortest run of hexadecimal digits that counts as a hash and not as a word.
const HASH_DIGITS_MIN: usize = 16;

/// What is wrong with a delivery on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Break {
    /// One byte of the body is changed after signing
    Body,
    /// One character of the signature is changed, its form kept
    Signature,
    /// Signed long ago
    Time,
}

/// What the sender chooses about a sample; what is left open is the provider's default.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// The event's type.
    pub event: Option<String>,
    /// The event's id.
    pub id: Option<String>,
    /// The body.
    pub data: Option<Vec<u8>>,
}

/// An event to send: once or often, each time signed anew.
#[derive(Clone, Debug)]
pub(super) struct Sample<'s> {
    scheme: &'s Scheme,
    method: String,
    headers: Headers,
    body: Bytes,
    /// Its type.
    pub event: String,
    /// Its id, or what stands for one where the scheme knows none.
    pub id: String,
}

impl<'s> Sample<'s> {
    /// Makes the event of `scheme`, one of the schemes of `definition`.
    ///
    /// # Errors
    /// Where there is no payload of that type, or no place for the id.
    pub(super) fn new(
        definition: &Definition,
        scheme: &'s Scheme,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Self, Stop> {
        let none = SampleDefinition::default();
        let rules = definition.sample.as_ref().unwrap_or(&none);
        let event = wanted.event.unwrap_or_else(|| rules.event.clone());
        let id = match &wanted.id {
            Some(id) => id.clone(),
            None => fresh_id(&rules.id_prefix).map_err(Stop::failure)?,
        };
        if let Some(text) = [&id, &event].into_iter().find(|text| text.chars().any(char::is_control)) {
            return Err(Stop::usage(format!("{text:?} has a control character, which no header can carry")));
        }
        let body = match wanted.data {
            Some(data) if wanted.id.is_some() => with_id(&data, rules, scheme, &id)?,
            Some(data) => data,
            None => refreshed(&with_id(&payload(definition, &event)?, rules, scheme, &id)?, rules, &id)?,
        };
        let headers =
            headers(rules, scheme, [("{id}", &id), ("{type}", &event), ("{now}", &now.to_string())]);
        let method = scheme.methods.first().cloned().unwrap_or_else(|| "POST".to_owned());
        Ok(Self { scheme, method, headers, body: body.into(), event, id })
    }

    /// The bytes that are signed and sent.
    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    /// A delivery of the event to `target`, signed at `now`, and broken where that is asked for.
    ///
    /// # Errors
    /// Where the secret does not fit the scheme, or the scheme cannot be broken like this.
    pub(super) fn sign(
        &self,
        target: &str,
        secret: &[u8],
        now: Timestamp,
        broken: Option<Break>,
    ) -> Result<Delivery, Stop> {
        let signed_at = match broken {
            Some(Break::Time) => tamper::long_ago(self.scheme, now)?,
            Some(Break::Body | Break::Signature) | None => now,
        };
        let mut delivery = Delivery {
            method: self.method.clone(),
            target: target.to_owned(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            received_at: now,
        };
        sign(self.scheme, secret, &mut delivery, signed_at).map_err(|error| Stop::data(error.to_string()))?;
        match broken {
            Some(Break::Body) => delivery.body = tamper::body(self.scheme, &delivery.body)?,
            Some(Break::Signature) => delivery.headers = tamper::signature(self.scheme, &delivery.headers)?,
            Some(Break::Time) | None => {}
        }
        Ok(delivery)
    }
}

/// The provider's payload of that type.
fn payload(definition: &Definition, event: &str) -> Result<Vec<u8>, Stop> {
    Catalog::sample(&definition.name, event).ok_or_else(|| {
        let mut known = Catalog::samples(&definition.name);
        known.sort();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let title = &definition.title;
        Stop::usage(format!(
            "no sample of {title} event {event:?}; there is: {known}; or send your own: --data FILE"
        ))
    })
}

/// `body` with `id` where the scheme or the sample's rules have the id in the body.
fn with_id(body: &[u8], rules: &SampleDefinition, scheme: &Scheme, id: &str) -> Result<Vec<u8>, Stop> {
    let pointer = match (&scheme.event_id, &rules.id) {
        (Some(Pick::Json(pointer)), _) => pointer.clone(),
        (Some(_), _) | (None, None) => return Ok(body.to_vec()),
        (None, Some(text)) => Pointer::parse(text).map_err(Stop::data)?,
    };
    let [Some(found)] = &find(body, &[&pointer])[..] else {
        return Err(Stop::data(format!("the body has no JSON value at {pointer}, where this event's id is")));
    };
    let number = body.get(found.span.start).is_some_and(u8::is_ascii_digit);
    let value = match serde_json::to_string(id) {
        _ if number && id.parse::<u64>().is_ok() => id.to_owned(),
        Ok(text) => text,
        Err(error) => return Err(Stop::failure(error)),
    };
    Ok(replaced(body, found.span.clone(), value.as_bytes()))
}

/// `body` with fresh values of the same form in the rules' places; they follow from `id`, so that the same id
/// always brings the same bytes.
fn refreshed(body: &[u8], rules: &SampleDefinition, id: &str) -> Result<Vec<u8>, Stop> {
    let mut body = body.to_vec();
    for text in &rules.fresh {
        let pointer = Pointer::parse(text).map_err(Stop::data)?;
        let fresh = find(&body, &[&pointer]).pop().flatten().and_then(|found| {
            let value = alike(found.text()?.as_ref(), &Sha256::digest(format!("{id}\n{text}")))?;
            let quoted = body.get(found.span.start) == Some(&b'"');
            Some((found.span, if quoted { format!("\"{value}\"") } else { value }))
        });
        if let Some((span, value)) = fresh {
            body = replaced(&body, span, value.as_bytes());
        }
    }
    Ok(body)
}

/// A value like `old`, digit for digit, made of `seed`; `None` where `old` is neither a number nor a hash.
fn alike(old: &str, seed: &[u8]) -> Option<String> {
    let decimal = !old.is_empty() && old.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = old.len() >= HASH_DIGITS_MIN && old.bytes().all(|byte| byte.is_ascii_hexdigit());
    let base = match (decimal, hexadecimal) {
        (true, _) => 9,
        (false, true) => 16,
        (false, false) => return None,
    };
    let digits = seed.iter().cycle().take(old.len()).map(|byte| u32::from(*byte) % base);
    // Decimal digits are 1 to 9: a number does not begin with 0.
    digits.map(|digit| char::from_digit(if decimal { digit + 1 } else { digit }, 16)).collect()
}

fn replaced(body: &[u8], span: std::ops::Range<usize>, value: &[u8]) -> Vec<u8> {
    let (before, rest) = body.split_at(span.start);
    [before, value, rest.get(span.len()..).unwrap_or_default()].concat()
}

/// The headers beside the signature; id and type also where only the source's settings name a header for them.
fn headers(rules: &SampleDefinition, scheme: &Scheme, values: [(&str, &String); 3]) -> Headers {
    let mut headers = Headers::default();
    for (name, template) in rules.schemes.get(&scheme.name).unwrap_or(&rules.headers) {
        let fill = |text: String, (mark, value): &(&str, &String)| text.replace(mark, value);
        headers.push(name, values.iter().fold(template.clone(), fill).as_bytes());
    }
    let [(_, id), (_, event), _] = values;
    let places = [(&scheme.event_id, id.as_str()), (&scheme.event_type, event.as_str())];
    for (place, value) in places {
        if let Some(Pick::Header(name)) = place {
            push_missing(&mut headers, name, value);
        }
    }
    push_missing(&mut headers, "content-type", "application/json");
    headers
}

fn push_missing(headers: &mut Headers, name: &str, value: &str) {
    if headers.first(name).is_none() {
        headers.push(name, value.as_bytes());
    }
}

/// An id that no event had: after `prefix`, or in the form of a UUID where there is no prefix.
fn fresh_id(prefix: &str) -> io::Result<String> {
    let digits = hex::encode(random()?);
    if !prefix.is_empty() {
        return Ok(format!("{prefix}{}", &digits[..24]));
    }
    let parts =
        [&digits[..8], &digits[8..12], &format!("4{}", &digits[13..16]), &format!("a{}", &digits[17..20])];
    Ok(format!("{}-{}", parts.join("-"), &digits[20..32]))
}

/// Bytes that nobody can guess.
///
/// # Errors
/// Where the system has no source of randomness.
pub(super) fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
