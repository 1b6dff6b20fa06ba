//! A relay's claims: many events a round trip, and who holds what was claimed before.

use ::redis::{Pipeline, RedisResult, Value};

use super::script::SWAP;
use super::{ClaimsError, Inner, PIPELINE_MAX, RedisClaims, Shared, refused, text, time, value};
use crate::event::Digest;
use crate::failpoint::{self, Point};

impl RedisClaims {
    /// Claims events, one answer each, in order. One round trip for up to 1,024 of them, another where some were claimed
    /// before, and a third where that was by this replica in an earlier run.
    ///
    /// # Errors
    /// Then no event's answer is known; see [`ClaimsError`].
    pub async fn claim(&self, batch: &[Digest]) -> Result<Vec<Shared>, ClaimsError> {
        let Inner { settings, line, run } = &*self.inner;
        let value = value::claimed(&settings.replica, run, false);
        let mut answers = Vec::with_capacity(batch.len());
        for part in batch.chunks(PIPELINE_MAX) {
            let mut pipe = Pipeline::with_capacity(part.len());
            for message_id in part {
                pipe.cmd("SET").arg(self.key(message_id)).arg(&value).arg("NX").arg("PX").arg(self.life());
            }
            failpoint::reach(Point::RedisClaimBefore);
            let mut held = Vec::new();
            for (reply, message_id) in line.send(&pipe, part.len()).await?.iter().zip(part) {
                if !is_set(reply)? {
                    held.push((answers.len(), *message_id));
                }
                answers.push(Shared::Mine);
            }
            if held.len() < part.len() {
                failpoint::reach(Point::RedisClaimAfter);
            }
            self.look_who_holds(&held, &mut answers).await?;
        }
        Ok(answers)
    }

    /// Answers for events that somebody claimed before.
    async fn look_who_holds(
        &self,
        held: &[(usize, Digest)],
        answers: &mut [Shared],
    ) -> Result<(), ClaimsError> {
        if held.is_empty() {
            return Ok(());
        }
        let mut pipe = Pipeline::with_capacity(held.len() + 1);
        held.iter().for_each(|(_, message_id)| {
            pipe.cmd("GET").arg(self.key(message_id));
        });
        pipe.cmd("TIME");
        let replies = self.inner.line.send(&pipe, held.len() + 1).await?;
        let now = time(replies.last())?;
        let mut older = Vec::new();
        for (reply, (at, message_id)) in replies.iter().zip(held) {
            let (answer, seen) = self.judge(reply, now)?;
            if let (Shared::MineAgain { over }, Some(seen)) = (&answer, seen) {
                older.push((*at, *message_id, seen, *over));
            }
            answers[*at] = answer;
        }
        self.renew_claims(older, now, answers).await
    }

    /// Makes claims of this replica's earlier runs this run's, so that others see who holds them.
    async fn renew_claims(
        &self,
        older: Vec<(usize, Digest, String, bool)>,
        now: u64,
        answers: &mut [Shared],
    ) -> Result<(), ClaimsError> {
        if older.is_empty() {
            return Ok(());
        }
        let Inner { settings, run, .. } = &*self.inner;
        let swaps = older.iter().map(|(_, message_id, seen, over)| {
            self.swap(message_id, seen, value::claimed(&settings.replica, run, *over), 0)
        });
        failpoint::reach(Point::RedisRenewBefore);
        let replies = SWAP.run(&self.inner.line, &swaps.collect::<Vec<_>>()).await?;
        failpoint::reach(Point::RedisRenewAfter);
        for ((at, ..), reply) in older.into_iter().zip(replies) {
            let reply = reply.map_err(|error| refused(&error))?;
            if reply != Value::Int(1) {
                answers[at] = self.read(text(&reply).unwrap_or_default(), now);
            }
        }
        Ok(())
    }
}

/// Whether a `SET … NX` found no key.
fn is_set(reply: &RedisResult<Value>) -> Result<bool, ClaimsError> {
    match reply {
        Ok(Value::Okay) => Ok(true),
        Ok(Value::Nil) => Ok(false),
        Ok(_) => Err(ClaimsError::Refused("the answer to SET is neither OK nor nil".to_owned())),
        Err(error) => Err(refused(error)),
    }
}
