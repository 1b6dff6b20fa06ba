//! The verdict: candidate signatures against what each active secret would have signed.

use std::borrow::Cow;
use std::sync::Arc;

use subtle::{Choice, ConstantTimeEq};

use super::algorithm;
use super::beside;
use super::candidates::{Candidates, Decoded, Set};
use super::content::Content;
use super::digest;
use super::header;
use super::key::{Key, Material};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::extract::{self, Scene};
use crate::provider::{Scheme, Template, TimeSource, TimeUnit, TimestampRule};
use crate::reject::{Refused, Reject};

/// Elements of an array that are judged one by one.
const ITEMS_MAX: usize = 1000;

/// A source's scheme with its keys, made once at load.
#[derive(Clone, Debug)]
pub struct Verifier {
    scheme: Arc<Scheme>,
    keys: Vec<Key>,
}

/// Proof: somebody who knows the secret sent this delivery. Made by [`Verifier::verify`] alone.
#[derive(Clone, Debug)]
pub struct Verified {
    delivery: Delivery,
    scheme: Arc<Scheme>,
    secret: Arc<str>,
    signed_at: Option<Timestamp>,
}

impl Verified {
    /// The delivery that was proved.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// The scheme that proved it.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Label of the secret that it was proved with.
    pub fn secret(&self) -> &Arc<str> {
        &self.secret
    }

    /// The signed time, where the scheme has one.
    pub fn signed_at(&self) -> Option<Timestamp> {
        self.signed_at
    }

    /// Gives the delivery back, the proof being used up.
    pub fn into_delivery(self) -> Delivery {
        self.delivery
    }
}

impl Verifier {
    /// A scheme and the keys of a source, any of which may have signed.
    pub fn new(scheme: Arc<Scheme>, keys: Vec<Key>) -> Self {
        Self { scheme, keys }
    }

    /// The scheme.
    pub fn scheme(&self) -> &Arc<Scheme> {
        &self.scheme
    }

    /// Labels of the secrets, in order.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.keys.iter().map(Key::label)
    }

    /// Judges one delivery at `now`, which decides only which secrets are valid.
    ///
    /// # Errors
    /// The exact cause; never with a secret or any of the body in its detail.
    pub fn verify(&self, delivery: Delivery, now: Timestamp) -> Result<Verified, Refused> {
        let (secret, signed_at) = self.judge(&delivery, now)?;
        Ok(Verified { delivery, scheme: Arc::clone(&self.scheme), secret, signed_at })
    }

    fn judge(&self, delivery: &Delivery, now: Timestamp) -> Result<Judged, Refused> {
        let scene = Scene::of(delivery);
        let Some(place) = &self.scheme.each else { return self.judge_one(&scene, now) };
        let none =
            || Reject::CompanionMissing.because(format!("{place} is no array of 1 to {ITEMS_MAX} elements"));
        let text = place.json(&scene).ok_or_else(none)?;
        let elements = extract::elements(&text, ITEMS_MAX).ok_or_else(none)?;
        let mut judged: Option<Judged> = None;
        for element in &elements {
            let (secret, at) = self.judge_one(&Scene { item: Some(element.raw()), ..scene }, now)?;
            // The oldest element decides how old the delivery is.
            judged = Some(match judged {
                Some((first, oldest)) => (first, oldest.min(at)),
                None => (secret, at),
            });
        }
        judged.ok_or_else(none)
    }

    fn judge_one(&self, scene: &Scene<'_>, now: Timestamp) -> Result<Judged, Refused> {
        let carriers = header::carriers(&self.scheme.signature, scene)?;
        let candidates = Candidates::parse(&self.scheme.signature, &carriers)?;
        let mut judged: Option<Result<Judged, Refused>> = None;
        for set in candidates.sets() {
            let next = self.judge_set(set, &Scene { named: set.values(), ..*scene }, now);
            judged = Some(match judged {
                Some(first) => better(first, next),
                None => next,
            });
        }
        judged.unwrap_or_else(|| Err(Reject::SignatureMalformed.into()))
    }

    /// Judges the signatures that share the same values beside them.
    fn judge_set(&self, set: &Set<'_>, scene: &Scene<'_>, now: Timestamp) -> Result<Judged, Refused> {
        beside::check(&self.scheme, scene)?;
        let digest = match &self.scheme.body_digest {
            Some(rule) => digest::named(rule, scene)?.map(|text| (rule, text)),
            None => None,
        };
        let time = self.time(scene, set)?;
        let content = Content::new(&self.scheme, *scene, time.as_ref().map(|time| &*time.text))?;
        let secret = self.matching(&content, set, now)?;
        if let Some((rule, text)) = digest {
            digest::check(rule, &text, &scene.delivery.body)?;
        }
        Ok((secret, time.map(|time| time.at)))
    }

    fn time<'d>(&self, scene: &Scene<'d>, set: &Set<'d>) -> Result<Option<SignedTime<'d>>, Refused> {
        let Some(rule) = &self.scheme.timestamp else { return Ok(None) };
        let text = match &rule.from {
            TimeSource::Signature(name) => set.named(name)?.map(Cow::Borrowed),
            TimeSource::Place(pick) => pick.read_in(scene),
        };
        let text = text.ok_or(Reject::TimestampMissing)?;
        let number = match &rule.from {
            TimeSource::Place(pick) if rule.number => pick.is_number(scene),
            _ => true,
        };
        let at = read_time(rule, &text).filter(|_| number).ok_or_else(|| {
            Reject::TimestampMalformed.because(format!("the signed time is not in {:?}", rule.unit))
        })?;
        if self.scheme.signed.iter().any(Template::time_touches) && !is_whole(rule.unit, &text) {
            let detail =
                "the signed time has not all its digits: some may have been moved to what stands beside it";
            return Err(Reject::TimestampMalformed.because(detail));
        }
        Ok(Some(SignedTime { text, at }))
    }

    /// The label of the first active secret that made one of the candidates over one of the templates.
    fn matching(&self, content: &Content<'_>, set: &Set<'_>, now: Timestamp) -> Result<Arc<str>, Refused> {
        let decoded = set.decode(&self.scheme)?;
        let mut active = self.keys.iter().filter(|key| key.active_at(now)).peekable();
        if active.peek().is_none() {
            return Err(
                Reject::NoActiveSecret.because("every secret is outside its not_before and not_after")
            );
        }
        for key in active {
            if self.signed_by(key, content, &decoded)? {
                return Ok(Arc::clone(key.label()));
            }
        }
        Err(Reject::SignatureMismatch.because(format!(
            "{} signature(s) against {} secret(s): none matches",
            decoded.len(),
            self.keys.len()
        )))
    }

    fn signed_by(&self, key: &Key, content: &Content<'_>, candidates: &[Decoded]) -> Result<bool, Refused> {
        let choices = &self.scheme.signature.choices;
        if choices.is_empty() && !self.scheme.signature.slots {
            return self.made_by(key.material_for(self.scheme.algorithm), content, candidates);
        }
        let own = [(String::new(), self.scheme.algorithm)];
        for (_, algorithm) in if choices.is_empty() { &own[..] } else { choices } {
            let fitting = |one: &&Decoded| one.algorithm == *algorithm && key.fits(one.slot);
            let fitting: Vec<Decoded> = candidates.iter().filter(fitting).copied().collect();
            if !fitting.is_empty() && self.made_by(key.material_for(*algorithm), content, &fitting)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn made_by(
        &self,
        key: &Material,
        content: &Content<'_>,
        candidates: &[Decoded],
    ) -> Result<bool, Refused> {
        if let Material::Token(token) = key {
            return Ok(any_equal(candidates, token));
        }
        let (mut tried, mut missing) = (false, None);
        for template in &self.scheme.signed {
            match holds(key, content, template, candidates) {
                Ok(true) => return Ok(true),
                Ok(false) => tried = true,
                Err(refused) => missing = Some(refused),
            }
        }
        // A value that only some templates want is missed only where no other template could be tried.
        missing.filter(|_| !tried).map_or(Ok(false), Err)
    }
}

/// The label of the secret that signed, and the signed time.
type Judged = (Arc<str>, Option<Timestamp>);

/// Of two sets of signatures the one that verifies; of two that do, the one signed last; of two that do not, the
/// one whose signatures could be compared.
fn better(first: Result<Judged, Refused>, next: Result<Judged, Refused>) -> Result<Judged, Refused> {
    match (&first, &next) {
        (Ok((_, one)), Ok((_, other))) if other > one => next,
        (Ok(_), _) => first,
        (Err(_), Ok(_)) => next,
        (Err(_), Err(refused)) if refused.reject == Reject::SignatureMismatch => next,
        (Err(_), Err(_)) => first,
    }
}

struct SignedTime<'d> {
    text: Cow<'d, str>,
    at: Timestamp,
}

