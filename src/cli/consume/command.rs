//! One process for one event: the body on its stdin, the rest in variables; how it ends is the verdict.
//!
//! No shell is involved unless the command is one. A process that takes too long is ended with its whole group.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command as Process};
use tokio::sync::watch;
use tokio::time::sleep;

use super::event::{Event, VARIABLES};

/// How long a process that is asked to end gets for it, in steps.
const GRACE: (u32, Duration) = (40, Duration::from_millis(50));

/// What is run for each event.
#[derive(Clone, Debug)]
pub(super) struct Command {
    /// The program, found as a shell finds it.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Variables that it must not see: the worker's own token, the broker's URL.
    pub hidden: Vec<String>,
    /// Whether what it prints goes to stderr, stdout being data of ours.
    pub quiet: bool,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with this exit code.
    Code(i32),
    /// By a signal of somebody else's.
    Signal(i32),
    /// Ended by us, for it took too long.
    TimedOut(Duration),
    /// Ended by us, for we were told to end at once.
    Halted,
    /// It could not be started.
    NotStarted(String),
}

impl End {
    /// Whether the event's work is done.
    pub(super) fn is_done(&self) -> bool {
        *self == Self::Code(0)
    }

    /// The exit code, where there is one.
    pub(super) fn code(&self) -> Option<i32> {
        if let Self::Code(code) = self { Some(*code) } else { None }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::TimedOut(limit) => write!(f, "ended after {} s (--timeout)", limit.as_secs_f64()),
            Self::Halted => f.write_str("ended on request"),
            Self::NotStarted(why) => write!(f, "not started: {why}"),
        }
    }
}

impl Command {
    /// Runs the command for `event`, until it ends, takes too long, or `halt` turns true.
    pub(super) async fn run(&self, event: &Event, mut halt: watch::Receiver<bool>) -> End {
        let mut child = match self.start(event) {
            Ok(child) => child,
            Err(error) => {
                return End::NotStarted(format!("{}: {error}", self.program.to_string_lossy()));
            }
        };
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let stdin = child.stdin.take();
        // A command that does not read all of it, or any, is free to.
        let fed = async {
            if let Some(mut stdin) = stdin {
                stdin.write_all(&event.body).await.unwrap_or_default();
                stdin.shutdown().await.unwrap_or_default();
            }
            std::future::pending::<()>().await
        };
        let over = async {
            match self.timeout {
                Some(limit) => sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = child.wait() => ended.map_or_else(|error| End::NotStarted(error.to_string()), end),
            () = fed => End::Halted,
            () = over => {
                finish(&mut child, group).await;
                End::TimedOut(self.timeout.unwrap_or_default())
            }
            _ = halt.wait_for(|halt| *halt) => {
                finish(&mut child, group).await;
                End::Halted
            }
        }
    }

    fn start(&self, event: &Event) -> std::io::Result<Child> {
        let mut process = Process::new(&self.program);
        process.args(&self.arguments).stdin(Stdio::piped()).process_group(0).kill_on_drop(true);
        // A variable of an outer event would be a lie about this one.
        let foreign = VARIABLES.iter().map(|(name, _)| *name);
        for name in foreign.chain(self.hidden.iter().map(String::as_str)) {
            process.env_remove(name);
        }
        process.envs(event.variables());
        if self.quiet {
            process.stdout(std::io::stderr());
        }
        process.spawn()
    }
}

fn end(status: ExitStatus) -> End {
    status.code().map_or_else(|| End::Signal(status.signal().unwrap_or_default()), End::Code)
}

/// Asks the group to end, then ends it. The first process is reaped last: until then the group's number is its own.
async fn finish(child: &mut Child, group: Option<Pid>) {
    if let Some(group) = group {
        kill_process_group(group, Signal::TERM).unwrap_or_default();
        for _ in 0..GRACE.0 {
            if has_ended(group) {
                break;
            }
            sleep(GRACE.1).await;
        }
        kill_process_group(group, Signal::KILL).unwrap_or_default();
    }
    if let Err(error) = child.wait().await {
        eprintln!("hookgate: a process that was ended cannot be waited for: {error}");
    }
}

/// Whether the process has ended, which leaves it to be reaped.
fn has_ended(process: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(process), options), Ok(None))
}
