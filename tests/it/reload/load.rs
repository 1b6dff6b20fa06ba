//! Reloads under load: no valid request is refused for one, no dead secret is accepted after one, nothing is left behind.
//!
//! `HOOKGATE_IT_RELOADS` and `HOOKGATE_IT_ROTATIONS` make the runs longer.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use super::{NOTICED, applied, reload, reloads};
use crate::gateway::*;
use crate::load::{Load, number};

/// What is open in a process, and its resident memory in KiB.
fn held(gateway: &Gateway) -> (usize, u64, usize) {
    let proc = format!("/proc/{}", gateway.pid());
    let count = |folder: &str| fs::read_dir(format!("{proc}/{folder}")).unwrap().count();
    let status = fs::read_to_string(format!("{proc}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib = line.trim().trim_end_matches(" kB").parse().unwrap();
    // Of a process that is not dumpable, nobody but root sees the files from outside.
    (gateway.metric("process_open_fds", &[]) as usize, kib, count("task"))
}

/// An answer that was no 200; none where the connection ended instead of one.
type Wrong = Option<(u16, String)>;

/// Senders that sign with whatever secret is in force when they sign; every answer but 2xx is kept.
struct Signers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(usize, Vec<Wrong>)>>,
}

impl Signers {
    fn start(ingress: SocketAddr, source: &'static str, secret: &Arc<Mutex<String>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sender = |number: usize| {
            let (stop, secret) = (Arc::clone(&stop), Arc::clone(secret));
            thread::spawn(move || {
                let (mut client, mut sent, mut wrong) = (Client::new(ingress), 0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let event = stripe_event(&format!("evt_{number}_{sent}"));
                    let with = secret.lock().unwrap().clone();
                    let answer = client.try_deliver(&stripe_at(source, &with, now(), &event));
                    let good = answer.as_ref().is_some_and(|answer| answer.status == 200);
                    wrong.extend((!good).then(|| answer.map(|answer| (answer.status, answer.text()))));
                    sent += 1;
                    sleep(Duration::from_millis(2));
                }
                (sent, wrong)
            })
        };
        let threads = (0..4).map(sender).collect();
        Self { stop, threads }
    }

    /// How many were sent; panics where one was not accepted.
    fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.threads.into_iter().map(|thread| thread.join().unwrap());
        ended
            .map(|(answered, wrong)| {
                assert!(wrong.is_empty(), "{} of {answered} were refused: {:?}", wrong.len(), wrong[0]);
                answered
            })
            .sum()
    }
}

/// A worker that takes everything, so that the journal stays small.
fn worker(admin: SocketAddr, source: &'static str) -> (Arc<AtomicBool>, JoinHandle<()>) {
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&stop);
    let thread = thread::spawn(move || {
        let mut client = Client::new(admin);
        while !ended.load(Ordering::Relaxed) {
            let path = format!("/v1/inbox/{source}/claim?max=1000");
            let claimed = client.request("POST", &path, &[], b"").expect("an answer").json();
            let tokens: Vec<_> =
                claimed["events"].as_array().unwrap().iter().map(|event| &event["token"]).collect();
            if !tokens.is_empty() {
                let body = serde_json::json!({ "tokens": tokens }).to_string();
                client.request("POST", &format!("/v1/inbox/{source}/ack"), &[], body.as_bytes());
            }
            sleep(Duration::from_millis(50));
        }
    });
    (stop, thread)
}

