//! The way in, on one page: the stages that a delivery passes, in order, and nothing else.
//!
//! Each stage takes the proof that the one before it made: a wrong order does not compile, and there is no answer without a
//! [`Proof`](crate::accept::Proof) but for a handshake, which is no event, and for a type that the source filters out.

use std::sync::Arc;

use crate::accept::Accepted;
use crate::batch::Cut;
use crate::capture;
use crate::clock::{CLOCK_FLOOR, Clock, Timestamp};
use crate::dedup::key::EventKey;
use crate::delivery::Delivery;
use crate::event::{Digest, Event};
use crate::freshness;
use crate::keeper::Keeper;
use crate::metrics::Request;
use crate::provider::HandshakeAnswer;
use crate::reject::{Refused, Reject};
use crate::source::Source;
use crate::verify::Verified;

/// How far the clock may step back behind the newest record before it is called wrong.
const CLOCK_SLACK_MS: i64 = 60_000;

/// What a delivery that was not refused turned out to be.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Its event is safe: on disk, or with RabbitMQ.
    Kept {
        /// Proof and outcome.
        accepted: Accepted,
        /// The workers' idempotency key.
        message_id: Digest,
    },
    /// Verified, and of a type that the source does not want.
    Filtered,
    /// A question about the endpoint; there is no event.
    Handshake(HandshakeAnswer),
}

/// The stages, and what they share.
#[derive(Clone)]
pub struct Pipeline {
    pub(crate) keeper: Keeper,
    clock: Arc<dyn Clock>,
}

impl Pipeline {
    /// A way in that ends at `keeper`.
    pub fn new(keeper: Keeper, clock: Arc<dyn Clock>) -> Self {
        Self { keeper, clock }
    }

    /// Takes one delivery through all stages. What is kept is counted by the acceptance thread, which takes
    /// `request` over; any other outcome is the caller's to count.
    ///
    /// # Errors
    /// The first refusal or fault.
    pub async fn receive(
        &self,
        source: &Source,
        delivery: Delivery,
        request: &mut Request,
    ) -> Result<Answer, Refused> {
        self.honest_time(delivery.received_at)?;
        if let Some(answer) = source.verifier.answer_anybody(&delivery, delivery.received_at)? {
            return self.handshake(source, answer).await;
        }
        let verified = self.prove(source, delivery).await?;
        self.pass(source, verified, request).await
    }

    /// Takes one that was refused when it came in, from its proof on, as if it came now.
    ///
    /// # Errors
    /// As [`Pipeline::receive`].
    pub async fn receive_late(
        &self,
        source: &Source,
        verified: Verified,
        request: &mut Request,
    ) -> Result<Answer, Refused> {
        self.honest_time(self.clock.now())?;
        self.pass(source, verified.received_at(self.clock.now()), request).await
    }

    /// Proof of who sent it, and that it was neither old nor new when it came in.
    ///
    /// # Errors
    /// The first refusal or fault.
    pub async fn prove(&self, source: &Source, delivery: Delivery) -> Result<Verified, Refused> {
        let now = delivery.received_at;
        let verified = source.verifier.prove(delivery, now).await?;
        if let Some(signed_at) = verified.signed_at() {
            source.metrics.signed(now.millis_since(signed_at));
            freshness::judge(signed_at, now, source.tolerance)?;
        }
        Ok(verified)
    }

    async fn pass(
        &self,
        source: &Source,
        verified: Verified,
        request: &mut Request,
    ) -> Result<Answer, Refused> {
        source.metrics.verified(verified.secret(), verified.delivery().received_at);
        if let Some(answer) = source.verifier.answer(&verified, verified.delivery().received_at)? {
            source.visit(&answer);
            return self.handshake(source, answer).await;
        }
        if !source.verifier.scheme().sends(&verified.delivery().method) {
            return Err(Reject::MethodNotAllowed.because("this method is for handshakes alone"));
        }
        source.within_limit()?;
        let key = EventKey::derive(&source.name, &verified);
        let split = match source.cut(&verified, &key) {
            None if !source.wants(key.event_type()) => return Ok(Answer::Filtered),
            Some(Cut::Unwanted) => return Ok(Answer::Filtered),
            Some(Cut::Parts(split)) => Some(split),
            None | Some(Cut::Whole(_)) => None,
        };
        let (invalid, policy) = source.judge(&verified, &key);
        let message_id = key.keys().message_id;
        let event = Event::new(&source.name, verified, key, invalid).in_parts(split).traced(request.trace());
        let accepted = self.keeper.keep(event, policy, request.hand_over()).await?;
        Ok(Answer::Kept { accepted, message_id })
    }

    /// A secret that the handshake brings is kept before it is answered.
    async fn handshake(&self, source: &Source, answer: HandshakeAnswer) -> Result<Answer, Refused> {
        capture::kept(source.capture.as_ref(), answer, &self.clock).await.map(Answer::Handshake)
    }

    /// A clock that cannot be right is a fault of ours, and makes no delivery stale.
    fn honest_time(&self, now: Timestamp) -> Result<(), Refused> {
        let behind = self.keeper.newest().max(CLOCK_FLOOR).millis_since(now);
        if behind <= CLOCK_SLACK_MS {
            return Ok(());
        }
        let detail = format!("this machine's clock is {} s behind what it must be at least", behind / 1000);
        Err(Reject::ClockWrong.because(detail))
    }

    /// The clock that dates deliveries.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}
