//! Named places where a test may kill the process: before and after each step that must survive a kill there.
//!
//! A noun: any room may [`reach`] a point. Only builds with the feature `failpoints` have them; in what users run,
//! reaching a point is no code at all. Which point kills, and at which time it is reached, is the environment's
//! `FAILPOINTS`, in the words of the crate `fail`: `journal.sync.before=16*off->return` kills at the 17th.

/// Where the process may be killed. The name says the room, the step, and on which side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// Records are staged, none of their bytes is written.
    JournalWriteBefore,
    /// Their bytes are written and not synced.
    JournalSyncBefore,
    /// They are synced, and nobody has been answered.
    JournalSyncAfter,
    /// The relay holds claims in Redis, and has published none of these events.
    RelayClaimAfter,
    /// The sink has taken a message in; whether it is sent is open.
    RelayPublishAfter,
    /// Messages are confirmed, and Redis has not been told.
    RelayDoneBefore,
    /// Redis has been told, and no mark is written.
    RelayDoneAfter,
    /// Confirm mode holds a lease, and has published nothing.
    ConfirmClaimAfter,
    /// The sink has taken its message in; whether it is sent is open.
    ConfirmPublishAfter,
    /// Its message is confirmed, Redis has not been told, and nobody has been answered.
    ConfirmDoneBefore,
}

impl Point {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::JournalWriteBefore,
        Self::JournalSyncBefore,
        Self::JournalSyncAfter,
        Self::RelayClaimAfter,
        Self::RelayPublishAfter,
        Self::RelayDoneBefore,
        Self::RelayDoneAfter,
        Self::ConfirmClaimAfter,
        Self::ConfirmPublishAfter,
        Self::ConfirmDoneBefore,
    ];

    /// The name by which `FAILPOINTS` knows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JournalWriteBefore => "journal.write.before",
            Self::JournalSyncBefore => "journal.sync.before",
            Self::JournalSyncAfter => "journal.sync.after",
            Self::RelayClaimAfter => "relay.claim.after",
            Self::RelayPublishAfter => "relay.publish.after",
            Self::RelayDoneBefore => "relay.done.before",
            Self::RelayDoneAfter => "relay.done.after",
            Self::ConfirmClaimAfter => "confirm.claim.after",
            Self::ConfirmPublishAfter => "confirm.publish.after",
            Self::ConfirmDoneBefore => "confirm.done.before",
        }
    }
}

/// Passes `point`; kills the process with SIGKILL where a test wants that.
#[inline]
pub fn reach(point: Point) {
    #[cfg(feature = "failpoints")]
    if fail::eval(point.name(), |_| ()).is_some() {
        let own = rustix::process::getpid();
        // There is no return from it, and no way to go on without it.
        while rustix::process::kill_process(own, rustix::process::Signal::KILL).is_err() {}
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = point;
}

/// Reads which points kill; once, at the start of the process.
pub fn arm() {
    #[cfg(feature = "failpoints")]
    std::mem::forget(fail::FailScenario::setup());
}
