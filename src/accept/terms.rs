//! What is asked of acceptance and what it answers: the proofs behind a 2xx, how the stores stand, what ends it.

use crate::dedup::{Done, IndexError};
use crate::journal::{JournalError, Receipt};
use crate::metrics::Outcome;
use crate::reject::Reject;
use crate::sink::Confirmed;

/// Twins of one content that are relayed; more of them are held, or refused where there is no journal to hold them.
pub const TWINS_MAX: u32 = 8;

/// What a source wants done with special cases.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Relay a known event again instead of dropping the copy.
    pub forward_duplicates: bool,
    /// Hold every twin, not only those beyond the eighth.
    pub hold_twins: bool,
    /// Answer so, and keep nothing, unless the event is known already.
    pub refuse_unknown: Option<Reject>,
}

/// Why a delivery may be answered 2xx. Each proof is made in one room only.
#[derive(Clone, Copy, Debug)]
pub enum Proof {
    /// Its event is on disk.
    Kept(Receipt),
    /// RabbitMQ confirmed its event.
    Confirmed(Confirmed),
    /// Redis knows its event as published and confirmed.
    Done(Done),
}

/// An accepted delivery: proof that its event is safe, and what it was.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// The proof.
    pub proof: Proof,
    /// What it was.
    pub outcome: Outcome,
}

/// How journal and index stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stores {
    /// Bytes of the journal on disk.
    pub journal_bytes: u64,
    /// Bytes of it that are not confirmed.
    pub unconfirmed_bytes: u64,
    /// Bytes that these may come to.
    pub quota_bytes: u64,
    /// Keys in the dedup index.
    pub dedup_keys: u64,
    /// Whether an event of ordinary size would be refused for lack of room.
    pub full: bool,
    /// Whether a fault has ended acceptance.
    pub failed: bool,
    /// Whether the gateway is stopping.
    pub stopping: bool,
}

/// A fault that ends acceptance: nothing is written after it, and the next start decides what is whole.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The journal's.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The dedup index's.
    #[error(transparent)]
    Index(#[from] IndexError),
}
