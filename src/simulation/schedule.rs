//! A schedule: steps chosen by chance, then everything is healed and has to come to rest.

use tokio::runtime::Runtime;

use super::ledger::Broken;
use super::life::Life;
use super::sender::{Fact, Lie};
use super::tally::Tally;
use super::world::{Death, World};
use crate::accept::Action;
use crate::journal::State;

/// Rounds that a healed world may need to come to rest.
const ROUNDS_MAX: usize = 800;
/// Steps of one schedule, at least and at most.
const STEPS: (usize, usize) = (20, 90);

/// What came of a schedule.
pub(super) struct Outcome {
    pub tally: Tally,
    pub steps: u64,
    pub broken: Option<Broken>,
    pub trace: Vec<String>,
}

/// Runs the schedule of a seed.
pub(super) fn run(seed: u64, runtime: &Runtime, trace: bool) -> Outcome {
    let mut world = World::new(seed, runtime, trace);
    let count = STEPS.0 + world.random.index(STEPS.1 - STEPS.0);
    let broken = play(&mut world, count).err();
    let told = world.disk.told();
    let [marked, twins, copies, replays] = world.ledger.arrivals();
    let counts = [
        ("disk: writes and syncs that failed", told.failed),
        ("disk: syncs that failed and forgot", told.failed_syncs),
        ("disk: reads that failed", told.failed_reads),
        ("disk: no space", told.refused_for_space),
        ("disk: segments removed", told.removed_segments),
        ("disk: key files removed", told.removed_keys),
        ("disk: power losses that tore", told.torn),
        ("arrived marked", marked),
        ("arrived as twin", twins),
        ("arrived as redelivery", copies),
        ("arrived as replay", replays),
    ];
    counts.into_iter().for_each(|(what, count)| world.tally.add(what, count));
    Outcome { tally: world.tally, steps: count as u64, broken, trace: world.trace.unwrap_or_default() }
}

fn play(world: &mut World<'_>, count: usize) -> Result<(), Broken> {
    world.start()?;
    for _ in 0..count {
        step(world)?;
        world.check()?;
    }
    heal(world)
}

fn step(world: &mut World<'_>) -> Result<(), Broken> {
    if world.life.is_none() && world.random.chance(60) {
        world.start()?;
        // Who cannot start for lack of space makes some.
        if world.life.is_none() && world.random.chance(50) {
            world.disk.set_full(false);
        }
        return Ok(());
    }
    match world.random.below(100) {
        0..26 => deliver(world),
        26..44 => world.turn(),
        44..58 => world.relay(),
        58..74 => outlet(world),
        74..84 => {
            time(world);
            Ok(())
        }
        84..88 => {
            order(world);
            Ok(())
        }
        88..92 => {
            trouble(world);
            Ok(())
        }
        92..97 => round(world),
        _ => end(world),
    }
}

/// A delivery of any kind.
fn deliver(world: &mut World<'_>) -> Result<(), Broken> {
    let number = world.ledger.facts.len();
    let luck = world.random.below(100);
    if number == 0 || luck < 45 {
        let large = world.terms.large && world.random.chance(60);
        let fact = Fact::fresh(number, large, &mut world.random);
        return world.fact(fact);
    }
    let old = world.random.index(number);
    match luck {
        45..75 => world.tell(old),
        75..82 => {
            let lie = *world.random.pick(&[Lie::Secret, Lie::Body, Lie::Unsigned]);
            world.forge(old, lie)
        }
        82..84 if world.ledger.facts[old].source == 0 => world.forge(old, Lie::Stale),
        84..90 if world.ledger.facts[old].is_unsigned() => {
            world.tally.one("stolen ids");
            let other = Fact::fresh(number, false, &mut world.random);
            let stolen = &world.ledger.facts[old];
            let items = Vec::new();
            world.fact(Fact { id: stolen.id.clone(), source: stolen.source, items, ..other })
        }
        90..97 if world.ledger.facts[old].is_unsigned() => {
            let repeated = world.ledger.facts[old].clone();
            let fact =
                Fact { id: format!("twin_{number}"), answered: false, open: 0, twin: true, ..repeated };
            world.ledger.facts[old].twin = true;
            world.fact(fact)
        }
        97.. => {
            world.hang_up();
            Ok(())
        }
        _ => world.tell(number - 1),
    }
}

/// Something happens at the broker, or at a worker.
fn outlet(world: &mut World<'_>) -> Result<(), Broken> {
    if world.terms.inbox {
        match world.random.chance(50) {
            true => world.claim(),
            false => world.work(),
        }
        return world.news();
    }
    let luck = world.random.below(100);
    match luck {
        0..45 => {
            let count = 1 + world.random.index(4);
            world.broker.read(count, false, &mut world.random);
        }
        45..92 => {
            if let Some(told) = world.broker.answer(false, &mut world.random) {
                world.note(|| told.to_owned());
                world.tally.one(told);
            }
        }
        92..96 => {
            let closed = world.broker.close(&mut world.random);
            world.note(|| format!("channel closed over {closed}"));
            world.tally.add("channels closed", u64::from(closed > 0));
        }
        _ => {
            let connected = world.random.chance(60);
            world.broker.set_connected(connected);
        }
    }
    world.news()
}

