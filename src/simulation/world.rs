//! The whole world of one schedule, and one step of each kind in it. Whatever breaks a promise ends the schedule.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;

use super::broker::{Broker, Seen};
use super::clock::SimClock;
use super::disk::SimDisk;
use super::ledger::{Broken, Ledger, Moment};
use super::life::{Life, Request, Terms, poll};
use super::order::Operator;
use super::random::Random;
use super::sender::{Fact, Lie, SOURCES};
use super::tally::Tally;
use crate::accept::Action;
use crate::clock::Clock;
use crate::metrics::Outcome;
use crate::pipeline::Answer;
use crate::reject::Refused;
use crate::relay::{InboxError, Leased, Wanted};
use crate::sink::inbox::Token;

type Claim = BoxFuture<'static, Result<Vec<Leased>, InboxError>>;
type Ack = BoxFuture<'static, Result<Vec<bool>, InboxError>>;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// The system lives on, with all that was written.
    Kill,
    /// Of what was not synced so many of a hundred pieces are kept.
    Power(u64),
}

/// What becomes of an event at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Done,
    GivenBack,
    Silent,
}

/// How often which.
const WORK: [Work; 8] = {
    let done = Work::Done;
    [done, done, done, done, done, done, Work::GivenBack, Work::Silent]
};

pub(super) struct World<'r> {
    pub random: Random,
    pub terms: Terms,
    pub disk: SimDisk,
    pub clock: Arc<SimClock>,
    pub broker: Arc<Broker>,
    pub ledger: Ledger,
    pub operator: Operator,
    pub life: Option<Life>,
    pub tally: Tally,
    /// What was done, where somebody wants to read it.
    pub trace: Option<Vec<String>>,
    lives: u32,
    /// Failures of the disk before this life.
    injected_before: u64,
    requests: Vec<(usize, Request)>,
    claims: Vec<Claim>,
    leased: Vec<(Token, Seen, Work)>,
    /// Whether every worker does its work.
    pub kind_workers: bool,
    acks: Vec<Ack>,
    runtime: &'r Runtime,
}

