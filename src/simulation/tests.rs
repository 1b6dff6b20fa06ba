//! Seeds by the thousand, and those that once found something.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::ledger::Ledger;
use super::life::Terms;
use super::random::Random;
use super::schedule::{self, Outcome};
use super::sender::Fact;
use super::tally::Tally;
use super::world::{Death, World};
use crate::accept::Policy;
use crate::clock::{Clock, System};

/// Seeds of a normal run.
const SEEDS: u64 = 2_000;

/// What has to have happened in a run of that many.
const EXPECTED: &[&str] = &[
    "accepted",
    "duplicates",
    "twins",
    "held",
    "forged",
    "stolen ids",
    "senders that hung up",
    "kills",
    "power losses",
    "orderly stops",
    "starts that failed",
    "starts: torn tail cut",
    "faults",
    "confirmed",
    "confirm lost",
    "returned",
    "refused",
    "unknown",
    "not sent",
    "channels closed",
    "inbox: acknowledged",
    "inbox: never answered",
    "inbox: given back",
    "clock set back",
    "clock set forward",
    "replayed",
    "dropped",
    "forgotten",
    "released",
    "requeued",
    "disk: writes and syncs that failed",
    "disk: syncs that failed and forgot",
    "disk: reads that failed",
    "disk: no space",
    "disk: segments removed",
    "disk: key files removed",
    "disk: power losses that tore",
    "arrived marked",
    "arrived as twin",
    "arrived as redelivery",
    "arrived as replay",
    "journal_full",
    "journal_failed",
    "clock_wrong",
];

#[expect(clippy::disallowed_methods, reason = "how much to simulate is the caller's to say, as for any test")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number of seeds"))
}

fn runtime() -> Runtime {
    // Its time driver never runs: no timer of the relay ends but by the schedule.
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// Says which seed it was, where the product itself panics.
struct Guard(u64);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("HOOKGATE_SIM_SEED={} repeats it", self.0);
        }
    }
}

fn simulate(seed: u64, runtime: &Runtime) -> Outcome {
    let _guard = Guard(seed);
    let outcome = schedule::run(seed, runtime, false);
    if let Some(broken) = &outcome.broken {
        let again = schedule::run(seed, runtime, true);
        let (mut text, skip) = (String::new(), again.trace.len().saturating_sub(60));
        again.trace.iter().take(1).chain(again.trace.iter().skip(skip.max(1))).for_each(|line| {
            writeln!(text, "  {line}").unwrap();
        });
        let same = if again.broken.as_ref() == Some(broken) { "" } else { " (and not when it was repeated)" };
        panic!("seed {seed}: {broken}{same}\n{text}");
    }
    outcome
}

fn run(seeds: impl Iterator<Item = u64>) -> (Tally, u64, u64) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let (mut tally, mut schedules, mut steps) = (Tally::default(), 0, 0);
    for seed in seeds {
        let outcome = simulate(seed, &runtime);
        tally.add_all(&outcome.tally);
        (schedules, steps) = (schedules + 1, steps + outcome.steps);
    }
    (tally, schedules, steps)
}

/// A world in which nothing happens but what a test does.
fn scripted(runtime: &Runtime) -> World<'_> {
    let mut world = World::new(1, runtime, false);
    world.terms = Terms {
        bytes_max: 1 << 20,
        retention: Duration::from_secs(3600),
        window: Duration::from_secs(7200),
        budget: 8 << 20,
        max_in_flight: 4,
        policies: [Policy::default(); 3],
        inbox: false,
        large: false,
    };
    world.ledger = Ledger::new(world.terms.window, 4, false);
    world
}

#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again_before_anybody_is_answered_for_it() {
    let runtime = runtime();
    let _entered = runtime.enter();
    for source in 0..3 {
        let mut world = scripted(&runtime);
        world.start().unwrap();
        let fact = Fact { source, retries: true, ..Fact::fresh(0, false, &mut Random::new(7)) };
        world.fact(fact).unwrap();
        // The write holds, its sync does not: the sender gets a 503, and the gateway ends.
        world.disk.fail_in(2);
        world.turn().unwrap();
        assert!(world.life.is_none() && !world.ledger.facts[0].answered);
        // The next one reads the record from the system's cache, and answers for it.
        world.start().unwrap();
        world.tell(0).unwrap();
        world.turn().unwrap();
        assert!(world.ledger.facts[0].answered);
        world.die(Death::Power(0)).unwrap();
        world.start().unwrap();
        assert_eq!(world.ledger.open().len(), 1, "promised, and still there");
    }
}

#[test]
fn a_forward_step_of_the_clock_makes_no_known_event_new() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut world = scripted(&runtime);
    world.start().unwrap();
    world.fact(Fact::fresh(0, false, &mut Random::new(7))).unwrap();
    world.turn().unwrap();
    world.clock.jump(200_000_000);
    world.tell(0).unwrap();
    world.turn().unwrap();
    assert_eq!((world.tally.of("accepted"), world.tally.of("duplicates")), (1, 1));
}

#[test]
fn no_schedule_of_crashes_and_faults_breaks_the_promise() {
    if let Some(seed) = number("HOOKGATE_SIM_SEED") {
        let runtime = runtime();
        let _entered = runtime.enter();
        let outcome = schedule::run(seed, &runtime, true);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        assert_eq!(outcome.broken, None);
        return;
    }
    let seeds = number("HOOKGATE_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("HOOKGATE_SIM_FROM").unwrap_or(1);
    let clock = System::new();
    let (tally, schedules, steps) = run(first..first + seeds);
    let took = clock.monotonic().as_secs_f64();
    println!("{schedules} schedules, {steps} steps, {took:.1} s: {:.0} schedules/s", schedules as f64 / took);
    println!("{}", tally.lines());
    if seeds >= SEEDS {
        assert_eq!(tally.missing(EXPECTED), Vec::<&str>::new(), "these never happened");
    }
}
