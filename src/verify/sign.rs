//! Signing by the rules that verify: what `send`, `sign` and tests put on a delivery.

use super::algorithm::{Hash, Mac, encode};
use super::content::Content;
use super::key::{KeyError, decode};
use super::private::PrivateKey;
use super::{digest, seal};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::extract::Pick;
use crate::provider::{Algorithm, Grammar, Jws, Scheme, TimeSource, TimeUnit};
use crate::reject::Refused;

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

/// Puts the scheme's signature (and time, `now`) on `delivery`. `secret` is what the sender has: where a source
/// has public keys, the private one.
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
    if let Algorithm::Jwt(jws) = scheme.algorithm {
        return sign_token((scheme, jws), secret, delivery, time.as_deref(), now);
    }
    if scheme.algorithm == Algorithm::Unauthenticated {
        return Ok(());
    }
    if let (Some(rule), Some(time)) = (&scheme.timestamp, &time)
        && let TimeSource::Place(place) = &rule.from
    {
        put(delivery, place, time)?;
    }
    if let Some(rule) = &scheme.body_digest {
        put(delivery, &rule.from, &digest::written(rule, &delivery.body))?;
    }
    let signature = signature(scheme, secret, delivery, time.as_deref())?;
    let value = render(scheme, &signature, time.as_deref());
    put(delivery, &scheme.signature.from, &value)
}

fn sign_token(
    (scheme, jws): (&Scheme, Jws),
    secret: &[u8],
    delivery: &mut Delivery,
    time: Option<&str>,
    now: Timestamp,
) -> Result<(), SignError> {
    let token = seal::token((scheme, jws), secret, delivery, time, now)?;
    let value = render(scheme, &token, None);
    if scheme.token_is_body() {
        delivery.body = value.into();
        return Ok(());
    }
    put(delivery, &scheme.signature.from, &value)
}

fn signature(
    scheme: &Scheme,
    secret: &[u8],
    delivery: &Delivery,
    time: Option<&str>,
) -> Result<String, SignError> {
    let missing = |refused: Refused| SignError::Missing(refused.detail.into_owned());
    let content = Content::new(scheme, delivery, time).map_err(missing)?;
    let template =
        || scheme.signed.first().ok_or_else(|| SignError::Place("nothing that is signed".to_owned()));
    if scheme.has_public_keys() {
        let key = PrivateKey::read(scheme.algorithm, scheme.key_form, secret)?;
        let whole = content.whole(template()?).map_err(missing)?;
        return Ok(encode(scheme.signature.encoding, &key.sign(&whole)?));
    }
    let key = decode(scheme.key_form, secret)?;
    if let Algorithm::Plain(digest) = scheme.algorithm {
        let mut hash = Hash::new(digest);
        content.feed_with(template()?, &key, &mut |bytes| hash.update(bytes)).map_err(missing)?;
        return Ok(encode(scheme.signature.encoding, hash.finish().as_bytes()));
    }
    let Some(mut mac) = Mac::new(scheme.algorithm, &key) else {
        return Ok(encode(scheme.signature.encoding, &key));
    };
    content.feed(template()?, &mut |bytes| mac.update(bytes)).map_err(missing)?;
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
        _ => Err(SignError::Place(place.to_string())),
    }
}
