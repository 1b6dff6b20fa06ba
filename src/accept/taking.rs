//! Whether events are taken: a gateway that is taken out sends load balancers away first, and senders later.

use std::sync::atomic::{AtomicU8, Ordering};

/// What is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taking {
    /// Every event.
    #[default]
    All,
    /// Every event still; whoever sends is to go elsewhere.
    Last,
    /// None.
    Nothing,
}

/// The same, for threads to share.
#[derive(Debug, Default)]
pub struct SharedTaking(AtomicU8);

impl SharedTaking {
    /// What is taken now.
    pub fn get(&self) -> Taking {
        match self.0.load(Ordering::SeqCst) {
            0 => Taking::All,
            1 => Taking::Last,
            _ => Taking::Nothing,
        }
    }

    /// From now on.
    pub fn set(&self, taking: Taking) {
        self.0.store(taking as u8, Ordering::SeqCst);
    }
}
