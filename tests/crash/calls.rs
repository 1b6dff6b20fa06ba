//! System calls that fail under a gateway: which, how and when, and how a gateway may end of it. strace makes them fail;
//! nothing of the gateway takes part.

use std::fmt;

use crate::machine::{CLEAR_ENDS, INJECTED, failing, synced_again};
use crate::random::Random;

/// The calls that change files or names, and until which time they fail: some are made a few times in a run only.
const CALLS: [(&str, u32); 6] =
    [("pwrite64", 400), ("fdatasync", 400), ("openat", 400), ("rename", 8), ("ftruncate", 8), ("unlink", 8)];
const ERRORS: [&str; 2] = ["EIO", "ENOSPC"];
/// The exit code of a gateway whose journal can no longer be trusted.
const POISONED: i32 = 70;

/// The `nth` call of that kind in each thread fails with that error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub call: &'static str,
    pub error: &'static str,
    pub nth: u32,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.call, self.error)
    }
}

impl Call {
    /// The command before the gateway's.
    pub fn wrapper(&self, log: &str) -> Vec<String> {
        failing((self.call, self.error, self.nth.into()), log)
    }
}

/// Calls and errors in turn: six in a row are six calls, twelve are all pairs.
pub struct Calls {
    order: Vec<(usize, usize)>,
    next: usize,
}

impl Calls {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::of(&[seed, 4]);
        let mut first: Vec<_> = (0..CALLS.len()).map(|call| (call, random.index(ERRORS.len()))).collect();
        random.shuffle(&mut first);
        let others: Vec<_> = first.iter().map(|(call, error)| (*call, ERRORS.len() - 1 - error)).collect();
        Self { order: [first, others].concat(), next: 0 }
    }

    /// The next, mostly at an early time, since only some are called often.
    pub fn take(&mut self, random: &mut Random) -> Call {
        let (call, error) = self.order[self.next % self.order.len()];
        self.next += 1;
        let (call, latest) = CALLS[call];
        let most = (1 << random.between(0, 10)).min(latest);
        Call { call, error: ERRORS[error], nth: 1 + random.between(0, most) }
    }
}

/// What became of a gateway under a call that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It served, and ended by itself because of it.
    Ended,
    /// It did not start.
    Refused,
    /// Nothing was promised by that call: it was killed later.
    WentOn,
    /// Killed before it called so often.
    Unreached,
}

/// A gateway that ran so: its exit code (none after a signal), whether it had answered, the log of its calls, and what
/// it said since its start.
#[derive(Clone, Copy, Debug)]
pub struct Ran<'a> {
    pub code: Option<i32>,
    pub was_up: bool,
    pub log: &'a str,
    pub said: &'a str,
}

impl Ran<'_> {
    /// It ended by itself; the broken promise in words, where that end is none it may come to.
    pub fn ended(&self) -> Result<Outcome, String> {
        let Some(code) = self.code else { return Err("by a signal".to_owned()) };
        if !self.log.contains(INJECTED) {
            return Err(format!("with {code}, and no call had failed"));
        }
        if self.said.trim().is_empty() {
            return Err(format!("with {code}, in silence"));
        }
        self.trusts_no_failed_sync()?;
        match code {
            POISONED if self.was_up => Ok(Outcome::Ended),
            _ if !self.was_up && CLEAR_ENDS.contains(&code) => Ok(Outcome::Refused),
            _ => Err(format!("with {code}, where {POISONED} is due")),
        }
    }

    /// It was killed as planned.
    pub fn killed(&self) -> Result<Outcome, String> {
        self.trusts_no_failed_sync()?;
        Ok(if self.log.contains(INJECTED) { Outcome::WentOn } else { Outcome::Unreached })
    }

    /// After a sync that failed, a second one that succeeds says nothing of what is on the disk.
    fn trusts_no_failed_sync(&self) -> Result<(), String> {
        match synced_again(self.log) {
            Some(line) => Err(format!("after it used a segment whose sync had failed: {line}")),
            None => Ok(()),
        }
    }
}

/// How often a call ended how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcomes {
    pub ended: u32,
    pub refused: u32,
    pub went_on: u32,
    pub unreached: u32,
}

impl Outcomes {
    pub fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Ended => &mut self.ended,
            Outcome::Refused => &mut self.refused,
            Outcome::WentOn => &mut self.went_on,
            Outcome::Unreached => &mut self.unreached,
        } += 1;
    }

    pub fn all(&self) -> u32 {
        self.ended + self.refused + self.went_on + self.unreached
    }
}

const FAILED_SYNC: &str = "7 fdatasync(3</j/1.segment>) = -1 EIO (Input/output error) (INJECTED)\n";

/// Ends, and whether they are told as broken promises: planted cases for the self-test.
pub fn planted() -> Vec<(&'static str, bool, bool)> {
    let sound = Ran { code: Some(70), was_up: true, log: FAILED_SYNC, said: "fdatasync failed" };
    let again = format!("{FAILED_SYNC}7 pwrite64(3</j/1.segment>, ...) = 9\n");
    let opened = |flags: &str| {
        let open = format!("7 openat(AT_FDCWD</>, \"j/1.segment\", {flags}|O_CLOEXEC) = 4</j/1.segment>\n");
        format!("{FAILED_SYNC}{open}8 fdatasync(4</j/1.segment>) = 0\n")
    };
    let (anew, reopened) = (opened("O_RDWR|O_CREAT|O_EXCL"), opened("O_RDWR"));
    let cases = [
        ("70 after a sync that failed", false, sound.ended()),
        ("a refused start", false, Ran { code: Some(78), was_up: false, ..sound }.ended()),
        ("an end by a signal", true, Ran { code: None, ..sound }.ended()),
        ("70 and no call failed", true, Ran { log: "", ..sound }.ended()),
        ("70 in silence", true, Ran { said: "\n", ..sound }.ended()),
        ("an end with 0", true, Ran { code: Some(0), ..sound }.ended()),
        ("an end with 1 of one that served", true, Ran { code: Some(1), ..sound }.ended()),
        ("a segment written after its sync failed", true, Ran { log: &again, ..sound }.ended()),
        ("a segment opened again after its sync failed", true, Ran { log: &reopened, ..sound }.ended()),
        ("another segment of that name", false, Ran { log: &anew, ..sound }.ended()),
        ("a segment written after that, and a kill later", true, Ran { log: &again, ..sound }.killed()),
        ("killed before it was reached", false, Ran { log: "", ..sound }.killed()),
    ];
    cases.into_iter().map(|(name, expected, found)| (name, expected, found.is_err())).collect()
}
