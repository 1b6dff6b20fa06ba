//! The bad days.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use super::Hands;
use crate::gateway::*;
use crate::load::{drained, until_drained, with_rabbitmq};
use crate::machine::{Clock, SmallDisk};
use crate::services::{RabbitMq, Redis};

const SOON: Duration = Duration::from_secs(30);
const MARK: &str = "hookgate-possible-duplicate";

fn setup() -> Setup {
    Setup::new().source("stripe", "stripe", "")
}

fn event(id: &str) -> Signed {
    stripe("stripe", &stripe_event(id))
}

fn taken(gateway: &Gateway, id: &str) {
    let answer = gateway.deliver(&event(id));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn readiness(gateway: &Gateway, word: &str) {
    until(word, SOON, || gateway.ready().1.starts_with(word));
}

/// The segments of a folder that were written, oldest first.
fn segments(gateway: &Gateway) -> Vec<PathBuf> {
    let files = fs::read_dir(gateway.journal()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "segment")).collect();
    found.sort();
    found
}

#[test]
fn first_look() {
    let mut hands = Hands::at("First look");
    let gateway = setup().start();
    taken(&gateway, "evt_1");
    let mut forged = event("evt_2");
    forged.body = stripe_event("evt_3");
    gateway.deliver(&forged);
    assert!(hands.does("hookgate healthcheck", &gateway).starts_with("ready"));
    assert!(hands.does("hookgate top --once", &gateway).contains("stripe"));
    until("the refusal is in the history", SOON, || {
        gateway.get("/v1/history/refusals").text().contains("signature_mismatch")
    });
    assert!(hands.does("hookgate history failures", &gateway).contains("signature_mismatch"));
    assert!(hands.does("curl -s", &gateway).contains("\"notices\""));
    hands.done();
}

#[test]
fn the_disk_is_full() {
    let gateway = setup()
        .set("journal", "dir = \"small/journal\"\nsegment_bytes = \"1MiB\"\nbytes_max = \"1GiB\"")
        .source("plain", "generic", "")
        .prepare();
    let small = match SmallDisk::mount(gateway.path("small"), 8 << 20) {
        Ok(disk) => disk,
        Err(error) => {
            println!("skipped: a tmpfs cannot be mounted here, which takes root: {error}");
            return;
        }
    };
    let mut gateway = gateway;
    let mut hands = Hands::at("The disk is full")
        .with("/var/lib/hookgate/journal", gateway.path("small/journal"))
        .with("/var/lib/hookgate/WHAT-IS-IN-THE-WAY", gateway.path("small/ballast"))
        .with("/var/lib/hookgate", gateway.path("small"));
    gateway.start();
    taken(&gateway, "evt_1");
    // A second segment is made ready beside the first, and the history begun.
    until("what a start makes is there", SOON, || {
        let second = fs::metadata(gateway.path("small/journal/0000000000000002.segment"));
        second.is_ok_and(|found| found.len() == 1 << 20) && gateway.get("/v1/history/events/1").status == 200
    });
    small.ballast(1 << 20);
    let mut sender = Client::new(gateway.ingress());
    let mut sent = 0;
    until("it is full", SOON, || {
        sent += 1;
        let large = generic("plain", format!("{sent} {}", "x".repeat(20_000)).as_bytes());
        sender.try_deliver(&large).is_some_and(|answer| answer.status == 503)
    });
    readiness(&gateway, "unready");
    assert!(hands.does("hookgate healthcheck", &gateway).contains("no room for more unconfirmed events"));
    hands.does("df", &gateway);
    assert!(hands.does("hookgate events list", &gateway).contains("stripe"));
    assert!(hands.does("hookgate journal inspect", &gateway).contains("pending"));
    hands.does("rm", &gateway);
    readiness(&gateway, "ready");
    hands.does("hookgate healthcheck", &gateway);
    taken(&gateway, "evt_2");
    assert_eq!(gateway.drain("stripe", 2).len(), 2, "what was answered, before and after");
    hands.done();
}

#[test]
fn rabbitmq_is_gone() {
    let mut hands = Hands::at("RabbitMQ is gone for hours");
    let mut broker = RabbitMq::own();
    let vhost = broker.vhost();
    let gateway = with_rabbitmq(&broker.url(&vhost)).source("stripe", "stripe", "").start();
    readiness(&gateway, "ready");
    broker.stop();
    readiness(&gateway, "degraded");
    (0..30).for_each(|index| taken(&gateway, &format!("evt_{index}")));
    assert!(hands.does("hookgate healthcheck", &gateway).starts_with("degraded"));
    assert!(hands.does("hookgate check --connect", &gateway).contains("rabbitmq"));
    assert!(hands.does("hookgate events list --state pending", &gateway).contains("evt_4"));
    hands.has_systemd("start rabbitmq-server");
    broker.restart();
    hands.does("hookgate check --connect", &gateway);
    until_drained(&gateway);
    let messages = drained(&broker, &vhost, "stripe");
    assert_eq!(messages.len(), 30);
    hands.done();
}

