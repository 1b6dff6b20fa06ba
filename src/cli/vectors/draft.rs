//! The request that made vectors begin with: the provider's sample, or a tiny body that has what the scheme reads,
//! with everything beside the signature that the scheme demands.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::keys::Pair;
use crate::cli::sample::{Sample, Wanted};
use crate::cli::stop::Stop;
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::extract::Pick;
use crate::provider::{Catalog, Definition, Piece, Scheme, SchemeDefinition, SettingDefinition};
use crate::verify;

/// When made requests are judged: 2026-03-01T12:00:00Z.
pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_772_366_400);
/// The public URL of the gateway that they go to.
pub(super) const PUBLIC_URL: &str = "https://hooks.example.com";
/// A value of no meaning, where one must be.
const MADE: &str = "made-1";

/// A scheme with secrets, and a request that it can sign.
pub(super) struct Draft<'d> {
    /// The provider's file.
    pub definition: &'d Definition,
    /// The scheme, as the file writes it.
    pub raw: &'d SchemeDefinition,
    /// The scheme.
    pub scheme: Scheme,
    /// The settings that it is built with.
    pub settings: BTreeMap<String, String>,
    /// The secret that signs.
    pub secret: Pair,
    /// Another one.
    pub other: Pair,
    /// The request, not yet signed.
    pub unsigned: Delivery,
}

