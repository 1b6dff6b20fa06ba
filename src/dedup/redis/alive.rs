//! Signs of life: a relay's replica gives its own, and looks at those of others whose claims it waits for.
//!
//! Tells who lives at this moment; how long silence has to last is [`crate::dedup::Silence`]'s matter.

use ::redis::{Pipeline, Value};

use super::{ClaimsError, Inner, Owner, PIPELINE_MAX, RedisClaims, refused, text};

/// How long a replica counts as living after [`RedisClaims::renew`].
const ALIVE_MILLIS: u64 = 30_000;

impl RedisClaims {
    /// Says that this replica lives, in this run: for 30 s, in a key of its own, `<prefix>alive:<replica>`.
    ///
    /// # Errors
    /// Then others may take this replica for silent; to call again is safe.
    pub async fn renew(&self) -> Result<(), ClaimsError> {
        let Inner { settings, run, line } = &*self.inner;
        let mut pipe = Pipeline::with_capacity(1);
        pipe.cmd("SET").arg(self.alive_key(&settings.replica)).arg(run).arg("PX").arg(ALIVE_MILLIS);
        let replies = line.send(&pipe, 1).await?;
        replies[0].as_ref().map(|_| ()).map_err(refused)
    }

    /// Which of these owners live, in order: a replica in that very run, a lease that has not run out. An unknown
    /// one counts as living.
    ///
    /// # Errors
    /// Then nothing is known about any of them.
    pub async fn living(&self, owners: &[Owner]) -> Result<Vec<bool>, ClaimsError> {
        let mut living = Vec::with_capacity(owners.len());
        for part in owners.chunks(PIPELINE_MAX) {
            let mut pipe = Pipeline::with_capacity(2 * part.len());
            for owner in part {
                let id = if let Owner::Replica { id, .. } = owner { id } else { "" };
                pipe.cmd("GET").arg(self.alive_key(id)).cmd("PTTL").arg(self.alive_key(id));
            }
            let replies = self.inner.line.send(&pipe, 2 * part.len()).await?;
            for (pair, owner) in replies.chunks_exact(2).zip(part) {
                let (alive, left) = (pair[0].as_ref().map_err(refused)?, pair[1].as_ref().map_err(refused)?);
                living.push(match (owner, text(alive)) {
                    (Owner::Unknown, _) => true,
                    (Owner::Lease(left), _) => !left.is_zero(),
                    (Owner::Replica { .. }, None) => false,
                    // It was given before Redis's clock stepped back; who lives gives another soon.
                    (Owner::Replica { .. }, Some(_)) if outlasts_a_sign(left) => false,
                    (Owner::Replica { run, .. }, Some(now)) => run.as_deref().is_none_or(|run| run == now),
                });
            }
        }
        Ok(living)
    }

    fn alive_key(&self, replica: &str) -> String {
        format!("{}alive:{replica}", self.inner.settings.key_prefix)
    }
}

/// Whether a key has longer to live than a sign of life is ever given.
fn outlasts_a_sign(left: &Value) -> bool {
    matches!(left, Value::Int(left) if u64::try_from(*left).is_ok_and(|left| left > ALIVE_MILLIS))
}
