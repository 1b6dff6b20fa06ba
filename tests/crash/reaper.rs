//! The reaper: ends a gateway as planned, at a failpoint or anywhere, and starts it again.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::calls::{Call, Outcome, Ran};
use crate::check::Broken;
use crate::gateway::{Client, Gateway, Setup};
use crate::plan::Kill;
use crate::stage::{COPIES, Site};
use crate::tally::ANYWHERE;
use crate::topology::Unit;

const LOOK: Duration = Duration::from_millis(5);
/// The slowest start, of a large journal on a busy machine.
const START: Duration = Duration::from_secs(30);
const SIGKILL: i32 = 9;
/// What strace writes, beside the journal.
const CALLED: &str = "called";

struct Reaper<'a> {
    site: &'a Site<'a>,
    unit: &'a Unit,
    kills: VecDeque<Kill>,
    /// The first of `kills` is in the environment of the running process.
    armed: bool,
    /// How much it had said before its last start, in bytes.
    said: usize,
    /// It is not the first start, before which nobody sends.
    begun: bool,
}

/// Kills that gateway as planned; then watches that it lives, until the stage is over.
pub fn run(site: &Site<'_>, number: usize) {
    let kills = site.stage.kills.iter().filter(|kill| kill.gateway == number).copied().collect();
    let mut reaper = Reaper { site, unit: &site.units[number], kills, armed: false, said: 0, begun: false };
    let mut gateway = reaper.unit.gateway.lock().unwrap();
    reaper.launch(&mut gateway);
    reaper.begun = true;
    drop(gateway);
    site.started.fetch_add(1, Ordering::SeqCst);
    let mut finished = false;
    while !site.stopped() {
        if reaper.kills.is_empty() && !finished {
            finished = true;
            site.lanes.fetch_sub(1, Ordering::SeqCst);
        }
        reaper.turn();
        sleep(LOOK);
    }
}

