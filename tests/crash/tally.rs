//! Counts of a run, by all threads of all its stages.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::calls::{Call, Outcome, Outcomes};
use crate::plan::Fault;

/// Counts of a run.
#[derive(Debug, Default)]
pub struct Tally {
    pub kills: Mutex<BTreeMap<&'static str, u32>>,
    /// Kills planned at a failpoint that was not reached in time.
    pub unreached: Mutex<BTreeMap<&'static str, u32>>,
    pub faults: Mutex<BTreeMap<String, u32>>,
    pub network: AtomicU32,
    /// Answers by status; 0 is none.
    pub answers: Mutex<BTreeMap<u16, u64>>,
    pub copies_sent: AtomicU64,
    pub leases: AtomicU64,
    pub scrapes: AtomicU64,
    /// Poison that was offered again.
    pub requeued: AtomicU64,
    /// Bindings and queues that could not be taken away, for other faults.
    pub undone: AtomicU32,
    /// Calls that failed, and what became of the gateway.
    pub calls: Mutex<BTreeMap<String, Outcomes>>,
    /// Answers 503 while such a fault lasted.
    pub refused: Mutex<BTreeMap<String, u64>>,
    /// Milliseconds from a start of a gateway to its first 2xx.
    pub first_2xx: Mutex<Vec<u64>>,
}

/// How a kill anywhere is counted.
pub const ANYWHERE: &str = "anywhere";

impl Tally {
    pub fn killed(&self, point: Option<&'static str>, planned: Option<&'static str>) {
        *self.kills.lock().unwrap().entry(point.unwrap_or(ANYWHERE)).or_default() += 1;
        if let (None, Some(planned)) = (point, planned) {
            *self.unreached.lock().unwrap().entry(planned).or_default() += 1;
        }
    }

    pub fn fault(&self, fault: &Fault) {
        *self.faults.lock().unwrap().entry(fault.name()).or_default() += 1;
        self.network.fetch_add(u32::from(fault.is_network()), Ordering::Relaxed);
    }

    pub fn answered(&self, status: Option<u16>, copy: bool) {
        *self.answers.lock().unwrap().entry(status.unwrap_or(0)).or_default() += 1;
        self.copies_sent.fetch_add(u64::from(copy), Ordering::Relaxed);
    }

    pub fn failed(&self, call: &Call, outcome: Outcome) {
        self.calls.lock().unwrap().entry(call.to_string()).or_default().add(outcome);
    }

    /// Counts the answers 503 while that fault lasts.
    pub fn while_lasts(&self, fault: &Fault, lasts: impl FnOnce()) {
        let refusals = || self.answers.lock().unwrap().get(&503).copied().unwrap_or_default();
        let before = refusals();
        lasts();
        *self.refused.lock().unwrap().entry(fault.name()).or_default() += refusals() - before;
    }
}
