//! What `hookgate providers show` says of a scheme: everything that decides whether a delivery is believed, and which
//! event it is. From the file as it is written, settings and all; what only follows from it comes from the scheme built.

use serde_json::{Value, json};

use super::detail::places;
use super::{detail, grammar, handshake, settings_json, settings_text};
use crate::provider::{Definition, EmptyBody, EventDefinition, Problem, Repeated, Scheme, SchemeDefinition};
use crate::sample::stand_in_settings;
use crate::units::Span;

/// A scheme under the defaults and examples of its settings.
///
/// # Errors
/// Every problem of the file.
pub(super) fn built(definition: &Definition, raw: &SchemeDefinition) -> Result<Scheme, Vec<Problem>> {
    Scheme::build(definition, Some(&raw.name), &stand_in_settings(definition, raw, &Default::default()))
}

/// Everything that is wrong with the schemes of a file, a line each.
pub(super) fn problems(definition: &Definition) -> Vec<String> {
    let file = match &definition.folder {
        Some(folder) => folder.join(format!("{}.toml", definition.name)).display().to_string(),
        None => definition.name.clone(),
    };
    let of = |raw: &SchemeDefinition| {
        let problems = built(definition, raw).err().unwrap_or_default();
        let told = |problem: &Problem| format!("{file}: scheme {:?}: {problem}", raw.name);
        problems.iter().map(told).collect::<Vec<_>>()
    };
    definition.schemes.iter().flat_map(of).collect()
}

fn event<'d>(definition: &'d Definition, raw: &'d SchemeDefinition) -> &'d EventDefinition {
    raw.event.as_ref().unwrap_or(&definition.event)
}

/// How the key is made of the secret's text.
fn key_form(raw: &SchemeDefinition, scheme: Option<&Scheme>) -> String {
    match (raw.secret.is_empty(), scheme) {
        (false, _) => raw.secret.clone(),
        (true, _) if raw.algorithm == "none" => String::new(),
        (true, Some(scheme)) if scheme.has_public_keys() => "public-key".to_owned(),
        (true, _) => "utf8".to_owned(),
    }
}

/// Where the time of signing is, how it is written, and how old it may be.
fn time(raw: &SchemeDefinition) -> String {
    let bound = |span: Option<Span>| span.map_or_else(|| "any".to_owned(), |span| span.to_string());
    raw.timestamp.as_ref().map_or_else(String::new, |time| {
        let number = if time.number { ", a number" } else { "" };
        let (past, future) = (bound(time.past), bound(time.future));
        format!("{} in {}{number}; age up to {past}, ahead up to {future}", time.from, time.unit)
    })
}

/// A digest of the body inside what is signed.
fn body_digest(raw: &SchemeDefinition) -> String {
    raw.body_digest.as_ref().map_or_else(String::new, |digest| {
        let optional = if digest.optional { "; may be absent, then nothing proves the body" } else { "" };
        format!("{} of the body at {} in {}{optional}", digest.algorithm, digest.from, digest.encoding)
    })
}

/// What proves a delivery: label and text, empty where the scheme has no such part.
fn proof(raw: &SchemeDefinition, scheme: Option<&Scheme>) -> Vec<(&'static str, String)> {
    let equal = raw.equal.iter().map(|(place, wanted)| {
        let wanted: Vec<String> = wanted.0.iter().map(|text| format!("{text:?}")).collect();
        format!("{place} = {}", wanted.join(" or "))
    });
    let matching = raw.matching.iter().map(|(place, pattern)| format!("{place} ~ {pattern}"));
    let place = grammar::place(raw);
    let form = if place.is_empty() { String::new() } else { grammar::text(&raw.signature.grammar) };
    let refuses = raw.empty_body == EmptyBody::Refuse;
    vec![
        ("methods", raw.methods.as_ref().map(|methods| methods.join(", ")).unwrap_or_default()),
        ("algorithm", raw.algorithm.clone()),
        ("secret", key_form(raw, scheme)),
        ("signature", place),
        ("grammar", form),
        ("encoding", grammar::encoding(raw)),
        ("signed", raw.signed.join("  or  ").replace('\n', "\\n")),
        ("each", raw.each.clone().unwrap_or_default()),
        ("digest", body_digest(raw)),
        ("empty body", if refuses { "refused".to_owned() } else { String::new() }),
        ("also needs", raw.require.join(", ")),
        ("equal", equal.collect::<Vec<_>>().join(", ")),
        ("matching", matching.collect::<Vec<_>>().join(", ")),
        ("time", time(raw)),
        ("key", detail::key(raw)),
        ("token", detail::token(raw)),
        ("test keys", raw.known_secrets.join(", ")),
    ]
}

