//! The verdict: candidate signatures against what each active secret would have signed.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use subtle::{Choice, ConstantTimeEq};

use super::algorithm;
use super::content::Content;
use super::digest;
use super::header::{self, Candidates};
use super::key::{Key, Material};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::provider::{Algorithm, EmptyBody, Scheme, Template, TimeSource, TimeUnit, TimestampRule};
use crate::reject::{Refused, Reject};

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
    claims: Option<Bytes>,
    body_proved: bool,
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
        let judged = match self.scheme.algorithm {
            Algorithm::Jwt(jws) => self.judge_token(jws, &delivery, now)?,
            Algorithm::Unauthenticated => self.admit(&delivery, now)?,
            _ => self.judge(&delivery, now)?,
        };
        let Judged { secret, signed_at, claims, body_proved } = judged;
        Ok(Verified { delivery, scheme: Arc::clone(&self.scheme), secret, signed_at, claims, body_proved })
    }

    /// What is looked at where nothing is proved.
    fn admit(&self, delivery: &Delivery, now: Timestamp) -> Result<Judged, Refused> {
        self.companions(delivery)?;
        let none = || Reject::NoActiveSecret.because("this source does not say that it proves nothing");
        let key = self.active(None, now)?.find(|key| matches!(key.material(), Material::Nothing));
        let secret = Arc::clone(key.ok_or_else(none)?.label());
        Ok(Judged { secret, signed_at: None, claims: None, body_proved: false })
    }

    /// The values that must stand beside the signature.
    pub(super) fn companions(&self, delivery: &Delivery) -> Result<(), Refused> {
        for pick in &self.scheme.require {
            if pick.read(delivery).is_none_or(|value| value.is_empty()) {
                return Err(Reject::CompanionMissing.because(format!("{pick} is missing or empty")));
            }
        }
        Ok(())
    }

    /// The id of the key that the delivery, or its token's `header`, says it was signed with.
    pub(super) fn named_key<'d>(
        &self,
        delivery: &'d Delivery,
        header: Option<&'d [u8]>,
    ) -> Result<Option<Cow<'d, str>>, Refused> {
        let Some(place) = &self.scheme.key_id else { return Ok(None) };
        let id = match header.filter(|_| place.is_token_header()) {
            Some(header) => place.read_claim(header),
            None => place.read(delivery),
        };
        let missing = || Reject::UnknownKey.because(format!("{place}, the key's id, is missing"));
        id.filter(|id| !id.is_empty()).map(Some).ok_or_else(missing)
    }

    /// The keys that count at `now`: where the delivery names one, those of that `id`.
    pub(super) fn active<'k>(
        &'k self,
        id: Option<&'k str>,
        now: Timestamp,
    ) -> Result<impl Iterator<Item = &'k Key>, Refused> {
        let mut active = self
            .keys
            .iter()
            .filter(move |key| key.active_at(now) && (id.is_none() || key.id() == id))
            .peekable();
        if active.peek().is_some() {
            return Ok(active);
        }
        Err(match id {
            Some(_) => Reject::UnknownKey.because("no key of this source has the id that the delivery names"),
            None => Reject::NoActiveSecret.because("every secret is outside its not_before and not_after"),
        })
    }

    fn judge(&self, delivery: &Delivery, now: Timestamp) -> Result<Judged, Refused> {
        let value = header::value(&self.scheme.signature, delivery)?;
        let candidates = Candidates::parse(&self.scheme.signature, &value)?;
        self.companions(delivery)?;
        if self.scheme.empty_body == EmptyBody::Refuse && delivery.body.is_empty() {
            return Err(Reject::BodyEmpty.into());
        }
        let digest = match &self.scheme.body_digest {
            Some(rule) => match digest::named(rule, delivery) {
                Err(_) if rule.optional => None,
                named => Some((rule, named?)),
            },
            None => None,
        };
        let time = self.time(delivery, &candidates)?;
        let content = Content::new(&self.scheme, delivery, time.as_ref().map(|time| &*time.text))?;
        let id = self.named_key(delivery, None)?;
        let secret = self.matching(&content, &candidates, id.as_deref(), now)?;
        let left_out = digest.is_none() && self.scheme.body_digest.is_some();
        if let Some((rule, text)) = digest {
            digest::check(rule, &text, &delivery.body)?;
        }
        let body_proved = self.scheme.covers_body() && !left_out;
        Ok(Judged { secret, signed_at: time.map(|time| time.at), claims: None, body_proved })
    }

    fn time<'d>(
        &self,
        delivery: &'d Delivery,
        candidates: &'d Candidates<'_>,
    ) -> Result<Option<SignedTime<'d>>, Refused> {
        let Some(rule) = &self.scheme.timestamp else { return Ok(None) };
        let text = match &rule.from {
            TimeSource::Signature(name) => candidates.named(name)?.map(Cow::Borrowed),
            TimeSource::Place(pick) => pick.read(delivery),
        };
        let text = text.ok_or(Reject::TimestampMissing)?;
        let at = time_of(rule, &text)?;
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
        candidates: &Candidates<'_>,
        id: Option<&str>,
        now: Timestamp,
    ) -> Result<Arc<str>, Refused> {
        let decoded = candidates.decode(&self.scheme)?;
        for key in self.active(id, now)? {
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

    fn signed_by(
        &self,
        key: &Key,
        content: &Content<'_>,
        candidates: &[algorithm::Output],
    ) -> Result<bool, Refused> {
        if let Material::Token(token) = key.material() {
            return Ok(any_equal(candidates, token));
        }
        let (mut tried, mut missing) = (false, None);
        for template in &self.scheme.signed {
            match holds(key.material(), content, template, candidates) {
                Ok(true) => return Ok(true),
                Ok(false) => tried = true,
                Err(refused) => missing = Some(refused),
            }
        }
        // A value that only some templates want is missed only where no other template could be tried.
        missing.filter(|_| !tried).map_or(Ok(false), Err)
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
    candidates: &[algorithm::Output],
) -> Result<bool, Refused> {
    match key {
        Material::Token(token) => Ok(any_equal(candidates, token)),
        Material::Mac(keyed) => {
            let mut mac = (**keyed).clone();
            content.feed(template, &mut |bytes| mac.update(bytes))?;
            Ok(any_equal(candidates, &mac.finish()))
        }
        Material::Plain(plain) => {
            let (mut hash, secret) = plain.begin();
            content.feed_with(template, secret, &mut |bytes| hash.update(bytes))?;
            Ok(any_equal(candidates, &hash.finish()))
        }
        Material::Public(public) => {
            let mut message = public.message();
            content.feed(template, &mut |bytes| message.update(bytes))?;
            let message = message.finish();
            Ok(candidates.iter().any(|candidate| public.holds(&message, candidate.as_bytes())))
        }
        Material::Nothing => Ok(false),
    }
}

/// Looks at every candidate, whatever the earlier ones gave, and at every byte of each.
pub(super) fn any_equal(candidates: &[algorithm::Output], own: &algorithm::Output) -> bool {
    let equal = candidates.iter().fold(Choice::from(0), |equal, candidate| equal | candidate.ct_eq(own));
    bool::from(equal)
}

/// The signed time.
///
/// # Errors
/// `TimestampMalformed` where the text is not in the scheme's unit.
pub(super) fn time_of(rule: &TimestampRule, text: &str) -> Result<Timestamp, Refused> {
    read_time(rule, text).ok_or_else(|| {
        Reject::TimestampMalformed.because(format!("the signed time is not in {:?}", rule.unit))
    })
}

fn read_time(rule: &TimestampRule, text: &str) -> Option<Timestamp> {
    match rule.unit {
        TimeUnit::Seconds => digits(text).map(Timestamp::from_seconds),
        TimeUnit::Milliseconds => digits(text).map(Timestamp::from_millis),
        TimeUnit::Rfc3339 => text.parse().ok(),
    }
}

/// Whether a time has as many digits as any from 2001 to 2286 has.
fn is_whole(unit: TimeUnit, text: &str) -> bool {
    match unit {
        TimeUnit::Seconds => text.len() == 10,
        TimeUnit::Milliseconds => text.len() == 13,
        TimeUnit::Rfc3339 => true,
    }
}

/// Up to 15 decimal digits and nothing else: no sign, no leading zero, no blanks, no exponent.
fn digits(text: &str) -> Option<i64> {
    let plain = (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = plain && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}
