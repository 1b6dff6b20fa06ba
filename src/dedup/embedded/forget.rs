//! Keys that an operator wants forgotten: looked up, noted, and written durably, many with one write.

use super::Index;
use super::key_of;
use crate::clock::Timestamp;
use crate::dedup::terms::{Forgot, IndexError};
use crate::disk::Disk;
use crate::event::Digest;

impl<D: Disk> Index<D> {
    /// Forgets the keys of events that the journal has synced, durably and with one write: the next delivery of each
    /// is a new event. Gives what became of each, in order. What is known of their content stays.
    ///
    /// # Errors
    /// Where a key file cannot be read or the list cannot be written.
    pub fn forget(&mut self, ids: &[Digest], now: Timestamp) -> Result<Vec<Forgot>, IndexError> {
        let judged = self.steady.judge(now);
        self.forgotten.expire(judged, self.settings.window);
        self.guarded(|index| {
            let mut forgot = Vec::with_capacity(ids.len());
            for id in ids {
                if index.forgotten.is_full() {
                    forgot.push(Forgot::Full);
                    continue;
                }
                let key = key_of(id);
                forgot.push(match index.live(key, judged)? {
                    Some(found) => {
                        index.forgotten.insert(key, found.sequence, found.at);
                        Forgot::Key(found.sequence)
                    }
                    None => Forgot::Unknown,
                });
            }
            if forgot.iter().any(|forgot| matches!(forgot, Forgot::Key(_))) {
                let saved = index.forgotten.save(&index.disk, &index.settings.dir);
                saved.map_err(IndexError::io("write the forgotten keys in", &index.settings.dir))?;
            }
            Ok(forgot)
        })
    }
}
