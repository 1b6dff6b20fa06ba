//! The plan: which stages there are and what happens in each at which event, all from the seed.

use std::time::Duration;

use hookgate::failpoint::Point;

use crate::calls::{Call, Calls};
use crate::chaos::Mode;
use crate::events::SOURCES;
use crate::options::Options;
use crate::random::Random;

/// How gateways are put together in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topology {
    /// A gateway on embedded defaults, workers at its inbox.
    Inbox,
    /// A gateway with a journal, RabbitMQ and Redis.
    Single,
    /// Two such replicas.
    Pair,
    /// Two replicas in confirm mode, without journals.
    Confirm,
}

impl Topology {
    /// All, and their share of events and kills in hundredths.
    const ALL: [(Self, u32); 4] =
        [(Self::Inbox, 20), (Self::Single, 35), (Self::Pair, 25), (Self::Confirm, 20)];

    /// How many gateways it has.
    pub fn gateways(self) -> usize {
        if matches!(self, Self::Inbox | Self::Single) { 1 } else { 2 }
    }

    /// Whether its one gateway, with its journal, meets faults of its machine: calls that fail, a clock that steps.
    fn meets_its_machine(self) -> bool {
        self.gateways() == 1
    }

    /// Whether RabbitMQ and Redis belong to it.
    pub fn has_services(self) -> bool {
        self != Self::Inbox
    }
}

/// The end of a gateway.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// When so many events are settled, at the latest.
    pub at: u32,
    pub gateway: usize,
    /// There, when it is reached that often; else at that moment, wherever the gateway is.
    pub point: Option<(Point, u32)>,
    /// From its start on that call fails, of which it ends; else by SIGKILL at that moment.
    pub call: Option<Call>,
    /// How long it stays away.
    pub pause: Duration,
}

/// A connection that a proxy stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Sender,
    Broker,
    Redis,
}

/// A process that is stopped and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Gateway,
    Broker,
    Redis,
}

/// Something that happens beside the gateways' own ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and a new start after `hold`.
    Kill(Service),
    /// SIGSTOP, and SIGCONT after `hold`.
    Pause(Service),
    /// A fault of a link.
    Net(Link, Mode),
    /// RabbitMQ's alarms: it takes nothing from publishers.
    MemoryAlarm,
    DiskAlarm,
    /// The source's queue loses its binding: messages are returned.
    Unbind,
    /// The source's queue is deleted.
    Delete,
    /// The source's queue refuses what is published.
    Full,
    /// RabbitMQ takes small messages only, and closes the channel of who publishes a larger one.
    Small,
    /// The journal's disk is hardly larger than what is on it.
    Disk,
    /// The gateway's wall clock is so many seconds ahead of all others.
    Clock(i32),
}

impl Fault {
    /// Its name in the report.
    pub fn name(self) -> String {
        match self {
            Self::Kill(service) => format!("kill {service:?}"),
            Self::Pause(service) => format!("pause {service:?}"),
            Self::Net(link, mode) => {
                let mode = format!("{mode:?}");
                format!("{link:?} {}", mode.split('(').next().unwrap_or_default())
            }
            Self::Clock(ahead) => format!("clock {}", if ahead < 0 { "back" } else { "ahead" }),
            other => format!("{other:?}"),
        }
    }

    /// Whether it is one of the network.
    pub fn is_network(self) -> bool {
        matches!(self, Self::Net(..))
    }
}

/// A fault with its place and time.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub at: u32,
    pub fault: Fault,
    /// Which gateway, where it is about one.
    pub gateway: usize,
    /// Which source, where it is about one.
    pub source: usize,
    pub hold: Duration,
}

/// A part of the run with gateways of its own, from the first event to the comparison.
#[derive(Clone, Debug)]
pub struct Stage {
    pub number: u32,
    pub topology: Topology,
    pub events: u32,
    pub kills: Vec<Kill>,
    pub steps: Vec<Step>,
}

/// All of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub stages: Vec<Stage>,
}

/// Events of four stages together: bounds what a ledger holds.
const GROUP: u32 = 160_000;

