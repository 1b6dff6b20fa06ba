//! The verdict: candidate signatures against what each active secret would have signed.

use std::borrow::Cow;
use std::sync::Arc;

use subtle::{Choice, ConstantTimeEq};

use super::algorithm;
use super::content::Content;
use super::digest;
use super::fetched::{FETCHED_LABEL, Keyring};
use super::header::{self, Candidates};
use super::key::{Key, Material};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::provider::{EmptyBody, Scheme, Template, TimeSource, TimeUnit, TimestampRule, WantedKey};
use crate::reject::{Refused, Reject};

/// A source's scheme with its keys, made once at load.
#[derive(Clone, Debug)]
pub struct Verifier {
    scheme: Arc<Scheme>,
    keys: Vec<Key>,
    keyring: Option<Keyring>,
}

/// Label of the secret that matched, and the signed time.
pub(super) type Judged = (Arc<str>, Option<Timestamp>);

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
        Self { scheme, keys, keyring: None }
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
        let judged = self.judge(&self.keys, &delivery, now)?;
        Ok(self.verified(delivery, judged))
    }

    pub(super) fn verified(&self, delivery: Delivery, (secret, signed_at): Judged) -> Verified {
        Verified { delivery, scheme: Arc::clone(&self.scheme), secret, signed_at }
    }

    /// The key that the delivery names; `None` where the scheme's keys are not fetched.
    pub(super) fn wanted(&self, delivery: &Delivery) -> Result<Option<WantedKey>, Refused> {
        let Some(fetch) = &self.scheme.key.fetch else { return Ok(None) };
        let id = self.scheme.key.named(delivery)?;
        fetch.wanted(id.as_deref(), delivery).map(Some)
    }

    pub(super) fn judge(&self, keys: &[Key], delivery: &Delivery, now: Timestamp) -> Result<Judged, Refused> {
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
        // What names a key that no key of the provider's can be is refused whatever keys the source has.
        self.wanted(delivery)?;
        let secret = self.matching(keys, &content, &candidates, now)?;
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
        keys: &[Key],
        content: &Content<'_>,
        candidates: &Candidates<'_>,
        now: Timestamp,
    ) -> Result<Arc<str>, Refused> {
        let decoded = candidates.decode(&self.scheme)?;
        let mut active = keys.iter().filter(|key| key.active_at(now)).peekable();
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
            keys.len()
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
