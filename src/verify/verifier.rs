//! The verdict: candidate signatures against what each active secret would have signed.

use std::borrow::Cow;
use std::sync::Arc;

use subtle::{Choice, ConstantTimeEq};

use super::algorithm;
use super::captured::CapturedKeys;
use super::content::Content;
use super::digest;
use super::header::{self, Candidates};
use super::key::{Key, Material};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::provider::{EmptyBody, Scheme, Template, TimeSource, TimeUnit, TimestampRule};
use crate::reject::{Refused, Reject};

/// A source's scheme with its keys, made once at load.
#[derive(Clone, Debug)]
pub struct Verifier {
    scheme: Arc<Scheme>,
    keys: Vec<Key>,
    /// Keys that change while it runs, where the source has such.
    captured: Option<CapturedKeys>,
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
        Self { scheme, keys, captured: None }
    }

    /// With keys that change while deliveries are judged.
    pub fn with_captured(mut self, captured: CapturedKeys) -> Self {
        self.captured = Some(captured);
        self
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

    fn judge(&self, delivery: &Delivery, now: Timestamp) -> Result<(Arc<str>, Option<Timestamp>), Refused> {
        if self.captured.is_some() && self.with_keys(|keys| keys.next().is_none()) {
            return Err(Reject::NoActiveSecret.because("no secret has been captured: arm the source"));
        }
        let value = header::value(&self.scheme.signature, delivery)?;
        let candidates = Candidates::parse(&self.scheme.signature, &value)?;
        for pick in &self.scheme.require {
            if pick.read(delivery).is_none_or(|value| value.is_empty()) {
                return Err(Reject::CompanionMissing.because(format!("{pick} is missing or empty")));
            }
        }
        if self.scheme.empty_body == EmptyBody::Refuse && delivery.body.is_empty() {
            return Err(Reject::BodyEmpty.into());
        }
        let digest = match &self.scheme.body_digest {
            Some(rule) => Some((rule, digest::named(rule, delivery)?)),
            None => None,
        };
        let time = self.time(delivery, &candidates)?;
        let content = Content::new(&self.scheme, delivery, time.as_ref().map(|time| &*time.text))?;
        let secret = self.matching(&content, &candidates, now)?;
        if self.scheme.handshakes.sign_for_anybody() {
            self.refuse_own_answers(&content)?;
        }
        if let Some((rule, text)) = digest {
            digest::check(rule, &text, &delivery.body)?;
        }
        Ok((secret, time.map(|time| time.at)))
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
        let at = read_time(rule, &text).ok_or_else(|| {
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
    fn matching(
        &self,
        content: &Content<'_>,
        candidates: &Candidates<'_>,
        now: Timestamp,
    ) -> Result<Arc<str>, Refused> {
        let decoded = candidates.decode(&self.scheme)?;
        match &self.captured {
            None => self.first(self.keys.iter(), content, &decoded, now),
            Some(_) => self.with_keys(|keys| self.first(keys, content, &decoded, now)),
        }
    }

    fn first<'k>(
        &self,
        keys: impl Iterator<Item = &'k Key>,
        content: &Content<'_>,
        decoded: &[algorithm::Output],
        now: Timestamp,
    ) -> Result<Arc<str>, Refused> {
        let mut tried = 0;
        for key in keys.filter(|key| key.active_at(now)) {
            if self.signed_by(key, content, decoded)? {
                return Ok(Arc::clone(key.label()));
            }
            tried += 1;
        }
        if tried == 0 {
            return Err(
                Reject::NoActiveSecret.because("every secret is outside its not_before and not_after")
            );
        }
        Err(Reject::SignatureMismatch
            .because(format!("{} signature(s) against {tried} secret(s): none matches", decoded.len())))
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
        Material::Public(public) => {
            let whole = content.whole(template)?;
            Ok(candidates.iter().any(|candidate| public.verify_sig(&whole, candidate.as_bytes()).is_ok()))
        }
    }
}

/// Looks at every candidate, whatever the earlier ones gave, and at every byte of each.
fn any_equal(candidates: &[algorithm::Output], own: &algorithm::Output) -> bool {
    let equal = candidates.iter().fold(Choice::from(0), |equal, candidate| equal | candidate.ct_eq(own));
    bool::from(equal)
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
