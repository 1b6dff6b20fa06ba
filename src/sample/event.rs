//! A sample event as its provider would send it: the provider's documented payload with an id of its own, the
//! headers that its file names, and a signature by the rules that verify.
//!
//! No body is parsed and printed again: fresh values take the place of exactly the old values' bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::error::SampleError;
use super::tamper;
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::extract::{self, Pick};
use crate::provider::{
    Catalog, Definition, SampleDefinition, SampleFile, Scheme, SchemeDefinition, SettingDefinition,
};
use crate::verify::Signer;

/// What a body of the sender's own is said to be.
const JSON: &str = "application/json";
/// Shortest run of hexadecimal digits that counts as a hash and not as a word.
const HASH_DIGITS_MIN: usize = 16;
/// The same where nothing else stands beside it.
const HASH_DIGITS_ALONE_MIN: usize = 8;

/// What is wrong with a delivery on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// One byte of the body is changed after signing.
    Body,
    /// One character of the signature is changed, its form kept.
    Signature,
    /// Signed long ago.
    Time,
}

/// What the sender chooses about a sample; what is left open is the provider's default.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The event's type.
    pub event: Option<String>,
    /// The event's id.
    pub id: Option<String>,
    /// The body.
    pub data: Option<Vec<u8>>,
}

/// An event to send: once or often, each time signed anew.
#[derive(Clone, Debug)]
pub struct Sample<'s> {
    scheme: &'s Scheme,
    method: String,
    headers: Headers,
    body: Bytes,
    /// Its type; of a body of the caller's own, what the scheme picks from it.
    pub event: String,
    /// Its id, or what stands for one where the scheme knows none; of a body of the caller's own, as its type.
    pub id: String,
}

impl<'s> Sample<'s> {
    /// Makes the event of `scheme`, one of the schemes of `definition`.
    ///
    /// # Errors
    /// Where there is no payload of that type, or no place for the id.
    pub fn new(
        definition: &Definition,
        scheme: &'s Scheme,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Self, SampleError> {
        let none = SampleDefinition::default();
        let rules = definition.sample.as_ref().unwrap_or(&none);
        let event = wanted.event.unwrap_or_else(|| rules.event.clone());
        let file = match wanted.data {
            Some(_) => None,
            None => Some(payload(definition, &event)?),
        };
        let content_type = file.as_ref().map_or(JSON, |file| file.content_type);
        let places = id_places(rules, scheme)?;
        let id = match &wanted.id {
            Some(id) => id.clone(),
            None => fresh_id(rules, &places, file.as_ref()).map_err(SampleError::system)?,
        };
        if let Some(text) = [&id, &event].into_iter().find(|text| text.chars().any(char::is_control)) {
            return Err(SampleError::asked(format!(
                "{text:?} has a control character, which no header can carry"
            )));
        }
        let (chosen, is_own) = (wanted.id.is_some(), wanted.data.is_some());
        let body = match (wanted.data, file) {
            (Some(data), _) if chosen => with_id(&data, &places, &id, chosen)?,
            (Some(data), _) => data,
            (None, Some(file)) => refreshed(&with_id(&file.body, &places, &id, chosen)?, rules, &id)?,
            (None, None) => Vec::new(),
        };
        let values = [("{id}", &id), ("{type}", &event), ("{now}", &now.to_string())];
        let headers = headers(rules, scheme, content_type, values);
        let method = scheme.methods.first().cloned().unwrap_or_else(|| "POST".to_owned());
        let Delivery { headers, body, .. } = demanded(scheme, Delivery { headers, ..letter(body.into()) });
        let mut sample = Self { scheme, method, headers, body, event, id };
        if is_own {
            // The caller's bytes say what they are, and not the rules of a sample.
            let delivery = sample.unsigned("/", now);
            let named = scheme.event.read(&delivery, None);
            (sample.id, sample.event) = (named.id.into_owned(), named.event_type.into_owned());
        }
        Ok(sample)
    }

    /// The bytes that are signed and sent.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// A delivery of the event to `target`, before it is signed.
    pub fn unsigned(&self, target: &str, now: Timestamp) -> Delivery {
        let (method, target, headers) = (self.method.clone(), target.to_owned(), self.headers.clone());
        let delivery = Delivery { method, target, headers, body: self.body.clone(), received_at: now };
        demanded(self.scheme, delivery)
    }

    /// A delivery of the event to `target`, signed at `now`, and broken where that is asked for.
    ///
    /// # Errors
    /// Where the secret does not fit the scheme, or the scheme cannot be broken like this.
    pub fn sign(
        &self,
        target: &str,
        signer: Signer<'_>,
        now: Timestamp,
        broken: Option<Break>,
    ) -> Result<Delivery, SampleError> {
        let signed_at = match broken {
            Some(Break::Time) => tamper::long_ago(self.scheme, now)?,
            Some(Break::Body | Break::Signature) | None => now,
        };
        let mut delivery = self.unsigned(target, now);
        signer.sign(self.scheme, &mut delivery, signed_at).map_err(SampleError::data)?;
        let lacks =
            |place: &&Pick| place.is_in_body() && place.read(&delivery).is_none_or(|value| value.is_empty());
        if let Some(place) = self.scheme.require.iter().find(lacks) {
            let name = &self.scheme.name;
            let why = format!("{place}, which scheme {name} demands, is missing in this body");
            return Err(SampleError::data(why).or_own_body());
        }
        match broken {
            Some(Break::Body) => delivery.body = tamper::body(self.scheme, &delivery.body)?,
            Some(Break::Signature) => delivery = tamper::signature(self.scheme, &delivery)?,
            Some(Break::Time) | None => {}
        }
        Ok(delivery)
    }
}

