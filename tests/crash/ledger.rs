//! What senders sent and what they were answered: the side of the comparison that the gateway cannot reach.

use std::collections::HashMap;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

/// A SHA-256, of a body or as a message id.
pub type Hash = [u8; 32];

/// The SHA-256 of a body.
pub fn digest(body: &[u8]) -> Hash {
    Sha256::digest(body).into()
}

/// A message id as a number of bytes; none where it is not 64 hex digits.
pub fn message_id(text: &str) -> Option<Hash> {
    hex::decode(text).ok()?.try_into().ok()
}

/// An event that was answered 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub message_id: Hash,
    pub digest: Hash,
    /// When it was answered so first, in milliseconds of the run.
    pub at: u64,
}

/// The notes of one stage.
#[derive(Debug, Default)]
pub struct Notes {
    /// Digests of all bodies that ever left a sender, and whose they are.
    pub sent: HashMap<Hash, u32>,
    pub kept: HashMap<u32, Kept>,
    /// Answers that no gateway may give, in words.
    pub wrong: Vec<String>,
}

impl Notes {
    /// An event is about to be sent.
    pub fn sends(&mut self, event: u32, body: Hash) {
        self.sent.insert(body, event);
    }

    /// It was answered 2xx; true where that is the first time.
    pub fn keeps(&mut self, event: u32, kept: Kept) -> bool {
        let known = *self.kept.entry(event).or_insert(kept);
        if known.message_id != kept.message_id {
            let ids = [known, kept].map(|kept| hex::encode(kept.message_id));
            self.wrong.push(format!("event {event} was answered with two message ids, {ids:?}"));
        }
        known == kept
    }
}

/// The notes, shared by senders.
pub type Ledger = Mutex<Notes>;
