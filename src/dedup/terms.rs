//! What the local index is told, what it answers and why it fails: the words of `embedded`, no behaviour.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::event::{Digest, Sequence};

/// Tables that may wait for their events to be synced; more come only from a clock that jumps from day to day.
pub(super) const SEALED_MAX: usize = 64;

/// Where the index is and how long a key lives.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of the key files; nothing else is kept in it.
    pub dir: PathBuf,
    /// How long a key is known, from its event's `received_at`.
    pub window: Duration,
    /// Bytes of keys in memory from which they are written to a file.
    pub budget: usize,
    /// Do all work on the calling thread, in an order that repeats: for tests and simulation.
    pub inline: bool,
}

impl Settings {
    /// The settings of production: 8 MiB of keys in memory, heavy work on a thread of its own.
    pub fn new(dir: impl Into<PathBuf>, window: Duration) -> Self {
        Self { dir: dir.into(), window, budget: 8 << 20, inline: false }
    }
}

/// Another event with the content of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twin {
    /// Message id of the first event with this content.
    pub first: Digest,
    /// 1 for the first twin of that event within the window.
    pub nth: u32,
}

/// What became of a key that was to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgot {
    /// Forgotten: it stood for this event.
    Key(Sequence),
    /// It was not known.
    Unknown,
    /// Kept: as many keys are forgotten as one window has room for.
    Full,
}

/// The answer to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Not known, and claimed by this call.
    New {
        /// Set where the event repeats the content of another one.
        twin: Option<Twin>,
    },
    /// Known: the event has this number in the journal.
    Known {
        /// The record that holds the event, perhaps not synced yet.
        sequence: Sequence,
    },
}

/// A file that could not be used and was set aside under another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: &'static str,
    /// Between which events it held keys; `None` for the list of forgotten keys, which the operator repeats.
    pub events: Option<(Sequence, Sequence)>,
}

/// How big the index is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys held, those that have aged out but not yet gone with their file included.
    pub keys: u64,
    /// Bytes of all key files.
    pub bytes_on_disk: u64,
    /// Bytes of tables, filters and fences.
    pub bytes_in_memory: u64,
    /// Key files.
    pub files: u64,
}

/// Why the index cannot go on. All of them are faults of ours and final for this index; the caller ends
/// the process and the next start decides what is whole.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The system refused.
    #[error("the dedup index could not {doing} {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A key file was found damaged in use and set aside; the next start refills its keys from the journal.
    #[error("a key file is damaged: {}; it is set aside as {}; restart to refill it", .0.reason, .0.path.display())]
    Damaged(Damage),
    /// The caller's numbers do not rise.
    #[error("event {given} was claimed after event {last}")]
    Order {
        /// The number of the claim.
        given: Sequence,
        /// The highest before it.
        last: Sequence,
    },
    /// The clock jumped from day to day faster than key files can follow.
    #[error("the clock is going through {SEALED_MAX} days at once; check the time service")]
    Clock,
    /// The background thread failed.
    #[error("the dedup index's background work failed: {0}")]
    Worker(String),
    /// An earlier call failed.
    #[error("the dedup index has stopped after an earlier fault; restart")]
    Stopped,
}

impl IndexError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { doing, path, error }
    }
}
