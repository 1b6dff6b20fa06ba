//! The loop: sends what is due, reads what has come, counts.
//!
//! Closed loop: each connection sends its next request as soon as it has its answer. Open loop: requests are
//! due at even times; one that finds no free connection waits, and its latency counts from when it was due,
//! so that a stalled receiver cannot hide behind the requests it held up.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hookgate::clock::{Clock, System};
use rustix::event::{Timespec, epoll};

use crate::connection::{Answer, Connection, Waiting};
use crate::histogram::Histogram;
use crate::options::Options;
use crate::signer::Signer;

const SECOND: f64 = 1e9;
const IDLE_WAIT: u64 = 50_000_000;
const SWEEP_EVERY: u64 = 200_000_000;
const OPEN_TRIES: u32 = 5;
const REOPEN_AFTER: u64 = 20_000_000;

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Latencies of the measured 2xx, in nanoseconds.
    pub latency: Histogram,
    /// Measured answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// The measured time in seconds.
    pub seconds: f64,
    /// Requests sent, warm-up included.
    pub sent: u64,
    /// Answers read, warm-up included.
    pub answered: u64,
    /// Valid requests that were answered 2xx, warm-up included.
    pub accepted: u64,
    /// Requests whose connection broke before the answer.
    pub errors: u64,
    /// Requests given up after `--timeout`.
    pub timeouts: u64,
    /// Connections opened again.
    pub reconnects: u64,
    /// Open loop: requests that were due and never sent.
    pub missed: u64,
    /// Wrong signatures that were answered 2xx: must be 0.
    pub forged_accepted: u64,
    /// This process's CPU time per answer, in microseconds.
    pub cpu_micros: f64,
}

/// When sending begins, when measuring begins, when sending ends; nanoseconds of the run.
struct Schedule {
    measure: u64,
    end: u64,
    interval: Option<f64>,
    count: u64,
    timeout: u64,
}

/// A run in progress.
pub struct Load<'a> {
    options: &'a Options,
    signer: Signer,
    clock: System,
    schedule: Schedule,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// Without a request, the longest so first.
    idle: VecDeque<usize>,
    closed: Vec<(usize, u64)>,
    in_flight: usize,
    acked: Vec<u64>,
    outcome: Outcome,
    last_answer: u64,
}

impl<'a> Load<'a> {
    /// Opens the connections.
    pub fn new(options: &'a Options, signer: Signer) -> anyhow::Result<Self> {
        let measure = (options.warmup * SECOND) as u64;
        let duration = options.duration.or(options.count.is_none().then_some(10.0));
        let mut load = Self {
            options,
            signer,
            clock: System::new(),
            schedule: Schedule {
                measure,
                end: duration.map_or(u64::MAX / 2, |s| measure + (s * SECOND) as u64),
                interval: options.rate.map(|rate| SECOND / rate),
                count: options.count.unwrap_or(u64::MAX),
                timeout: (options.timeout * SECOND) as u64,
            },
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: Vec::new(),
            idle: VecDeque::new(),
            closed: Vec::new(),
            in_flight: 0,
            acked: Vec::new(),
            outcome: Outcome::new(),
            last_answer: measure,
        };
        for index in 0..usize::from(options.connections) {
            load.connections.push(Connection::closed());
            load.open_patiently(index).with_context(|| format!("connecting to {}", options.url.address))?;
        }
        Ok(load)
    }

