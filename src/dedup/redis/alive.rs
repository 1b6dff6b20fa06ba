//! Signs of life: a relay's replica gives its own, and looks at those of others whose claims it waits for.
//!
//! Tells who lives at this moment; how long silence has to last is [`crate::dedup::Silence`]'s matter.

use ::redis::{Pipeline, Value};

use super::{ClaimsError, Inner, Owner, PIPELINE_MAX, RedisClaims, refused, text};

/// How long a replica counts as living after [`RedisClaims::renew`].
const ALIVE_MILLIS: u64 = 30_000;

/// What is known of an owner at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It lives, or may.
    Lives,
    /// It gives no sign.
    Silent,
    /// Another run of that replica lives: this one has ended.
    Followed,
}

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

    /// How these owners are, in order. Living are a replica in that very run, a lease that has not run out, and
    /// an unknown one.
    ///
    /// # Errors
    /// Then nothing is known about any of them.
    pub async fn living(&self, owners: &[Owner]) -> Result<Vec<Life>, ClaimsError> {
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
                    (Owner::Unknown, _) => Life::Lives,
                    (Owner::Lease(left), _) if left.is_zero() => Life::Silent,
                    (Owner::Lease(_), _) => Life::Lives,
                    (Owner::Replica { .. }, None) => Life::Silent,
                    // It was given before Redis's clock stepped back; who lives gives another soon.
                    (Owner::Replica { .. }, Some(_)) if outlasts_a_sign(left) => Life::Silent,
                    (Owner::Replica { run: Some(run), .. }, Some(now)) if run != now => Life::Followed,
                    (Owner::Replica { .. }, Some(_)) => Life::Lives,
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
