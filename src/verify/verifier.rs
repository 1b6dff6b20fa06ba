//! The verdict: candidate signatures against what each active secret would have signed.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use subtle::{Choice, ConstantTimeEq};

use super::algorithm;
use super::beside;
use super::candidates::{Candidates, Decoded, Set};
use super::captured::CapturedKeys;
use super::content::Content;
use super::digest;
use super::fetched::{FETCHED_LABEL, Keyring};
use super::header;
use super::key::{Key, Material};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::extract::{self, NoElements, Scene};
use crate::provider::{Algorithm, Scheme, Template, TimeSource, TimeUnit, TimestampRule, WantedKey};
use crate::reject::{Refused, Reject, quoted};

/// Elements of an array that are judged one by one.
pub(super) const ITEMS_MAX: usize = 1000;

/// A source's scheme with its keys, made once at load.
#[derive(Clone, Debug)]
pub struct Verifier {
    scheme: Arc<Scheme>,
    keys: Vec<Key>,
    /// Keys that change while it runs, where the source has such.
    captured: Option<CapturedKeys>,
    /// Keys that the provider publishes, where the scheme says where.
    keyring: Option<Keyring>,
}

/// Proof: somebody who knows the secret sent this delivery. Made by [`Verifier::verify`] alone.
#[derive(Clone, Debug)]
pub struct Verified {
    pub(super) delivery: Delivery,
    scheme: Arc<Scheme>,
    secret: Arc<str>,
    signed_at: Option<Timestamp>,
    claims: Option<Bytes>,
    body_proved: bool,
}

/// The keys that a delivery is judged by.
#[derive(Clone, Copy)]
pub(super) enum Ring<'k> {
    /// Those of the source.
    Own,
    /// Those that the delivery names, from where the provider publishes them.
    Fetched(&'k [Key]),
}

/// What a delivery is judged by: keys, and the time at which they count.
#[derive(Clone, Copy)]
pub(super) struct By<'k> {
    pub(super) ring: Ring<'k>,
    pub(super) now: Timestamp,
}

/// A verdict, before it becomes a proof.
pub(super) struct Judged {
    pub(super) secret: Arc<str>,
    pub(super) signed_at: Option<Timestamp>,
    /// The claims of the token that proved it.
    pub(super) claims: Option<Bytes>,
    pub(super) body_proved: bool,
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

    /// The claims of the token that it was proved with, a JSON text.
    pub fn claims(&self) -> Option<&[u8]> {
        self.claims.as_deref()
    }

    /// Whether this delivery's body is proved, and not only its sender.
    pub fn covers_body(&self) -> bool {
        self.body_proved
    }

    /// Whether nothing is proved, as the source's configuration says that it may be.
    pub fn unauthenticated(&self) -> bool {
        self.scheme.algorithm == Algorithm::Unauthenticated
    }

    /// Gives the delivery back, the proof being used up.
    pub fn into_delivery(self) -> Delivery {
        self.delivery
    }
}

impl Verifier {
    /// A scheme and the keys of a source, any of which may have signed.
    pub fn new(scheme: Arc<Scheme>, keys: Vec<Key>) -> Self {
        Self { scheme, keys, captured: None, keyring: None }
    }

    /// With keys that change while deliveries are judged.
    pub fn with_captured(mut self, captured: CapturedKeys) -> Self {
        self.captured = Some(captured);
        self
    }

    /// The same with keys that are fetched, for [`Verifier::prove`].
    pub fn with_keyring(self, keyring: Option<Keyring>) -> Self {
        Self { keyring, ..self }
    }

    pub(super) fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_ref()
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub(super) fn captured(&self) -> Option<&CapturedKeys> {
        self.captured.as_ref()
    }

    /// The scheme.
    pub fn scheme(&self) -> &Arc<Scheme> {
        &self.scheme
    }

    /// Labels of the secrets, in order; last the one of fetched keys, where there are such.
    pub fn secrets(&self) -> impl Iterator<Item = Arc<str>> {
        let fetched = self.scheme.key.fetch.as_ref().map(|_| Arc::from(FETCHED_LABEL));
        self.keys.iter().map(|key| Arc::clone(key.label())).chain(fetched)
    }

