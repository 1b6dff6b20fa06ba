//! A clock that is wrong or steps: honest refusals, no event lost, no key forgotten before its time.

use super::steps::{event, outcome};
use crate::gateway::{Answer, Gateway, Setup, generic, now, secret, stripe_at, stripe_event};
use crate::machine::Clock;

/// A gateway that is not started yet, and its wall clock.
fn with_clock(offset: &str) -> (Gateway, Clock) {
    let mut gateway = Setup::new()
        .source("shop", "stripe", "")
        .source("plain", "generic", "")
        .set("dedup", "window = \"7d\"")
        .prepare();
    let clock = Clock::at(gateway.path("clock"));
    let clock = clock.expect("libfaketime is missing; install it with: apt-get install libfaketime");
    clock.turn(offset);
    gateway.change(|setup| clock.lend(setup));
    (gateway, clock)
}

/// A refusal that is our fault and says when to come again.
fn is_our_fault(answer: &Answer, gateway: &Gateway) {
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{}", answer.text());
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    assert!(gateway.log().iter().any(|line| line["reason"] == "clock_wrong"), "{}", gateway.stderr());
}

#[test]
fn a_clock_before_the_build_or_the_newest_record_is_503_and_never_stale() {
    let (mut gateway, clock) = with_clock("-400d");
    gateway.start();
    is_our_fault(&gateway.deliver(&event("evt_0")), &gateway);
    clock.turn("+0");
    assert_eq!(outcome(&gateway, "evt_0"), "accepted", "nothing had been claimed, and no restart is needed");
    for restart in [false, true] {
        clock.turn("-2h");
        if restart {
            gateway.restart();
        }
        is_our_fault(&gateway.deliver(&event("evt_1")), &gateway);
    }
    clock.turn("+0");
    assert_eq!(outcome(&gateway, "evt_1"), "accepted");
    assert_eq!(gateway.drain("shop", 2).len(), 2);
}

#[test]
fn a_clock_that_steps_forward_forgets_no_key_and_loses_no_event() {
    let (mut gateway, clock) = with_clock("+0");
    gateway.start();
    let one = generic("plain", b"one");
    assert_eq!(gateway.deliver(&one).outcome(), "accepted");
    // Longer than the window: by wall time the key would have aged.
    clock.turn("+8d");
    assert_eq!(gateway.deliver(&one).outcome(), "duplicate");
    assert_eq!(gateway.deliver(&generic("plain", b"two")).outcome(), "accepted");
    clock.turn("+691201");
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