#[test]
fn redis_is_lost() {
    let mut hands = Hands::at("Redis is lost");
    let (broker, mut redis) = (RabbitMq::shared(), Redis::start_forgetful());
    let vhost = broker.vhost();
    let gateway = with_rabbitmq(&broker.url(&vhost))
        .source("stripe", "stripe", "")
        .env("REDIS_URL", &redis.url())
        .set(
            "dedup",
            "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }\nredis_wait = \"1s\"\nwindow = \"7d\"",
        )
        .start();
    readiness(&gateway, "ready");
    taken(&gateway, "evt_1");
    until_drained(&gateway);
    redis.kill();
    taken(&gateway, "evt_2");
    readiness(&gateway, "degraded");
    assert!(hands.does("hookgate healthcheck", &gateway).starts_with("degraded"));
    assert!(hands.does("hookgate check --connect", &gateway).contains("redis"));
    until_drained(&gateway);
    hands.has_systemd("start redis-server");
    redis.restart();
    hands.does("hookgate check --connect", &gateway);
    readiness(&gateway, "ready");
    assert_eq!(gateway.deliver(&event("evt_1")).outcome(), "duplicate", "by the index of its own");
    taken(&gateway, "evt_3");
    until_drained(&gateway);
    let messages = drained(broker, &vhost, "stripe");
    let marked: Vec<bool> = messages.iter().map(|message| message.headers.contains_key(MARK)).collect();
    assert_eq!(marked, [false, true, false]);
    hands.done();
}

#[test]
fn the_folder_is_damaged() {
    let mut gateway = setup().prepare();
    let backups = tempfile::tempdir().unwrap();
    let mut hands = Hands::at("The journal's folder is damaged")
        .with("/var/lib/hookgate/journal", gateway.journal())
        .with("/var/backups/hookgate", backups.path());
    gateway.start();
    (0..6).for_each(|index| taken(&gateway, &format!("evt_{index}")));
    // In the middle of what was written: behind it are whole records.
    let segment = segments(&gateway).remove(0);
    let bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(5).position(|text| text == b"evt_2").unwrap();
    fs::OpenOptions::new().write(true).open(&segment).unwrap().write_all_at(b"\xff", at as u64).unwrap();
    assert!(hands.does("hookgate journal verify", &gateway).contains("means: "));
    hands.has_systemd("stop hookgate");
    gateway.terminate();
    hands.does("cp -a", &gateway);
    assert!(backups.path().join("damaged").join(segment.file_name().unwrap()).exists());
    hands.has_systemd("start hookgate");
    gateway.start();
    assert!(hands.does("hookgate journal verify", &gateway).contains("set aside by a start"));
    hands.does("for FILE in", &gateway);
    hands.does("mv", &gateway);
    hands.does("hookgate journal verify", &gateway);
    let handed = gateway.drain("stripe", 5);
    assert_eq!(handed.len(), 5, "all but the one whose bytes are gone");
    let names: Vec<_> =
        fs::read_dir(backups.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "the copy, what was set aside, and what could be read of it: {names:?}");
    hands.done();
}

#[test]
fn the_machine_is_dead() {
    let (mut old, mut gateway) = (setup().start(), setup().prepare());
    let mut hands = Hands::at("The machine is dead, its disk is not")
        .with("/mnt/old/journal", old.journal())
        .with("/var/lib/hookgate/journal", gateway.journal());
    (0..4).for_each(|index| taken(&old, &format!("evt_{index}")));
    let done = old.claim("stripe", 1);
    assert_eq!(old.ack("stripe", &done).status, 200);
    old.claim("stripe", 1);
    old.kill();
    hands.does("hookgate journal verify", &gateway);
    hands.does("cp -a", &gateway);
    hands.has_systemd("start hookgate");
    gateway.start();
    hands.does("hookgate healthcheck", &gateway);
    assert!(hands.does("hookgate events list --state pending", &gateway).contains("evt_3"));
    let handed = gateway.drain("stripe", 3);
    assert_eq!((handed.len(), handed[0].header(MARK).as_str()), (3, "true"), "it was out with a worker");
    assert_eq!(gateway.deliver(&event("evt_0")).outcome(), "duplicate");
    hands.done();
}

#[test]
fn the_disk_is_dead_too() {
    let (mut old, mut gateway) = (setup().start(), setup().prepare());
    let backups = tempfile::tempdir().unwrap();
    let mut hands = Hands::at("The disk is dead too, there is a backup")
        .with("/var/lib/hookgate/journal", old.journal())
        .with("/var/backups/hookgate", backups.path())
        .with("/mnt/new/journal", gateway.journal());
    (0..4).for_each(|index| taken(&old, &format!("evt_{index}")));
    hands.does("hookgate journal backup", &old);
    taken(&old, "evt_late");
    old.kill();
    fs::remove_dir_all(old.journal()).unwrap();
    hands.does("cp -a", &gateway);
    hands.does("hookgate journal verify", &gateway);
    hands.has_systemd("start hookgate");
    gateway.start();
    assert!(hands.does("hookgate events list --state pending", &gateway).contains("evt_3"));
    let handed = gateway.drain("stripe", 4);
    assert!(handed.len() == 4 && handed.iter().all(|event| event.header(MARK) == "true"));
    hands.done();
}

