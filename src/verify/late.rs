//! A proof that is used later than it was made, as from the quarantine.

use super::Verified;
use crate::clock::Timestamp;

impl Verified {
    /// The same, as if the delivery came in at that time: all that follows from its coming is counted from then.
    pub fn received_at(mut self, at: Timestamp) -> Self {
        self.delivery.received_at = at;
        self
    }
}
