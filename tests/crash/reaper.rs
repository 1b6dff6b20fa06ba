//! The reaper: ends a gateway as planned, at a failpoint or anywhere, and starts it again.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::check::Broken;
use crate::gateway::{Client, Gateway};
use crate::plan::Kill;
use crate::stage::{ANYWHERE, COPIES, Site};
use crate::topology::Unit;

const LOOK: Duration = Duration::from_millis(5);
/// The slowest start, of a large journal on a busy machine.
const START: Duration = Duration::from_secs(30);
const SIGKILL: i32 = 9;

struct Reaper<'a> {
    site: &'a Site<'a>,
    unit: &'a Unit,
    kills: VecDeque<Kill>,
    /// The first of `kills` is in the environment of the running process.
    armed: bool,
    /// It is not the first start, before which nobody sends.
    begun: bool,
}

/// Kills that gateway as planned; then watches that it lives, until the stage is over.
pub fn run(site: &Site<'_>, number: usize) {
    let kills = site.stage.kills.iter().filter(|kill| kill.gateway == number).copied().collect();
    let mut reaper = Reaper { site, unit: &site.units[number], kills, armed: false, begun: false };
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
            self.has_ended(&mut gateway, status.signal(), &format!("{status}"));
            return;
        }
        let settled = self.site.progress.load(Ordering::SeqCst);
        if self.kills.front().is_some_and(|kill| kill.at <= settled) {
            gateway.kill();
            self.killed(gateway, None);
        }
    }

    fn has_ended(&mut self, gateway: &mut MutexGuard<'_, Gateway>, signal: Option<i32>, status: &str) {
        if self.armed && signal == Some(SIGKILL) {
            let point = self.kills.front().and_then(|kill| kill.point).map(|(point, _)| point.name());
            self.note(point);
        } else {
            let said: Vec<String> = gateway.stderr().lines().rev().take(5).map(str::to_owned).collect();
            self.site.tell(Broken::Ended, format!("a gateway ended by itself, {status}: {said:?}"));
        }
        self.launch(gateway);
    }

    fn killed(&mut self, mut gateway: MutexGuard<'_, Gateway>, point: Option<&'static str>) {
        self.note(point);
        self.launch(&mut gateway);
    }

    /// A planned kill has happened.
    fn note(&mut self, point: Option<&'static str>) {
        let Some(kill) = self.kills.pop_front() else { return };
        self.armed = false;
        self.site.incident(COPIES);
        self.site.trace(|| format!("gateway {} killed at {}", kill.gateway, point.unwrap_or(ANYWHERE)));
        self.site.tally.killed(point, kill.point.map(|(point, _)| point.name()));
        sleep(kill.pause);
    }

    /// Starts the gateway, with the next failpoint if that is what comes next, until it answers. It may reach that
    /// point while it starts.
    fn launch(&mut self, gateway: &mut Gateway) {
        self.unit.lives.store(false, Ordering::SeqCst);
        loop {
            let text = match self.kills.front().and_then(|kill| kill.point) {
                Some((point, 0)) => format!("{}=return", point.name()),
                Some((point, passes)) => format!("{}={passes}*off->return", point.name()),
                None => String::new(),
            };
            self.armed = !text.is_empty();
            gateway.change(|setup| setup.env("FAILPOINTS", &text));
            let reborn = if self.begun { self.site.now().max(1) } else { 0 };
            self.unit.reborn.store(reborn, Ordering::SeqCst);
            gateway.launch();
            match self.is_up(gateway) {
                Ok(()) => {
                    self.unit.lives.store(true, Ordering::SeqCst);
                    return;
                }
                Err(Some(SIGKILL)) if self.armed => {
                    let point = self.kills.front().and_then(|kill| kill.point).map(|(point, _)| point.name());
                    self.note(point);
                }
                Err(signal) => {
                    let said: Vec<String> =
                        gateway.stderr().lines().rev().take(5).map(str::to_owned).collect();
                    self.site.tell(Broken::Ended, format!("a gateway did not start, {signal:?}: {said:?}"));
                    return;
                }
            }
        }
    }

    /// Waits until it answers; the signal that ended it instead.
    fn is_up(&self, gateway: &mut Gateway) -> Result<(), Option<i32>> {
        let end = Instant::now() + START;
        let mut client = Client::new(self.unit.admin).within(Duration::from_secs(2));
        while Instant::now() < end {
            if let Some(status) = gateway.has_ended() {
                return Err(status.signal());
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
