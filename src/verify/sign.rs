//! Signing by the rules that verify: what `send`, `sign` and tests put on a delivery.

use bytes::Bytes;

use super::algorithm::{Hash, Mac, encode};
use super::content::Content;
use super::key::{KeyError, decode};
use super::private::PrivateKey;
use super::{digest, seal};
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::extract::{self, Pick, Scene};
use crate::provider::{Algorithm, Grammar, Jws, PairsForm, Scheme, TimeSource, TimeUnit};
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
        TimeUnit::SecondsOrMilliseconds => now.seconds().to_string(),
        TimeUnit::Rfc3339 => now.to_string(),
        TimeUnit::Rfc2822 => now.to_http_date(),
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
    let value = render(scheme, &signature, time.as_deref())?;
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
    let value = render(scheme, &token, None)?;
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
    let content = Content::new(scheme, Scene::of(delivery), time).map_err(missing)?;
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

fn render(scheme: &Scheme, signature: &str, time: Option<&str>) -> Result<String, SignError> {
    let first = |keys: &[String]| keys.first().cloned().unwrap_or_default();
    let named = match (scheme.timestamp.as_ref().map(|rule| &rule.from), time) {
        (Some(TimeSource::Signature(name)), Some(time)) => Some((name, time)),
        _ => None,
    };
    Ok(match &scheme.signature.grammar {
        Grammar::Plain { prefix, .. } => format!("{prefix}{signature}"),
        Grammar::Versions { assign, keys, .. } => format!("{}{assign}{signature}", first(keys)),
        Grammar::Pairs(form) | Grammar::Sets { pairs: form, .. } => {
            let PairsForm { separator, assign, keys, .. } = form;
            let time = named.map(|(name, time)| format!("{name}{assign}{time}{separator}"));
            format!("{}{}{assign}{signature}", time.unwrap_or_default(), first(keys))
        }
        Grammar::Positional { separator, names } => {
            let value =
                |name: &String| named.filter(|(known, _)| *known == name).map_or("", |(_, time)| time);
            let items = names.iter().map(value).chain([signature]);
            items.collect::<Vec<_>>().join(separator)
        }
        Grammar::Choices { choices } => {
            let ours = scheme.signature.choices.iter().find(|(_, algorithm)| *algorithm == scheme.algorithm);
            let prefix = ours.map(|(prefix, _)| prefix);
            format!("{}{signature}", prefix.or(choices.keys().next()).map_or("", String::as_str))
        }
        Grammar::Pattern { .. } => {
            return Err(SignError::Place(format!("{} by a pattern", scheme.signature.from)));
        }
    })
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
        _ => {
            let nowhere = || SignError::Place(place.to_string());
            delivery.body = in_body(&delivery.body, place, value).ok_or_else(nowhere)?.into();
            Ok(())
        }
    }
}

/// `body` with `value` in the place of what stands there; `None` where nothing does, or the place is none in it.
fn in_body(body: &[u8], place: &Pick, value: &str) -> Option<Vec<u8>> {
    let (span, written) = match place {
        Pick::Json(pointer) => {
            let found = extract::find(body, &[pointer]).pop()??;
            let number = found.is_number() && value.bytes().all(|byte| byte.is_ascii_digit());
            let written = if number { value.to_owned() } else { serde_json::Value::from(value).to_string() };
            (found.span, written)
        }
        Pick::Form(name) => (extract::form_field_span(body, name)?, extract::form_encoded(value)),
        Pick::Inside(outer, pointer) => {
            let delivery = Delivery { body: body.to_vec().into(), ..empty() };
            let text = outer.read(&delivery)?;
            let changed = in_body(text.as_bytes(), &Pick::Json(pointer.clone()), value)?;
            return in_body(body, outer, std::str::from_utf8(&changed).ok()?);
        }
        _ => return None,
    };
    let (before, after) = (body.get(..span.start)?, body.get(span.end..)?);
    Some([before, written.as_bytes(), after].concat())
}

fn empty() -> Delivery {
    let (method, target) = (String::new(), String::new());
    Delivery {
        method,
        target,
        headers: Headers::default(),
        body: Bytes::new(),
        received_at: Timestamp::default(),
    }
}