impl Plan {
    /// The plan of these options.
    pub fn new(options: &Options) -> Self {
        let groups = options.events.div_ceil(GROUP);
        let kinds = (0..groups).flat_map(|_| Topology::ALL).collect::<Vec<_>>();
        let events = shares(options.events, &kinds, |_| true);
        let kills = shares(options.kills, &kinds, |_| true);
        let served = |topology: Topology| topology.has_services();
        let broker = shares(options.broker_kills, &kinds, served);
        let redis = shares(options.redis_kills, &kinds, served);
        let network = shares(options.network, &kinds, |_| true);
        let others = shares(options.others, &kinds, |_| true);
        let calls = shares(options.calls, &kinds, Topology::meets_its_machine);
        let clocks = shares(options.clocks, &kinds, Topology::meets_its_machine);
        let disks = shares(options.disks, &kinds, |topology| topology == Topology::Inbox);
        let mut points = Points::new(options.seed);
        let mut failing = Calls::new(options.seed);
        let stage = |(number, (topology, _)): (usize, &(Topology, u32))| {
            let mut random = Random::of(&[options.seed, 1, number as u64]);
            let mut stage = Stage {
                number: number as u32,
                topology: *topology,
                events: events[number],
                kills: Vec::new(),
                steps: Vec::new(),
            };
            stage.plan_kills((kills[number], calls[number]), &mut random, (&mut points, &mut failing));
            let mut faults = vec![Fault::Kill(Service::Broker); broker[number] as usize];
            faults.extend(vec![Fault::Kill(Service::Redis); redis[number] as usize]);
            faults.extend((0..network[number]).map(|_| net(*topology, &mut random)));
            faults.extend((0..others[number]).map(|_| other(*topology, &mut random)));
            faults.extend(vec![Fault::Disk; disks[number] as usize]);
            faults.extend((0..clocks[number]).map(|turn| clock(turn, &mut random)));
            stage.plan_steps(faults, &mut random);
            stage
        };
        let stages = kinds.iter().enumerate().map(stage).collect();
        Self { seed: options.seed, stages }
    }

    /// What is planned, in a line.
    pub fn summary(&self) -> String {
        let sum = |of: fn(&Stage) -> usize| self.stages.iter().map(of).sum::<usize>();
        format!(
            "{} events, {} kills of gateways ({} at failpoints), {} failing calls, {} other faults, {} stages",
            sum(|stage| stage.events as usize),
            sum(|stage| stage.kills.iter().filter(|kill| kill.call.is_none()).count()),
            sum(|stage| stage.kills.iter().filter(|kill| kill.point.is_some()).count()),
            self.calls(),
            sum(|stage| stage.steps.len()),
            self.stages.len()
        )
    }
}

impl Plan {
    /// How many calls fail.
    pub fn calls(&self) -> usize {
        self.stages.iter().flat_map(|stage| &stage.kills).filter(|kill| kill.call.is_some()).count()
    }

    /// How many such faults there are.
    pub fn count(&self, which: impl Fn(&Fault) -> bool) -> usize {
        self.stages.iter().flat_map(|stage| &stage.steps).filter(|step| which(&step.fault)).count()
    }
}

/// Divides a number by the shares of those stages that take part; the sum is the number.
fn shares(total: u32, kinds: &[(Topology, u32)], takes: impl Fn(Topology) -> bool) -> Vec<u32> {
    let weight = |(topology, share): &(Topology, u32)| if takes(*topology) { u64::from(*share) } else { 0 };
    let all: u64 = kinds.iter().map(weight).sum();
    let mut before = 0;
    let mut given = 0;
    let one = |kind| {
        before += weight(kind);
        let until = (u64::from(total) * before + all / 2) / all;
        let share = until - given;
        given = until;
        u32::try_from(share).unwrap()
    };
    kinds.iter().map(one).collect()
}

/// Whether a gateway of the topology can reach a point: not what takes an operator's order, a secret that is shown, a damaged journal or a
/// stop, none of which happen while there are kills to come.
pub fn reaches(topology: Topology, point: Point) -> bool {
    let is_among = |starts: &[&str]| starts.iter().any(|start| point.name().starts_with(start));
    if is_among(&["stop.", "capture.", "accept.order.", "dedup.forgotten.", "journal.identity."])
        || is_among(&["journal.recover.copied", "journal.recover.aside", "journal.recover.gap"])
    {
        return false;
    }
    match topology {
        Topology::Inbox => {
            !is_among(&["redis.", "sink.", "confirm.", "relay."]) || is_among(&["relay.lease.", "relay.ack."])
        }
        Topology::Single | Topology::Pair => {
            !is_among(&["redis.lease.", "confirm.", "relay.lease.", "relay.ack."])
                && (topology == Topology::Pair || !is_among(&["redis.takeover."]))
        }
        Topology::Confirm => is_among(&["redis.lease.", "redis.done.", "confirm.", "sink.", "ingress."]),
    }
}

/// Failpoints, the one that was planned longest ago first, so that a long run has had them all several times.
struct Points {
    order: Vec<Point>,
}

impl Points {
    fn new(seed: u64) -> Self {
        let mut order = Point::ALL.to_vec();
        Random::of(&[seed, 2]).shuffle(&mut order);
        Self { order }
    }

