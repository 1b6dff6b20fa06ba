//! Seeds by the thousand, and two scripted cases.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::ledger::Ledger;
use super::life::Terms;
use super::random::Random;
use super::schedule::{self, Outcome};
use super::sender::{Fact, SOURCES};
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
    "arrived in parts",
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

/// The seeds that nobody has taken yet.
struct Seeds {
    next: AtomicU64,
    end: u64,
}

impl Seeds {
    fn take(&self) -> Option<u64> {
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < self.end)
    }
}

/// Says which seed it was, where the product itself panics; there is no other then.
struct Guard<'s>(u64, &'s Seeds);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.1.next.store(self.1.end, Ordering::Relaxed);
            eprintln!("HOOKGATE_SIM_SEED={} repeats it", self.0);
        }
    }
}

fn simulate(seed: u64, runtime: &Runtime) -> Outcome {
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

/// What came of seeds.
#[derive(Default)]
struct Sum {
    tally: Tally,
    schedules: u64,
    steps: u64,
}

impl Sum {
    fn add(mut self, other: &Self) -> Self {
        self.tally.add_all(&other.tally);
        (self.schedules, self.steps) = (self.schedules + other.schedules, self.steps + other.steps);
        self
    }
}

fn run(seeds: &Seeds) -> Sum {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut sum = Sum::default();
    while let Some(seed) = seeds.take() {
        let _guard = Guard(seed, seeds);
        let Outcome { tally, steps, .. } = simulate(seed, &runtime);
        sum = sum.add(&Sum { tally, schedules: 1, steps });
    }
    sum
}

/// Each schedule in one thread, and as many schedules at once as there are cores.
fn run_on_all_cores(seeds: &Seeds) -> Sum {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(|| run(seeds))).collect();
        let sums = threads.into_iter().map(|thread| thread.join().expect("a seed found something"));
        sums.fold(Sum::default(), |all, one| all.add(&one))
    })
}

/// A world in which nothing happens but what a test does.
fn scripted(runtime: &Runtime) -> World<'_> {
    let mut world = World::new(1, runtime, false);
    world.terms = Terms {
        segment_bytes: 64 << 10,
        bytes_max: 1 << 20,
        retention: Duration::from_secs(3600),
        window: Duration::from_secs(7200),
        budget: 8 << 20,
        max_in_flight: 4,
        policies: [Policy::default(); SOURCES.len()],
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
        let fact =
            Fact { source, retries: true, items: Vec::new(), ..Fact::fresh(0, false, &mut Random::new(7)) };
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
    let Sum { tally, schedules, steps } =
        run_on_all_cores(&Seeds { next: AtomicU64::new(first), end: first + seeds });
    let took = clock.monotonic().as_secs_f64();
    println!("{schedules} schedules, {steps} steps, {took:.1} s: {:.0} schedules/s", schedules as f64 / took);
    println!("{}", tally.lines());
    if seeds >= SEEDS {
        assert_eq!(tally.missing(EXPECTED), Vec::<&str>::new(), "these never happened");
    }
}
