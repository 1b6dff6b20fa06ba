//! The log, and what the system says about this process.
//!
//! A line is one line, whatever a stranger wrote into it (`lines`), as JSON it is one of the Elastic Common Schema (`ecs`), and a panic tells where it was and not what it held.

mod ecs;
mod lines;
pub mod trace;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use ecs::Ecs;
use lines::{Escapes, Lines};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON by the Elastic Common Schema elsewhere.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line, by the Elastic Common Schema.
    Json,
}

/// What actix tells of its own starts and stops is no news to an operator, and a line for each malformed request
/// would let anybody fill the log.
const QUIET: [&str; 2] = ["actix_server=warn", "actix_http=off"];

/// The audit log is told whatever the level.
const ALWAYS: [&str; 1] = ["hookgate::audit=info"];

/// Starts the log, on stderr; a second call changes nothing. `level` is a level such as `info`; `silent` are
/// directives for libraries that would log what must not be logged, and they hold whatever the level.
pub fn start(format: LogFormat, level: &str, silent: &[&str]) {
    let directives = [&[level], &QUIET[..], &ALWAYS, silent].concat().join(",");
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("hookgate=info"));
    let terminal = io::stderr().is_terminal();
    let json = format == LogFormat::Json || (format == LogFormat::Auto && !terminal);
    let escapes = match (json, terminal) {
        (true, _) => Escapes::Json,
        (false, false) => Escapes::Text,
        (false, true) => Escapes::Colours,
    };
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines::new(escapes, io::stderr));
    let started = if json {
        builder.event_format(Ecs).try_init()
    } else {
        builder.with_ansi(terminal).with_target(false).try_init()
    };
    if started.is_err() {
        tracing::debug!("the log was started before");
    }
}

/// From here on a panic is a line of the log that tells where it was, and why only where the reason is part of the
/// program: a reason that was put together may hold what a sender wrote, such as the text that an index cut.
pub fn tell_panics() {
    panic::set_hook(Box::new(tell_panic));
}

fn tell_panic(info: &PanicHookInfo<'_>) {
    let at = info.location().map(ToString::to_string).unwrap_or_default();
    let why = info.payload().downcast_ref::<&'static str>();
    let why = why.copied().unwrap_or("not told: it may hold what a sender wrote");
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    // Code and lines of it, no values; there if RUST_BACKTRACE asks for it.
    let trace = Backtrace::capture();
    let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
    tracing::error!(at, why, thread, trace, "a part of the program panicked: please report this");
}

/// So many lines a second, and a count of what was left out.
#[derive(Debug)]
pub struct Budget {
    per_second: u32,
    /// Second (upper 32 bits) and lines in it (lower 32).
    used: AtomicU64,
    left_out: AtomicU64,
}

impl Budget {
    /// `per_second` lines.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, used: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// Whether a line may be written at `now` (monotonic): if so, how many were left out since the last.
    pub fn take(&self, now: Duration) -> Option<u64> {
        let second = now.as_secs() << 32;
        let next = |used: u64| if used >> 32 == now.as_secs() { used + 1 } else { second + 1 };
        let before = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(next(used)));
        let used = before.map_or(1, next) & 0xffff_ffff;
        if used <= u64::from(self.per_second) {
            Some(self.left_out.swap(0, Ordering::Relaxed))
        } else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            None
        }
    }

    /// How many were left out that no line has told of; the next line will not.
    pub fn left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }
}

/// What the system says about this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessStats {
    /// User and system time.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
}

/// Reads `/proc/self`; zeroes where there is none.
pub fn process_stats() -> ProcessStats {
    // Linux counts CPU time in hundredths of a second towards user space on every architecture.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0);
    ProcessStats {
        cpu: TICK * ticks(11) + TICK * ticks(12),
        resident_bytes: kib * 1024,
        open_fds: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_lets_so_many_lines_through_and_counts_the_rest() {
        let budget = Budget::new(3);
        let at = Duration::from_secs(7);
        let written = (0..10).filter(|_| budget.take(at).is_some()).count();
        assert_eq!(written, 3);
        assert_eq!(budget.take(Duration::from_secs(8)), Some(7));
    }

    #[test]
    fn the_process_has_memory_and_files() {
        let stats = process_stats();
        assert!(stats.resident_bytes > 0 && stats.open_fds > 0);
    }
}
