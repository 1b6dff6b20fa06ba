//! Keys that an operator wants forgotten.

use ::redis::Pipeline;

use super::{ClaimsError, PIPELINE_MAX, RedisClaims, refused};
use crate::event::Digest;

impl RedisClaims {
    /// Takes the keys of events out of Redis, whatever they say: whoever asks next may publish.
    ///
    /// # Errors
    /// Then any of them may still be there; to call again is safe.
    pub async fn forget(&self, batch: &[Digest]) -> Result<(), ClaimsError> {
        for part in batch.chunks(PIPELINE_MAX) {
            let mut pipe = Pipeline::with_capacity(part.len());
            for message_id in part {
                pipe.cmd("DEL").arg(self.key(message_id));
            }
            for reply in self.inner.line.send(&pipe, part.len()).await? {
                reply.map_err(|error| refused(&error))?;
            }
        }
        Ok(())
    }
}