impl<'d> Draft<'d> {
    /// A request of the scheme `name`, under `given` settings; those that must be set and are not are made up.
    ///
    /// # Errors
    /// Where the scheme cannot be built, or its secrets not made.
    pub(super) fn new(
        definition: &'d Definition,
        name: &str,
        given: &BTreeMap<String, String>,
    ) -> Result<Self, Stop> {
        let unknown = || Stop::usage(format!("{} has no scheme {name:?}", definition.name));
        let raw = definition.schemes.iter().find(|scheme| scheme.name == name).ok_or_else(unknown)?;
        let mut settings = given.clone();
        for (key, setting) in definition.settings.iter().chain(&raw.settings) {
            if setting.required && !settings.contains_key(key) {
                settings.insert(key.clone(), made_up(key, setting));
            }
        }
        let scheme = Scheme::build(definition, Some(name), &settings).map_err(|problems| {
            Stop::data(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        let scheme = scheme.at(PUBLIC_URL);
        let pair = |purpose| Pair::of(&scheme, &raw.algorithm, &raw.secret, purpose);
        let (secret, other) = (pair("right")?, pair("other")?);
        let unsigned = unsigned(definition, &scheme)?;
        Ok(Self { definition, raw, scheme, settings, secret, other, unsigned })
    }

    /// The request, signed at `at` with the right secret.
    ///
    /// # Errors
    /// Where nobody can sign for this scheme here.
    pub(super) fn signed(&self, at: Timestamp) -> Result<Delivery, Stop> {
        let mut delivery = self.unsigned.clone();
        verify::sign(&self.scheme, self.secret.signs.as_bytes(), &mut delivery, at)
            .map_err(|error| Stop::data(error.to_string()))?;
        Ok(delivery)
    }
}

fn made_up(name: &str, setting: &SettingDefinition) -> String {
    let first = setting.default.clone().or_else(|| setting.allowed.first().cloned());
    first.unwrap_or_else(|| format!("made-{}", name.replace('_', "-")))
}

fn unsigned(definition: &Definition, scheme: &Scheme) -> Result<Delivery, Stop> {
    let mut delivery = match sample(definition, scheme)? {
        Some(delivery) => delivery,
        None => tiny(definition, scheme),
    };
    for place in companions(scheme) {
        if Pick::parse(&place).is_ok_and(|pick| pick.read(&delivery).is_none()) {
            put(&mut delivery, &place);
        }
    }
    Ok(delivery)
}

/// The provider's own sample, the same each time.
fn sample(definition: &Definition, scheme: &Scheme) -> Result<Option<Delivery>, Stop> {
    let Some(rules) = &definition.sample else { return Ok(None) };
    let Some(file) = Catalog::sample(&definition.name, &rules.event) else { return Ok(None) };
    let id = Some(format!("{}{MADE}", rules.id_prefix));
    let wanted = |id, data| Wanted { event: None, id, data };
    // A sample without a place for the id is sent as it is.
    let sample = Sample::new(definition, scheme, wanted(id, None), NOW)
        .or_else(|_| Sample::new(definition, scheme, wanted(None, Some(file.body)), NOW))?;
    Ok(Some(sample.unsigned(&format!("/in/{}", definition.name), NOW)))
}

/// A body with a value wherever the scheme reads one.
fn tiny(definition: &Definition, scheme: &Scheme) -> Delivery {
    let ids = scheme.event.ids().iter().map(|place| (place.pick.to_string(), "made_evt_1"));
    let types = scheme.event.types().iter().map(|place| (place.pick.to_string(), "order.created"));
    let companions = companions(scheme).into_iter().map(|place| (place, MADE));
    let places: Vec<(String, &str)> = ids.chain(types).chain(companions).collect();
    let fields: Vec<(&str, &str)> =
        places.iter().filter_map(|(place, value)| Some((place.strip_prefix("form:")?, *value))).collect();
    let is_form = scheme.covers_form_alone() || (!fields.is_empty() && !has(&places, "json:/"));
    let (content_type, body) = if is_form {
        let pairs = fields.into_iter().filter(|(name, _)| !name.contains(" > "));
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .append_pair("count", "1")
            .finish();
        ("application/x-www-form-urlencoded", form)
    } else {
        let mut body = Value::Object(Map::new());
        for (pointer, value) in
            places.iter().filter_map(|(place, value)| Some((place.strip_prefix("json:")?, *value)))
        {
            let path: Vec<&str> = pointer.split('/').skip(1).collect();
            set(&mut body, &path, value);
        }
        set(&mut body, &["count"], "1");
        ("application/json", body.to_string())
    };
    let mut headers = Headers::default();
    for (name, value) in
        places.iter().filter_map(|(place, value)| Some((place.strip_prefix("header:")?, *value)))
    {
        if headers.first(name).is_none() {
            headers.push(name, value.as_bytes());
        }
    }
    headers.push("content-type", content_type.as_bytes());
    Delivery {
        method: scheme.methods.first().cloned().unwrap_or_else(|| "POST".to_owned()),
        target: format!("/in/{}", definition.name),
        headers,
        body: Bytes::from(body),
        received_at: NOW,
    }
}

fn has(places: &[(String, &str)], kind: &str) -> bool {
    places.iter().any(|(place, _)| place.starts_with(kind))
}

/// Puts `value` at `path`, where nothing stands in its way.
fn set(body: &mut Value, path: &[&str], value: &str) {
    let [first, rest @ ..] = path else { return };
    if *first == "0" && body.as_object().is_some_and(Map::is_empty) {
        *body = Value::Array(vec![Value::Object(Map::new())]);
    }
    let inner = match body {
        Value::Object(map) => map.entry((*first).to_owned()).or_insert_with(|| Value::Object(Map::new())),
        Value::Array(items) if *first == "0" => match items.first_mut() {
            Some(item) => item,
            None => return,
        },
        _ => return,
    };
    match rest {
        [] if inner.as_object().is_some_and(Map::is_empty) => *inner = value.into(),
        [] => {}
        _ => set(inner, rest, value),
    }
}

/// Places that must hold a value, and that signing does not fill.
pub(super) fn companions(scheme: &Scheme) -> Vec<String> {
    let signed = scheme.signed.iter().flat_map(|template| &template.pieces).filter_map(|piece| match piece {
        Piece::Value(pick) => Some(pick.to_string()),
        _ => None,
    });
    let own = [
        Some(scheme.signature.from.to_string()),
        scheme.timestamp.as_ref().and_then(time_place),
        scheme.body_digest.as_ref().map(|rule| rule.from.to_string()),
    ];
    let mut places: Vec<String> = Vec::new();
    for place in scheme.require.iter().map(Pick::to_string).chain(signed) {
        if !places.contains(&place) && !own.contains(&Some(place.clone())) {
            places.push(place);
        }
    }
    places
}

/// Where the time stands, where that is a place of its own.
pub(super) fn time_place(rule: &crate::provider::TimestampRule) -> Option<String> {
    match &rule.from {
        crate::provider::TimeSource::Place(pick) => Some(pick.to_string()),
        _ => None,
    }
}

fn put(delivery: &mut Delivery, place: &str) {
    if let Some(name) = place.strip_prefix("header:") {
        delivery.headers.push(name, MADE.as_bytes());
    } else if let Some(name) = place.strip_prefix("query:") {
        let mark = if delivery.target.contains('?') { '&' } else { '?' };
        delivery.target.push_str(&format!("{mark}{name}={MADE}"));
    }
}
