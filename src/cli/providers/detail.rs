//! What `hookgate providers show` says of the rarer parts of a scheme: batches, keys that deliveries name, claims of
//! tokens, and the answer that a sender demands. From the file as it is written, settings and all.

use serde_json::{Map, Value, json};

use super::handshake;
use crate::provider::{BatchDefinition, ClaimDefinition, ClaimValue, Definition, Places, SchemeDefinition};

/// A line of facts, those that are there.
pub(super) fn line(facts: &[(&str, String)]) -> String {
    let there = facts.iter().filter(|(_, text)| !text.is_empty());
    there.map(|(name, text)| format!("{name} {text}")).collect::<Vec<_>>().join("; ")
}

pub(super) fn places(places: &Places) -> Vec<String> {
    let text = |text: &str, when: &str| format!("{text:?} where there is {when}");
    let one = |place: &crate::provider::PlaceDefinition| match &place.text {
        Some(fixed) => text(fixed, &place.when),
        None => place.when.clone(),
    };
    places.0.iter().map(one).collect()
}

fn events<'d>(definition: &'d Definition, raw: &'d SchemeDefinition) -> Option<&'d BatchDefinition> {
    raw.batch.as_ref().or(definition.batch.as_ref())
}

/// Where the events of a request are; empty where it has one.
pub(super) fn batch(definition: &Definition, raw: &SchemeDefinition) -> String {
    events(definition, raw).map_or_else(String::new, |batch| {
        let repeated = if batch.unique { "" } else { " (unique = false)" };
        line(&[
            ("each", batch.each.clone()),
            ("id", format!("{}{repeated}", places(&batch.id).join(", else "))),
            ("type", places(&batch.event_type).join(", else ")),
        ])
    })
}

/// The same as data.
pub(super) fn batch_json(definition: &Definition, raw: &SchemeDefinition) -> Value {
    events(definition, raw).map_or(Value::Null, |batch| {
        json!({
            "each": batch.each,
            "id": places(&batch.id),
            "type": places(&batch.event_type),
            "unique": batch.unique,
        })
    })
}

/// Which key signed, and where keys are fetched from.
pub(super) fn key(raw: &SchemeDefinition) -> String {
    let fetch = raw.key.fetch.as_ref();
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    let fetch = |name| {
        fetch.and_then(|fetch| match name {
            "from" => fetch.from.as_ref(),
            "of" => fetch.pattern.as_ref(),
            "at" => fetch.pointer.as_ref(),
            "as" => Some(&fetch.form),
            _ => fetch.url.as_ref(),
        })
    };
    line(&[
        ("id", text(raw.key.id.as_ref())),
        ("fetched from", text(fetch("url"))),
        ("fetched from the URL at", text(fetch("from"))),
        ("which must be", text(fetch("of"))),
        ("as", text(fetch("as"))),
        ("at", text(fetch("at"))),
    ])
}

/// The same as data.
pub(super) fn key_json(raw: &SchemeDefinition) -> Value {
    let fetch = raw.key.fetch.as_ref().map(|fetch| {
        json!({
            "url": fetch.url,
            "from": fetch.from,
            "pattern": fetch.pattern,
            "form": fetch.form,
            "pointer": fetch.pointer,
        })
    });
    match (&raw.key.id, fetch) {
        (None, None) => Value::Null,
        (id, fetch) => json!({ "id": id, "fetch": fetch }),
    }
}

/// A claim's values, of which one must stand there.
fn wanted(claim: &ClaimDefinition) -> Vec<Value> {
    let one = |value: &ClaimValue| match value {
        ClaimValue::Text(text) => Value::from(text.as_str()),
        ClaimValue::Flag(flag) => Value::from(*flag),
        ClaimValue::Number(number) => Value::from(*number),
    };
    match claim {
        ClaimDefinition::One(value) => vec![one(value)],
        ClaimDefinition::AnyOf(values) => values.iter().map(one).collect(),
    }
}

/// What a token's claims must say; empty where the scheme has none.
pub(super) fn token(raw: &SchemeDefinition) -> String {
    let claim = |(name, claim): (&String, &ClaimDefinition)| {
        let values: Vec<String> = wanted(claim).iter().map(ToString::to_string).collect();
        format!("{name} = {}", values.join(" or "))
    };
    line(&[
        ("claims", raw.jwt.claims.iter().map(claim).collect::<Vec<_>>().join(", ")),
        ("exp and nbf", raw.jwt.expires.map(|expires| expires.to_string()).unwrap_or_default()),
        ("leeway", raw.jwt.leeway.map(|leeway| leeway.to_string()).unwrap_or_default()),
        ("the request's digest at", raw.jwt.request_digest.clone().unwrap_or_default()),
    ])
}

/// The same as data.
pub(super) fn token_json(raw: &SchemeDefinition) -> Value {
    if token(raw).is_empty() {
        return Value::Null;
    }
    let claims: Map<String, Value> =
        raw.jwt.claims.iter().map(|(name, claim)| (name.clone(), wanted(claim).into())).collect();
    json!({
        "claims": claims,
        "expires": raw.jwt.expires.map(|expires| expires.to_string()),
        "leeway_seconds": raw.jwt.leeway.map(|leeway| leeway.duration().as_secs_f64()),
        "request_digest": raw.jwt.request_digest,
    })
}

/// What an accepted event is answered with, where the sender demands something.
pub(super) fn answer(definition: &Definition, raw: &SchemeDefinition) -> String {
    raw.answer.as_ref().or(definition.answer.as_ref()).map_or_else(String::new, handshake::answer_text)
}

/// The same as data.
pub(super) fn answer_json(definition: &Definition, raw: &SchemeDefinition) -> Value {
    raw.answer.as_ref().or(definition.answer.as_ref()).map_or(Value::Null, handshake::answer_json)
}
