//! Signing by the rules that verify: what `send`, `sign` and tests put on a delivery.

use super::algorithm::{Hash, Mac, encode};
use super::content::Content;
use super::key::{KeyError, decode};
use super::private::PrivateKey;
use super::skeleton;
use super::verifier::ITEMS_MAX;
use super::{digest, seal};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
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
    #[error(
        "the scheme reads {0}, where a sample cannot put it; `[sample] headers` of the provider file can have it"
    )]
    Place(String),
    /// A signed value is missing.
    #[error("{0}")]
    Missing(String),
    /// The algorithm is one that is only verified here.
    #[error("with a public key and SHA-1 nothing is signed here any more, only verified")]
    OnlyVerified,
}

/// What a sender signs with. It has no `Debug`: it holds the secret.
#[derive(Clone, Copy)]
pub struct Signer<'s> {
    /// The secret; where a source has public keys, the private one.
    pub secret: &'s [u8],
    /// The id by which deliveries name the key, where the scheme has such.
    pub id: Option<&'s str>,
    /// The place of the signature that the secret goes with, where the scheme has several.
    pub slot: Option<u8>,
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
    Signer::new(secret).sign(scheme, delivery, now)
}

impl<'s> Signer<'s> {
    /// One with a secret that no delivery names.
    pub fn new(secret: &'s [u8]) -> Self {
        Self { secret, id: None, slot: None }
    }

    /// Puts the scheme's signature, the time `now` and the key's id on `delivery`.
    ///
    /// # Errors
    /// Where the secret or the delivery does not fit the scheme.
    pub fn sign(&self, scheme: &Scheme, delivery: &mut Delivery, now: Timestamp) -> Result<(), SignError> {
        if scheme.algorithm == Algorithm::Unauthenticated {
            return Ok(());
        }
        if scheme.algorithm.is_only_verified() {
            return Err(SignError::OnlyVerified);
        }
        if let (Some(place), Some(id)) = (&scheme.key.id, self.id)
            && !place.is_token_header()
            && !is_beside(place)
            && place.read(delivery).as_deref() != Some(id)
        {
            put(delivery, place, id)?;
        }
        let time = written_time(scheme, now);
        if let Algorithm::Jwt(jws) = scheme.algorithm {
            return self.sign_token((scheme, jws), delivery, time.as_deref(), now);
        }
        let Some(array) = &scheme.each else {
            return Letter { scheme, element: None, time: time.as_deref() }.sign(self, delivery);
        };
        for index in 0..count(array, delivery)? {
            let element = Some((array, index));
            Letter { scheme, element, time: time.as_deref() }.sign(self, delivery)?;
        }
        Ok(())
    }

    fn sign_token(
        &self,
        (scheme, jws): (&Scheme, Jws),
        delivery: &mut Delivery,
        time: Option<&str>,
        now: Timestamp,
    ) -> Result<(), SignError> {
        let token = seal::token((scheme, jws), self, delivery, time, now)?;
        let value = render(scheme, &token, &[])?;
        put(delivery, &scheme.signature.from, &value)
    }
}

/// The time of signing as the scheme writes it.
fn written_time(scheme: &Scheme, now: Timestamp) -> Option<String> {
    scheme.timestamp.as_ref().map(|rule| match rule.unit {
        TimeUnit::Seconds => now.seconds().to_string(),
        TimeUnit::Milliseconds => now.millis().to_string(),
        TimeUnit::SecondsOrMilliseconds => now.seconds().to_string(),
        TimeUnit::Rfc3339 => now.to_string(),
        TimeUnit::Rfc2822 => now.to_http_date(),
    })
}

/// How many elements `array` has.
fn count(array: &Pick, delivery: &Delivery) -> Result<usize, SignError> {
    let none = || SignError::Missing(format!("{array} is no array of 1 to {ITEMS_MAX} elements"));
    let text = array.json(&Scene::of(delivery)).ok_or_else(none)?;
    match extract::elements(text.as_bytes(), None, ITEMS_MAX) {
        Ok(elements) if !elements.is_empty() => Ok(elements.len()),
        _ => Err(none()),
    }
}