/// What the `n`th reload finds: one file of five that is right, each another, and four that are wrong in other ways.
fn written(setup: Setup, n: u32) -> Setup {
    let setup = setup.without("sources.other").without("sources.broken");
    match n % 8 {
        0 => setup.source("other", "github", "secrets = [{ env = \"SECRET_SHOP\" }]"),
        2 => setup
            .set("sources.shop", &format!("success_status = 200\nevents = [\"charge.succeeded\", \"e{n}\"]")),
        4 => setup.set("sources.shop", "events = []").set("ingress", "explain = false"),
        6 => setup.set("ingress", "explain = true").set("sink", &format!("lease = \"{}s\"", 30 + n % 7)),
        1 => setup.source("broken", "strip", "secrets = [{ env = \"SECRET_SHOP\" }]"),
        3 => setup.set("sources.broken", "provider = \"stripe"),
        5 => setup.source("broken", "stripe", "secrets = [{ file = \"nowhere\" }]"),
        _ => setup.source("broken", "stripe", "path = \"/in/shop\"\nsecrets = [{ env = \"SECRET_SHOP\" }]"),
    }
}

#[test]
fn many_reloads_half_of_them_broken_fail_no_request_and_leave_nothing_behind() {
    let count = number("HOOKGATE_IT_RELOADS", 160);
    let mut gateway = Setup::new()
        .source("shop", "stripe", "")
        .set("journal", "bytes_max = \"1GiB\"\nretention = \"5s\"")
        .set("dedup", "window = \"7d\"")
        .set("reload", "watch = false")
        .set("log", "level = \"error\"")
        .start();
    let load = Load::start(&[gateway.ingress()], "shop", "reloads", number("HOOKGATE_IT_RELOAD_RATE", 100));
    let (stop, working) = worker(gateway.admin(), "shop");
    let warm = (count / 10).clamp(16, 400);
    let (mut before, mut most) = ((0, 0, 0), (0, 0, 0));
    let mut outcomes = [0, 0];
    for n in 0..count {
        gateway.change(|setup| written(setup, n));
        let mut status = reload(&gateway).status;
        // A release is faster than the listener lets one caller be.
        while status == 429 {
            sleep(Duration::from_millis(5));
            status = reload(&gateway).status;
        }
        assert_eq!(status, [200, 422][n as usize % 2], "reload {n}");
        outcomes[n as usize % 2] += 1;
        if n + 1 == warm {
            before = held(&gateway);
        }
        if n % 50 == 49 {
            let now = held(&gateway);
            most = (most.0.max(now.0), most.1.max(now.1), most.2.max(now.2));
        }
    }
    stop.store(true, Ordering::Relaxed);
    working.join().unwrap();
    let book = load.finish();
    assert_eq!((book.refused.len(), book.unanswered), (0, 0), "{:?}", book.refused.first());
    until("threads of former explainers have ended", Duration::from_secs(20), || {
        held(&gateway).2 <= before.2
    });
    let after = held(&gateway);
    eprintln!(
        "{count} reloads ({} applied, {} refused), {} events answered, 0 failed; descriptors, KiB, threads: \
         {before:?} after {warm}, {most:?} at most, {after:?} at the end",
        outcomes[0], outcomes[1], book.answers
    );
    assert!(after.0 <= before.0 + 4, "descriptors: {before:?}, then {after:?}");
    assert!(after.1 <= before.1 + (32 << 10), "memory: {before:?}, then {after:?}");
    assert_eq!(reloads(&gateway, "invalid"), f64::from(outcomes[1]));
}

/// Swaps what a mounted folder leads to, as Kubernetes does.
fn mount(folder: &Path, version: u32, files: &[(&str, &str)]) {
    let real = folder.join(format!("..{version}"));
    fs::create_dir_all(&real).unwrap();
    files.iter().for_each(|(name, text)| fs::write(real.join(name), text).unwrap());
    symlink(format!("..{version}"), folder.join("..tmp")).unwrap();
    fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
}

