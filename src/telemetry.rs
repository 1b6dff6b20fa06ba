//! The log, and what the system says about this process.

use std::fs;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// What actix tells of its own starts and stops is no news to an operator, and a line for each malformed request
/// would let anybody fill the log.
const QUIET: [&str; 2] = ["actix_server=warn", "actix_http=off"];

/// Starts the log, on stderr; a second call changes nothing. `level` is a level such as `info`; `silent` are
/// directives for libraries that would log what must not be logged, and they hold whatever the level.
pub fn start(format: LogFormat, level: &str, silent: &[&str]) {
    let directives = [&[level], &QUIET[..], silent].concat().join(",");
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("hookgate=info"));
    let terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Auto if !terminal => builder.json().flatten_event(true).try_init(),
        LogFormat::Auto | LogFormat::Text => builder.with_ansi(terminal).with_target(false).try_init(),
    };
    if started.is_err() {
        tracing::debug!("the log was started before");
    }
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
