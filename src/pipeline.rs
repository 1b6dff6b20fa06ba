//! The way in, on one page: the stages that a delivery passes, in order, and nothing else.
//!
//! Each stage takes the proof that the one before it made: a wrong order does not compile, and there is no
//! answer without a [`Proof`](crate::accept::Proof) but for a handshake, which is no event, and for an event type
//! that the source filters out.

use std::sync::Arc;

use crate::accept::{Accepted, Policy};
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
use crate::schema::Verdict;
use crate::source::{OnInvalid, Source};
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
    keeper: Keeper,
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
        let now = self.honest_time(delivery.received_at)?;
        if let Some(answer) = source.verifier.answer_anybody(&delivery, now)? {
            return self.handshake(source, answer).await;
        }
        let verified = source.verifier.prove(delivery, now).await?;
        if let Some(signed_at) = verified.signed_at() {
            source.metrics.signed(now.millis_since(signed_at));
            freshness::judge(signed_at, now, source.tolerance)?;
        }
        source.metrics.verified(verified.secret());
        if let Some(answer) = source.verifier.answer(&verified, now)? {
            source.visit(&answer);
            return self.handshake(source, answer).await;
        }
        if !source.verifier.scheme().sends(&verified.delivery().method) {
            return Err(Reject::MethodNotAllowed.because("this method is for handshakes alone"));
        }
        within_limit(source)?;
        let key = EventKey::derive(&source.name, &verified);
        let split = match source.cut(&verified, &key) {
            None if !source.wants(key.event_type()) => return Ok(Answer::Filtered),
            Some(Cut::Unwanted) => return Ok(Answer::Filtered),
            Some(Cut::Parts(split)) => Some(split),
            None | Some(Cut::Whole(_)) => None,
        };
        let (invalid, policy) = schema_verdict(source, &verified, &key);
        let message_id = key.keys().message_id;
        let event = Event::new(&source.name, verified, key, invalid).in_parts(split);
        let accepted = self.keeper.keep(event, policy, request.hand_over()).await?;
        Ok(Answer::Kept { accepted, message_id })
    }

    /// A secret that the handshake brings is kept before it is answered.
    async fn handshake(&self, source: &Source, answer: HandshakeAnswer) -> Result<Answer, Refused> {
        capture::kept(source.capture.as_ref(), answer, &self.clock).await.map(Answer::Handshake)
    }

    /// The time to judge by; a clock that cannot be right is a fault of ours, not a stale delivery.
    fn honest_time(&self, now: Timestamp) -> Result<Timestamp, Refused> {
        let behind = self.keeper.newest().max(CLOCK_FLOOR).millis_since(now);
        if behind > CLOCK_SLACK_MS {
            let detail =
                format!("this machine's clock is {} s behind what it must be at least", behind / 1000);
            return Err(Reject::ClockWrong.because(detail));
        }
        Ok(now)
    }

    /// The clock that dates deliveries.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

fn within_limit(source: &Source) -> Result<(), Refused> {
    match source.limit.as_ref().map(|limit| limit.take()) {
        Some(Err(wait)) => {
            Err(Reject::RateLimited
                .because(format!("beyond the source's own rate for {} ms", wait.as_millis())))
        }
        Some(Ok(())) | None => Ok(()),
    }
}

/// Why the payload is not valid, if so; a source that refuses such still answers a known event as a duplicate.
fn schema_verdict(source: &Source, verified: &Verified, key: &EventKey) -> (Option<String>, Policy) {
    let mut policy = source.policy;
    let verdict = source
        .schemas
        .as_ref()
        .map_or(Verdict::Unchecked, |schemas| schemas.judge(key.event_type(), &verified.delivery().body));
    match verdict {
        Verdict::Valid | Verdict::Unchecked => (None, policy),
        Verdict::Invalid(reason) => {
            source.metrics.invalid();
            policy.refuse_unknown = (source.on_invalid == OnInvalid::Refuse).then_some(Reject::SchemaInvalid);
            (Some(reason), policy)
        }
    }
}
