//! Answers to handshakes where a key or a digest goes into them. Keys stay in this room: what is lent makes a value
//! with one and shows none.

use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

use super::algorithm::Mac;
use super::content::Content;
use super::key::{Key, decode};
use super::verifier::{Verified, Verifier};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::provider::{Algorithm, HandshakeAnswer, Made, Scheme};
use crate::reject::{Refused, Reject};

/// MACs of a secret that only handshakes make; none where the scheme's handshakes make none.
#[derive(Clone, Debug, Default)]
pub(super) struct Lent(Vec<(Made, Mac)>);

impl Lent {
    /// Sets up what the handshakes of `scheme` need of this secret.
    pub(super) fn new(scheme: &Scheme, secret: &[u8]) -> Self {
        let keyed = scheme.handshakes.keyed();
        if keyed.is_empty() {
            return Self::default();
        }
        let Ok(bytes) = decode(scheme.key_form, secret) else { return Self::default() };
        let mac = |made: Made| Some((made, Mac::new(hmac(made)?, &bytes)?));
        Self(keyed.into_iter().filter_map(mac).collect())
    }

    pub(super) fn make(&self, made: Made, text: &[u8]) -> Option<Vec<u8>> {
        let (_, mac) = self.0.iter().find(|(known, _)| *known == made)?;
        Some(mac.of(text).as_bytes().to_vec())
    }
}

fn hmac(made: Made) -> Option<Algorithm> {
    match made {
        Made::HmacSha1 => Some(Algorithm::HmacSha1),
        Made::HmacSha256 => Some(Algorithm::HmacSha256),
        Made::HmacSha512 => Some(Algorithm::HmacSha512),
        Made::Sha1 | Made::Sha256 | Made::Sha512 => None,
    }
}

impl Verifier {
    /// The answer to a delivery that needs no proof, by the provider file's word, to be answered at `now`.
    ///
    /// # Errors
    /// `ChallengeRefused`; `NoActiveSecret` where a key goes into the answer and none is active.
    pub fn answer_anybody(
        &self,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<Option<HandshakeAnswer>, Refused> {
        self.scheme().handshakes.unverified(delivery, &|made, text| self.make(now, made, text))
    }

    /// The answer to a request at a path of the listener that is a handshake's own.
    ///
    /// # Errors
    /// As [`Self::answer_anybody`].
    pub fn answer_at_path(
        &self,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<Option<HandshakeAnswer>, Refused> {
        self.scheme().handshakes.at_path(delivery, &|made, text| self.make(now, made, text))
    }

    /// The answer to a delivery whose signature held; the caller has judged its age.
    ///
    /// # Errors
    /// As [`Self::answer_anybody`].
    pub fn answer(&self, verified: &Verified, now: Timestamp) -> Result<Option<HandshakeAnswer>, Refused> {
        self.scheme().handshakes.verified(verified, &|made, text| self.make(now, made, text))
    }

    /// A digest, or a MAC with the first active secret.
    fn make(&self, now: Timestamp, made: Made, text: &[u8]) -> Option<Vec<u8>> {
        match made {
            Made::Sha1 => Some(Sha1::digest(text).to_vec()),
            Made::Sha256 => Some(Sha256::digest(text).to_vec()),
            Made::Sha512 => Some(Sha512::digest(text).to_vec()),
            Made::HmacSha1 | Made::HmacSha256 | Made::HmacSha512 => self.with_keys(|own, captured| {
                own.iter().chain(captured).find(|key| key.active_at(now))?.lent().make(made, text)
            }),
        }
    }

    /// Refuses what a handshake would sign for anybody: the signature may be our own answer to a stranger.
    pub(super) fn refuse_own_answers(&self, content: &Content<'_>) -> Result<(), Refused> {
        let scheme = self.scheme();
        let ours = |bytes: Vec<u8>| scheme.handshakes.would_sign(&bytes);
        if scheme.signed.iter().any(|template| content.whole(template).is_ok_and(ours)) {
            let detail = "the signed bytes are a text that a handshake signs for anybody who asks";
            return Err(Reject::SignatureMismatch.because(detail));
        }
        Ok(())
    }
}

impl Verifier {
    /// Lends the keys: those that never change, and the captured ones.
    pub(super) fn with_keys<T>(&self, look: impl FnOnce(&[Key], &[Key]) -> T) -> T {
        match self.captured() {
            Some(captured) => look(self.keys(), &captured.load()),
            None => look(self.keys(), &[]),
        }
    }
}
