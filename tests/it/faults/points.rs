//! SIGKILL at every named point, each in the gateway that reaches it, under load or at a start.
//!
//! `HOOKGATE_IT_POINTS` kills at so many different times at each point, `HOOKGATE_IT_SEED` chooses these.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use hookgate::failpoint::Point;

use super::fixture::*;
use super::plan::{Stage, Test, Way, plan, test_of};
use crate::gateway::{Client, Gateway, Setup, until};
use crate::load::{number, with_rabbitmq};
use crate::redis::ask;
use crate::services::{RabbitMq, Redis};

/// A point that is not reached by then never is; it takes a second where the disk is not busy with other tests.
const REACHED: Duration = Duration::from_secs(60);
/// Kills under load after which some start has reached its point.
const KILLS_MAX: u64 = 12;

/// What `FAILPOINTS` says to kill when `point` is reached for the `nth` time.
fn armed(point: Point, nth: u64) -> String {
    format!("{}={}*off->return", point.name(), nth - 1)
}

/// A gateway, its senders' book and what its workers were given.
struct Bench {
    gateway: Gateway,
    book: Book,
    given: Given,
    stage: Stage,
    /// Copies with a mark in the last audit.
    marked: usize,
    kills: usize,
    loads: usize,
}

impl Bench {
    fn new(gateway: Gateway, stage: Stage) -> Self {
        let (book, given) = (Book::default(), Given::default());
        Self { gateway, book, given, stage, marked: 0, kills: 0, loads: 0 }
    }

