//! Signing by the rules that verify: what `send`, `sign` and tests put on a delivery.

use super::algorithm::{Mac, encode};
use super::content;
use super::key::{KeyError, decode, is_token};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::extract::Pick;
use crate::provider::{Grammar, Scheme, TimeSource, TimeUnit};

/// Why a delivery cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The secret is not in the scheme's form.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The scheme puts its signature or time where a sample cannot.
    #[error("the scheme reads {0}, where a sample cannot put it")]
    Place(String),
    /// A signed value is missing.
    #[error("{0}")]
    Missing(String),
}

/// Puts the scheme's signature (and time, `now`) on `delivery`.
///
/// # Errors
/// Where the secret or the delivery does not fit the scheme.
pub fn sign(
    scheme: &Scheme,
    secret: &[u8],
    delivery: &mut Delivery,
    now: Timestamp,
) -> Result<(), SignError> {
    let time = scheme.timestamp.as_ref().map(|rule| match rule.unit {
        TimeUnit::Seconds => now.seconds().to_string(),
        TimeUnit::Milliseconds => now.millis().to_string(),
        TimeUnit::Rfc3339 => now.to_string(),
    });
    if let (Some(rule), Some(time)) = (&scheme.timestamp, &time)
        && let TimeSource::Place(place) = &rule.from
    {
        put(delivery, place, time)?;
    }
    let signature = signature(scheme, secret, delivery, time.as_deref())?;
    let value = render(scheme, &signature, time.as_deref());
    put(delivery, &scheme.signature.from, &value)
}

fn signature(
    scheme: &Scheme,
    secret: &[u8],
    delivery: &Delivery,
    time: Option<&str>,
) -> Result<String, SignError> {
    let key = decode(scheme.key_form, secret)?;
    if is_token(scheme.algorithm) {
        return Ok(encode(scheme.signature.encoding, &key));
    }
    let (Some(mut mac), Some(template)) = (Mac::new(scheme.algorithm, &key), scheme.signed.first()) else {
        return Err(SignError::Place("nothing that is signed".to_owned()));
    };
    content::feed(template, delivery, time, &mut |bytes| mac.update(bytes))
        .map_err(|refused| SignError::Missing(refused.detail.into_owned()))?;
    Ok(encode(scheme.signature.encoding, mac.finish().as_bytes()))
}

fn render(scheme: &Scheme, signature: &str, time: Option<&str>) -> String {
    match &scheme.signature.grammar {
        Grammar::Plain { prefix, .. } => format!("{prefix}{signature}"),
        Grammar::Versions { assign, keys, .. } => {
            format!("{}{assign}{signature}", keys.first().map_or("", String::as_str))
        }
        Grammar::Pairs { separator, assign, keys } => {
            let key = keys.first().map_or("", String::as_str);
            match (scheme.timestamp.as_ref().map(|rule| &rule.from), time) {
                (Some(TimeSource::Signature(name)), Some(time)) => {
                    format!("{name}{assign}{time}{separator}{key}{assign}{signature}")
                }
                _ => format!("{key}{assign}{signature}"),
            }
        }
    }
}

fn put(delivery: &mut Delivery, place: &Pick, value: &str) -> Result<(), SignError> {
    match place {
        Pick::Header(name) => {
            delivery.headers.push(name, value.as_bytes());
            Ok(())
        }
        Pick::Query(name) => {
            let mark = if delivery.target.contains('?') { '&' } else { '?' };
            let pair = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
            delivery.target.push(mark);
            delivery.target.push_str(&pair);
            Ok(())
        }
        Pick::Json(_) | Pick::Form(_) => Err(SignError::Place(place.to_string())),
    }
}
