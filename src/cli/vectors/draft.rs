//! The request that made vectors begin with: the provider's sample, or a tiny body that has what the scheme reads,
//! with everything beside the signature that the scheme demands.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::keys::Pair;
use super::least;
use crate::cli::stop::Stop;
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::extract::{self, Pick};
use crate::provider::{
    Algorithm, Catalog, Definition, EventPlace, KeyUrl, Piece, Problem, Scheme, SchemeDefinition, Template,
    TimeSource, TimestampRule,
};
use crate::sample::{Sample, Wanted, stand_in_settings};

/// When made requests are judged: 2026-03-01T12:00:00Z.
pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_772_366_400);
/// The public URL of the gateway that they go to.
pub(super) const PUBLIC_URL: &str = "https://hooks.example.com";
/// A value of no meaning, where one must be.
pub(super) const MADE: &str = "made-1";

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
    /// Whether that is the provider's sample, and not a body made up for the scheme.
    pub is_sample: bool,
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
        let settings = stand_in_settings(definition, raw, given);
        let scheme = built(definition, name, &settings)?;
        let sample = completed_sample(definition, &scheme)?;
        let is_sample = sample.is_some();
        let unsigned = sample.unwrap_or_else(|| tiny(definition, &scheme));
        let id = key_id(&scheme, &unsigned);
        let pair = |purpose| Pair::of(&scheme, purpose).map(|pair| pair.named(id.as_deref()));
        let (secret, other) = (pair("right")?, pair("other")?);
        let draft = Self { definition, raw, scheme, settings, secret, other, unsigned, is_sample };
        // A sample may be of another kind than what this scheme signs, such as JSON where it wants a form.
        let lacks = |place: &Pick| place.read(&draft.unsigned).is_none_or(|value| value.is_empty());
        let wrong = draft.scheme.require.iter().chain(&demanded(&draft.scheme)).any(lacks);
        if wrong || draft.signed(NOW).is_err() {
            let unsigned = tiny(definition, &draft.scheme);
            return Ok(Self { unsigned, is_sample: false, ..draft });
        }
        Ok(draft)
    }

    /// The request, signed at `at` with the right secret.
    ///
    /// # Errors
    /// Where nobody can sign for this scheme here.
    pub(super) fn signed(&self, at: Timestamp) -> Result<Delivery, Stop> {
        self.signed_by(&self.scheme, &self.secret, at)
    }

    /// The same by the rules of `scheme` and with `pair`.
    ///
    /// # Errors
    /// Where nobody can sign for that scheme here.
    pub(super) fn signed_by(&self, scheme: &Scheme, pair: &Pair, at: Timestamp) -> Result<Delivery, Stop> {
        let mut delivery = self.unsigned.clone();
        let signed = pair.signer().sign(scheme, &mut delivery, at);
        signed.map_err(|error| Stop::data(error.to_string()))?;
        Ok(delivery)
    }

    /// The scheme under other settings.
    ///
    /// # Errors
    /// Where it cannot be built.
    pub(super) fn scheme_under(&self, settings: &BTreeMap<String, String>) -> Result<Scheme, Stop> {
        built(self.definition, &self.raw.name, settings)
    }

    /// What the source has: the secret that signs, and none where nothing is proved.
    pub(super) fn held(&self) -> Vec<Pair> {
        match self.scheme.algorithm {
            Algorithm::Unauthenticated => Vec::new(),
            _ => vec![self.secret.clone()],
        }
    }
}