    /// Judges one delivery at `now`, which decides only which secrets are valid.
    ///
    /// # Errors
    /// The exact cause; never with a secret or any of the body in its detail.
    pub fn verify(&self, delivery: Delivery, now: Timestamp) -> Result<Verified, Refused> {
        let judged = self.judge(Ring::Own, &delivery, now)?;
        Ok(self.verified(delivery, judged))
    }

    pub(super) fn verified(&self, delivery: Delivery, judged: Judged) -> Verified {
        let Judged { secret, signed_at, claims, body_proved } = judged;
        Verified { delivery, scheme: Arc::clone(&self.scheme), secret, signed_at, claims, body_proved }
    }

    /// Judges a delivery by the keys of `ring`.
    pub(super) fn judge(
        &self,
        ring: Ring<'_>,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<Judged, Refused> {
        if self.captured.is_some() && self.with_keys(|own, captured| own.is_empty() && captured.is_empty()) {
            return Err(Reject::NoActiveSecret.because("no secret has been captured: arm the source"));
        }
        let by = By { ring, now };
        match self.scheme.algorithm {
            Algorithm::Jwt(jws) => self.judge_token(jws, delivery, by),
            Algorithm::Unauthenticated => self.admit(delivery, by),
            _ => self.judge_signed(delivery, by),
        }
    }

    /// What is looked at where nothing is proved.
    fn admit(&self, delivery: &Delivery, by: By<'_>) -> Result<Judged, Refused> {
        beside::check(&self.scheme, &Scene::to_prove(delivery))?;
        let none = |_| Reject::NoActiveSecret.because("this source does not say that it proves nothing");
        let nothing = |key: &Key| Ok(matches!(key.material_for(self.scheme.algorithm), Material::Nothing));
        let secret = self.first_key(None, by, nothing).map_err(none)?;
        Ok(Judged { secret, signed_at: None, claims: None, body_proved: false })
    }

    /// The key that the delivery names; `None` where the scheme's keys are not fetched.
    pub(super) fn wanted(&self, delivery: &Delivery) -> Result<Option<WantedKey>, Refused> {
        let Some(fetch) = &self.scheme.key.fetch else { return Ok(None) };
        let id = match self.scheme.algorithm {
            Algorithm::Jwt(jws) => self.token_key(jws, delivery)?,
            _ => self.named_key(&Scene::to_prove(delivery), None)?.map(Cow::into_owned),
        };
        fetch.wanted(id.as_deref(), delivery).map(Some)
    }

