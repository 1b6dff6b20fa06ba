//! A wall clock that steps, in a run and between two: honest senders are told 503 and never that they are stale, a copy
//! within the window stays a copy, and nothing leaves early. The monotonic clock goes on, as it does on real machines.

use std::fs;
use std::time::{Duration, Instant};

use super::fixture::*;
use crate::gateway::{Answer, Client, Gateway, Setup, now, secret, stripe_at, stripe_event, until};
use crate::machine::Clock;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// A gateway with a clock of its own; none, with a word about it, where the library is missing.
struct Stepped {
    gateway: Gateway,
    clock: Clock,
    /// Seconds that its clock is ahead of ours.
    ahead: i64,
}

impl Stepped {
    fn start() -> Option<Self> {
        let mut gateway = sources(Setup::new(), "").prepare();
        let Some(clock) = Clock::at(gateway.path("time")) else {
            println!("skipped: libfaketime is missing; install it with: apt-get install libfaketime");
            return None;
        };
        gateway.change(|setup| clock.lend(setup));
        gateway.start();
        Some(Self { gateway, clock, ahead: 0 })
    }

    /// Sets the clock so many seconds ahead of ours, at once.
    fn step(&mut self, ahead: i64) {
        self.clock.step(ahead);
        self.ahead = ahead;
    }

    /// The same by a restart.
    fn restart_at(&mut self, ahead: i64) {
        self.gateway.kill();
        self.step(ahead);
        self.gateway.start();
    }

    /// A delivery by a sender whose clock agrees with the gateway's.
    fn agreeing(&self, id: &str) -> Answer {
        let signed = stripe_at("shop", &secret("shop"), now() + self.ahead, &stripe_event(id));
        self.gateway.deliver(&signed)
    }

    /// Deliveries by honest senders, who live in our time.
    fn honest(&self, id: &str) -> [Answer; 3] {
        SOURCES.map(|source| self.gateway.deliver(&event(source, id)))
    }

    /// All honest senders are told that the fault is ours.
    fn refuses(&self, id: &str) {
        for (source, answer) in SOURCES.iter().zip(self.honest(id)) {
            let found = (answer.status, answer.code());
            assert_eq!(found, (503, "unavailable".to_owned()), "{source} at {:+} s", self.ahead);
            assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
        }
        assert!(self.gateway.metric("hookgate_rejected_total", &[("reason", "clock_wrong")]) > 0.0);
    }

    fn outcomes(&self, id: &str) -> Vec<String> {
        self.honest(id).iter().map(|answer| format!("{} {}", answer.status, answer.outcome())).collect()
    }

    fn is_kept(&self, id: &str) {
        assert_eq!(self.outcomes(id), ["200 accepted"; 3], "{id} at {:+} s", self.ahead);
    }

    fn is_known(&self, id: &str) {
        assert_eq!(self.outcomes(id), ["200 duplicate"; 3], "{id} at {:+} s", self.ahead);
    }

    /// Processor time it has used, in hundredths of a second.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.gateway.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// It rests: a clock that steps makes no loop spin.
    fn rests(&self) {
        let before = self.ticks();
        std::thread::sleep(Duration::from_millis(400));
        let used = self.ticks() - before;
        assert!(used < 20, "{used} hundredths of a second of processor in 0.4 s at {:+} s", self.ahead);
    }

    /// Takes everything out: these events, each of which came so often.
    fn drain(&mut self, ids: usize) {
        for source in SOURCES {
            let handed = self.gateway.drain(source, ids);
            assert_eq!(handed.len(), ids, "{source}: each event once");
            assert!(!handed.iter().any(crate::gateway::Handed::possible_duplicate));
        }
    }

    fn ends_well(&mut self) {
        let begun = Instant::now();
        assert_eq!(self.gateway.terminate().0, Some(0), "{}", self.gateway.stderr());
        assert!(begun.elapsed() < Duration::from_secs(10));
        no_panic(&self.gateway);
    }
}

#[test]
fn a_clock_set_back_in_a_run_is_our_fault_until_it_is_mended() {
    let Some(mut at) = Stepped::start() else { return };
    at.is_kept("before");
    at.step(-HOUR);
    at.refuses("within");
    at.rests();
    assert_eq!(
        at.gateway.claim_within("plain", Duration::from_secs(5)).len(),
        1,
        "workers are served meanwhile"
    );
    at.step(0);
    at.is_known("before");
    at.is_kept("within");
    at.ends_well();
}

#[test]
fn a_clock_that_leaps_ahead_in_a_run_shortens_no_window_and_removes_nothing() {
    let Some(mut at) = Stepped::start() else { return };
    at.is_kept("before");
    for ahead in [HOUR, 40 * DAY] {
        at.step(ahead);
        assert_eq!(at.agreeing("before").outcome(), "duplicate", "the window is no shorter at {ahead:+} s");
        assert_eq!(at.agreeing(&format!("at_{ahead}")).outcome(), "accepted");
        at.rests();
    }
    at.step(0);
    at.refuses("after");
    at.step(40 * DAY);
    assert_eq!(at.agreeing("before").outcome(), "duplicate");
    let handed = at.gateway.drain("shop", 3);
    assert_eq!(handed.len(), 3, "nothing unconfirmed has left");
    at.ends_well();
}

#[test]
fn a_clock_set_back_at_a_restart_is_our_fault_until_it_is_mended() {
    let Some(mut at) = Stepped::start() else { return };
    at.is_kept("before");
    for ahead in [-HOUR, -40 * DAY] {
        at.restart_at(ahead);
        at.refuses("within");
        at.rests();
    }
    at.step(0);
    at.is_known("before");
    at.is_kept("within");
    at.drain(2);
    at.ends_well();
}

#[test]
fn a_clock_that_leapt_ahead_at_a_restart_loses_nothing_that_is_unconfirmed() {
    let Some(mut at) = Stepped::start() else { return };
    at.is_kept("before");
    at.restart_at(HOUR);
    assert_eq!(at.agreeing("before").outcome(), "duplicate");
    at.restart_at(40 * DAY);
    assert_eq!(at.agreeing("before").outcome(), "duplicate", "the window is no shorter for a start");
    at.rests();
    // No one can tell such a start from one after forty days: what is unconfirmed stays in either case.
    until("the lanes are read", Duration::from_secs(5), || {
        at.gateway.metric("hookgate_relay_pending", &[]) == 3.0
    });
    at.drain(1);
    at.restart_at(0);
    at.is_known("before");
    let mut client = Client::new(at.gateway.ingress());
    assert_eq!(
        client.deliver(&event("plain", "after")).outcome(),
        "accepted",
        "nothing newer was kept meanwhile"
    );
    at.ends_well();
}