fn time(world: &mut World<'_>) {
    let luck = world.random.below(100);
    let millis = match luck {
        0..50 => world.random.below(1_500),
        50..80 => world.random.below(20_000),
        80..92 => world.random.below(300_000),
        92..95 => world.random.below(10_000_000),
        _ => {
            let seconds = *world.random.pick(&[-7_000, -50, 50, 500, 8_000, 200_000]);
            world.clock.jump(seconds * 1000);
            world.note(|| format!("the wall clock jumps by {seconds} s"));
            world.tally.one(if seconds < 0 { "clock set back" } else { "clock set forward" });
            0
        }
    };
    world.pass(millis);
}

fn order(world: &mut World<'_>) {
    let actions = [Action::Replay, Action::Drop, Action::Requeue, Action::Forget, Action::Release];
    let action = *world.random.pick(&actions);
    world.order(action);
}

/// The disk is to fail soon.
fn trouble(world: &mut World<'_>) {
    let soon = 1 + world.random.below(20);
    match world.random.below(100) {
        0..40 => world.disk.dark_in(soon),
        40..75 => world.disk.fail_in(soon),
        75..85 => world.disk.fail_read_in(soon),
        luck => {
            world.disk.set_full(luck < 93);
        }
    }
    world.note(|| format!("trouble with the disk in {soon}"));
}

/// Everybody does a little.
fn round(world: &mut World<'_>) -> Result<(), Broken> {
    for _ in 0..3 {
        world.turn()?;
        world.relay()?;
        outlet(world)?;
    }
    Ok(())
}

/// The process ends.
fn end(world: &mut World<'_>) -> Result<(), Broken> {
    if world.life.is_none() {
        return Ok(());
    }
    match world.random.below(100) {
        0..25 => world.die(Death::Kill),
        25..80 => {
            let keep = *world.random.pick(&[0, 0, 20, 50, 80, 100]);
            world.die(Death::Power(keep))
        }
        _ => world.stop(),
    }
}

/// Nothing fails from here on: all that was promised arrives, and everything comes to rest.
fn heal(world: &mut World<'_>) -> Result<(), Broken> {
    world.disk.heal();
    world.broker.set_connected(true);
    world.kind_workers = true;
    for round in 0..ROUNDS_MAX {
        if world.life.is_none() {
            world.start()?;
        }
        let newest = world.life.as_ref().map(|life| life.acceptor.newest());
        newest.into_iter().for_each(|newest| world.clock.no_earlier_than(newest));
        for fact in world.ledger.untold() {
            if world.ledger.facts[fact].open == 0 {
                world.tell(fact)?;
            }
        }
        heal_round(world, round)?;
        world.check()?;
        if world.is_at_rest() && settled(world) {
            return world.ledger.check_arrived();
        }
    }
    let (open, untold, flying) = (world.ledger.open(), world.ledger.untold(), world.broker.flying());
    let account = world.life.as_ref().map(|life| life.lanes.account().snapshot());
    Err(format!(
        "no rest after all is healed: open {open:?}, untold {untold:?}, flying {flying}, {account:?}"
    ))
}

fn heal_round(world: &mut World<'_>, round: usize) -> Result<(), Broken> {
    world.turn()?;
    world.relay()?;
    world.broker.read(usize::MAX, true, &mut world.random);
    while world.broker.answer(true, &mut world.random).is_some() {}
    if world.terms.inbox {
        (0..6).for_each(|_| world.claim());
        world.relay()?;
        world.turn()?;
        world.relay()?;
        (0..24).for_each(|_| world.work());
    }
    world.relay()?;
    world.turn()?;
    world.relay()?;
    world.turn()?;
    if round % 8 == 7 {
        release(world);
    }
    world.pass(if round < 40 { 150 } else { 5_000 });
    Ok(())
}

/// What is held or poison is nobody's but the operator's.
fn release(world: &mut World<'_>) {
    let found = world.life.as_ref().and_then(|life: &Life| world.operator.look(life)).unwrap_or_default();
    for (sequence, state) in found {
        let action = match state {
            State::Pending => continue,
            State::Held => Action::Release,
            State::Poisoned => Action::Requeue,
        };
        if let Some(target) = world.operator.target(sequence) {
            world.give(action, target);
        }
    }
}

/// The journal agrees that nothing lives in it.
fn settled(world: &mut World<'_>) -> bool {
    let Some(life) = &world.life else { return false };
    world.operator.look(life).is_some_and(|live| live.is_empty())
}