    /// The id of the key that the delivery, or its token's `header`, says it was signed with.
    pub(super) fn named_key<'d>(
        &self,
        scene: &Scene<'d>,
        header: Option<&'d [u8]>,
    ) -> Result<Option<Cow<'d, str>>, Refused> {
        let Some(place) = &self.scheme.key.id else { return Ok(None) };
        let id = match header.filter(|_| place.is_token_header()) {
            Some(header) => place.read_claim(header),
            None => place.read_in(scene),
        };
        let missing = || Reject::UnknownKey.because(format!("{place} does not say which key signed"));
        id.filter(|id| !id.is_empty()).map(Some).ok_or_else(missing)
    }

    /// The label of the first key that counts and `signed`: where the delivery names one, of those of that `id`.
    ///
    /// # Errors
    /// `SignatureMismatch` where none did, `UnknownKey` or `NoActiveSecret` where there is none to try.
    pub(super) fn first_key(
        &self,
        id: Option<&str>,
        by: By<'_>,
        mut signed: impl FnMut(&Key) -> Result<bool, Refused>,
    ) -> Result<Arc<str>, Refused> {
        let (mut known, mut tried) = (0, 0);
        let mut first = |keys: &[Key], id: Option<&str>| -> Result<Option<Arc<str>>, Refused> {
            for key in keys.iter().filter(|key| id.is_none() || key.id() == id) {
                known += 1;
                if !key.active_at(by.now) {
                    continue;
                }
                tried += 1;
                if signed(key)? {
                    return Ok(Some(Arc::clone(key.label())));
                }
            }
            Ok(None)
        };
        let found = match by.ring {
            Ring::Own => self.with_keys(|own, captured| match first(own, id)? {
                None => first(captured, id),
                found => Ok(found),
            }),
            Ring::Fetched(keys) => first(keys, None),
        }?;
        if let Some(label) = found {
            return Ok(label);
        }
        Err(match (tried, id) {
            (0, Some(id)) if known == 0 => Reject::UnknownKey.because(format!(
                "no key that counts here has the id {}, which the delivery names",
                quoted(id)
            )),
            (0, _) => Reject::NoActiveSecret.because("every secret is outside its not_before and not_after"),
            (tried, _) => Reject::SignatureMismatch.because(format!("{tried} secret(s) tried: none matches")),
        })
    }

    fn judge_signed(&self, delivery: &Delivery, by: By<'_>) -> Result<Judged, Refused> {
        let scene = Scene::to_prove(delivery);
        let Some(place) = &self.scheme.each else { return self.judge_one(&scene, by) };
        let none = || Reject::CompanionMissing.because(format!("{place} is no array with an element in it"));
        let text = place.json(&scene).ok_or_else(none)?;
        let elements = extract::elements(text.as_bytes(), None, ITEMS_MAX).map_err(|odd| match odd {
            NoElements::NoArray => none(),
            NoElements::TooMany(most) => Reject::CompanionMissing.because(format!(
                "{place} is an array of at least {} elements; at most {most} are judged",
                most + 1
            )),
        })?;
        let mut judged: Option<Judged> = None;
        for element in elements {
            let next = self.judge_one(&Scene { item: text.get(element), ..scene }, by)?;
            // The oldest element decides how old the delivery is.
            judged = Some(match judged {
                Some(first) => Judged { signed_at: first.signed_at.min(next.signed_at), ..first },
                None => next,
            });
        }
        judged.ok_or_else(none)
    }

    fn judge_one(&self, scene: &Scene<'_>, by: By<'_>) -> Result<Judged, Refused> {
        let carriers = header::carriers(&self.scheme.signature, scene)?;
        let candidates = Candidates::parse(&self.scheme.signature, &carriers)?;
        let (first, others) =
            candidates.sets().split_first().ok_or_else(|| Refused::from(Reject::SignatureMalformed))?;
        let judged = self.judge_set(first, scene, by);
        others.iter().fold(judged, |judged, set| better(judged, self.judge_set(set, scene, by), by.now))
    }

    /// Judges the signatures that share the same values beside them.
    fn judge_set(&self, set: &Set<'_>, scene: &Scene<'_>, by: By<'_>) -> Result<Judged, Refused> {
        let scene = &Scene { named: set.values(), ..*scene };
        beside::check(&self.scheme, scene)?;
        let digest = match &self.scheme.body_digest {
            Some(rule) => digest::named(rule, scene)?.map(|text| (rule, text)),
            None => None,
        };
        let time = self.time(scene, set)?;
        let content = Content::new(&self.scheme, *scene, time.as_ref().map(|time| &*time.text))?;
        // What names a key that no key of the provider's can be is refused whatever keys the source has.
        self.wanted(scene.delivery)?;
        let id = self.named_key(scene, None)?;
        let secret = self.matching(&content, set, id.as_deref(), by)?;
        if self.scheme.handshakes.sign_for_anybody() {
            self.refuse_own_answers(&content)?;
        }
        let left_out = digest.is_none() && self.scheme.body_digest.is_some();
        if let Some((rule, text)) = digest {
            digest::check(rule, &text, &scene.delivery.body)?;
        }
        let body_proved = self.scheme.covers_body() && !left_out;
        Ok(Judged { secret, signed_at: time.map(|time| time.at), claims: None, body_proved })
    }

    fn time<'d>(&self, scene: &Scene<'d>, set: &'d Set<'_>) -> Result<Option<SignedTime<'d>>, Refused> {
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
        let at = time_of(rule, &text, number)?;
        if self.scheme.signed.iter().any(Template::time_touches) && !is_whole(rule.unit, &text) {
            let detail =
                "the signed time has not all its digits: some may have been moved to what stands beside it";
            return Err(Reject::TimestampMalformed.because(detail));
        }
        Ok(Some(SignedTime { text, at }))
    }

    /// The label of the first active secret that made one of the candidates over one of the templates.
    fn matching(
        &self,
        content: &Content<'_>,
        set: &Set<'_>,
        id: Option<&str>,
        by: By<'_>,
    ) -> Result<Arc<str>, Refused> {
        let decoded = set.decode(&self.scheme)?;
        self.first_key(id, by, |key| self.signed_by(key, content, &decoded))
    }

    fn signed_by(&self, key: &Key, content: &Content<'_>, candidates: &[Decoded]) -> Result<bool, Refused> {
        let choices = &self.scheme.signature.choices;
        if choices.is_empty() && !self.scheme.signature.slots {
            return self.made_by(key.material_for(self.scheme.algorithm), content, candidates);
        }
        let own = [(String::new(), self.scheme.algorithm)];
        for (_, algorithm) in if choices.is_empty() { &own[..] } else { choices } {
            let fitting = |one: &&Decoded| one.algorithm == *algorithm && key.fits(one.slot);
            let fitting: Vec<Decoded> = candidates.iter().filter(fitting).cloned().collect();
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
            return Ok(any_equal(outputs(candidates), token));
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

/// Of two sets of signatures the one that verifies; of two that do, the one signed nearest to `now`, so that no other
/// time in it makes a fresh one stale or premature; of two that do not, the one whose signatures could be compared.
fn better(
    first: Result<Judged, Refused>,
    next: Result<Judged, Refused>,
    now: Timestamp,
) -> Result<Judged, Refused> {
    let off = |judged: &Judged| judged.signed_at.map(|at| now.millis_since(at).unsigned_abs());
    match (&first, &next) {
        (Ok(one), Ok(other)) if off(other) < off(one) => next,
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
        Material::Token(token) => Ok(any_equal(outputs(candidates), token)),
        Material::Mac(keyed) => {
            let own = keyed.mac.of_pieces(|take| content.feed_with(template, &keyed.secret, take))?;
            Ok(any_equal(outputs(candidates), &own))
        }
        Material::Plain(plain) => {
            let (mut hash, secret) = plain.begin();
            content.feed_with(template, secret, &mut |bytes| hash.update(bytes))?;
            Ok(any_equal(outputs(candidates), &hash.finish()))
        }
        Material::Public(public) => {
            let mut message = public.message();
            content.feed(template, &mut |bytes| message.update(bytes))?;
            let message = message.finish();
            Ok(outputs(candidates).any(|output| public.holds(&message, output.as_bytes())))
        }
        Material::Nothing => Ok(false),
    }
}

fn outputs(candidates: &[Decoded]) -> impl Iterator<Item = &algorithm::Output> {
    candidates.iter().map(|candidate| &candidate.output)
}

/// Looks at every candidate, whatever the earlier ones gave, and at every byte of each.
pub(super) fn any_equal<'o>(
    candidates: impl Iterator<Item = &'o algorithm::Output>,
    own: &algorithm::Output,
) -> bool {
    let equal = candidates.fold(Choice::from(0), |equal, candidate| equal | candidate.ct_eq(own));
    bool::from(equal)
}

/// The signed time.
///
/// # Errors
/// `TimestampMalformed` where the text is not in the scheme's unit, or is none in the `form` that it must have.
pub(super) fn time_of(rule: &TimestampRule, text: &str, form: bool) -> Result<Timestamp, Refused> {
    if !form {
        return Err(Reject::TimestampMalformed.because("the signed time is not a number in its JSON"));
    }
    let odd =
        || Reject::TimestampMalformed.because(format!("the signed time is not written as {}", rule.unit));
    read_time(rule, text).ok_or_else(odd)
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
