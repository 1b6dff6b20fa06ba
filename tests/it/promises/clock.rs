//! A clock that is wrong or steps: honest refusals, no event lost, no key forgotten before its time.

use std::fs;
use std::path::Path;

use super::steps::{event, outcome};
use crate::gateway::{Answer, Gateway, Setup, generic, now, secret, stripe_at, stripe_event};

/// A gateway that is not started yet, whose wall clock follows the offset in a file beside its journal.
fn with_clock(offset: &str) -> Gateway {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let library = folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|path| path.exists());
    let library = library.expect("libfaketime is missing; install it with: apt-get install faketime");
    let mut gateway = Setup::new()
        .source("shop", "stripe", "")
        .source("plain", "generic", "")
        .set("dedup", "window = \"7d\"")
        .prepare();
    let file = gateway.path("clock");
    turn_clock(&gateway, offset);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    gateway.change(|setup| {
        setup
            .env("LD_PRELOAD", &text(&library))
            .env("FAKETIME_TIMESTAMP_FILE", &text(&file))
            .env("FAKETIME_NO_CACHE", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    });
    gateway
}

fn turn_clock(gateway: &Gateway, offset: &str) {
    // Renamed into place, for it is read at any time.
    fs::write(gateway.path("clock.next"), offset).unwrap();
    fs::rename(gateway.path("clock.next"), gateway.path("clock")).unwrap();
}

/// A refusal that is our fault and says when to come again.
fn is_our_fault(answer: &Answer, gateway: &Gateway) {
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{}", answer.text());
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    assert!(gateway.log().iter().any(|line| line["reason"] == "clock_wrong"), "{}", gateway.stderr());
}

#[test]
fn a_clock_before_the_build_or_the_newest_record_is_503_and_never_stale() {
    let mut gateway = with_clock("-400d");
    gateway.start();
    is_our_fault(&gateway.deliver(&event("evt_0")), &gateway);
    turn_clock(&gateway, "+0");
    assert_eq!(outcome(&gateway, "evt_0"), "accepted", "nothing had been claimed, and no restart is needed");
    for restart in [false, true] {
        turn_clock(&gateway, "-2h");
        if restart {
            gateway.restart();
        }
        is_our_fault(&gateway.deliver(&event("evt_1")), &gateway);
    }
    turn_clock(&gateway, "+0");
    assert_eq!(outcome(&gateway, "evt_1"), "accepted");
    assert_eq!(gateway.drain("shop", 2).len(), 2);
}

#[test]
fn a_clock_that_steps_forward_forgets_no_key_and_loses_no_event() {
    let mut gateway = with_clock("+0");
    gateway.start();
    let one = generic("plain", b"one");
    assert_eq!(gateway.deliver(&one).outcome(), "accepted");
    // Longer than the window: by wall time the key would have aged.
    turn_clock(&gateway, "+8d");
    assert_eq!(gateway.deliver(&one).outcome(), "duplicate");
    assert_eq!(gateway.deliver(&generic("plain", b"two")).outcome(), "accepted");
    turn_clock(&gateway, "+691201");
    assert_eq!(gateway.deliver(&one).outcome(), "duplicate");
    let bodies: Vec<_> = gateway.drain("plain", 2).into_iter().map(|event| event.body).collect();
    assert_eq!(bodies, [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn a_clock_four_minutes_off_refuses_nobody_and_six_minutes_are_counted_where_one_looks() {
    let gateway =
        Setup::new().source("shop", "stripe", "tolerance = { past = \"5m\", future = \"5m\" }").start();
    let at = |offset: i64| {
        let body = stripe_event(&format!("evt_{offset}"));
        gateway.deliver(&stripe_at("shop", &secret("shop"), now() + offset, &body)).status
    };
    assert_eq!([-360, -240, 240, 360].map(at), [401, 200, 200, 401]);
    for reason in ["stale", "premature"] {
        assert_eq!(gateway.metric("hookgate_rejected_total", &[("reason", reason)]), 1.0);
    }
    let offset = gateway.metric("hookgate_clock_offset_seconds", &[("source", "shop")]);
    assert!(
        (-362.0..=-358.0).contains(&offset),
        "of the last that verified, though it was refused: {offset}"
    );
}