    fn load(&mut self, turn: &[&'static str]) -> Crew<Book> {
        self.loads += 1;
        senders(self.gateway.ingress(), &format!("{}", self.loads), turn)
    }

    /// What the gateway is started with from here on.
    fn arm(&mut self, failpoints: &str) {
        self.gateway.change(|setup| setup.env("FAILPOINTS", failpoints));
    }

    /// Starts it armed, under whatever load there is, and waits for its death.
    fn die(&mut self, point: Point, nth: u64) {
        self.arm(&armed(point, nth));
        self.gateway.launch();
        self.fall();
    }

    /// Waits for the death of a gateway that runs armed.
    fn fall(&mut self) {
        let gateway = &mut self.gateway;
        until("the point is reached", REACHED, || gateway.is_dead());
        let (code, _) = self.gateway.ended();
        assert_eq!(code, None, "killed, not ended by itself: {}", self.gateway.stderr());
        self.kills += 1;
    }

    fn die_under(&mut self, load: Crew<Book>, point: Point, nth: u64) -> Crew<Book> {
        self.die(point, nth);
        load
    }

    /// Starts it unarmed, ends the load a little later, and compares when all is handed over.
    fn judge(&mut self, load: Option<Crew<Book>>) {
        self.arm("");
        self.gateway.start();
        let load = load.unwrap_or_else(|| self.load(&SOURCES));
        std::thread::sleep(Duration::from_millis(100));
        let notes = notes(load);
        self.book.add(notes);
        if self.stage != Stage::Confirm {
            until_empty(&self.gateway);
        }
        self.given.until_all(&self.book);
        let marked = self.book.audit(&self.given);
        let bound = self.kills * MARKED_A_KILL;
        assert!(
            marked - self.marked <= bound,
            "{} more are marked after {} kills",
            marked - self.marked,
            self.kills
        );
        (self.marked, self.kills) = (marked, 0);
        no_panic(&self.gateway);
        self.gateway.kill();
        self.kills += 1;
    }

    /// A start that is armed: true where it ended at the point, else it is up and past it.
    fn dies_at_start(&mut self) -> bool {
        self.gateway.launch();
        let gateway = &mut self.gateway;
        let mut alive = false;
        until("it is up or dead", REACHED, || {
            alive = Client::call(gateway.admin(), "GET", "/livez", &[], b"").is_some();
            alive || gateway.is_dead()
        });
        if !alive {
            self.fall();
        }
        !alive
    }

    /// SIGKILLs under load, at ever other moments, until the start after one ends at the point: what a start finds to
    /// do depends on the moment, such as a segment that was prepared and not yet begun.
    fn die_at_a_start_after_kills(&mut self, point: Point) {
        for nth in 1..=KILLS_MAX {
            self.arm("");
            self.gateway.start();
            std::thread::sleep(Duration::from_millis(70 * nth));
            self.gateway.kill();
            self.kills += 1;
            self.arm(&armed(point, 1));
            if self.dies_at_start() {
                return;
            }
            self.gateway.kill();
            self.kills += 1;
        }
        panic!("{point:?} is not reached by a start after any of {KILLS_MAX} kills");
    }

    /// Three starts that end at the point, or get past it because an earlier one had done its work.
    fn die_at_starts(&mut self, point: Point) {
        self.die(point, 1);
        self.die_again();
    }

    fn die_again(&mut self) {
        for _ in 0..2 {
            if !self.dies_at_start() {
                self.gateway.kill();
                self.kills += 1;
            }
        }
    }

    fn strike(&mut self, point: Point, way: Way, nth: u64) {
        println!("{point:?} {way:?} at {nth}");
        match way {
            Way::Load(_) => {
                let load = self.load(&SOURCES);
                let load = self.die_under(load, point, nth);
                self.judge(Some(load));
            }
            Way::Stop => {
                self.arm(&armed(point, 1));
                self.gateway.start();
                let load = self.load(&SOURCES);
                std::thread::sleep(Duration::from_millis(100));
                self.gateway.signal(rustix::process::Signal::TERM);
                self.fall();
                self.judge(Some(load));
            }
            Way::Start => {
                let load = self.load(&SOURCES);
                self.die_at_a_start_after_kills(point);
                self.die_again();
                self.judge(Some(load));
            }
            Way::After(first) => {
                let load = self.load(&SOURCES);
                let load = self.die_under(load, first, 1);
                let load = self.die_under(load, point, 1);
                self.judge(Some(load));
            }
            Way::Damaged => {
                self.arm("");
                self.gateway.start();
                self.turn_a_byte();
                self.die_at_starts(point);
                self.judge(None);
            }
            Way::Order(order) => {
                self.arm(&armed(point, 1));
                self.gateway.start();
                let arguments = ["events", order, "--source", "shop", "--yes"];
                let ordering = self.gateway.spawn(&arguments);
                self.fall();
                drop(ordering.wait_with_output());
                self.judge(None);
            }
            Way::Pinned | Way::First | Way::Silence | Way::Shown => panic!("{way:?} has a bench of its own"),
        }
    }

    /// Kills it and turns a bit in a record whose event has been delivered, which stands before others.
    fn turn_a_byte(&mut self) {
        let ids: Vec<String> = (0..20).map(|n| format!("damage_{}_{n}", self.loads)).collect();
        self.loads += 1;
        let mut client = Client::new(self.gateway.ingress());
        ids.iter().for_each(|id| assert!(self.book.send(&mut client, &event("plain", id))));
        until_empty(&self.gateway);
        self.gateway.kill();
        let found = fs::read_dir(self.gateway.journal()).unwrap().find_map(|file| {
            let path = file.unwrap().path();
            let bytes = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let text = format!("{} ppp", ids[10]);
            let at = bytes.windows(text.len()).position(|window| window == text.as_bytes())?;
            Some((path, bytes, at))
        });
        let (path, mut bytes, at) = found.expect("the journal has the record");
        bytes[at + 20] ^= 4;
        fs::write(path, bytes).unwrap();
    }
}

/// The points of a test, with their ways, each so often as the environment says.
fn rounds(test: Test) -> Vec<(Point, Way, u64)> {
    let (seed, rounds) = (seed(), u64::from(number("HOOKGATE_IT_POINTS", 1)));
    let mut all = Vec::new();
    for (place, point) in Point::ALL.iter().enumerate() {
        if test_of(*point) != test {
            continue;
        }
        let (_, way) = plan(*point);
        let times = if let Way::Load(times) = way { times } else { 1 };
        let nth = |round| 1 + chance(seed, place as u64 * 1_000 + round) % times;
        all.extend((0..rounds).map(|round| (*point, way, nth(round))));
    }
    all
}

fn inbox() -> Setup {
    tiny(Setup::new())
}

fn at_the_inbox(test: Test) {
    let mut bench = Bench::new(inbox().prepare(), Stage::Inbox);
    let workers = inbox_workers(bench.gateway.admin(), &SOURCES, &bench.given);
    for (point, way, nth) in rounds(test) {
        bench.strike(point, way, nth);
    }
    workers.finish();
}

#[test]
fn every_point_has_a_way_and_none_kills_unless_it_is_armed() {
    let mut tests: BTreeMap<String, usize> = BTreeMap::new();
    Point::ALL.iter().for_each(|point| *tests.entry(format!("{:?}", test_of(*point))).or_default() += 1);
    println!("{} points: {tests:?}", Point::ALL.len());
    assert!(Point::ALL.len() >= 25);
    let gateway = inbox().env("FAILPOINTS", "no.such.point=return").start();
    assert_eq!(gateway.deliver(&event("plain", "unarmed")).status, 200);
}

#[test]
fn a_kill_at_any_point_of_a_commit_or_an_answer_loses_nothing() {
    at_the_inbox(Test::Commit);
}

#[test]
fn a_kill_at_any_point_of_the_upkeep_loses_nothing() {
    at_the_inbox(Test::Upkeep);
}

#[test]
fn a_kill_at_any_point_of_a_start_or_an_order_loses_nothing() {
    at_the_inbox(Test::StartOrOrder);
}

#[test]
fn a_kill_of_the_first_start_leaves_a_folder_that_serves() {
    for (point, ..) in rounds(Test::FirstStart) {
        let mut bench = Bench::new(inbox().prepare(), Stage::Inbox);
        let workers = inbox_workers(bench.gateway.admin(), &SOURCES, &bench.given);
        bench.die_at_starts(point);
        bench.judge(None);
        workers.finish();
    }
}

#[test]
fn a_kill_at_any_point_of_a_compaction_loses_nothing() {
    const TURN: [&str; 12] =
        ["shop", "git", "shop", "git", "shop", "git", "shop", "git", "shop", "git", "shop", "plain"];
    let mut bench = Bench::new(inbox().prepare(), Stage::Inbox);
    let workers = inbox_workers(bench.gateway.admin(), &["shop", "git"], &bench.given);
    for (point, ..) in rounds(Test::Compaction) {
        println!("{point:?}");
        let load = bench.load(&TURN);
        let load = bench.die_under(load, point, 1);
        let late = inbox_workers(bench.gateway.admin(), &["plain"], &bench.given);
        bench.judge(Some(load));
        late.finish();
    }
    workers.finish();
}

/// Points of a gateway with RabbitMQ.
fn at_the_broker(setup: impl Fn(&str) -> Setup, stage: Stage, test: Test) {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let mut bench = Bench::new(sources(setup(&broker.url(&vhost)), "").start(), stage);
    until_connected(&bench.gateway);
    let workers = queue_workers(broker, &vhost, &bench.given);
    bench.gateway.kill();
    for (point, way, nth) in rounds(test) {
        bench.strike(point, way, nth);
    }
    workers.finish();
}

#[test]
fn a_kill_at_any_point_of_the_relay_loses_nothing() {
    at_the_broker(with_rabbitmq, Stage::Broker, Test::Relay);
}

#[test]
fn a_kill_at_any_point_of_a_stop_loses_nothing() {
    at_the_broker(with_rabbitmq, Stage::Broker, Test::Stop);
}

fn with_claims(amqp: &str, redis: &Redis) -> Setup {
    with_rabbitmq(amqp).env("REDIS_URL", &redis.url()).set(
        "dedup",
        "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }\ntakeover_after = \"1s\"\nwindow = \"7d\"",
    )
}

#[test]
fn a_kill_at_any_point_of_a_claim_loses_nothing() {
    let redis = Redis::start();
    at_the_broker(|amqp| with_claims(amqp, &redis), Stage::Claims, Test::Claim);
}

#[test]
fn a_kill_at_any_point_of_confirm_mode_loses_nothing() {
    let redis = Redis::start();
    let setup = |amqp: &str| {
        with_claims(amqp, &redis).set("journal", "ack = \"confirm\"").set("sink", "confirm_timeout = \"1s\"")
    };
    at_the_broker(setup, Stage::Confirm, Test::Confirm);
}

#[test]
fn a_kill_in_a_takeover_loses_nothing() {
    let broker = RabbitMq::shared();
    for (point, ..) in rounds(Test::Takeover) {
        println!("{point:?}");
        let redis = Redis::start();
        let vhost = broker.vhost();
        let setup = || sources(with_claims(&broker.url(&vhost), &redis), "");
        let mut silent = Bench::new(setup().start(), Stage::Replicas);
        let mut bench = Bench::new(setup().start(), Stage::Replicas);
        until_connected(&bench.gateway);
        bench.given = silent.given.clone();
        let workers = queue_workers(broker, &vhost, &bench.given);
        silent.gateway.kill();
        bench.gateway.kill();
        let load = silent.load(&SOURCES);
        // Its first claim holds the oldest events of each source.
        let load = silent.die_under(load, Point::RedisClaimAfter, 1);
        silent.book.add(notes(load));
        let claimed: Vec<String> = ask(&redis, &["KEYS", "hookgate:alive:*"]);
        bench.arm(&armed(point, 1));
        bench.gateway.start();
        // Its copies meet the claims of the silent one.
        let mut client = Client::new(bench.gateway.ingress());
        for (sender, n) in (0..8).flat_map(|sender| (0..6).map(move |n| (sender, n))) {
            let source = SOURCES[(sender + n) % SOURCES.len()];
            bench.book.send(&mut client, &event(source, &format!("evt_1_{sender}_{n}")));
        }
        claimed.iter().for_each(|key| assert_eq!(ask::<u32>(&redis, &["DEL", key]), 1));
        bench.fall();
        silent.arm("");
        silent.gateway.start();
        bench.book.add(silent.book);
        bench.kills += 1;
        bench.judge(None);
        until_empty(&silent.gateway);
        workers.finish();
        bench.book.audit(&bench.given);
    }
}
