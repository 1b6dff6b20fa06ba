//! Confirm mode's claims: one event at a time, with a lease, and with the count of twins in the same step.
//!
//! Decides nothing about waiting or publishing; tells what stands in Redis and what this attempt may do.

use std::time::Duration;

use ::redis::{Pipeline, Value};

use super::script::{Call, LEASE, RELEASE};
use super::value::{self, Held};
use super::{Claimant, ClaimsError, Done, Inner, RedisClaims, millis, refused, text, time};
use crate::event::{Digest, Keys};
use crate::failpoint::{self, Point};

/// What a claim with a lease is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The event's keys.
    pub keys: &'a Keys,
    /// The number of this attempt, never used twice by this replica.
    pub token: u64,
    /// How long the lease lasts from now.
    pub lease: Duration,
    /// Most twins of one content within the window.
    pub twins_max: u32,
    /// A claim that may be taken over though its owner gave it no end: its owner is silent.
    pub silent: Option<&'a Claimant>,
}

/// What stands in Redis.
#[derive(Debug)]
pub enum Leased {
    /// Claimed by this call: publish.
    Mine(Lease),
    /// Somebody else claims it.
    Theirs(Claimant),
    /// Published and confirmed.
    Done(Done),
    /// The content has as many twins as may be relayed; this one is not claimed.
    TooManyTwins,
}

/// The answer to [`RedisClaims::lease`].
#[derive(Debug)]
pub struct Answer {
    /// What stands there.
    pub leased: Leased,
    /// The first event with the same content, where this one is its twin.
    pub twin_of: Option<Digest>,
}

/// A claim with a lease, held until [`RedisClaims::finish`] or [`RedisClaims::release`], or until it runs out.
#[derive(Debug)]
pub struct Lease {
    keys: Keys,
    value: String,
    token: u64,
    over: bool,
}

impl Lease {
    /// Taken over from an attempt that may have published.
    pub fn is_over(&self) -> bool {
        self.over
    }
}

impl RedisClaims {
    /// Claims an event with a lease.
    ///
    /// # Errors
    /// Then nothing is known; a lease that was made after all runs out by itself.
    pub async fn lease(&self, ask: Ask<'_>) -> Result<Answer, ClaimsError> {
        let Inner { settings, line, .. } = &*self.inner;
        let arguments = vec![
            settings.replica.clone(),
            ask.token.to_string(),
            millis(ask.lease).to_string(),
            // A lease that outlived its key would let a second claim find none.
            self.life().max(millis(ask.lease)).to_string(),
            ask.keys.message_id.to_string(),
            ask.twins_max.to_string(),
            ask.silent.map(|claimant| claimant.seen.clone()).unwrap_or_default(),
        ];
        failpoint::reach(Point::RedisLeaseBefore);
        let replies = LEASE.run(line, &[Call { keys: self.keys(ask.keys), arguments }]).await?;
        failpoint::reach(Point::RedisLeaseAfter);
        let reply = match replies.into_iter().next() {
            Some(Ok(Value::Array(parts))) => parts,
            Some(Err(error)) => return Err(refused(&error)),
            _ => return Err(unreadable()),
        };
        let words: Vec<&str> = reply.iter().filter_map(text).collect();
        let [what, value, stamp, twin_of] = words[..] else { return Err(unreadable()) };
        let now = stamp.parse().map_err(|_| unreadable())?;
        let mine =
            |over| Leased::Mine(Lease { keys: *ask.keys, value: value.to_owned(), token: ask.token, over });
        let leased = match what {
            "mine" => mine(false),
            "over" => mine(true),
            "twins" => Leased::TooManyTwins,
            "held" => held(value, now),
            _ => return Err(unreadable()),
        };
        Ok(Answer { leased, twin_of: twin_of.parse().ok() })
    }

    /// Looks what stands there, and claims nothing; nothing where nobody claims it.
    ///
    /// # Errors
    /// Then nothing is known.
    pub async fn look(&self, message_id: &Digest) -> Result<Option<Leased>, ClaimsError> {
        let mut pipe = Pipeline::with_capacity(2);
        pipe.cmd("GET").arg(self.key(message_id)).cmd("TIME");
        let replies = self.inner.line.send(&pipe, 2).await?;
        let now = time(replies.last())?;
        match &replies[0] {
            Ok(Value::Nil) => Ok(None),
            Ok(value) => Ok(Some(held(text(value).unwrap_or_default(), now))),
            Err(error) => Err(refused(error)),
        }
    }

    /// Gives a lease back after an attempt that was not confirmed. Where certainly `nothing_sent`, the next attempt
    /// finds the event as this one did; else it takes it over, at once and with the duplicate mark.
    ///
    /// # Errors
    /// Then the lease runs out by itself.
    pub async fn release(&self, lease: &Lease, nothing_sent: bool) -> Result<(), ClaimsError> {
        let replica = &self.inner.settings.replica;
        let instead =
            if nothing_sent && !lease.over { String::new() } else { value::run_out(replica, lease.token) };
        let arguments = vec![lease.value.clone(), lease.keys.message_id.to_string(), instead];
        let call = Call { keys: self.keys(&lease.keys), arguments };
        for reply in RELEASE.run(&self.inner.line, &[call]).await? {
            reply.map_err(|error| refused(&error))?;
        }
        Ok(())
    }

    /// Notes that events may have been published without a claim: whoever claims one next takes it over, with the
    /// duplicate mark. A claim or a `done` that stands already stays.
    ///
    /// # Errors
    /// Then any of them may not be noted; to call again is safe.
    pub async fn doubt(&self, batch: &[Digest]) -> Result<(), ClaimsError> {
        let value = value::run_out(&self.inner.settings.replica, 0);
        let add = |pipe: &mut Pipeline, key| {
            pipe.cmd("SET").arg(key).arg(&value).arg("NX").arg("PX").arg(self.life());
        };
        self.for_each(batch, add).await
    }

    fn keys(&self, keys: &Keys) -> Vec<String> {
        let content = |content| format!("{}content:{content}", self.inner.settings.key_prefix);
        std::iter::once(self.key(&keys.message_id)).chain(keys.content.map(content)).collect()
    }
}

/// What a value says to an attempt: a lease of this replica's own is another attempt's.
fn held(seen: &str, now: u64) -> Leased {
    match value::read(seen) {
        Held::Done => Leased::Done(Done { _made_here: () }),
        other => Leased::Theirs(Claimant::of(other, seen, now)),
    }
}

fn unreadable() -> ClaimsError {
    ClaimsError::Refused("the answer of the lease script is not in its form".to_owned())
}
