//! Keys that an operator wants forgotten.

use super::{ClaimsError, RedisClaims};
use crate::event::Digest;

impl RedisClaims {
    /// Takes the keys of events out of Redis, whatever they say: whoever asks next may publish.
    ///
    /// # Errors
    /// Then any of them may still be there; to call again is safe.
    pub async fn forget(&self, batch: &[Digest]) -> Result<(), ClaimsError> {
        self.for_each(batch, |pipe, key| {
            pipe.cmd("DEL").arg(key);
        })
        .await
    }
}
