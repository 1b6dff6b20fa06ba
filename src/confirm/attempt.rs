//! One event's way in confirm mode: a slot, a claim with a lease, a publish, its confirm, and the claim's end.
//!
//! Whatever happens, the claim is left so that the next attempt is right: gone, where certainly nothing was published;
//! run out, where that is unknown; `done`, where RabbitMQ has confirmed. A process that ends in between leaves a lease
//! that runs out by itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};

use super::confirmer::{ConfirmParts, ConfirmSettings};
use super::parts::{left_nothing, together};
use super::untold::Untold;
use crate::accept::{Accepted, Policy, Proof, TWINS_MAX};
use crate::dedup::{
    Ask, Claimant, ClaimsError, Lease, LeaseAnswer, Leased, Life, Owner, RedisClaims, Silence,
};
use crate::event::{Digest, Event, Keys, Sequence, Split};
use crate::failpoint::{self, Point};
use crate::metrics::{Claimed, Outcome};
use crate::reject::{Refused, Reject};
use crate::sink::{Attempt, Confirmation, Message, State};

/// How much longer than its publish a lease lasts.
const LEASE_BEYOND: Duration = Duration::from_secs(5);
/// How long an event waits for one of `max_in_flight` to end.
const SLOT_WAIT: Duration = Duration::from_secs(1);
/// How long a copy waits for the attempt that has the claim.
const COPY_WAIT: Duration = Duration::from_secs(2);
/// Copies that may wait so.
const COPIES_MAX: usize = 1_024;
/// Pauses between two looks of theirs at the claim: the first, and the longest.
const LOOK_FIRST: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_millis(200);

/// How an attempt came out.
enum Step {
    /// Confirmed, or known to be.
    Ended(Accepted),
    /// Another attempt has the claim.
    Theirs(Claimant),
}

/// Where events are claimed and published.
pub(super) struct Desk {
    parts: ConfirmParts,
    settings: ConfirmSettings,
    slots: Semaphore,
    copies: Semaphore,
    untold: Untold,
    silence: Mutex<Silence>,
    token: AtomicU64,
    redis_away: AtomicBool,
}

impl Desk {
    pub(super) fn new(parts: ConfirmParts, settings: ConfirmSettings) -> Self {
        Self {
            parts,
            settings,
            slots: Semaphore::new(settings.max_in_flight.max(1)),
            copies: Semaphore::new(COPIES_MAX),
            untold: Untold::default(),
            silence: Mutex::new(Silence::new(settings.takeover_after)),
            token: AtomicU64::new(0),
            redis_away: AtomicBool::new(false),
        }
    }

    pub(super) fn redis(&self) -> &RedisClaims {
        &self.parts.redis
    }

    pub(super) fn untold(&self) -> usize {
        self.untold.len()
    }

    pub(super) async fn tell_all(&self) {
        self.untold.tell_all(&self.parts.redis).await;
    }

    pub(super) async fn keep_telling(&self) {
        self.untold.keep_telling(&self.parts.redis).await;
    }

    /// Takes an event to its end: confirmed, known, or refused.
    pub(super) async fn take(&self, mut event: Event, policy: Policy) -> Result<Accepted, Refused> {
        let id = event.envelope().keys.message_id;
        if let Some(reject) = policy.refuse_unknown {
            return self.known(&id).await.ok_or_else(|| reject.into());
        }
        let patience = self.now() + COPY_WAIT;
        loop {
            if self.parts.sink.health().state != State::Connected {
                let known = if policy.forward_duplicates { None } else { self.known(&id).await };
                return known.ok_or_else(|| Reject::SinkAway.into());
            }
            let Some(slot) = self.slot(self.messages(&event)).await else {
                let known = if policy.forward_duplicates { None } else { self.known(&id).await };
                let full = || Reject::Overloaded.because("sink.max_in_flight events wait for their confirms");
                return known.ok_or_else(full);
            };
            let attempt = self.attempt(&mut event, policy).await?;
            drop(slot);
            match attempt {
                Step::Ended(accepted) => return Ok(accepted),
                Step::Theirs(claimant) => self.wait_for(&claimant, &id, patience).await?,
            }
        }
    }