/// For people; settings stand as `<name>`.
pub(super) fn text(definition: &Definition, raw: &SchemeDefinition) -> String {
    let mut text = String::new();
    let mut fact = |label: &str, found: &str| {
        if !found.is_empty() {
            text.push_str(&format!("    {label:<10} {}\n", with_settings(found)));
        }
    };
    let scheme = built(definition, raw).ok();
    proof(raw, scheme.as_ref()).iter().for_each(|(label, found)| fact(label, found));
    let event = event(definition, raw);
    fact("event id", &places(&event.id).join(", else "));
    fact("event type", &places(&event.event_type).join(", else "));
    fact("volatile", &event.volatile.join(", "));
    fact("batch", &detail::batch(definition, raw));
    fact("answer", &detail::answer(definition, raw));
    raw.handshakes.iter().for_each(|one| fact("handshake", &handshake::text(one)));
    if let Some(scheme) = scheme {
        fact("identity", &identity(&scheme));
        fact("needs", if scheme.signs_url() { "ingress.public_url, since the URL is signed" } else { "" });
        scheme.warnings().iter().for_each(|warning| fact("warning", warning));
    }
    text.push_str(&settings_text(&raw.settings, "    "));
    text
}

/// As data.
pub(super) fn to_json(definition: &Definition, raw: &SchemeDefinition) -> Value {
    let scheme = built(definition, raw).ok();
    let mut json = proof_json(raw, scheme.as_ref());
    let event = event(definition, raw);
    let more = json!({
        "event_id": places(&event.id),
        "event_type": places(&event.event_type),
        "volatile": event.volatile,
        "identity": scheme.as_ref().map(identity),
        "unique": scheme.as_ref().map(|scheme| scheme.unique_ids),
        "batch": detail::batch_json(definition, raw),
        "answer": detail::answer_json(definition, raw),
        "handshakes": raw.handshakes.iter().map(handshake::to_json).collect::<Vec<_>>(),
        "signs_url": scheme.as_ref().map(Scheme::signs_url),
        "public_keys": scheme.as_ref().map(Scheme::has_public_keys),
        "warnings": scheme.as_ref().map(Scheme::warnings),
        "settings": settings_json(&raw.settings),
    });
    if let (Value::Object(json), Value::Object(more)) = (&mut json, more) {
        json.extend(more);
    }
    json
}

fn proof_json(raw: &SchemeDefinition, scheme: Option<&Scheme>) -> Value {
    let seconds = |span: Option<Span>| span.map(|span| span.duration().as_secs());
    let timestamp = raw.timestamp.as_ref().map(|time| {
        json!({
            "from": time.from,
            "unit": time.unit,
            "number": time.number,
            "past_seconds": seconds(time.past),
            "future_seconds": seconds(time.future),
        })
    });
    let digest = raw.body_digest.as_ref().map(|digest| {
        json!({
            "from": digest.from,
            "algorithm": digest.algorithm,
            "encoding": digest.encoding,
            "optional": digest.optional,
        })
    });
    let places = grammar::places(raw);
    let equal: serde_json::Map<String, Value> =
        raw.equal.iter().map(|(place, wanted)| (place.clone(), wanted.0.clone().into())).collect();
    json!({
        "name": raw.name,
        "methods": raw.methods,
        "algorithm": raw.algorithm,
        "secret": key_form(raw, scheme),
        "signature": places.join(", "),
        "signature_count": raw.signature.count,
        "signature_slots": raw.signature.slots,
        "signature_repeated": if raw.signature.repeated == Repeated::Join { "join" } else { "refuse" },
        "grammar": if places.is_empty() { Value::Null } else { grammar::to_json(&raw.signature.grammar) },
        "encoding": grammar::encoding(raw),
        "signed": raw.signed,
        "each": raw.each,
        "body_digest": digest,
        "empty_body": if raw.empty_body == EmptyBody::Refuse { "refuse" } else { "accept" },
        "require": raw.require,
        "equal": equal,
        "matching": raw.matching,
        "timestamp": timestamp,
        "key": detail::key_json(raw),
        "jwt": detail::token_json(raw),
        "known_secrets": raw.known_secrets,
    })
}

/// What makes two deliveries one event.
fn identity(scheme: &Scheme) -> String {
    let ids = scheme.event.ids();
    let shown = |signed: bool| {
        let places = ids.iter().filter(|place| place.signed == signed).map(ToString::to_string);
        places.collect::<Vec<_>>().join(", else ")
    };
    let (signed, unsigned) = (shown(true), shown(false));
    if !scheme.unique_ids && !ids.is_empty() {
        let all: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let digest = if scheme.covers_body() { "the digest of what is signed" } else { "the body's digest" };
        return format!("{digest}; several events can have one id (unique = false): {}", all.join(", else "));
    }
    match (signed.is_empty(), unsigned.is_empty(), scheme.covers_body()) {
        (false, _, _) => format!("the signed id: {signed}"),
        (true, false, true) => format!("the digest of what is signed, with the unsigned id: {unsigned}"),
        (true, true, true) => "the digest of what is signed".to_owned(),
        (true, false, false) => {
            format!("the id that the sender declares: {unsigned}; else the body's digest")
        }
        (true, true, false) => "the body's digest".to_owned(),
    }
}

/// `text` with `<name>` for the setting `${name}` that stands there.
pub(super) fn with_settings(text: &str) -> String {
    let mut parts = text.split("${");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        shown.push_str(&format!("<{name}>{rest}"));
    }
    shown
}
