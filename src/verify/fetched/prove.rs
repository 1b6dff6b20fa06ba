//! Verification with keys that may have to be fetched: the source's own first, and nothing is fetched for a delivery
//! that would be refused whatever its key.

use std::sync::Arc;

use super::keyring::Keyring;
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::provider::WantedKey;
use crate::reject::{Refused, Reject};
use crate::verify::verifier::{Judged, Ring, Verified, Verifier};

impl Verifier {
    /// As [`Verifier::verify`], with keys fetched where the scheme says so; then it may take some seconds.
    ///
    /// # Errors
    /// As [`Verifier::verify`], and `KeyUnavailable`.
    pub async fn prove(&self, delivery: Delivery, now: Timestamp) -> Result<Verified, Refused> {
        match self.keyring() {
            None => self.verify(delivery, now),
            // Boxed: other schemes' deliveries need no room for it.
            Some(keyring) => Box::pin(self.prove_by(keyring, delivery, now)).await,
        }
    }

    async fn prove_by(
        &self,
        keyring: &Keyring,
        delivery: Delivery,
        now: Timestamp,
    ) -> Result<Verified, Refused> {
        let own = match self.judge(Ring::Own, &delivery, now) {
            Err(refused) if is_of_the_key(refused.reject) => refused,
            judged => return judged.map(|judged| self.verified(delivery, judged)),
        };
        let Some(wanted) = self.wanted(&delivery)? else { return Err(own) };
        if own.reject == Reject::SignatureMismatch && self.has_own(&wanted, now) {
            return Err(own);
        }
        let judged = self.judge_fetched(keyring, &wanted, &delivery, now).await?;
        keyring.prove(&wanted.url);
        Ok(self.verified(delivery, judged))
    }

    /// Whether the source itself has the key of that id, so that nobody else need be asked for it.
    fn has_own(&self, wanted: &WantedKey, now: Timestamp) -> bool {
        let id = wanted.id.as_deref().unwrap_or(wanted.url.as_str());
        self.keys().iter().any(|key| key.id() == Some(id) && key.active_at(now))
    }

    async fn judge_fetched(
        &self,
        keyring: &Keyring,
        wanted: &WantedKey,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<Judged, Refused> {
        let id = wanted.id.as_deref();
        let document = keyring.keys(wanted).await?;
        let judged = self.judge(Ring::Fetched(document.keys(id)), delivery, now);
        let Err(refused) = judged else { return judged };
        if !is_of_the_key(refused.reject) {
            return Err(refused);
        }
        match keyring.newer(wanted, &document).await {
            Some(newer) if !Arc::ptr_eq(&newer, &document) => {
                self.judge(Ring::Fetched(newer.keys(id)), delivery, now)
            }
            Some(_) | None => Err(refused),
        }
    }
}

/// Whether another key could make the difference.
fn is_of_the_key(reject: Reject) -> bool {
    matches!(reject, Reject::SignatureMismatch | Reject::NoActiveSecret | Reject::UnknownKey)
}
