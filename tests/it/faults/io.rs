//! One system call on files that fails, under load: the gateway answers 503 and ends, or goes on where nothing was
//! promised by that call. Injected by strace, which counts the calls of each thread apart.
//!
//! `HOOKGATE_IT_IO` fails each kind of call so often, at the first, the second, … time; `HOOKGATE_IT_SEED` chooses in a
//! short run.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::fixture::*;
use crate::gateway::{Client, Gateway, Setup};
use crate::load::number;
use crate::machine::{CLEAR_ENDS, INJECTED, can_trace, failing, synced_again};

/// The calls that change files or names, and how they fail. Everything is written by `pwrite64`; `write` goes to
/// sockets and wakers only.
const CALLS: [Kind; 8] = [
    Kind { call: "pwrite64", errors: &["EIO", "ENOSPC"], early: 6, late: 40 },
    Kind { call: "fsync", errors: &["EIO"], early: 2, late: 8 },
    Kind { call: "fdatasync", errors: &["EIO", "ENOSPC"], early: 6, late: 40 },
    Kind { call: "rename", errors: &["EIO", "ENOSPC"], early: 1, late: 1 },
    Kind { call: "openat", errors: &["EIO", "EMFILE", "ENOSPC"], early: 12, late: 24 },
    Kind { call: "ftruncate", errors: &["EIO"], early: 1, late: 3 },
    Kind { call: "pread64", errors: &["EIO"], early: 6, late: 40 },
    Kind { call: "unlink", errors: &["EIO"], early: 1, late: 3 },
];
/// So many times in a row that are not reached end the long run of a call.
const UNREACHED: usize = 8;
/// How long a gateway may take from a start to its end or to its first 2xx.
const PATIENCE: Duration = Duration::from_secs(20);
/// A gateway that has not ended so long after its start goes on.
const GOES_ON: Duration = Duration::from_millis(900);

/// A system call, its errors, and at which times at most it fails in a short run: once early, once later.
struct Kind {
    call: &'static str,
    errors: &'static [&'static str],
    early: u64,
    late: u64,
}

impl Kind {
    /// Fails it at each of the times, until these are not reached any more.
    fn suffer(&self, place: u64, seed: u64, times: u64) {
        let early = 1 + chance(seed, place) % self.early;
        let late = early + 1 + chance(seed, place + 100) % self.late;
        let nths: Vec<u64> = if times == 0 { vec![early, late] } else { (1..=times).collect() };
        let mut unreached = 0;
        for nth in nths {
            let turn = chance(seed, place + 200) + nth;
            let error = self.errors[(turn % self.errors.len() as u64) as usize];
            let hit = run(Fault { call: self.call, error, nth }, place * 1_000 + nth);
            unreached = if hit { 0 } else { unreached + 1 };
            if unreached == UNREACHED {
                break;
            }
        }
    }
}

/// A fault: the `nth` call of that kind in each thread fails so.
#[derive(Clone, Copy, Debug)]
struct Fault {
    call: &'static str,
    error: &'static str,
    nth: u64,
}

struct Bench {
    gateway: Gateway,
    given: Given,
    book: Book,
    name: String,
}

impl Bench {
    fn new(number: u64) -> Self {
        let gateway = tiny(Setup::new()).prepare();
        Self { gateway, given: Given::default(), book: Book::default(), name: format!("io{number}") }
    }

    fn log(&self) -> PathBuf {
        self.gateway.path("strace")
    }

    /// Runs under load with that fault until it ends or shows that it goes on; its exit code.
    fn suffer(&mut self, fault: Fault) -> Option<i32> {
        let log = self.log().display().to_string();
        let words = failing((fault.call, fault.error, fault.nth), &log);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.gateway.change(|setup| setup.wrapper(&words));
        let load = senders(self.gateway.ingress(), &self.name, &SOURCES);
        self.gateway.launch();
        let begun = Instant::now();
        while !self.gateway.is_dead() && begun.elapsed() < GOES_ON {
            std::thread::sleep(Duration::from_millis(5));
        }
        let code = if self.gateway.is_dead() { self.gateway.ended().0 } else { self.end_in_order() };
        self.book.add(notes(load));
        code
    }

    /// It goes on: then it serves, and ends when told to.
    fn end_in_order(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        let mut client = Client::new(self.gateway.ingress());
        let mut signed = event("plain", &format!("{}_alive", self.name));
        while !self.gateway.is_dead() && !self.book.send(&mut client, &signed) {
            assert!(Instant::now() < end, "it neither serves nor ends: {:?}", self.book.refused);
            std::thread::sleep(Duration::from_millis(20));
            signed = event("plain", &format!("{}_alive", self.name));
        }
        if self.gateway.is_dead() { self.gateway.ended().0 } else { self.gateway.terminate().0 }
    }

    /// The next start has everything.
    fn judge(&mut self, kills: usize) {
        self.gateway.change(|setup| setup.wrapper(&[]));
        self.gateway.start();
        until_empty(&self.gateway);
        self.given.until_all(&self.book);
        let marked = self.book.audit(&self.given);
        assert!(marked <= kills * MARKED_A_KILL, "{marked} marked");
        let (code, _) = self.gateway.terminate();
        assert_eq!(code, Some(0), "{}", self.gateway.stderr());
    }
}

/// Runs a gateway with that fault and the next one without; whether the fault was reached.
fn run(fault: Fault, number: u64) -> bool {
    let mut bench = Bench::new(number);
    let workers = inbox_workers(bench.gateway.admin(), &SOURCES, &bench.given);
    let code = bench.suffer(fault);
    let told = bench.gateway.stderr();
    let calls = fs::read_to_string(bench.log()).unwrap_or_default();
    let hit = calls.contains(INJECTED);
    let refused: usize = bench.book.refused.values().sum();
    println!("{fault:?}: hit {hit}, exit {code:?}, {} kept, {refused} refused", bench.book.kept.len());
    let code = code.unwrap_or_else(|| panic!("{fault:?}: ended by a signal\n{told}"));
    assert!(code == 0 || CLEAR_ENDS.contains(&code), "{fault:?}: exit {code}\n{told}");
    assert!(code == 0 || hit, "{fault:?}: exit {code} without a fault\n{told}");
    assert!(code == 0 || told.lines().count() > 0, "{fault:?}: exit {code} in silence");
    if fault.call == "fdatasync" && fault.error == "EIO" {
        assert_eq!(synced_again(&calls), None, "{fault:?}: after a failed sync");
    }
    no_panic(&bench.gateway);
    bench.judge(1);
    workers.finish();
    hit
}

#[test]
fn whatever_call_on_a_file_fails_nothing_answered_is_lost() {
    if !can_trace() {
        println!("skipped: strace is missing or may not trace (ptrace)");
        return;
    }
    let (seed, times) = (seed(), u64::from(number("HOOKGATE_IT_IO", 0)));
    // Two at a time: each spends its time waiting for its disk and its tracer.
    std::thread::scope(|scope| {
        for half in 0..2 {
            let kinds = move || (0_u64..).zip(&CALLS).filter(move |(place, _)| place % 2 == half);
            scope.spawn(move || kinds().for_each(|(place, kind)| kind.suffer(place, seed, times)));
        }
    });
}