impl Reaper<'_> {
    fn turn(&mut self) {
        let unit = self.unit;
        // A fault that must not meet a restart holds it.
        let Ok(_calm) = self.site.calm.try_read() else { return };
        let mut gateway = unit.gateway.lock().unwrap();
        if let Some(status) = gateway.has_ended() {
            self.has_ended(&mut gateway, status);
            return;
        }
        let settled = self.site.progress.load(Ordering::SeqCst);
        if self.kills.front().is_some_and(|kill| kill.at <= settled) {
            gateway.kill();
            self.killed(gateway);
        }
    }

    fn has_ended(&mut self, gateway: &mut Gateway, status: ExitStatus) {
        if !self.ended_as_planned(gateway, status, true) {
            let said = last_words(gateway);
            self.site.tell(Broken::Ended, format!("a gateway ended by itself, {status}: {said:?}"));
        }
        self.launch(gateway);
    }

    /// Whether it was to end so, at a failpoint or of a call that fails; then that is noted.
    fn ended_as_planned(&mut self, gateway: &Gateway, status: ExitStatus, was_up: bool) -> bool {
        let front = self.kills.front().copied().filter(|_| self.armed);
        if let Some(call) = front.and_then(|kill| kill.call) {
            self.failed(gateway, call, |ran| Ran { code: status.code(), was_up, ..ran }.ended());
        } else if let Some((point, _)) = front.and_then(|kill| kill.point)
            && status.signal() == Some(SIGKILL)
        {
            self.site.tally.killed(Some(point.name()), Some(point.name()));
            self.note(point.name());
        } else {
            return false;
        }
        true
    }

    fn killed(&mut self, mut gateway: MutexGuard<'_, Gateway>) {
        let Some(kill) = self.kills.front().copied() else { return };
        match kill.call.filter(|_| self.armed) {
            Some(call) => self.failed(&gateway, call, |ran| ran.killed()),
            None => {
                self.site.tally.killed(None, kill.point.map(|(point, _)| point.name()));
                self.note(ANYWHERE);
            }
        }
        self.launch(&mut gateway);
    }

    /// A gateway has ended under a call that fails: whether it may end so, and what is counted.
    fn failed(
        &mut self,
        gateway: &Gateway,
        call: Call,
        judge: impl FnOnce(Ran<'_>) -> Result<Outcome, String>,
    ) {
        let log = fs::read_to_string(gateway.path(CALLED)).unwrap_or_default();
        let said = gateway.stderr();
        let ran =
            Ran { code: None, was_up: true, log: &log, said: said.get(self.said..).unwrap_or_default() };
        let how = match judge(ran) {
            Ok(outcome) => {
                self.site.tally.failed(&call, outcome);
                format!("{call} at {}: {outcome:?}", call.nth)
            }
            Err(wrong) => {
                let case =
                    format!("{call} failed at {}: it ended {wrong}: {:?}", call.nth, last_words(gateway));
                self.site.tell(Broken::Ended, case);
                format!("{call} at {}: ended wrongly", call.nth)
            }
        };
        self.note(&how);
    }

    /// A planned end has happened, so.
    fn note(&mut self, how: &str) {
        let Some(kill) = self.kills.pop_front() else { return };
        self.armed = false;
        self.site.incident(COPIES);
        self.site.trace(|| format!("gateway {} ended, {how}", kill.gateway));
        sleep(kill.pause);
    }

    /// Starts the gateway, with the next failpoint or failing call if that is what comes next, until it answers. It may
    /// end of it while it starts.
    fn launch(&mut self, gateway: &mut Gateway) {
        self.unit.lives.store(false, Ordering::SeqCst);
        loop {
            self.arm(gateway);
            let reborn = if self.begun { self.site.now().max(1) } else { 0 };
            self.unit.reborn.store(reborn, Ordering::SeqCst);
            gateway.launch();
            let pid = gateway.pid();
            self.unit.clock.lock().unwrap().iter_mut().for_each(|clock| clock.follows(Some(pid)));
            match self.is_up(gateway) {
                Ok(()) => {
                    self.unit.lives.store(true, Ordering::SeqCst);
                    return;
                }
                Err(Some(status)) if self.ended_as_planned(gateway, status, false) => {}
                Err(status) => {
                    let said = last_words(gateway);
                    self.site.tell(Broken::Ended, format!("a gateway did not start, {status:?}: {said:?}"));
                    return;
                }
            }
        }
    }

    /// What the next start is made with.
    fn arm(&mut self, gateway: &mut Gateway) {
        let front = self.kills.front();
        let text = match front.and_then(|kill| kill.point) {
            Some((point, 0)) => format!("{}=return", point.name()),
            Some((point, passes)) => format!("{}={passes}*off->return", point.name()),
            None => String::new(),
        };
        let call = front.and_then(|kill| kill.call);
        self.armed = !text.is_empty() || call.is_some();
        self.said = gateway.stderr().len();
        let log = gateway.path(CALLED);
        let clock = self.unit.clock.lock().unwrap();
        let beside = |setup: Setup| match call {
            Some(call) => {
                // Of an earlier start.
                fs::remove_file(&log).unwrap_or_default();
                let words = call.wrapper(&log.display().to_string());
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                // Without a clock of its own, whose file would be among what is opened.
                setup.env("LD_PRELOAD", "").wrapper(&words)
            }
            None => clock.iter().fold(setup.wrapper(&[]), |setup, clock| clock.lend(setup)),
        };
        gateway.change(|setup| beside(setup.env("FAILPOINTS", &text)));
    }

    /// Waits until it answers; how it ended instead.
    fn is_up(&self, gateway: &mut Gateway) -> Result<(), Option<ExitStatus>> {
        let end = Instant::now() + START;
        let mut client = Client::new(self.unit.admin).within(Duration::from_secs(2));
        while Instant::now() < end {
            if let Some(status) = gateway.has_ended() {
                return Err(Some(status));
            }
            if client.request("GET", "/livez", &[], b"").is_some() {
                return Ok(());
            }
            sleep(LOOK);
        }
        gateway.kill();
        Err(None)
    }
}

/// The end of what a gateway has said.
fn last_words(gateway: &Gateway) -> Vec<String> {
    gateway.stderr().lines().rev().take(5).map(str::to_owned).collect()
}
