//! A program in a process group of its own. Whatever becomes of the test process, it ends with it: a shell watches it, kills
//! the group and removes its folder once the test process no longer holds the other end of the shell's input.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::wait_until;

/// How long a busy machine may take to stop all threads.
const STOP: Duration = Duration::from_secs(60);

/// A program in a process group of its own, with a watcher that outlives the test process.
pub struct Process {
    watcher: Child,
    group: u32,
}

/// The states of all threads of a process group, as `/proc` has them.
fn threads(group: u32) -> impl Iterator<Item = char> {
    let fields = |stat: PathBuf| -> Option<(char, u32)> {
        let text = fs::read_to_string(stat).ok()?;
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        Some((fields.next()?.chars().next()?, fields.nth(1)?.parse().ok()?))
    };
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let ours = processes.filter(move |path| fields(path.join("stat")).is_some_and(|(_, of)| of == group));
    let tasks = ours.filter_map(|path| fs::read_dir(path.join("task")).ok()).flatten();
    tasks.filter_map(move |task| Some(fields(task.ok()?.path().join("stat"))?.0))
}

/// Starts `$3…` as a group leader, tells its pid, waits for the end of the test process, then cleans up.
const WATCH: &str = r#"
dir=$1 remove=$2; shift 2
setsid "$@" >>"$dir/output.log" 2>&1 </dev/null &
echo $!
cat >/dev/null
kill -s KILL -- -$!
wait
if [ "$remove" = remove ]; then rm -rf "$dir"; fi
"#;

impl Process {
    pub fn start(dir: &Path, remove: bool, command: &mut Command) -> Self {
        let mut watch = Command::new("/bin/sh");
        watch.args(["-c", WATCH, "watch"]).arg(dir).arg(if remove { "remove" } else { "keep" });
        watch.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            watch.env(name, value.unwrap_or_default());
        }
        // What it leaves behind where it was started goes with its folder.
        watch.current_dir(dir);
        let mut watcher = watch.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(watcher.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { watcher, group: line.trim().parse().unwrap() }
    }

    pub fn signal(&self, signal: &str) {
        // Fails where the group has ended, which is what the callers want to reach.
        let _ = Command::new("/bin/kill")
            .args([signal, "--", &format!("-{}", self.group)])
            .stderr(Stdio::null())
            .status()
            .unwrap();
    }

    /// Freezes the group: no thread of it runs any more when this returns, which takes a busy machine a while.
    pub fn freeze(&self) {
        self.signal("-STOP");
        let stands = || threads(self.group).all(|state| matches!(state, 'T' | 'Z' | 'X'));
        wait_until("all threads stand still", STOP, stands);
    }

    /// Ends the watcher alone, so that the folder stays for another start.
    pub fn forget(&mut self) {
        self.watcher.kill().unwrap();
        self.watcher.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        self.watcher.wait().unwrap();
    }
}