/// Whether one of the candidates is the key's signature over the template.
fn holds(
    key: &Material,
    content: &Content<'_>,
    template: &Template,
    candidates: &[Decoded],
) -> Result<bool, Refused> {
    match key {
        Material::Token(token) => Ok(any_equal(candidates, token)),
        Material::Mac(keyed) => {
            let mut mac = (**keyed).clone();
            content.feed(template, &mut |bytes| mac.update(bytes))?;
            Ok(any_equal(candidates, &mac.finish()))
        }
        Material::Public(public) => {
            let whole = content.whole(template)?;
            Ok(candidates
                .iter()
                .any(|candidate| public.verify_sig(&whole, candidate.output.as_bytes()).is_ok()))
        }
    }
}

/// Looks at every candidate, whatever the earlier ones gave, and at every byte of each.
fn any_equal(candidates: &[Decoded], own: &algorithm::Output) -> bool {
    let equal =
        candidates.iter().fold(Choice::from(0), |equal, candidate| equal | candidate.output.ct_eq(own));
    bool::from(equal)
}

fn read_time(rule: &TimestampRule, text: &str) -> Option<Timestamp> {
    match rule.unit {
        TimeUnit::Seconds => digits(text).map(Timestamp::from_seconds),
        TimeUnit::Milliseconds => digits(text).map(Timestamp::from_millis),
        TimeUnit::SecondsOrMilliseconds if text.len() == 13 => digits(text).map(Timestamp::from_millis),
        TimeUnit::SecondsOrMilliseconds => digits(text).map(Timestamp::from_seconds),
        TimeUnit::Rfc3339 => text.parse().ok(),
        TimeUnit::Rfc2822 => Timestamp::from_rfc2822(text),
    }
}

/// Whether a time has as many digits as any from 2001 to 2286 has.
fn is_whole(unit: TimeUnit, text: &str) -> bool {
    match unit {
        TimeUnit::Seconds => text.len() == 10,
        TimeUnit::Milliseconds => text.len() == 13,
        // One of two lengths says nothing; a scheme in which such a time touches is refused at load.
        TimeUnit::SecondsOrMilliseconds => false,
        TimeUnit::Rfc3339 | TimeUnit::Rfc2822 => true,
    }
}

/// Up to 15 decimal digits and nothing else: no sign, no leading zero, no blanks, no exponent.
fn digits(text: &str) -> Option<i64> {
    let plain = (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = plain && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}