    /// Runs to the end of the schedule, then waits for the answers still out.
    pub fn run(&mut self) -> anyhow::Result<Outcome> {
        // Without this the kernel may add 50 µs to each wait. Where it cannot be set, that much is lost.
        fs::write("/proc/self/timerslack_ns", "1000").unwrap_or_default();
        let cpu = cpu_nanos();
        self.clock = System::new();
        let mut events = Vec::with_capacity(512);
        let mut scratch = vec![0_u8; 64 * 1024];
        let mut swept = 0;
        loop {
            let now = self.send_due();
            if self.finished(now) {
                break;
            }
            if now - swept > SWEEP_EVERY {
                swept = now;
                self.sweep(now);
            }
            self.reopen(now);
            let wait = Duration::from_nanos(self.wait(now));
            let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for answers"),
            }
            for event in &events {
                self.handle(event.data.u64() as usize, event.flags, &mut scratch);
            }
        }
        Ok(self.close_accounts(cpu))
    }

    /// Writes the ids of all valid requests that were answered 2xx.
    pub fn write_acked(&self, path: &Path) -> anyhow::Result<()> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        let mut out = BufWriter::new(file);
        for event in &self.acked {
            writeln!(out, "{}", self.signer.name(*event))?;
        }
        out.flush().with_context(|| format!("writing {}", path.display()))
    }

    fn now(&self) -> u64 {
        self.clock.monotonic().as_nanos() as u64
    }

    fn may_send(&self, now: u64) -> bool {
        now < self.schedule.end && self.outcome.sent < self.schedule.count
    }

    fn finished(&self, now: u64) -> bool {
        !self.may_send(now)
            && (self.in_flight == 0 || now > self.schedule.end.saturating_add(self.schedule.timeout))
    }

    /// When the next request of the open loop is due.
    fn due(&self, interval: f64) -> u64 {
        (self.outcome.sent as f64 * interval) as u64
    }

    fn send_due(&mut self) -> u64 {
        let mut now = self.now();
        while self.may_send(now) {
            let due = self.schedule.interval.map_or(now, |interval| self.due(interval));
            if due > now || due >= self.schedule.end {
                break;
            }
            let free = if self.options.rotate { self.idle.pop_front() } else { self.idle.pop_back() };
            let Some(index) = free else { break };
            self.send(index, due);
            now = self.now();
        }
        now
    }

    fn send(&mut self, index: usize, due: u64) {
        let connection = &mut self.connections[index];
        let signed = self.signer.next(&mut connection.request);
        let sent = self.clock.monotonic().as_nanos() as u64;
        let due = if self.schedule.interval.is_some() { due } else { sent };
        self.in_flight += 1;
        self.outcome.sent += 1;
        if connection.start(Waiting { signed, due, sent }).is_err() {
            self.break_off(index);
        }
    }

    fn wait(&self, now: u64) -> u64 {
        if self.idle.is_empty() || !self.may_send(now) {
            return IDLE_WAIT;
        }
        let due = self.schedule.interval.map_or(now, |interval| self.due(interval));
        due.saturating_sub(now).min(IDLE_WAIT)
    }

    fn handle(&mut self, index: usize, flags: epoll::EventFlags, scratch: &mut [u8]) {
        use epoll::EventFlags as Flags;
        let connection = &mut self.connections[index];
        if connection.stream.is_none() {
            return;
        }
        if flags.contains(Flags::OUT) && connection.flush().is_err() {
            return self.break_off(index);
        }
        let hung_up = flags.intersects(Flags::RDHUP | Flags::HUP | Flags::ERR);
        if !hung_up && !flags.contains(Flags::IN) {
            return;
        }
        match connection.receive(scratch, hung_up) {
            Ok(Some(answer)) => self.count(index, answer, hung_up),
            Ok(None) if !hung_up => {}
            Ok(None) | Err(_) => self.break_off(index),
        }
    }

    fn count(&mut self, index: usize, answer: Answer, hung_up: bool) {
        let Some(waiting) = self.connections[index].waiting.take() else {
            return self.break_off(index);
        };
        let now = self.now();
        self.in_flight -= 1;
        self.outcome.answered += 1;
        self.last_answer = now;
        let success = (200..300).contains(&answer.status);
        if success && waiting.signed.forged {
            self.outcome.forged_accepted += 1;
        } else if success {
            self.outcome.accepted += 1;
            if self.options.acked.is_some() {
                self.acked.push(waiting.signed.event);
            }
        }
        if waiting.due >= self.schedule.measure {
            *self.outcome.statuses.entry(answer.status).or_default() += 1;
            if success {
                self.outcome.latency.record(now - waiting.due);
            }
        }
        if answer.close || hung_up {
            self.break_off(index);
        } else if self.schedule.interval.is_none() && self.may_send(now) {
            self.send(index, now);
        } else {
            self.idle.push_back(index);
        }
    }

    /// Closes a connection; what it waited for is an error.
    fn break_off(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.stream = None;
        if connection.waiting.take().is_some() {
            self.in_flight -= 1;
            self.outcome.errors += 1;
        }
        self.idle.retain(|idle| *idle != index);
        self.closed.push((index, self.now() + REOPEN_AFTER));
    }

    fn reopen(&mut self, now: u64) {
        let (ready, later) = std::mem::take(&mut self.closed).into_iter().partition(|(_, at)| *at <= now);
        self.closed = later;
        let ready: Vec<(usize, u64)> = ready;
        for (index, _) in ready {
            self.outcome.reconnects += 1;
            if self.open(index).is_err() {
                self.closed.push((index, now + REOPEN_AFTER));
            }
        }
    }

    /// Before the run: where thousands come at once, the server's queue is full at times.
    fn open_patiently(&mut self, index: usize) -> anyhow::Result<()> {
        let timed_out = |error: &anyhow::Error| {
            error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        };
        for _ in 1..OPEN_TRIES {
            match self.open(index) {
                Err(error) if timed_out(&error) => {}
                opened => return opened,
            }
        }
        self.open(index)
    }

    fn open(&mut self, index: usize) -> anyhow::Result<()> {
        use epoll::EventFlags as Flags;
        let stream = self.connections[index].open(self.options.url.address)?;
        let flags = Flags::IN | Flags::OUT | Flags::RDHUP | Flags::ET;
        epoll::add(&self.epoll, stream, epoll::EventData::new_u64(index as u64), flags)?;
        self.idle.push_back(index);
        Ok(())
    }

    fn sweep(&mut self, now: u64) {
        let late =
            |c: &Connection| c.waiting.is_some_and(|w| now.saturating_sub(w.sent) > self.schedule.timeout);
        let late: Vec<usize> = (0..self.connections.len()).filter(|i| late(&self.connections[*i])).collect();
        for index in late {
            self.break_off(index);
            self.outcome.errors -= 1;
            self.outcome.timeouts += 1;
        }
    }

    fn close_accounts(&mut self, cpu_before: u64) -> Outcome {
        let mut outcome = std::mem::replace(&mut self.outcome, Outcome::new());
        let end = self.schedule.end.min(self.last_answer).max(self.schedule.measure + 1);
        outcome.seconds = (end - self.schedule.measure) as f64 / SECOND;
        if let Some(interval) = self.schedule.interval {
            let due = ((self.schedule.end as f64 / interval).ceil() as u64).min(self.schedule.count);
            outcome.missed = due.saturating_sub(outcome.sent);
        }
        let cpu = cpu_nanos().saturating_sub(cpu_before) as f64;
        outcome.cpu_micros = cpu / 1000.0 / outcome.answered.max(1) as f64;
        outcome
    }
}

impl Outcome {
    fn new() -> Self {
        Self {
            latency: Histogram::new(),
            statuses: BTreeMap::new(),
            seconds: 0.0,
            sent: 0,
            answered: 0,
            accepted: 0,
            errors: 0,
            timeouts: 0,
            reconnects: 0,
            missed: 0,
            forged_accepted: 0,
            cpu_micros: 0.0,
        }
    }
}

/// CPU time of this, the only, thread; zero where the kernel does not tell.
fn cpu_nanos() -> u64 {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0)
}
