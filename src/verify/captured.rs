//! Keys that a capturing handshake brings: swapped while deliveries are verified.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::key::Key;

/// The keys of a captured secret, the one that counts first; none until one is captured. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct CapturedKeys(Arc<ArcSwap<Vec<Key>>>);

impl CapturedKeys {
    /// These from here on, for every delivery that is not being judged at the moment.
    pub fn set(&self, keys: Vec<Key>) {
        self.0.store(Arc::new(keys));
    }

    pub(super) fn load(&self) -> Guard<Arc<Vec<Key>>> {
        self.0.load()
    }
}
