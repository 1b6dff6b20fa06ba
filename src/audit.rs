//! The audit log: a line for every refusal, every handshake answered and everything that an operator does.
//!
//! Lines have the target [`TARGET`] and a field `audit` that names their kind, so that they can be routed, and they are told
//! whatever `log.level` says. No flood fills the log: each kind has so many lines a second, and what was left out is
//! counted in the next line of that kind, or a second later in a line of its own. No secret, body or query
//! string is in a line; what a stranger wrote stands there quoted, and `telemetry` escapes what a terminal or a
//! log reader might obey.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::reject::{Refused, quoted};
use crate::tasks;
use crate::telemetry::Budget;

/// The target of all its lines.
pub const TARGET: &str = "hookgate::audit";

/// How long what was left out waits for another line of its kind.
const PATIENCE: Duration = Duration::from_millis(800);

/// What a line tells of. The first four are a stranger's doing, so that a flood of one hides no line of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A delivery refused for what the sender did.
    Refusal,
    /// A delivery answered 503 for a fault of ours.
    Fault,
    /// A handshake answered.
    Handshake,
    /// A call of the admin listener refused.
    Call,
    /// Something that an operator did.
    Action,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Refusal, Self::Fault, Self::Handshake, Self::Call, Self::Action];

    /// The field `audit`.
    const fn name(self) -> &'static str {
        match self {
            Self::Refusal => "refusal",
            Self::Fault => "fault",
            Self::Handshake => "handshake",
            Self::Call => "call",
            Self::Action => "action",
        }
    }

    /// Lines in a second.
    const fn per_second(self) -> u32 {
        match self {
            Self::Refusal | Self::Fault | Self::Handshake | Self::Call => 50,
            Self::Action => 500,
        }
    }
}

/// One kind's budget.
#[derive(Debug)]
struct Share {
    budget: Budget,
    /// Whether somebody will look for what was left out.
    watched: AtomicBool,
}

struct Inner {
    clock: Arc<dyn Clock>,
    runtime: tasks::Runtime,
    /// Random for each of these, so that no two have ids alike.
    keyed: RandomState,
    count: AtomicU64,
    shares: [Share; Kind::ALL.len()],
}

/// Writes the audit log; cheap to clone.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

/// A delivery or call that was refused, beside the refusal itself.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// The request's id.
    pub request: &'a str,
    /// The source; empty where there is none.
    pub source: &'a str,
    /// Who called.
    pub address: Option<IpAddr>,
    /// The path, where no source has it.
    pub path: Option<&'a str>,
}

/// What an operator did.
#[derive(Clone, Copy, Debug)]
pub struct Action<'a> {
    /// The request's id.
    pub request: &'a str,
    /// By what right, such as `the admin token` or `a signal`.
    pub operator: &'a str,
    /// Who called; none for a signal.
    pub address: Option<IpAddr>,
    /// What was done, such as `replay`.
    pub action: &'a str,
    /// To what: the selection as it was read, or a name.
    pub selection: &'a str,
    /// To how many.
    pub count: u64,
    /// What it came to.
    pub outcome: &'a str,
    /// Whether it came to that.
    pub failed: bool,
}