/// What is signed by itself: a delivery, or an element of an array in it.
struct Letter<'l> {
    scheme: &'l Scheme,
    /// The array, and the element's number.
    element: Option<(&'l Pick, usize)>,
    time: Option<&'l str>,
}

impl Letter<'_> {
    fn sign(&self, signer: &Signer<'_>, delivery: &mut Delivery) -> Result<(), SignError> {
        let scheme = self.scheme;
        if let (Some(rule), Some(time)) = (&scheme.timestamp, self.time)
            && let TimeSource::Place(place) = &rule.from
        {
            let place = self.place(place)?;
            let put = if rule.number { extract::put_number } else { extract::put };
            *delivery = put(delivery, &place, time).ok_or_else(|| SignError::Place(place.to_string()))?;
        }
        if let Some(rule) = scheme.body_digest.as_ref().filter(|rule| !is_beside(&rule.from)) {
            put(delivery, &self.place(&rule.from)?, &digest::written(rule, &delivery.body))?;
        }
        let named = self.named(signer, delivery);
        let named: Vec<(&str, &str)> =
            named.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let signature = self.signature(signer, delivery, &named)?;
        let value = render(scheme, &signature, &named)?;
        let slot = signer.slot.filter(|_| scheme.signature.slots).map_or(0, usize::from);
        let place = scheme.signature.places().nth(slot).unwrap_or(&scheme.signature.from);
        put(delivery, &self.place(place)?, &value)
    }

    /// Where the place is in the delivery.
    fn place(&self, place: &Pick) -> Result<Pick, SignError> {
        match self.element {
            Some((array, index)) => {
                place.of_element(array, index).ok_or_else(|| SignError::Place(place.to_string()))
            }
            None => Ok(place.clone()),
        }
    }

    /// The values beside the signature that the scheme reads: its time, what it must say of key and body, and of what
    /// it leaves open `1`.
    fn named(&self, signer: &Signer<'_>, delivery: &Delivery) -> Vec<(String, String)> {
        let scheme = self.scheme;
        let time = scheme.timestamp.as_ref().map(|rule| rule.from.place());
        let digest = scheme.body_digest.as_ref();
        let demanded = scheme.equal.iter().map(|rule| &rule.place);
        let all = time.iter().chain(&scheme.values).chain(&scheme.require).chain(demanded);
        let all = all.chain(scheme.matching.iter().map(|rule| &rule.place)).chain(scheme.key.id.iter());
        let mut named: Vec<(String, String)> = Vec::new();
        for place in all.chain(digest.iter().map(|rule| &rule.from)) {
            let Pick::Signature(name) = place.root() else { continue };
            if named.iter().any(|(known, _)| known == name) {
                continue;
            }
            let equal = scheme.equal.iter().find(|rule| rule.place == *place);
            let value = match (self.time.filter(|_| time.as_ref() == Some(place)), digest, equal) {
                (Some(time), ..) => Some(time.to_owned()),
                (_, Some(rule), _) if rule.from == *place => Some(digest::written(rule, &delivery.body)),
                (.., Some(rule)) => rule.wanted.first().cloned(),
                _ if scheme.key.id.as_ref() == Some(place) => signer.id.map(str::to_owned),
                _ => None,
            };
            named.push((name.clone(), value.unwrap_or_else(|| "1".to_owned())));
        }
        named
    }

    fn signature(
        &self,
        signer: &Signer<'_>,
        delivery: &Delivery,
        named: &[(&str, &str)],
    ) -> Result<String, SignError> {
        let whole = Scene::of(delivery);
        let element = self.element.and_then(|(array, index)| {
            let text = array.json(&whole)?;
            let span = extract::elements(text.as_bytes(), None, ITEMS_MAX).ok()?.into_iter().nth(index)?;
            text.get(span).map(str::to_owned)
        });
        let scene = Scene { item: element.as_deref(), named, ..whole };
        let content = Content::new(self.scheme, scene, self.time).map_err(missing)?;
        made(self.scheme, signer.secret, &content)
    }
}

fn missing(refused: Refused) -> SignError {
    SignError::Missing(refused.detail.into_owned())
}

