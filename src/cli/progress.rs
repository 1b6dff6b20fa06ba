//! How far long work is, on a terminal's last line; elsewhere a line now and then.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use crate::clock::{Clock as _, System};
use crate::units::lasting;

/// From one drawing to the next.
const PAUSE: Duration = Duration::from_millis(100);
/// From one line to the next, where nothing can be drawn.
const LINES: Duration = Duration::from_secs(10);
/// Places of a bar.
const WIDTH: u64 = 30;
/// To the line's beginning, and nothing left of what stood there.
const AFRESH: &str = "\r\x1b[2K";

/// The progress of one piece of work.
pub(super) struct Progress {
    /// What is counted.
    what: &'static str,
    total: Option<u64>,
    clock: System,
    begun: Duration,
    told: Duration,
    terminal: bool,
    silent: bool,
    drawn: bool,
}

impl Progress {
    /// Begins; `total` where it is known how many there are.
    pub(super) fn of(what: &'static str, total: Option<u64>) -> Self {
        let clock = System::new();
        Self {
            what,
            total,
            told: clock.monotonic(),
            begun: clock.monotonic(),
            clock,
            terminal: io::stderr().is_terminal(),
            silent: false,
            drawn: false,
        }
    }

    /// Draws nothing where the work itself is written to the same terminal.
    pub(super) fn aside_of_stdout(mut self) -> Self {
        self.silent = self.terminal && io::stdout().is_terminal();
        self
    }

    /// So many are done; `note` says what else there is to know.
    pub(super) fn at(&mut self, done: u64, note: &str) {
        let (now, pause) = (self.clock.monotonic(), if self.terminal { PAUSE } else { LINES });
        if self.silent || now.saturating_sub(self.told) < pause {
            return;
        }
        self.told = now;
        let line = line(self.what, done, self.total, now.saturating_sub(self.begun));
        let mut stderr = io::stderr().lock();
        // Who cannot be told is not told.
        if self.terminal {
            self.drawn = true;
            write!(stderr, "{AFRESH}{line}{note}").and_then(|()| stderr.flush()).ok();
        } else {
            writeln!(stderr, "{line}{note}").ok();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn {
            let mut stderr = io::stderr().lock();
            write!(stderr, "{AFRESH}").and_then(|()| stderr.flush()).ok();
        }
    }
}

fn line(what: &str, done: u64, total: Option<u64>, took: Duration) -> String {
    let Some(total) = total.filter(|total| *total > 0) else { return format!("{done} {what} so far") };
    let done = done.min(total);
    let full = usize::try_from(u128::from(WIDTH) * u128::from(done) / u128::from(total)).unwrap_or(0);
    let (bar, rest) = ("#".repeat(full), ".".repeat((WIDTH as usize).saturating_sub(full)));
    let percent = u128::from(done) * 100 / u128::from(total);
    let left = took.as_secs_f64() * (total - done) as f64 / done.max(1) as f64;
    let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
    let left = if done > 0 { format!(", about {} left", lasting(left)) } else { String::new() };
    format!("[{bar}{rest}] {percent} %, {done} of {total} {what}{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_much_is_done_and_how_long_the_rest_takes() {
        let took = Duration::from_secs(10);
        assert_eq!(line("events", 7, None, took), "7 events so far");
        assert_eq!(
            line("events", 25, Some(100), took),
            "[#######.......................] 25 %, 25 of 100 events, about 30 s left"
        );
        assert_eq!(line("events", 0, Some(100), took), format!("[{}] 0 %, 0 of 100 events", ".".repeat(30)));
        assert_eq!(
            line("events", 120, Some(100), took),
            format!("[{}] 100 %, 100 of 100 events, about 0 s left", "#".repeat(30))
        );
    }
}