#[test]
fn a_secret_rotated_in_a_mounted_folder_under_load_costs_no_request() {
    let lines =
        "secrets = [{ file = \"mount/new\", label = \"new\" }, { file = \"mount/old\", label = \"old\" }]";
    let gateway = Setup::new().source("shop", "stripe", lines).prepare();
    let secret = |n: u32| format!("whsec_{n}_0123456789abcdef");
    let folder = gateway.path("mount");
    mount(&folder, 0, &[("new", &secret(0)), ("old", &secret(0))]);
    for name in ["new", "old"] {
        symlink(format!("..data/{name}"), folder.join(name)).unwrap();
    }
    let mut gateway = gateway;
    gateway.start();
    let in_force = Arc::new(Mutex::new(secret(0)));
    let signers = Signers::start(gateway.ingress(), "shop", &in_force);
    let by =
        |n: u32, id: &str| gateway.deliver(&stripe_at("shop", &secret(n), now(), &stripe_event(id))).status;
    for n in 1..4 {
        mount(&folder, n, &[("new", &secret(n)), ("old", &secret(n - 1))]);
        until("the swap is noticed", NOTICED, || by(n, &format!("evt_new_{n}")) == 200);
        *in_force.lock().unwrap() = secret(n);
        sleep(Duration::from_millis(500));
    }
    let sent = signers.finish();
    assert_eq!([by(0, "evt_a"), by(1, "evt_b"), by(2, "evt_c"), by(3, "evt_d")], [401, 401, 200, 200]);
    assert_eq!(reloads(&gateway, "applied"), 3.0);
    eprintln!("{sent} events over three rotations, 0 refused");
}

#[test]
fn a_year_of_rotations_refuses_no_valid_request_and_accepts_no_dead_secret() {
    let days = number("HOOKGATE_IT_ROTATIONS", 40);
    let secret = |day: u32| format!("whsec_day_{day}_0123456789abcdef");
    let lines = |day: u32| {
        let one = |day: u32| format!("{{ file = \"day{day}\", label = \"day{day}\" }}");
        format!("secrets = [{}, {}]", one(day), one(day.saturating_sub(1)))
    };
    let mut gateway = Setup::new()
        .set("reload", "watch = false")
        .set("log", "level = \"error\"")
        .source("shop", "stripe", "secrets = [{ file = \"day0\", label = \"day0\" }]")
        .prepare();
    fs::write(gateway.path("day0"), secret(0)).unwrap();
    gateway.start();
    let in_force = Arc::new(Mutex::new(secret(0)));
    let signers = Signers::start(gateway.ingress(), "shop", &in_force);
    let (mut client, mut valid, mut dead) = (Client::new(gateway.ingress()), 0, 0);
    let mut by =
        |secret: &str, id: &str| client.deliver(&stripe_at("shop", secret, now(), &stripe_event(id))).status;
    for day in 1..=days {
        assert_eq!(by(&secret(day), &format!("evt_early_{day}")), 401, "day {day}'s secret is none yet");
        fs::write(gateway.path(&format!("day{day}")), secret(day)).unwrap();
        gateway.change(|setup| setup.set("sources.shop", &lines(day)));
        let told = applied(&gateway);
        assert_eq!(told["secrets"]["added"], serde_json::json!([format!("shop/day{day}")]));
        // Both of the overlap, then every one that is dead.
        for good in [day, day - 1] {
            assert_eq!(by(&secret(good), &format!("evt_{day}_{good}")), 200, "day {day}");
            valid += 1;
        }
        *in_force.lock().unwrap() = secret(day);
        for old in (0..day - 1).rev().take(3).chain((day > 1).then_some(0)) {
            assert_eq!(by(&secret(old), &format!("evt_dead_{day}_{old}")), 401, "day {day}, secret of {old}");
            dead += 1;
        }
        // A sender may hold the secret of the day before for as long as a request takes.
        sleep(Duration::from_millis(20));
    }
    let sent = signers.finish();
    let series =
        gateway.metrics().lines().filter(|line| line.starts_with("hookgate_secret_used_total{")).count();
    assert_eq!(series, 2, "dead labels have no series");
    eprintln!(
        "{days} rotations: {sent} + {valid} valid requests, 0 refused; {dead} with a dead secret, 0 accepted"
    );
}