/// The signature over the first template of which every value is there.
fn made(scheme: &Scheme, secret: &[u8], content: &Content<'_>) -> Result<String, SignError> {
    let encoding = scheme.signature.encoding;
    if scheme.algorithm.shows_secret() {
        return Ok(encode(encoding, &decode(scheme.key_form, secret)?));
    }
    let mut lacking = None;
    let template = scheme.signed.iter().find(|template| match content.feed(template, &mut |_| {}) {
        Ok(()) => true,
        Err(refused) => {
            lacking.get_or_insert(refused);
            false
        }
    });
    let template = template.ok_or_else(|| match lacking {
        Some(refused) => missing(refused),
        None => SignError::Place("nothing that is signed".to_owned()),
    })?;
    if scheme.has_public_keys() {
        let key = PrivateKey::read(scheme.algorithm, scheme.key_form, secret)?;
        let whole = content.whole(template).map_err(missing)?;
        return Ok(encode(encoding, &key.sign(&whole)?));
    }
    let key = decode(scheme.key_form, secret)?;
    if let Algorithm::Plain(digest) = scheme.algorithm {
        let mut hash = Hash::new(digest);
        content.feed_with(template, &key, &mut |bytes| hash.update(bytes)).map_err(missing)?;
        return Ok(encode(encoding, hash.finish().as_bytes()));
    }
    let Some(mac) = Mac::new(scheme.algorithm, &key) else {
        return Ok(encode(encoding, &key));
    };
    let output = mac.of_pieces(|take| content.feed_with(template, &key, take)).map_err(missing)?;
    Ok(encode(encoding, output.as_bytes()))
}

/// What stands at the signature's place: it, and the values beside it.
fn render(scheme: &Scheme, signature: &str, named: &[(&str, &str)]) -> Result<String, SignError> {
    let first = |keys: &[String]| keys.first().cloned().unwrap_or_default();
    let value = |name: &String| named.iter().find(|(known, _)| known == name).map_or("", |(_, value)| *value);
    Ok(match &scheme.signature.grammar {
        Grammar::Plain { prefix, .. } => format!("{prefix}{signature}"),
        Grammar::Versions { assign, keys, .. } => format!("{}{assign}{signature}", first(keys)),
        Grammar::Pairs(form) | Grammar::Sets { pairs: form, .. } => {
            let PairsForm { separator, assign, keys, .. } = form;
            let beside: String =
                named.iter().map(|(name, value)| format!("{name}{assign}{value}{separator}")).collect();
            format!("{beside}{}{assign}{signature}", first(keys))
        }
        Grammar::Positional { separator, names } => {
            names.iter().map(value).chain([signature]).collect::<Vec<_>>().join(separator)
        }
        Grammar::Choices { choices } => {
            let ours = scheme.signature.choices.iter().find(|(_, algorithm)| *algorithm == scheme.algorithm);
            let prefix = ours.map(|(prefix, _)| prefix);
            format!("{}{signature}", prefix.or(choices.keys().next()).map_or("", String::as_str))
        }
        Grammar::Pattern { pattern } => {
            let mut values: Vec<(&str, &str)> =
                named.iter().copied().chain([("signature", signature)]).collect();
            // What nobody reads must stand there all the same.
            for group in scheme.signature.pattern.iter().flat_map(|pattern| pattern.capture_names().flatten())
            {
                if !values.iter().any(|(known, _)| *known == group) {
                    values.push((group, "1"));
                }
            }
            let unfilled = || SignError::Place(format!("{} by a pattern", scheme.signature.from));
            let filled = skeleton::filled(pattern, &values).ok_or_else(unfilled)?;
            let groups = scheme.signature.pattern.as_ref().and_then(|pattern| pattern.captures(&filled));
            let same = |(name, value): &(&str, &str)| {
                groups
                    .as_ref()
                    .and_then(|groups| groups.name(name))
                    .is_some_and(|group| group.as_str() == *value)
            };
            values.iter().all(same).then_some(filled.clone()).ok_or_else(unfilled)?
        }
    })
}

/// Whether it is a value beside the signature, and not one of the delivery.
fn is_beside(place: &Pick) -> bool {
    matches!(place, Pick::Signature(_))
}

fn put(delivery: &mut Delivery, place: &Pick, value: &str) -> Result<(), SignError> {
    *delivery = extract::put(delivery, place, value).ok_or_else(|| SignError::Place(place.to_string()))?;
    Ok(())
}
