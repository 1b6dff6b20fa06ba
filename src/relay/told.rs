//! Confirmed events that Redis was told of most recently. Where Redis lost that and kept the claim, as after a failover,
//! other replicas would wait for one that lives and has nothing left to say: so it says it again on a new connection.
//!
//! Never makes an event done that this replica claims anew: only claims that still stand as they were are ended.

use std::collections::{HashSet, VecDeque};

use crate::dedup::{ClaimsError, RedisClaims};
use crate::event::Digest;

/// Events that are remembered, at most; 64 bytes each and what the containers add.
const TOLD_MAX: usize = 16_384;

/// The newest that was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Oldest first.
    newest: VecDeque<Digest>,
    /// Those of them that were not claimed again since.
    ended: HashSet<Digest>,
    /// What of them is still to be said on the connection of that number.
    left: usize,
    connection: u64,
}

impl Told {
    /// Redis said that it knows these as done.
    pub(super) fn add(&mut self, told: &[Digest]) {
        for id in told {
            if self.ended.insert(*id) {
                self.newest.push_back(*id);
            }
        }
        while self.newest.len() > TOLD_MAX {
            if let Some(old) = self.newest.pop_front() {
                self.ended.remove(&old);
            }
        }
    }

    /// This replica has a claim on it, though it was done: it was forgotten by order, and came again.
    pub(super) fn claimed(&mut self, id: &Digest) {
        self.ended.remove(id);
    }

    /// Says the next `count` again, newest first; true where more is left.
    ///
    /// # Errors
    /// Then all of it is left.
    pub(super) async fn say_again(&mut self, redis: &RedisClaims, count: usize) -> Result<bool, ClaimsError> {
        let connection = redis.connection();
        if connection != self.connection {
            (self.connection, self.left) = (connection, self.newest.len());
        }
        let newest = self.newest.iter().take(self.left).rev().take(count);
        let part: Vec<Digest> = newest.filter(|id| self.ended.contains(*id)).copied().collect();
        if !part.is_empty() {
            redis.finish_own(&part).await?;
        }
        self.left = self.left.saturating_sub(count);
        Ok(self.left > 0)
    }

    /// Whether there is anything to say again.
    pub(super) fn is_left(&self) -> bool {
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_and_what_is_claimed_again_is_not() {
        let id = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
            Digest(bytes)
        };
        let mut told = Told::default();
        told.add(&(0..TOLD_MAX + 10).map(id).collect::<Vec<_>>());
        assert_eq!((told.newest.len(), told.ended.len()), (TOLD_MAX, TOLD_MAX));
        assert!(!told.ended.contains(&id(9)) && told.ended.contains(&id(10)));
        told.claimed(&id(10));
        assert!(!told.ended.contains(&id(10)));
    }
}