    /// Claims and publishes, within a slot.
    async fn attempt(&self, event: &mut Event, policy: Policy) -> Result<Step, Refused> {
        let deadline = self.now() + self.settings.confirm_timeout;
        let keys = event.envelope().keys;
        let answer = match self.claim(&keys).await {
            Ok(answer) => answer,
            Err(error) => {
                self.redis_is_away(&error);
                return self.publish(event, None, deadline).await.map(Step::Ended);
            }
        };
        if self.redis_away.swap(false, Ordering::Relaxed) {
            tracing::info!("Redis answers again");
        }
        if let Some(first) = answer.twin_of {
            event.set_twin(first, false);
        }
        match answer.leased {
            Leased::Mine(lease) => {
                failpoint::reach(Point::ConfirmClaimAfter);
                self.count(if lease.is_over() { Claimed::TakenOver } else { Claimed::Mine });
                self.publish(event, Some(&lease), deadline).await.map(Step::Ended)
            }
            Leased::Done(_) if policy.forward_duplicates => {
                self.count(Claimed::Done);
                event.set_redelivery();
                self.forward(event, deadline).await.map(Step::Ended)
            }
            Leased::Done(done) => {
                self.count(Claimed::Done);
                Ok(Step::Ended(Accepted { proof: Proof::Done(done), outcome: Outcome::Duplicate }))
            }
            Leased::TooManyTwins => Err(Reject::TooManyTwins.because(format!(
                "{TWINS_MAX} events with the same content were relayed within dedup.window"
            ))),
            Leased::Theirs(claimant) => Ok(Step::Theirs(claimant)),
        }
    }

    /// How many messages of an event are in flight at once, at most.
    fn messages(&self, event: &Event) -> usize {
        event.split().map_or(1, |split| split.parts.len().min(self.settings.max_in_flight)).max(1)
    }

