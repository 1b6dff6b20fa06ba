//! A disk that fails or is full: honest refusals, and everything that was acknowledged is there afterwards.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::steps::{SOON, accepted, event, outcome};
use crate::gateway::{Client, Gateway, Setup, generic, until};

/// Lets a system call of the gateway fail from its n-th time in a thread on; the gateway itself is the child.
fn failing(call: &str, error: &str, from: u32) -> Setup {
    let strace = "/usr/bin/strace";
    assert!(
        std::path::Path::new(strace).exists(),
        "{strace} is missing; install it with: apt-get install strace"
    );
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:error={error}:when={from}+"));
    let command =
        [strace, "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    Setup::new().source("shop", "stripe", "").wrapper(&command)
}

/// Sends events until one is refused; then the process must end by itself with exit code 70.
fn until_it_fails(gateway: &mut Gateway) -> usize {
    let mut sender = Client::new(gateway.ingress());
    for n in 0..50 {
        let answer = sender.deliver(&event(&format!("evt_{n}")));
        if answer.status != 200 {
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (503, "unavailable"),
                "a fault of ours is no 4xx"
            );
            assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
            assert_eq!(gateway.ended().0, Some(70), "{}", gateway.stderr());
            return n;
        }
    }
    panic!("no call failed");
}

/// The next start, without faults, has every acknowledged event once; what was refused may be tried again.
fn all_kept(gateway: &mut Gateway, kept: usize) {
    gateway.change(|setup| setup.wrapper(&[]));
    gateway.start();
    accepted(&gateway.deliver(&event(&format!("evt_{kept}"))));
    let handed = gateway.drain("shop", kept + 1);
    let ids: Vec<_> = handed.iter().map(|event| event.header("hookgate-event-id")).collect();
    assert_eq!(ids, (0..=kept).map(|n| format!("evt_{n}")).collect::<Vec<_>>());
    assert_eq!(outcome(gateway, "evt_0"), "duplicate");
}

#[test]
fn a_sync_that_fails_ends_the_process_and_loses_nothing() {
    let mut gateway = failing("fdatasync", "EIO", 6).start();
    let kept = until_it_fails(&mut gateway);
    assert!(kept > 0, "some were kept before");
    let failed = |line: &serde_json::Value| line["reason"] == "journal_failed" && line["level"] == "ERROR";
    assert!(gateway.log().iter().any(failed), "it is told");
    all_kept(&mut gateway, kept);
}

#[test]
fn a_write_that_fails_is_503_and_ends_the_process_and_loses_nothing() {
    for error in ["EIO", "ENOSPC"] {
        let mut gateway = failing("pwrite64", error, 20).start();
        let kept = until_it_fails(&mut gateway);
        assert!(kept > 0, "some were kept before");
        all_kept(&mut gateway, kept);
    }
}

/// Whether this user may mount a folder of its own.
fn may_mount() -> bool {
    let try_it = ["-m", "mount", "-t", "tmpfs", "none", "/mnt"];
    let mut command = Command::new("/usr/bin/unshare");
    command
        .args(try_it)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|ended| ended.success())
}

#[test]
fn a_full_disk_refuses_what_is_new_before_a_write_fails_and_takes_it_again_once_there_is_room() {
    if !may_mount() {
        println!("not run: mounting a small disk takes root");
        return;
    }
    let mount = "mkdir -p journal && mount -t tmpfs -o size=4m none journal && exec \"$@\"";
    let mut gateway = Setup::new()
        .source("plain", "generic", "")
        .wrapper(&["/usr/bin/unshare", "-m", "/bin/sh", "-c", mount, "sh"])
        .start();
    let body = |n: usize| format!("{n:0>60000}").into_bytes();
    let mut sender = Client::new(gateway.ingress());
    let full = (0..100).find(|n| sender.deliver(&generic("plain", &body(*n))).status != 200);
    let kept = full.expect("a disk of 4 MiB is full");
    assert!(kept >= 10, "{kept} events of 60 kB on 4 MiB");
    let answer = sender.deliver(&generic("plain", &body(kept)));
    assert_eq!((answer.status, answer.header("retry-after")), (503, "30"));
    assert_eq!(gateway.deliver(&generic("plain", &body(0))).outcome(), "duplicate", "what is known still is");
    until("it is unready", SOON, || gateway.ready().0 == 503);
    let handed = gateway.drain("plain", kept);
    let bodies: Vec<_> = handed.into_iter().map(|event| event.body).collect();
    assert!(
        bodies == (0..kept).map(body).collect::<Vec<_>>(),
        "marks found their room: {} events",
        bodies.len()
    );
    until("there is room", Duration::from_secs(10), || {
        sender.deliver(&generic("plain", &body(kept))).status == 200
    });
    assert_eq!(gateway.drain("plain", 1).len(), 1);
    assert_eq!(gateway.terminate().0, Some(0), "no write has failed: {}", gateway.stderr());
}