impl Audit {
    /// An audit log of its own; to be called within a Tokio runtime, which outlives it.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let share =
            |kind: Kind| Share { budget: Budget::new(kind.per_second()), watched: AtomicBool::new(false) };
        Self(Arc::new(Inner {
            clock,
            runtime: tasks::Runtime::current(),
            keyed: RandomState::new(),
            count: AtomicU64::new(1),
            shares: Kind::ALL.map(share),
        }))
    }

    /// An id for a request that is refused, or for an operator's call: it stands in the answer and in the log.
    pub fn id(&self) -> String {
        // Hashed, so that nobody reads from it how many there were.
        format!("{:016x}", self.0.keyed.hash_one(self.0.count.fetch_add(1, Ordering::Relaxed)))
    }

    /// A delivery was refused, or answered with a fault. How many were left out before it, where it is told.
    pub fn refused(&self, refusal: Refusal<'_>, refused: &Refused) -> Option<u64> {
        let row = refused.reject.row();
        let kind = if row.fault { Kind::Fault } else { Kind::Refusal };
        let left_out = self.line(kind)?;
        let Refusal { request, source, address, path } = refusal;
        let (audit, reason, detail, status) = (kind.name(), row.reason, &*refused.detail, row.status);
        let (address, path) = (shown(address), path.map(quoted));
        if row.fault {
            tracing::error!(target: TARGET, audit, request, source, reason, detail, status, address, left_out, "answered with a fault");
        } else {
            tracing::warn!(target: TARGET, audit, request, source, reason, detail, status, address, path, left_out, "refused");
        }
        Some(left_out)
    }

    /// A call of the admin listener was refused, for this reason.
    pub fn call_refused(&self, refusal: Refusal<'_>, reason: &str, status: u16) {
        let Some(left_out) = self.line(Kind::Call) else { return };
        let Refusal { request, address, path, .. } = refusal;
        let (audit, address, path) = (Kind::Call.name(), shown(address), path.map(quoted));
        tracing::warn!(target: TARGET, audit, request, reason, status, address, path, left_out, "refused a call of the admin listener");
    }

    /// A handshake of a source was answered.
    pub fn handshake(&self, source: &str, handshake: &str, address: Option<IpAddr>) {
        let Some(left_out) = self.line(Kind::Handshake) else { return };
        let (audit, address) = (Kind::Handshake.name(), shown(address));
        tracing::info!(target: TARGET, audit, source, handshake, address, left_out, "answered a handshake");
    }

    /// An operator did something.
    pub fn action(&self, done: Action<'_>) {
        let Some(left_out) = self.line(Kind::Action) else { return };
        let Action { request, operator, address, action, selection, count, outcome, failed } = done;
        let (audit, address) = (Kind::Action.name(), shown(address));
        if failed {
            tracing::error!(target: TARGET, audit, request, operator, address, action, selection, count, outcome, left_out, "an operator's action failed");
        } else {
            tracing::info!(target: TARGET, audit, request, operator, address, action, selection, count, outcome, left_out, "an operator's action");
        }
    }

    /// Whether a line of this kind may be written, and how many were left out before it. The first that is left out
    /// has somebody look a little later whether a line has told of it.
    fn line(&self, kind: Kind) -> Option<u64> {
        let share = &self.0.shares[kind as usize];
        let taken = share.budget.take(self.0.clock.monotonic());
        if taken.is_none() && !share.watched.swap(true, Ordering::AcqRel) {
            let audit = self.clone();
            drop(self.0.runtime.task(async move {
                tokio::time::sleep(PATIENCE).await;
                audit.tell_left_out(kind);
            }));
        }
        taken
    }

    fn tell_left_out(&self, kind: Kind) {
        let share = &self.0.shares[kind as usize];
        share.watched.store(false, Ordering::Release);
        let left_out = share.budget.left_out();
        if left_out > 0 {
            let audit = kind.name();
            tracing::warn!(target: TARGET, audit, left_out, "more of this kind than the log takes: lines were left out");
        }
    }
}

fn shown(address: Option<IpAddr>) -> String {
    address.map(|address| address.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::clock::{Manual, Timestamp};

    fn paused(body: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(body);
    }

    fn audit() -> Audit {
        Audit::new(Arc::new(Manual::at(Timestamp::from_seconds(1_800_000_000))))
    }

    #[test]
    fn ids_are_all_different_and_as_long() {
        paused(async {
            let (one, other) = (audit(), audit());
            let ids: HashSet<String> = (0..500).flat_map(|_| [one.id(), other.id()]).collect();
            assert_eq!(ids.len(), 1_000);
            assert!(ids.iter().all(|id| id.len() == 16), "{ids:?}");
        });
    }

    #[test]
    fn each_kind_has_a_share_of_its_own_and_nothing_is_left_untold() {
        paused(async {
            let audit = audit();
            let written = (0..200).filter(|_| audit.line(Kind::Refusal).is_some()).count();
            assert_eq!(written, 50);
            assert_eq!(audit.line(Kind::Action), Some(0));
            let share = &audit.0.shares[Kind::Refusal as usize];
            assert!(share.watched.load(Ordering::Relaxed));
            // The clock of this test stands still, so no other line of the kind comes.
            tokio::time::sleep(PATIENCE * 3 / 2).await;
            assert!(!share.watched.load(Ordering::Relaxed));
            assert_eq!(share.budget.left_out(), 0, "it was told");
            assert!(Kind::ALL.into_iter().enumerate().all(|(at, kind)| kind as usize == at));
        });
    }
}
