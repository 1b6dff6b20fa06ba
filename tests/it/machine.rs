//! What a machine lends to faults: a clock that steps (libfaketime), system calls that fail (strace), a small disk
//! (tmpfs). Each says whether this machine has it; none installs anything.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::gateway::Setup;

/// The library that gives a process a clock of its own, wherever a distribution puts it: `lib/<machine>-linux-gnu`,
/// `lib64` or `lib`.
pub fn faketime() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
        let folders = folders.chain(["/usr/lib64", "/usr/lib"].map(PathBuf::from));
        // The one for programs with threads.
        folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
    };
    FOUND.get_or_init(find).as_deref()
}

/// The wall clock of a gateway, which follows an offset in a file; its monotonic clock stays ours.
pub struct Clock {
    file: PathBuf,
    pid: Option<u32>,
}

impl Clock {
    /// A clock that agrees with ours, kept in this file; none where the library is missing.
    pub fn at(file: PathBuf) -> Option<Self> {
        faketime()?;
        let clock = Self { file, pid: None };
        clock.turn("+0");
        Some(clock)
    }

    /// Lets a gateway live by it from its next start on.
    pub fn lend(&self, setup: Setup) -> Setup {
        let text = |path: &Path| path.display().to_string();
        setup
            .env("LD_PRELOAD", &faketime().map(text).unwrap_or_default())
            .env("FAKETIME_TIMESTAMP_FILE", &text(&self.file))
            .env("FAKETIME_NO_CACHE", "1")
            // The two names that versions know it by.
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1")
    }

    /// Sets it to an offset in the library's words, at once: `-400d`, `+3600`.
    pub fn turn(&self, offset: &str) {
        let fresh = self.file.with_extension("next");
        fs::write(&fresh, format!("{offset}\n")).unwrap();
        // In one step: half a file is no time.
        fs::rename(fresh, &self.file).unwrap();
    }

    /// Sets it so many seconds ahead of ours, at once.
    pub fn step(&self, ahead: i64) {
        self.turn(&format!("{ahead:+}"));
    }

    /// That process lives by it now, and none before: what the library left of the one before goes.
    pub fn follows(&mut self, pid: Option<u32>) {
        if let Some(before) = std::mem::replace(&mut self.pid, pid) {
            // A process that was killed leaves both, and a later one with its number would stumble over them.
            for name in [format!("faketime_shm_{before}"), format!("sem.faketime_sem_{before}")] {
                fs::remove_file(Path::new("/dev/shm").join(name)).unwrap_or_default();
            }
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.follows(None);
    }
}

/// Whether this machine lets us trace our children.
pub fn can_trace() -> bool {
    let tried =
        Command::new("strace").args(["-D", "-f", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// The command before a gateway's in which the `nth` call of that kind in each thread fails so; what was called goes
/// to `log`.
pub fn failing((call, error, nth): (&str, &str, u64), log: &str) -> Vec<String> {
    let inject = format!("inject={call}:error={error}:when={nth}");
    let traced = format!("trace={call},fdatasync,pwrite64,openat");
    // `-D` leaves the gateway our child: its signals and its exit code are its own.
    let words =
        ["strace", "-D", "-f", "--seccomp-bpf", "-y", "-s", "0", "-o", log, "-e", &traced, "-e", &inject];
    words.map(str::to_owned).into()
}

/// What stands in that log at a call that was made to fail.
pub const INJECTED: &str = "(INJECTED)";

/// The call by which a file of the journal was synced or written again after its sync had failed. One that was removed
/// and made anew has only the name of the one before.
pub fn synced_again(log: &str) -> Option<String> {
    let mut failed: Vec<&str> = Vec::new();
    for line in log.lines() {
        let Some((call, rest)) = line.split_once('(') else { continue };
        let kind = call.rsplit(' ').next().unwrap_or_default();
        if kind == "openat" && line.contains("O_EXCL") && !line.contains(") = -1") {
            let made = rest.split('"').nth(1);
            failed.retain(|path| !made.is_some_and(|made| path.ends_with(made)));
        }
        let name = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path);
        let Some(path) = name.filter(|path| path.ends_with(".segment")) else { continue };
        if matches!(kind, "fdatasync" | "pwrite64") && failed.contains(&path) {
            return Some(line.to_owned());
        }
        if kind == "fdatasync" && line.contains(INJECTED) {
            failed.push(path);
        }
    }
    None
}

/// Clear ends after a call that failed: failure told, dependency unreachable, journal poisoned, configuration; and what
/// the system's loader ends with where a library cannot be read.
pub const CLEAR_ENDS: [i32; 5] = [1, 69, 70, 78, 127];

/// A memory file system, gone with its value, and with this process however that ends.
pub struct SmallDisk {
    dir: PathBuf,
    guard: Child,
}

/// Waits for the end of its input, then unmounts `$1`; lazily, for a gateway may still have files there.
const GUARD: &str = r#"cat >/dev/null; exec umount -l "$1" 2>/dev/null"#;

impl SmallDisk {
    /// So many bytes, in a new folder; the error where this user may not mount.
    pub fn mount(dir: PathBuf, bytes: u64) -> io::Result<Self> {
        fs::create_dir(&dir)?;
        let mut command = Command::new("mount");
        let options = format!("size={bytes},mode=700");
        let output = command.args(["-t", "tmpfs", "-o", &options, "hookgate-test"]).arg(&dir).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let mut guard = Command::new("/bin/sh");
        // In a group of its own: an interrupt from the keyboard is not for it.
        guard.args(["-c", GUARD, "guard"]).arg(&dir).stdin(Stdio::piped()).process_group(0);
        Ok(Self { dir, guard: guard.spawn()? })
    }

    /// Bytes that are left on it.
    pub fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.dir).unwrap();
        found.f_bavail * found.f_frsize
    }

    /// Makes it so large, or as small as what is on it allows.
    pub fn resize(&self, bytes: u64) -> io::Result<()> {
        const ROOM: u64 = 64 << 10;
        let found = rustix::fs::statvfs(&self.dir)?;
        let used = (found.f_blocks - found.f_bfree) * found.f_frsize;
        let options = format!("remount,size={}", bytes.max(used + ROOM));
        let output = Command::new("mount").args(["-o", &options]).arg(&self.dir).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Fills it with a file until so many bytes are left.
    pub fn ballast(&self, left: u64) -> PathBuf {
        let path = self.dir.join("ballast");
        let bytes = self.free().saturating_sub(left);
        rustix::fs::fallocate(File::create(&path).unwrap(), rustix::fs::FallocateFlags::empty(), 0, bytes)
            .unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        drop(self.guard.wait());
    }
}
