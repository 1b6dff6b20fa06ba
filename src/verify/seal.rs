//! Tokens by the rules that verify them: what a sender with the key would put on a delivery.

use serde_json::{Map, Value};

use super::algorithm::Mac;
use super::key::decode;
use super::private::PrivateKey;
use super::sign::{SignError, Signer};
use super::{claims, digest, jwt};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::extract::Pick;
use crate::provider::{ClaimValue, Expires, Jws, Scheme, TimeSource};

/// How long a token holds that must end.
const LIFE_SECONDS: i64 = 300;

/// The token for `delivery`; where the body is the token, its claims are what the body says now.
///
/// # Errors
/// Where the secret or the scheme's claims do not let one be made.
pub(super) fn token(
    (scheme, jws): (&Scheme, Jws),
    signer: &Signer<'_>,
    delivery: &Delivery,
    time: Option<&str>,
    now: Timestamp,
) -> Result<String, SignError> {
    let mut object = match scheme.token_is_body() {
        true => serde_json::from_slice(&delivery.body)
            .map_err(|_| SignError::Missing("the body is no JSON object of claims".to_owned()))?,
        false => Map::new(),
    };
    for (pointer, wanted) in &scheme.token.claims {
        let value = match wanted.first() {
            Some(ClaimValue::Text(text)) => Value::from(text.as_str()),
            Some(ClaimValue::Flag(flag)) => Value::from(*flag),
            Some(ClaimValue::Number(number)) => Value::from(*number),
            None => continue,
        };
        set(&mut object, &pointer.to_string(), value)?;
    }
    if let (Some(rule), Some(time)) = (&scheme.timestamp, time)
        && let TimeSource::Place(Pick::Jwt(pointer)) = &rule.from
    {
        let value = time.parse::<i64>().map_or_else(|_| Value::from(time), Value::from);
        set(&mut object, &pointer.to_string(), value)?;
    }
    if let Some(rule) = &scheme.body_digest {
        put(&mut object, &rule.from, digest::written(rule, &delivery.body))?;
    }
    if let Some(place) = &scheme.token.request_digest {
        put(&mut object, place, claims::request_digest(delivery))?;
    }
    if scheme.token.expires == Expires::Required {
        object.entry("exp").or_insert_with(|| Value::from(now.seconds() + LIFE_SECONDS));
    }
    let unsigned = jwt::unsigned(&header(scheme, jws, signer)?, Value::Object(object).to_string().as_bytes());
    let signature = if scheme.has_public_keys() {
        PrivateKey::read(scheme.algorithm, scheme.key_form, signer.secret)?.sign(unsigned.as_bytes())?
    } else {
        let key = decode(scheme.key_form, signer.secret)?;
        let Some(mac) = Mac::new(scheme.algorithm, &key) else {
            return Err(SignError::Place("a token without a MAC".to_owned()));
        };
        mac.of(unsigned.as_bytes()).as_bytes().to_vec()
    };
    Ok(jwt::sealed(&unsigned, &signature))
}

/// The token's header, with the key's id where the scheme reads it there.
fn header(scheme: &Scheme, jws: Jws, signer: &Signer<'_>) -> Result<Vec<u8>, SignError> {
    let mut header = Map::new();
    set(&mut header, "/alg", Value::from(jws.name()))?;
    set(&mut header, "/typ", Value::from("JWT"))?;
    if let (Some(Pick::JwtHeader(pointer)), Some(id)) = (&scheme.key.id, signer.id) {
        set(&mut header, &pointer.to_string(), Value::from(id))?;
    }
    Ok(Value::Object(header).to_string().into_bytes())
}

fn put(object: &mut Map<String, Value>, place: &Pick, text: String) -> Result<(), SignError> {
    match place {
        Pick::Jwt(pointer) => set(object, &pointer.to_string(), Value::from(text)),
        other => Err(SignError::Place(other.to_string())),
    }
}

/// Puts a claim of the first level.
fn set(object: &mut Map<String, Value>, pointer: &str, value: Value) -> Result<(), SignError> {
    let name = pointer.strip_prefix('/').filter(|name| !name.contains('/'));
    let name = name.ok_or_else(|| SignError::Place(format!("jwt:{pointer}")))?;
    object.insert(name.replace("~1", "/").replace("~0", "~"), value);
    Ok(())
}