    /// A point that the topology reaches, and how often it is passed before it kills: mostly rarely, since some
    /// are seldom reached. None where it reaches none.
    fn take(&mut self, topology: Topology, random: &mut Random) -> Option<(Point, u32)> {
        let at = self.order.iter().position(|point| reaches(topology, *point))?;
        let point = self.order.remove(at);
        self.order.push(point);
        let most = 1 << random.between(0, 9);
        Some((point, random.between(0, most)))
    }
}

fn millis(random: &mut Random, from: u32, to: u32) -> Duration {
    Duration::from_millis(random.between(from, to).into())
}

impl Stage {
    /// Spreads `count` moments over the stage, with some chance in each.
    fn moments(&self, count: usize, random: &mut Random) -> Vec<u32> {
        let room = (self.events * 9 / 10 / count.max(1) as u32).max(1);
        (0..count as u32).map(|number| self.events / 20 + number * room + random.between(0, room)).collect()
    }

    fn plan_kills(
        &mut self,
        (kills, calls): (u32, u32),
        random: &mut Random,
        (points, failing): (&mut Points, &mut Calls),
    ) {
        let mut fails: Vec<bool> = (0..kills + calls).map(|number| number < calls).collect();
        random.shuffle(&mut fails);
        for (at, fails) in self.moments(fails.len(), random).into_iter().zip(fails) {
            let gateway = random.index(self.topology.gateways());
            let call = fails.then(|| failing.take(random));
            let named = !fails && random.percent(50);
            let point = named.then(|| points.take(self.topology, random)).flatten();
            // Most supervisors restart at once, some wait.
            let longest = if random.percent(20) { 1_500 } else { 100 };
            let pause = millis(random, 0, longest);
            self.kills.push(Kill { at, gateway, point, call, pause });
        }
    }

    fn plan_steps(&mut self, mut faults: Vec<Fault>, random: &mut Random) {
        random.shuffle(&mut faults);
        let moments = self.moments(faults.len(), random);
        for (at, fault) in moments.into_iter().zip(faults) {
            let (gateway, source) = (random.index(self.topology.gateways()), random.index(SOURCES.len()));
            let hold = match fault {
                Fault::Pause(_) | Fault::MemoryAlarm | Fault::DiskAlarm => millis(random, 500, 4_000),
                // A message is poison after three refusals, between which its source waits.
                Fault::Small => millis(random, 6_000, 9_000),
                // Long enough to be filled.
                Fault::Disk => millis(random, 2_000, 4_000),
                Fault::Clock(_) => millis(random, 300, 1_500),
                _ => millis(random, 200, 2_500),
            };
            self.steps.push(Step { at, fault, gateway, source, hold });
        }
    }
}

/// A fault of a link that the topology has.
fn net(topology: Topology, random: &mut Random) -> Fault {
    let links: &[Link] = if topology.has_services() {
        &[Link::Sender, Link::Broker, Link::Broker, Link::Redis]
    } else {
        &[Link::Sender]
    };
    let link = random.one_of(links);
    let mode = match random.between(0, 9) {
        0 => Mode::BlackHole,
        1 => Mode::Reset,
        2 => Mode::Cut,
        3 => Mode::HalfClose,
        4 => Mode::Delay(millis(random, 5, 200)),
        5 => Mode::Throttle(u64::from(random.between(5_000, 200_000))),
        6 => Mode::CutAfter(u64::from(random.between(1, 60_000))),
        7 => Mode::LostReplies,
        _ => Mode::Flap(millis(random, 30, 400)),
    };
    Fault::Net(link, mode)
}

/// A step of the clock, mostly back by an hour. Ahead it stays within the minute by which the newest record may lead the
/// clock: beyond that a gateway rightly refuses all until true time has come there, and nothing more would be tried.
fn clock(turn: u32, random: &mut Random) -> Fault {
    const BACK: i32 = -3_600;
    let ahead = random.between(10, 50);
    Fault::Clock(if turn % 3 == 1 { ahead.cast_signed() } else { BACK })
}

/// A fault that is neither a kill nor the network's.
fn other(topology: Topology, random: &mut Random) -> Fault {
    const SERVED: &[Fault] = &[
        Fault::Pause(Service::Gateway),
        Fault::Pause(Service::Broker),
        Fault::Pause(Service::Redis),
        Fault::MemoryAlarm,
        Fault::DiskAlarm,
        Fault::Unbind,
        Fault::Delete,
        Fault::Full,
        Fault::Small,
    ];
    if topology.has_services() { random.one_of(SERVED) } else { Fault::Pause(Service::Gateway) }
}