    /// So many of `max_in_flight`, soon or not at all.
    async fn slot(&self, messages: usize) -> Option<SemaphorePermit<'_>> {
        let slots = u32::try_from(messages).unwrap_or(u32::MAX);
        timeout(SLOT_WAIT, self.slots.acquire_many(slots)).await.ok().and_then(Result::ok)
    }

    /// Claims with a lease; from a replica with a journal only after it has been silent for long.
    async fn claim(&self, keys: &Keys) -> Result<LeaseAnswer, ClaimsError> {
        if self.redis_away.load(Ordering::Relaxed) {
            self.untold.tell_first(&self.parts.redis).await?;
        }
        let answer = self.lease(keys, None).await?;
        let Leased::Theirs(claimant) = &answer.leased else { return Ok(answer) };
        if self.is_silent(claimant).await? { self.lease(keys, Some(claimant)).await } else { Ok(answer) }
    }

    async fn lease(&self, keys: &Keys, silent: Option<&Claimant>) -> Result<LeaseAnswer, ClaimsError> {
        let token = self.token.fetch_add(1, Ordering::Relaxed);
        let lease = self.settings.confirm_timeout + LEASE_BEYOND;
        self.parts.redis.lease(Ask { keys, token, lease, twins_max: TWINS_MAX, silent }).await
    }

    async fn is_silent(&self, claimant: &Claimant) -> Result<bool, ClaimsError> {
        let owner = &claimant.owner;
        if !matches!(owner, Owner::Replica { .. }) {
            return Ok(false);
        }
        let living = self.parts.redis.living(std::slice::from_ref(owner)).await?;
        let life = living.first().copied().unwrap_or(Life::Lives);
        let now = self.now();
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        silence.heard(owner, life, now);
        Ok(silence.is_over(owner, now))
    }

    /// Publishes, and ends the claim by what became of it. Without a claim, Redis could not be asked: then other
    /// replicas may publish copies, and all carry the mark.
    async fn publish(
        &self,
        event: &Event,
        lease: Option<&Lease>,
        deadline: Duration,
    ) -> Result<Accepted, Refused> {
        let marked = lease.is_none_or(Lease::is_over);
        let envelope = event.envelope();
        let id = envelope.keys.message_id;
        if lease.is_none() {
            // Redis may answer others before this attempt has ended.
            self.untold.doubt(id);
        }
        let confirmation = self.send(event, marked, deadline).await;
        let Some(proof) = confirmation.proof() else {
            if let Some(lease) = lease {
                // Where Redis does not answer, the lease runs out by itself.
                drop(self.parts.redis.release(lease, left_nothing(&confirmation)).await);
            }
            return Err(refusal(&confirmation));
        };
        failpoint::reach(Point::ConfirmDoneBefore);
        self.untold.finish(&self.parts.redis, id).await;
        failpoint::reach(Point::ConfirmDoneAfter);
        let outcome = if envelope.twin_of.is_some() { Outcome::Twin } else { Outcome::New };
        Ok(Accepted { proof: Proof::Confirmed(proof), outcome })
    }

    /// Publishes a copy of what is done, as the source wants it: that is no second claim on the event.
    async fn forward(&self, event: &Event, deadline: Duration) -> Result<Accepted, Refused> {
        let confirmation = self.send(event, false, deadline).await;
        let proof = confirmation.proof().ok_or_else(|| refusal(&confirmation))?;
        Ok(Accepted { proof: Proof::Confirmed(proof), outcome: Outcome::Duplicate })
    }

    /// One attempt to publish an event, in all its parts where it is split.
    async fn send(&self, event: &Event, possible_duplicate: bool, deadline: Duration) -> Confirmation {
        let redelivery = event.envelope().redelivery;
        let attempt = Attempt { possible_duplicate, redelivery, replay: false };
        let Some(split) = event.split() else {
            return self.send_one(Message::new(event, Sequence(0), attempt), deadline).await;
        };
        let text = split.text(event.body());
        // Each message is made when its turn comes.
        let mut parts: Vec<BoxFuture<'_, Confirmation>> = Vec::with_capacity(split.parts.len());
        for part in &split.parts {
            let body = Split::element(&text, part);
            let send = async move {
                self.send_one(Message::part(event, part, &body, Sequence(0), attempt), deadline).await
            };
            parts.push(send.boxed());
        }
        together(stream::iter(parts).buffered(self.messages(event)).collect().await)
    }

    /// One attempt to publish a message; its outcome is known, or known to be unknown, by `deadline` (monotonic).
    async fn send_one(&self, message: Message, deadline: Duration) -> Confirmation {
        let started = self.now();
        let outcome = self.send_by(message, deadline).await;
        self.parts.published.published(outcome.counted(), self.now().saturating_sub(started));
        outcome
    }

    async fn send_by(&self, message: Message, deadline: Duration) -> Confirmation {
        let left = deadline.saturating_sub(self.now());
        let late = || Confirmation::NotSent { cause: "no time was left to publish it".to_owned() };
        // A process that was frozen since its claim must not publish under a lease that may be another's.
        if left.is_zero() {
            return late();
        }
        let Ok(pending) = timeout(left, self.parts.sink.publish(message)).await else { return late() };
        failpoint::reach(Point::ConfirmPublishAfter);
        let left = deadline.saturating_sub(self.now());
        timeout(left, pending).await.unwrap_or_else(|_| Confirmation::Unknown {
            cause: format!("no confirm within {:?}", self.settings.confirm_timeout),
        })
    }

    /// Waits until the claim that stands in the way is gone, done or out of time.
    async fn wait_for(&self, claimant: &Claimant, id: &Digest, patience: Duration) -> Result<(), Refused> {
        self.count(Claimed::Running);
        let Ok(_waiting) = self.copies.try_acquire() else {
            return Err(Reject::ClaimRunning.because("too many copies wait for other attempts already"));
        };
        let mut pause = LOOK_FIRST;
        loop {
            let left = patience.saturating_sub(self.now());
            if left.is_zero() {
                return Err(Reject::ClaimRunning.because(whose(&claimant.owner)));
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(LOOK_MAX);
            match self.parts.redis.look(id).await {
                Ok(Some(Leased::Theirs(claimant))) if claimant.owner != Owner::Lease(Duration::ZERO) => {}
                // What to do without Redis is the next attempt's to decide.
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }

    /// The answer for an event that is done.
    async fn known(&self, id: &Digest) -> Option<Accepted> {
        match self.parts.redis.look(id).await {
            Ok(Some(Leased::Done(done))) => {
                self.count(Claimed::Done);
                Some(Accepted { proof: Proof::Done(done), outcome: Outcome::Duplicate })
            }
            Ok(_) | Err(_) => None,
        }
    }

    fn redis_is_away(&self, error: &ClaimsError) {
        self.count(Claimed::Away);
        if !self.redis_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "Redis does not answer; events are published with the duplicate mark");
        }
    }

    fn count(&self, claimed: Claimed) {
        self.parts.claims.claimed(claimed);
    }

    fn now(&self) -> Duration {
        self.parts.clock.monotonic()
    }
}

fn whose(owner: &Owner) -> String {
    match owner {
        Owner::Lease(left) => {
            format!("another attempt at this event has not ended; its lease lasts {} s more", left.as_secs())
        }
        Owner::Replica { id, .. } => {
            format!("replica {id} has it in its journal and has not published it yet")
        }
        Owner::Unknown => "its key in Redis holds a value that is none of ours: remove that key".to_owned(),
    }
}

fn refusal(confirmation: &Confirmation) -> Refused {
    match confirmation {
        Confirmation::NotSent { cause } => Reject::SinkAway.because(cause.clone()),
        Confirmation::Returned { code, reason } => {
            Reject::Unconfirmed.because(format!("returned: {code} {reason}"))
        }
        Confirmation::Unknown { cause } => Reject::Unconfirmed.because(cause.clone()),
        Confirmation::ChannelClosed { code, reason } => {
            Reject::Unconfirmed.because(format!("the broker closed the channel: {code} {reason}"))
        }
        Confirmation::Refused | Confirmation::Confirmed => {
            Reject::Unconfirmed.because("the broker refused it (nack): a queue is full or failing")
        }
    }
}