fn built(definition: &Definition, name: &str, settings: &BTreeMap<String, String>) -> Result<Scheme, Stop> {
    let told = |problems: Vec<Problem>| {
        Stop::data(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    Ok(Scheme::build(definition, Some(name), settings).map_err(told)?.at(PUBLIC_URL))
}

/// The id of the key: what the request says already, where a key can have that id, else one of no meaning.
fn key_id(scheme: &Scheme, unsigned: &Delivery) -> Option<String> {
    let place = scheme.key.id.as_ref()?;
    let can_be = |id: &Cow<'_, str>| match scheme.key.fetch.as_ref().map(|fetch| &fetch.from) {
        Some(KeyUrl::Delivered(_, pattern)) => pattern.pin(id).is_some(),
        Some(KeyUrl::Known(template)) => !id.is_empty() && template.url(Some(id)).is_some(),
        None => !id.is_empty(),
    };
    let told = place.read(unsigned).filter(can_be);
    Some(told.map_or_else(|| fitting(scheme, place), Cow::into_owned))
}

/// A value for `place` that the scheme takes: of no meaning, where it does not say what must stand there.
pub(super) fn fitting(scheme: &Scheme, place: &Pick) -> String {
    let equal = scheme.equal.iter().find(|rule| rule.place == *place);
    let matching = scheme.matching.iter().find(|rule| rule.place == *place);
    let url = match scheme.key.fetch.as_ref().map(|fetch| &fetch.from) {
        Some(KeyUrl::Delivered(from, pattern)) if from == place => least::text(&pattern.to_string()),
        _ => None,
    };
    let wanted = equal.and_then(|rule| rule.wanted.first().cloned());
    let formed = || matching.and_then(|rule| least::text(rule.pattern.as_str()));
    let headers = || signed_headers(scheme, place);
    wanted.or(url).or_else(formed).or_else(headers).unwrap_or_else(|| MADE.to_owned())
}

/// The provider's own sample, with what must stand beside its body.
fn completed_sample(definition: &Definition, scheme: &Scheme) -> Result<Option<Delivery>, Stop> {
    let lacks = |delivery: &Delivery, place: &Pick| !place.is_in_body() && place.read(delivery).is_none();
    let complete = |delivery: Delivery, place: &Pick| match lacks(&delivery, place) {
        true => extract::put(&delivery, place, &fitting(scheme, place)).unwrap_or(delivery),
        false => delivery,
    };
    Ok(sample(definition, scheme)?.map(|sample| companions(scheme).iter().fold(sample, complete)))
}

/// The provider's own sample, the same each time.
fn sample(definition: &Definition, scheme: &Scheme) -> Result<Option<Delivery>, Stop> {
    let Some(rules) = &definition.sample else { return Ok(None) };
    let file = Catalog::sample_of(definition, &rules.event).map_err(Stop::failure)?;
    let Some(file) = file else { return Ok(None) };
    let id = Some(format!("{}{MADE}", rules.id_prefix));
    let wanted = |id, data| Wanted { event: None, id, data };
    // A sample without a place for the id is sent as it is.
    let sample = Sample::new(definition, scheme, wanted(id, None), NOW)
        .or_else(|_| Sample::new(definition, scheme, wanted(None, Some(file.body)), NOW))?;
    Ok(Some(sample.unsigned(&format!("/in/{}", definition.name), NOW)))
}

/// A body with a value wherever the scheme reads one.
fn tiny(definition: &Definition, scheme: &Scheme) -> Delivery {
    let of =
        |places: &[EventPlace]| places.iter().flat_map(|place| place.picks().cloned()).collect::<Vec<_>>();
    let ids = of(scheme.event.ids()).into_iter().map(|place| (place, "made_evt_1".to_owned()));
    let types = of(scheme.event.types()).into_iter().map(|place| (place, "order.created".to_owned()));
    let signed = scheme.signed.first().into_iter().flat_map(Template::picks).cloned();
    let valued = |place: Pick| {
        let value = fitting(scheme, &place);
        (place, value)
    };
    let places: Vec<(Pick, String)> = demanded(scheme)
        .into_iter()
        .map(valued)
        .chain(ids)
        .chain(types)
        .chain(companions(scheme).into_iter().chain(signed).map(valued))
        .filter(|(place, _)| !is_own(scheme, place))
        .filter_map(|(place, value)| Some((delivered(scheme, &place)?, value)))
        .collect();
    let roots: Vec<&Pick> = places.iter().map(|(place, _)| place.root()).collect();
    let json = scheme.each.is_some() || roots.iter().any(|place| matches!(place, Pick::Json(_)));
    let form = scheme.covers_form_alone() || roots.iter().any(|place| matches!(place, Pick::Form(_)));
    let content_type = match (json, form) {
        (false, true) => "application/x-www-form-urlencoded",
        (false, false) if roots.iter().any(|place| matches!(place, Pick::Xml(_))) => "text/xml",
        _ => "application/json",
    };
    let mut headers = Headers::default();
    for (name, text) in definition.sample.iter().flat_map(|rules| rules.headers_of(&scheme.name)) {
        let marks = [("{id}", "made_evt_1"), ("{type}", "order.created"), ("{now}", &NOW.to_string())];
        let text = marks.iter().fold(text.clone(), |text, (mark, value)| text.replace(mark, value));
        headers.push(name, text.as_bytes());
    }
    if headers.first("content-type").is_none() {
        headers.push("content-type", content_type.as_bytes());
    }
    let (method, target) = (scheme.methods.first().cloned(), format!("/in/{}", definition.name));
    let method = method.unwrap_or_else(|| "POST".to_owned());
    let empty = Delivery { method, target, headers, body: Bytes::new(), received_at: NOW };
    let add = |delivery: Delivery, (place, value): &(Pick, String)| match place.read(&delivery) {
        None => extract::put(&delivery, place, value).unwrap_or(delivery),
        Some(_) => delivery,
    };
    let full = places.iter().fold(empty, add);
    let count = if content_type.ends_with("json") { "json:/count" } else { "form:count" };
    match Pick::parse(count) {
        Ok(place) => add(full, &(place, "1".to_owned())),
        Err(_) => full,
    }
}

/// Places of which the scheme says what must stand there.
pub(super) fn demanded(scheme: &Scheme) -> Vec<Pick> {
    let equal = scheme.equal.iter().map(|rule| &rule.place);
    equal.chain(scheme.matching.iter().map(|rule| &rule.place)).cloned().collect()
}

/// Where a delivery has what the scheme reads there: within the first element of an array, or in the body that becomes
/// the token.
pub(super) fn delivered(scheme: &Scheme, place: &Pick) -> Option<Pick> {
    match (place, &scheme.each) {
        (place, Some(array)) => place.of_element(array, 0),
        (Pick::Jwt(pointer), None) => Some(Pick::Json(pointer.clone())).filter(|_| scheme.token_is_body()),
        (Pick::Inside(outer, pointer), None) => {
            Some(Pick::Inside(Box::new(delivered(scheme, outer)?), pointer.clone()))
        }
        (place, None) => Some(place.clone()),
    }
}

/// Whether signing fills the place.
pub(super) fn is_own(scheme: &Scheme, place: &Pick) -> bool {
    scheme.signature.places().any(|own| own == place)
        || scheme.timestamp.as_ref().and_then(time_place) == Some(place)
        || scheme.body_digest.as_ref().is_some_and(|rule| rule.from == *place)
}

/// Places that must hold a value, and that signing does not fill.
pub(super) fn companions(scheme: &Scheme) -> Vec<Pick> {
    let signed = scheme.signed.iter().flat_map(|template| &template.pieces).filter_map(|piece| match piece {
        Piece::Value(pick) | Piece::Lower(pick) => Some(pick.clone()),
        Piece::SignedHeaders(name) => Some(Pick::Header(name.clone())),
        _ => None,
    });
    let mut places: Vec<Pick> = Vec::new();
    for place in scheme.require.iter().cloned().chain(signed) {
        if !places.contains(&place) && !is_own(scheme, &place) {
            places.push(place);
        }
    }
    places
}

/// The shortest list that the header `place` can be, where it says which headers are signed: itself and the time's.
fn signed_headers(scheme: &Scheme, place: &Pick) -> Option<String> {
    let Pick::Header(list) = place else { return None };
    let is = |piece: &Piece| matches!(piece, Piece::SignedHeaders(name) if name == list);
    scheme.signed.iter().flat_map(|template| &template.pieces).find(|piece| is(piece))?;
    let time = scheme.timestamp.as_ref().and_then(time_place);
    Some(match time {
        Some(Pick::Header(name)) => format!("{name},{list}"),
        _ => list.clone(),
    })
}

/// Where the time stands, where that is a place of its own.
pub(super) fn time_place(rule: &TimestampRule) -> Option<&Pick> {
    match &rule.from {
        TimeSource::Place(pick) => Some(pick),
        TimeSource::Signature(_) => None,
    }
}