/// `given` settings of a scheme, and for those that it lacks the examples of the provider's file.
pub fn example_settings(
    definition: &Definition,
    scheme: &SchemeDefinition,
    given: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let known = |name: &String| definition.settings.contains_key(name) || scheme.settings.contains_key(name);
    let examples = definition.sample.iter().flat_map(|sample| &sample.settings);
    let mut settings: BTreeMap<String, String> =
        examples.filter(|(name, _)| known(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    settings.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
    settings
}

/// [`example_settings`], and something for each that must be set and has no example: what a scheme is built with
/// where there is no source.
pub fn stand_in_settings(
    definition: &Definition,
    scheme: &SchemeDefinition,
    given: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut settings = example_settings(definition, scheme, given);
    for (name, setting) in definition.settings.iter().chain(&scheme.settings) {
        if setting.required && !settings.contains_key(name) {
            settings.insert(name.clone(), made_up(name, setting));
        }
    }
    settings
}

/// A value that a setting can have.
pub fn made_up(name: &str, setting: &SettingDefinition) -> String {
    let first = setting.default.clone().or_else(|| setting.allowed.first().cloned());
    first.unwrap_or_else(|| format!("made-{}", name.replace('_', "-")))
}

/// The provider's payload of that type.
fn payload(definition: &Definition, event: &str) -> Result<SampleFile, SampleError> {
    if let Some(file) = Catalog::sample_of(definition, event).map_err(SampleError::system)? {
        return Ok(file);
    }
    let known = Catalog::samples_of(definition).map_err(SampleError::system)?;
    let title = &definition.title;
    let beside = Catalog::samples_folder(definition)
        .map_or_else(String::new, |dir| format!("; put one at {}/TYPE.json, .form or .xml", dir.display()));
    let why = match known.is_empty() {
        true => format!("there are no samples of {title}{beside}"),
        false => {
            let known = known.join(", ");
            format!("no sample of {title} event {event:?}; there is: {known}{beside}")
        }
    };
    Err(SampleError::asked(why).or_own_body())
}

/// A delivery of nothing but a body.
fn letter(body: Bytes) -> Delivery {
    let (method, target, headers) = (String::new(), "/".to_owned(), Headers::default());
    Delivery { method, target, headers, body, received_at: Timestamp::default() }
}

/// `delivery` with what the scheme demands to stand somewhere, such as the source's own account.
fn demanded(scheme: &Scheme, delivery: Delivery) -> Delivery {
    scheme.equal.iter().fold(delivery, |delivery, rule| {
        let stands =
            rule.place.read(&delivery).is_some_and(|value| rule.wanted.iter().any(|own| *own == value));
        match rule.wanted.first().filter(|_| !stands) {
            Some(wanted) => extract::put(&delivery, &rule.place, wanted).unwrap_or(delivery),
            None => delivery,
        }
    })
}

/// The text of the value at `place` in `body`. None where there is none, or the place is outside the body.
fn text(body: &[u8], place: &Pick) -> Option<String> {
    let letter = letter(Bytes::copy_from_slice(body));
    place.is_in_body().then(|| place.read(&letter).map(Cow::into_owned)).flatten()
}

/// `body` with the value at `place` changed for what `new` makes of its text. None where there is no value, or `new`
/// makes none of it.
fn changed(body: &[u8], place: &Pick, new: &dyn Fn(&str) -> Option<String>) -> Option<Vec<u8>> {
    let value = new(&text(body, place)?)?;
    Some(extract::put(&letter(Bytes::copy_from_slice(body)), place, &value)?.body.to_vec())
}

/// A place in a sample's body: a JSON pointer, or as provider files write places.
fn place(text: &str) -> Result<Pick, SampleError> {
    let text = if text.starts_with('/') { format!("json:{text}") } else { text.to_owned() };
    Pick::parse(&text).map_err(SampleError::data)
}

/// Where the scheme has the id in the body; else, where it has none in a header, where the sample's rules have it.
fn id_places(rules: &SampleDefinition, scheme: &Scheme) -> Result<Vec<Pick>, SampleError> {
    let ids = scheme.event.ids().iter().map(|id| id.pick.clone());
    let inside: Vec<Pick> = ids.filter(Pick::is_in_body).collect();
    match &rules.id {
        Some(text) if scheme.event.ids().is_empty() => place(text).map(|place| vec![place]),
        _ => Ok(inside),
    }
}

/// `body` with `id` in the first of the places that it has.
fn with_id(body: &[u8], places: &[Pick], id: &str, chosen: bool) -> Result<Vec<u8>, SampleError> {
    let found = places.iter().find_map(|place| changed(body, place, &|_| Some(id.to_owned())));
    match found {
        Some(body) => Ok(body),
        None if places.is_empty() || !chosen => Ok(body.to_vec()),
        None => {
            let told: Vec<String> = places.iter().map(Pick::to_string).collect();
            let told = told.join(", ");
            Err(SampleError::data(format!("the body has no value at {told}, where this event's id is")))
        }
    }
}

/// `body` with fresh values of the same form in the rules' places; they follow from `id`, so that the same id
/// always brings the same bytes.
fn refreshed(body: &[u8], rules: &SampleDefinition, id: &str) -> Result<Vec<u8>, SampleError> {
    let mut body = body.to_vec();
    for text in &rules.fresh {
        let seed = Sha256::digest(format!("{id}\n{text}"));
        if let Some(fresh) = changed(&body, &place(text)?, &|old| alike(old, &seed)) {
            body = fresh;
        }
    }
    Ok(body)
}

/// A value like `old`, sign for sign, made of `seed`: a number stays one, a hash or UUID stays such, and of another long
/// id digits stay digits and letters letters. What stands before it, such as the `SM` of an id, stays. `None` where
/// `old` is none of these.
pub(super) fn alike(old: &str, seed: &[u8]) -> Option<String> {
    if !old.is_empty() && old.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits are 1 to 9: a number does not begin with 0.
        return Some(spelled(old, seed, |_, byte| b'1' + byte % 9));
    }
    let end = |is: fn(char) -> bool| old.strip_prefix(old.trim_end_matches(is)).unwrap_or_default();
    let hash = end(|c| c == '-' || c.is_ascii_hexdigit());
    let digits = hash.bytes().filter(u8::is_ascii_hexdigit).count();
    let (tail, long) = match digits >= HASH_DIGITS_MIN || hash == old && digits >= HASH_DIGITS_ALONE_MIN {
        true => (hash, true),
        false => {
            let tail = end(|c| c.is_ascii_alphanumeric());
            (tail, tail.len() >= HASH_DIGITS_MIN)
        }
    };
    let head = old.strip_suffix(tail).filter(|_| long)?;
    let hex = tail == hash;
    let fresh = |sign: u8, byte: u8| match sign {
        b'-' => b'-',
        _ if hex => b"0123456789abcdef"[usize::from(byte % 16)],
        b'0'..=b'9' => b'0' + byte % 10,
        b'a'..=b'z' => b'a' + byte % 26,
        _ => b'A' + byte % 26,
    };
    Some(format!("{head}{}", spelled(tail, seed, fresh)))
}

/// Each sign of `old` for what `fresh` makes of it and a byte of the seed.
fn spelled(old: &str, seed: &[u8], fresh: impl Fn(u8, u8) -> u8) -> String {
    old.bytes().zip(seed.iter().cycle()).map(|(sign, byte)| char::from(fresh(sign, *byte))).collect()
}

/// The headers beside the signature; id and type also where only the source's settings name a header for them.
fn headers(
    rules: &SampleDefinition,
    scheme: &Scheme,
    content_type: &str,
    values: [(&str, &String); 3],
) -> Headers {
    let mut headers = Headers::default();
    for (name, template) in rules.headers_of(&scheme.name) {
        let fill = |text: String, (mark, value): &(&str, &String)| text.replace(mark, value);
        headers.push(name, values.iter().fold(template.clone(), fill).as_bytes());
    }
    let [(_, id), (_, event), _] = values;
    let ids = scheme.event.ids().iter().map(|place| (place, id.as_str()));
    let types = scheme.event.types().iter().map(|place| (place, event.as_str()));
    for (place, value) in ids.chain(types) {
        if let Pick::Header(name) = &place.pick {
            push_missing(&mut headers, name, value);
        }
    }
    push_missing(&mut headers, "content-type", content_type);
    headers
}

fn push_missing(headers: &mut Headers, name: &str, value: &str) {
    if headers.first(name).is_none() {
        headers.push(name, value.as_bytes());
    }
}

/// An id that no event had: after the rules' prefix; else as many digits as the sample's own id has, where it
/// is a number; else in the form of a UUID.
fn fresh_id(rules: &SampleDefinition, places: &[Pick], file: Option<&SampleFile>) -> io::Result<String> {
    let seed = random()?;
    let digits = hex::encode(seed);
    if !rules.id_prefix.is_empty() {
        return Ok(format!("{}{}", rules.id_prefix, &digits[..24]));
    }
    let own = file.and_then(|file| {
        let old = places.iter().find_map(|place| text(&file.body, place))?;
        alike(&old, &seed).filter(|_| old.bytes().all(|byte| byte.is_ascii_digit()))
    });
    if let Some(own) = own {
        return Ok(own);
    }
    let parts =
        [&digits[..8], &digits[8..12], &format!("4{}", &digits[13..16]), &format!("a{}", &digits[17..20])];
    Ok(format!("{}-{}", parts.join("-"), &digits[20..32]))
}

/// Bytes that nobody can guess.
///
/// # Errors
/// Where the system has no source of randomness.
pub fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
