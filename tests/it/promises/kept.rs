//! G1 at its moments: killed before the write, between write and sync, between sync and answer, after the answer.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::steps::{SOON, event, is_connected, is_written, outcome, unread};
use crate::chaos::{Mode, Proxy};
use crate::gateway::{Gateway, Setup, stripe_event, until};
use crate::load::{Book, drained, until_drained, with_rabbitmq};
use crate::services::RabbitMq;

fn setup() -> Setup {
    Setup::new().source("shop", "stripe", "")
}

/// Starts again without failpoints.
fn start_again(gateway: &mut Gateway) {
    gateway.change(|setup| setup.env("FAILPOINTS", ""));
    gateway.start();
}

/// A gateway that was killed at its third commit, at `point`, and runs again; the sender of `evt_2` got no answer.
fn killed_at(point: &str) -> Gateway {
    let mut gateway = setup().failpoint(point, "2*off->return").start();
    for id in ["evt_0", "evt_1"] {
        assert_eq!(outcome(&gateway, id), "accepted");
    }
    assert!(unread(&gateway, "evt_2").answer().is_none(), "nobody was told of what is not on disk");
    assert_eq!(gateway.ended().0, None, "killed");
    gateway
}

/// All three events are handed out once, with the bytes that were sent, none of them marked.
fn each_once(gateway: &Gateway) {
    let handed = gateway.drain("shop", 3);
    let bodies: Vec<_> = handed.iter().map(|event| event.body.clone()).collect();
    assert!(bodies == ["evt_0", "evt_1", "evt_2"].map(stripe_event), "{} events", bodies.len());
    assert!(handed.iter().all(|event| !event.possible_duplicate()), "no worker had any of them");
}

#[test]
fn an_event_cut_off_by_a_kill_before_its_write_is_new_when_it_comes_again() {
    let mut gateway = killed_at("journal.write.before");
    assert!(!is_written(&gateway, "evt_2"));
    start_again(&mut gateway);
    assert_eq!(outcome(&gateway, "evt_2"), "accepted");
    each_once(&gateway);
}

#[test]
fn an_event_whose_record_was_torn_by_a_kill_is_new_when_it_comes_again() {
    let mut gateway = killed_at("journal.sync.before");
    assert!(is_written(&gateway, "evt_2"));
    tear(&gateway, "evt_2");
    start_again(&mut gateway);
    let told = |line: &serde_json::Value| line.to_string().contains("torn tail");
    assert!(gateway.log().iter().any(told), "what is cut is told");
    assert_eq!(outcome(&gateway, "evt_2"), "accepted");
    each_once(&gateway);
}

/// Takes away what lies behind the id in the record of an event, as a write that came half through.
fn tear(gateway: &Gateway, id: &str) {
    for path in fs::read_dir(gateway.journal()).unwrap().map(|entry| entry.unwrap().path()) {
        let bytes = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        if let Some(at) = bytes.windows(id.len()).rposition(|window| window == id.as_bytes()) {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&vec![0; bytes.len() - at], at as u64).unwrap();
        }
    }
}

#[test]
fn a_retry_after_a_kill_between_write_and_sync_finds_the_first_copy() {
    let mut gateway = killed_at("journal.sync.before");
    start_again(&mut gateway);
    assert_eq!(outcome(&gateway, "evt_2"), "duplicate", "a kill takes nothing out of the system's memory");
    each_once(&gateway);
}

#[test]
fn a_retry_after_a_kill_between_sync_and_answer_finds_the_first_copy() {
    let mut gateway = killed_at("journal.sync.after");
    start_again(&mut gateway);
    assert_eq!(outcome(&gateway, "evt_2"), "duplicate");
    each_once(&gateway);
}

#[test]
fn an_event_on_disk_goes_out_though_nobody_was_answered_and_nobody_retries() {
    let mut gateway = killed_at("journal.sync.after");
    start_again(&mut gateway);
    each_once(&gateway);
}

#[test]
fn no_answer_is_begun_before_the_sync_has_ended() {
    let mut gateway = setup().failpoint("journal.sync.before", "pause").start();
    let mut sender = unread(&gateway, "evt_0");
    until("it is written", SOON, || is_written(&gateway, "evt_0"));
    let mut copy = unread(&gateway, "evt_0");
    sleep(Duration::from_millis(500));
    gateway.kill();
    assert!(sender.answer().is_none() && copy.answer().is_none(), "neither has an answer");
}

#[test]
fn a_retry_while_the_first_copy_is_being_synced_waits_for_that_sync() {
    const SYNC: Duration = Duration::from_millis(1200);
    let gateway = setup().failpoint("journal.sync.before", "1*sleep(1200)").start();
    let begun = Instant::now();
    scope(|scope| {
        let first = scope.spawn(|| outcome(&gateway, "evt_0"));
        until("the first is being synced", SOON, || is_written(&gateway, "evt_0"));
        assert_eq!(outcome(&gateway, "evt_0"), "duplicate");
        assert!(begun.elapsed() >= SYNC, "answered before the sync: {:?}", begun.elapsed());
        assert_eq!(first.join().unwrap(), "accepted");
    });
    assert_eq!(gateway.drain("shop", 1).len(), 1);
}

#[test]
fn a_sender_cut_off_before_its_2xx_finds_its_event_known() {
    let gateway = setup().failpoint("journal.sync.before", "1*sleep(500)").start();
    let sender = unread(&gateway, "evt_0");
    until("it is being synced", SOON, || is_written(&gateway, "evt_0"));
    drop(sender);
    assert_eq!(outcome(&gateway, "evt_0"), "duplicate");
    assert_eq!(gateway.drain("shop", 1).len(), 1);
}

#[test]
fn an_acked_event_survives_kill_nine() {
    let broker = RabbitMq::shared();
    let vhost = broker.vhost();
    let proxy = Proxy::start(broker.address());
    let url = broker.url_by(proxy.address(), &vhost);
    let mut gateway = with_rabbitmq(&url).source("shop", "stripe", "").start();
    is_connected(&gateway);
    proxy.set(Mode::Cut);
    until("it knows", SOON, || gateway.metric("hookgate_sink_up", &[]) == 0.0);
    let mut book = Book::default();
    let mut sender = crate::gateway::Client::new(gateway.ingress());
    for n in 0..50 {
        assert!(book.send(&mut sender, "shop", &format!("evt_{n}")), "{:?}", book.refused);
    }
    gateway.kill();
    proxy.restore();
    gateway.start();
    until_drained(&gateway);
    let audit = book.audit(&drained(broker, &vhost, "shop"));
    assert_eq!((audit.events, audit.copies, audit.marked), (50, 0, 0), "none of them had been published");
    assert_eq!(gateway.deliver(&event("evt_7")).outcome(), "duplicate");
}