#[test]
fn a_wrong_secret() {
    let mut hands = Hands::at("A wrong secret was rolled out");
    let right = "whsec_right_0123456789abcdef";
    let mut gateway = Setup::new()
        .env("STRIPE_WEBHOOK_SECRET", right)
        .source(
            "stripe",
            "stripe",
            "secrets = [{ file = \"stripe-webhook-secret\", label = \"live\" }]\nquarantine = \"1MiB\"",
        )
        .prepare();
    fs::write(gateway.path("stripe-webhook-secret"), "whsec_wrong_0123456789abcdef").unwrap();
    gateway.start();
    let sent = |secret: &str, id: &str| stripe_at("stripe", secret, now(), &stripe_event(id));
    for id in ["evt_1", "evt_2"] {
        assert_eq!(gateway.deliver(&sent(right, id)).status, 401);
    }
    assert_eq!(gateway.deliver(&sent("whsec_forged_0123456789abcdef", "evt_3")).status, 401);
    until("they are kept", SOON, || {
        let kept = gateway.get("/v1/quarantine").json();
        kept["requests"].as_array().is_some_and(|requests| requests.len() == 3)
    });
    assert!(hands.does("hookgate history failures", &gateway).contains("signature_mismatch"));
    let wrong = hands.does("hookgate secret fingerprint", &gateway);
    hands.does("printf", &gateway);
    hands.does("hookgate reload", &gateway);
    let output = gateway.run(&["secret", "fingerprint", "stripe"]);
    assert_ne!(wrong, String::from_utf8_lossy(&output.stdout), "another secret has another fingerprint");
    hands.does("hookgate quarantine requeue --source stripe --reverify --dry-run", &gateway);
    let said = hands.does("hookgate quarantine requeue --source stripe --reverify", &gateway);
    assert!(said.contains("2 accepted") && said.contains("1 still refused"), "{said}");
    assert_eq!(gateway.drain("stripe", 2).len(), 2);
    hands.done();
}

#[test]
fn the_clock_is_wrong() {
    let mut hands = Hands::at("The clock is wrong");
    let mut gateway = setup().prepare();
    let clock = Clock::at(gateway.path("clock"));
    let clock = clock.expect("libfaketime is missing; install it with: apt-get install libfaketime");
    gateway.change(|setup| clock.lend(setup));
    gateway.start();
    taken(&gateway, "evt_1");
    clock.turn("-2h");
    let refused = gateway.deliver(&event("evt_2"));
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"));
    hands.does("date -u", &gateway);
    until("the refusal is in the history", SOON, || {
        gateway.get("/v1/history/refusals").text().contains("clock_wrong")
    });
    assert!(hands.does("hookgate history failures", &gateway).contains("clock_wrong"));
    hands.has_systemd("restart chrony");
    clock.turn("+0");
    hands.does("hookgate healthcheck", &gateway);
    assert_eq!(gateway.deliver(&event("evt_2")).outcome(), "accepted");
    assert_eq!(gateway.deliver(&event("evt_1")).outcome(), "duplicate");
    hands.done();
}

#[test]
fn a_poison_event() {
    let gateway = setup().set("sink", "kind = \"inbox\"\nmax_attempts = 2").start();
    taken(&gateway, "evt_poison");
    let fail = || {
        for _ in 0..2 {
            let one = gateway.claim_within("stripe", SOON);
            gateway.nack("stripe", &one, "0s");
        }
    };
    fail();
    taken(&gateway, "evt_behind");
    assert_eq!(gateway.drain("stripe", 1).len(), 1, "the event behind it waits for nobody");
    let mut hands = Hands::at("An event is poison").with("NUMBER", "1");
    until("it is poison, in the history too", SOON, || {
        gateway.get("/v1/events?state=poison").text().contains("evt_poison")
            && gateway.get("/v1/history/events/1").status == 200
    });
    assert!(hands.does("hookgate events list --state poison", &gateway).contains("evt_poison"));
    assert!(hands.does("hookgate events show 1", &gateway).contains("evt_poison"));
    assert_eq!(
        hands.does("hookgate events show 1 --body -", &gateway).as_bytes(),
        stripe_event("evt_poison")
    );
    assert!(hands.does("hookgate history show 1", &gateway).contains("evt_poison"));
    hands.does("hookgate events requeue", &gateway);
    fail();
    until("it is poison again", SOON, || gateway.metric("hookgate_relay_poison", &[]) == 1.0);
    hands.does("hookgate events drop", &gateway);
    assert_eq!(gateway.metric("hookgate_relay_poison", &[]), 0.0);
    hands.done();
}