impl<'r> World<'r> {
    pub(super) fn new(seed: u64, runtime: &'r Runtime, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let terms = Terms::choose(&mut random);
        let in_flight_max = if terms.inbox { 10_000 } else { terms.max_in_flight as u64 };
        let ledger = Ledger::new(terms.window, in_flight_max, terms.inbox);
        let mut world = Self {
            disk: SimDisk::new(Random::new(random.next())),
            random,
            clock: Arc::new(SimClock::new()),
            broker: Arc::new(Broker::new()),
            ledger,
            operator: Operator::default(),
            life: None,
            tally: Tally::default(),
            trace: trace.then(Vec::new),
            lives: 0,
            injected_before: 0,
            requests: Vec::new(),
            claims: Vec::new(),
            leased: Vec::new(),
            kind_workers: false,
            acks: Vec::new(),
            runtime,
            terms,
        };
        let terms = format!("{:?}", world.terms);
        world.note(|| terms);
        world
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{} {}", self.clock.now(), what()));
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            wall: self.clock.now(),
            latest: self.clock.latest(),
            monotonic: self.clock.monotonic(),
            life: self.lives,
        }
    }

    /// Failures of the disk that were meant.
    fn injected(&self) -> u64 {
        let told = self.disk.told();
        told.failed + told.failed_reads + told.refused_for_space + u64::from(self.disk.is_dark())
    }

    /// Starts the gateway, which may fail where the disk does.
    pub(super) fn start(&mut self) -> Result<(), Broken> {
        self.injected_before = self.injected();
        match Life::start(&self.disk, &self.clock, &self.broker, &self.terms) {
            Ok((life, recovery)) => {
                self.lives += 1;
                self.tally.one("starts");
                self.tally.add("starts: damage set aside", recovery.damaged.len() as u64);
                self.tally.add("starts: torn tail cut", u64::from(recovery.truncated_bytes > 0));
                self.note(|| format!("started: next {}", recovery.next_sequence));
                self.life = Some(life);
                self.check()
            }
            Err(error) if self.injected() == self.injected_before => {
                Err(format!("the gateway does not start: {error}"))
            }
            Err(error) => {
                self.note(|| format!("did not start: {error}"));
                self.tally.one("starts that failed");
                self.die(Death::Kill)
            }
        }
    }

    /// The process ends here, whatever it was doing.
    pub(super) fn die(&mut self, death: Death) -> Result<(), Broken> {
        // No process outlives the power, in whatever way it was to end.
        let death = if self.disk.is_dark() { Death::Power(50) } else { death };
        self.note(|| format!("{death:?}"));
        let left = match death {
            Death::Kill => None,
            Death::Power(keep) => Some(self.disk.after_power_loss(keep)),
        };
        self.tally.one(if left.is_some() { "power losses" } else { "kills" });
        self.broker.hang_up(&mut self.random);
        self.life = None;
        self.requests.drain(..).for_each(|(fact, _)| self.ledger.facts[fact].open -= 1);
        (self.claims, self.acks, self.leased) = (Vec::new(), Vec::new(), Vec::new());
        self.operator.crashed();
        self.disk = left.unwrap_or_else(|| self.disk.clone());
        self.news()?;
        self.ledger.crashed();
        Ok(())
    }

    /// Something new happens at a provider.
    pub(super) fn fact(&mut self, fact: Fact) -> Result<(), Broken> {
        self.ledger.facts.push(fact);
        self.tell(self.ledger.facts.len() - 1)
    }

    /// A sender tells a fact, for the first time or again.
    pub(super) fn tell(&mut self, at: usize) -> Result<(), Broken> {
        let now = self.moment();
        let Some(life) = &self.life else { return Ok(()) };
        let fact = &mut self.ledger.facts[at];
        fact.open += 1;
        let request = life.receive(fact.source, fact.tell(now.wall));
        let (id, copies) = (fact.id.clone(), fact.open);
        self.ledger.told(at, now);
        self.note(|| format!("told {id}, {copies} open"));
        self.requests.push((at, request));
        self.tally.one("deliveries");
        self.answers()
    }

    /// Somebody without the secret tells a fact, or a true request comes too late.
    pub(super) fn forge(&mut self, at: usize, lie: Lie) -> Result<(), Broken> {
        let Some(life) = &self.life else { return Ok(()) };
        let fact = &self.ledger.facts[at];
        let calls = self.disk.calls();
        let mut request = life.receive(fact.source, fact.forge(lie, self.clock.now()));
        let refused = matches!(poll(&mut request), Some(Err(_)));
        if !refused || self.disk.calls() != calls {
            return Err(format!("a forged delivery went beyond verification: {lie:?}"));
        }
        self.tally.one("forged");
        self.note(|| format!("forged: {lie:?}"));
        Ok(())
    }

    /// A sender hangs up before it has its answer.
    pub(super) fn hang_up(&mut self) {
        if !self.requests.is_empty() {
            let (fact, _) = self.requests.swap_remove(self.random.index(self.requests.len()));
            self.ledger.facts[fact].open -= 1;
            self.tally.one("senders that hung up");
        }
    }

    /// Requests that have their answers.
    fn answers(&mut self) -> Result<(), Broken> {
        let mut answered = Vec::new();
        self.requests.retain_mut(|(fact, request)| match poll(request) {
            Some(answer) => {
                answered.push((*fact, answer));
                false
            }
            None => true,
        });
        answered.into_iter().try_for_each(|(fact, answer)| self.answer(fact, answer))
    }

    fn answer(&mut self, at: usize, answer: Result<Answer, Refused>) -> Result<(), Broken> {
        self.ledger.facts[at].open -= 1;
        let (id, twin) = (self.ledger.facts[at].id.clone(), self.ledger.facts[at].twin);
        match answer {
            Ok(Answer::Kept { accepted, message_id }) => {
                self.note(|| format!("2xx for {id}: {accepted:?}"));
                let Some(life) = &self.life else { return Ok(()) };
                let reader = life.reader.clone();
                self.tally.one(match accepted.outcome {
                    Outcome::New => "accepted",
                    Outcome::Twin => "twins",
                    Outcome::Held => "held",
                    Outcome::Duplicate => "duplicates",
                });
                if matches!(accepted.outcome, Outcome::Twin | Outcome::Held) && !twin {
                    return Err(format!("{id} repeats nothing and was called a twin"));
                }
                self.ledger.promise(at, accepted, message_id, &reader)
            }
            Ok(other) => Err(format!("{id} was answered with {other:?}")),
            Err(refused) => {
                self.note(|| format!("{:?} for {id}", refused.reject));
                let row = refused.reject.row();
                self.tally.one(row.reason);
                if row.fault { Ok(()) } else { Err(format!("{id} was refused: {refused:?}")) }
            }
        }
    }

    /// One turn of the acceptance thread, and all that follows from it.
    pub(super) fn turn(&mut self) -> Result<(), Broken> {
        // The clock may have moved on since they were told, and who told them may have hung up.
        self.ledger.age(self.moment());
        let Some(life) = &mut self.life else { return Ok(()) };
        let fault = life.turn().err();
        self.news()?;
        self.answers()?;
        for action in self.operator.done() {
            self.tally.one(action.done());
        }
        match fault {
            None => Ok(()),
            // The disk's failure may lie some turns back: helpers report theirs late.
            Some(fault) if self.injected() == self.injected_before => {
                Err(format!("a fault without a cause: {fault}"))
            }
            Some(fault) => {
                self.note(|| format!("fault: {fault}"));
                self.tally.one("faults");
                let death = if self.disk.is_dark() {
                    Death::Power(*self.random.pick(&[0, 50, 90]))
                } else {
                    Death::Kill
                };
                self.die(death)
            }
        }
    }

    /// The relay, or the tasks of the inbox, go on.
    pub(super) fn relay(&mut self) -> Result<(), Broken> {
        let Some(life) = &mut self.life else { return Ok(()) };
        if !life.relay() {
            return Err("the relay does not come to rest".to_owned());
        }
        if self.terms.inbox {
            self.runtime.block_on(tokio::task::yield_now());
            self.leases()?;
        }
        self.news()
    }

    fn leases(&mut self) -> Result<(), Broken> {
        let mut given = Vec::new();
        self.claims.retain_mut(|claim| match poll(claim) {
            Some(leased) => {
                given.extend(leased.unwrap_or_default());
                false
            }
            None => true,
        });
        self.acks.retain_mut(|ack| poll(ack).is_none());
        for Leased { token, message, .. } in given {
            let seen = Seen::of(&message);
            self.broker.handed(seen.clone());
            let work = if self.kind_workers { Work::Done } else { *self.random.pick(&WORK) };
            // Whoever gives an event back has not done the work; the silent ones may have.
            if work == Work::Done || work == Work::Silent && self.random.chance(50) {
                self.broker.work(seen.clone());
            }
            self.leased.push((token, seen, work));
        }
        Ok(())
    }

    /// A worker asks the inbox for events.
    pub(super) fn claim(&mut self) {
        let Some(inbox) = self.life.as_ref().and_then(|life| life.inbox.clone()) else { return };
        let source = Arc::from(self.random.pick(&SOURCES).0);
        let wanted = Wanted {
            max: 1 + self.random.index(4),
            lease: Duration::from_secs(*self.random.pick(&[5, 30])),
            wait: Duration::ZERO,
        };
        self.claims.push(async move { inbox.claim(&source, wanted).await }.boxed());
    }

    /// A worker says what became of an event that it has; it was settled when it got the event.
    pub(super) fn work(&mut self) {
        let Some(inbox) = self.life.as_ref().and_then(|life| life.inbox.clone()) else { return };
        if self.leased.is_empty() {
            return;
        }
        let (token, seen, work) = self.leased.swap_remove(self.random.index(self.leased.len()));
        let source = seen.source.clone();
        match work {
            Work::Done => {
                self.broker.worked(seen.clone());
                self.tally.one("inbox: acknowledged");
                self.acks.push(async move { inbox.ack(&source, &[token]).await }.boxed());
            }
            Work::GivenBack => {
                self.tally.one("inbox: given back");
                inbox.nack(&source, &[token], Duration::from_millis(self.random.below(20_000)));
            }
            Work::Silent => self.tally.one("inbox: never answered"),
        }
    }

    /// What the broker has seen, kept and confirmed since, in the books.
    pub(super) fn news(&mut self) -> Result<(), Broken> {
        let news = self.broker.news();
        self.ledger.unreadable |= self.disk.told().failed_reads > 0;
        for seen in news.published {
            self.note(|| {
                let (sequence, (part, of)) = (seen.sequence, seen.part);
                format!("published {sequence} {part}/{of} marked={} replay={}", seen.marked, seen.replay)
            });
            self.ledger.published(&seen)?;
            self.tally.one("published");
        }
        for seen in news.kept {
            self.tally.add("arrived in parts", u64::from(!seen.whole));
            self.note(|| format!("arrived: {} ({})", seen.sequence, seen.event_id));
            self.ledger.arrived(seen)?;
        }
        for seen in news.confirmed {
            self.note(|| format!("confirmed: {} {:?}", seen.sequence, seen.part));
            self.ledger.confirmed(&seen);
        }
        Ok(())
    }

    /// Time passes.
    pub(super) fn pass(&mut self, millis: u64) {
        self.clock.advance(millis);
        self.note(|| format!("{millis} ms pass"));
        if let Some(life) = &self.life {
            life.nudge();
        }
    }

    /// An operator orders something about an event, if there is one.
    pub(super) fn order(&mut self, action: Action) {
        let Some(life) = &self.life else { return };
        if self.operator.look(life).is_none() {
            return;
        }
        let Some(target) = self.operator.pick(&mut self.random) else { return };
        self.give(action, target);
    }

    pub(super) fn give(&mut self, action: Action, target: crate::accept::Target) {
        let Some(life) = &self.life else { return };
        match action {
            Action::Forget => self.ledger.forgotten(target.key),
            _ => self.ledger.ordered(target.sequence, action == Action::Drop),
        }
        let sequence = target.sequence;
        self.operator.order(life, action, target, self.clock.now());
        self.note(|| format!("ordered {} of {sequence}", action.name()));
    }

    /// An orderly stop: the relay may end what is on its way, then the queue is emptied.
    pub(super) fn stop(&mut self) -> Result<(), Broken> {
        self.note(|| "stop".to_owned());
        if let Some(life) = &self.life {
            life.acceptor.announce_stop();
            life.stop_relay();
        }
        for _ in 0..self.random.index(12) {
            self.broker.read(1, false, &mut self.random);
            self.broker.answer(false, &mut self.random);
            self.relay()?;
            self.turn()?;
            if self.life.as_ref().is_none_or(Life::is_relay_over) {
                break;
            }
        }
        if let Some(life) = &self.life {
            life.acceptor.stop();
        }
        self.turn()?;
        if self.life.is_some() {
            self.tally.one("orderly stops");
            self.die(Death::Kill)?;
        }
        Ok(())
    }

    /// What holds at every moment.
    pub(super) fn check(&mut self) -> Result<(), Broken> {
        if self.disk.is_dark() && self.life.is_some() {
            let keep = *self.random.pick(&[0, 50, 90]);
            return self.die(Death::Power(keep));
        }
        let flying = self.broker.flying();
        if flying > self.terms.max_in_flight {
            return Err(format!("{flying} events on their way at once"));
        }
        let Some(life) = &self.life else { return Ok(()) };
        self.ledger.check_kept(&life.reader)?;
        life.check_account()
    }

    /// Nothing is under way between senders, gateway and broker.
    pub(super) fn is_at_rest(&self) -> bool {
        let account = self.life.as_ref().map(|life| life.lanes.account().snapshot());
        let stands = crate::metrics::Stand::ALL.into_iter().take(5);
        let live = account.map(|rows| {
            rows.iter().map(|(_, row)| stands.clone().map(|s| row.of(s)).sum::<u64>()).sum::<u64>()
        });
        live == Some(0)
            && self.requests.is_empty()
            && self.broker.flying() == 0
            && self.ledger.untold().is_empty()
    }
}
