//! Secrets that a sender brings itself: only while the source is armed, once, and durable before the answer.

use std::os::unix::fs::PermissionsExt as _;

use crate::answers::{SCHEME, own};
use crate::gateway::*;

const HELLO: &str = "[[handshakes]]\nname = \"hello\"\nverify = false\nmatch = { present = [\"header:X-Hook-Secret\"] }\n\
                     capture = \"header:X-Hook-Secret\"\n\
                     answer = { headers = { X-Hook-Secret = \"{header:X-Hook-Secret}\" } }\n";
const FIRST: &str = "b537207f20cbfa02357cf448134da559";
const SECOND: &str = "second-37207f20cbfa02357cf448134";

fn setup() -> Setup {
    Setup::new().source("acme", "acme", "secrets = [{ captured = \"secrets/acme\", label = \"hook\" }]")
}

fn start(setup: Setup) -> Gateway {
    own(&format!("{SCHEME}{HELLO}"), setup)
}

fn show(gateway: &Gateway, secret: &str) -> Option<Answer> {
    Client::call(gateway.ingress(), "POST", "/in/acme", &[("X-Hook-Secret", secret)], b"{}")
}

fn event(secret: &str, body: &[u8]) -> Signed {
    generic("acme", body).with("x-signature", &hex::encode(mac(secret, &[body])))
}

fn arm(gateway: &Gateway) -> String {
    let output = gateway.run(&["secret", "arm", "acme", "--for", "5m"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_secret_is_brought_once_while_armed_and_counts_at_once_and_after_a_restart() {
    let mut gateway = start(setup());
    assert_eq!(gateway.ready().0, 200, "no secret yet is no error");
    let refused = gateway.deliver(&event(FIRST, b"{\"id\":0}"));
    assert_eq!(refused.status, 401);
    let labels = [("source", "acme"), ("reason", "no_active_secret")];
    assert_eq!(gateway.metric("hookgate_rejected_total", &labels), 1.0);
    let early = show(&gateway, FIRST).unwrap();
    assert_eq!((early.status, early.code().as_str()), (403, "not_armed"));
    assert!(!gateway.path("secrets").exists());

    assert!(arm(&gateway).contains("no secret yet"));
    let answer = show(&gateway, FIRST).unwrap();
    assert_eq!((answer.status, answer.header("x-hook-secret")), (200, FIRST));
    assert_eq!(gateway.deliver(&event(FIRST, b"{\"id\":1}")).outcome(), "accepted");
    assert_eq!(show(&gateway, SECOND).unwrap().status, 403, "the window ended with the first");
    assert_eq!(gateway.deliver(&event(SECOND, b"{\"id\":2}")).status, 401);
    let file = gateway.path("secrets/acme");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    gateway.restart();
    assert_eq!(gateway.deliver(&event(FIRST, b"{\"id\":3}")).outcome(), "accepted");
    assert_eq!(show(&gateway, SECOND).unwrap().status, 403, "no start is armed");
    assert!(arm(&gateway).contains("stays valid for an hour"));
    assert_eq!(show(&gateway, SECOND).unwrap().status, 200);
    gateway.restart();
    for (secret, body) in [(FIRST, &b"{\"id\":4}"[..]), (SECOND, b"{\"id\":5}")] {
        assert_eq!(gateway.deliver(&event(secret, body)).outcome(), "accepted", "both count after the roll");
    }
    for (label, count) in [("hook", 1.0), ("hook.previous", 1.0)] {
        let used = gateway.metric("hookgate_secret_used_total", &[("source", "acme"), ("secret", label)]);
        assert_eq!(used, count, "{label}");
    }
    let log = gateway.stderr();
    assert!(log.contains("captured the source's secret") && log.contains("armed"), "{log}");
    assert!(!log.contains(FIRST) && !log.contains(SECOND), "a secret is in the log");
    assert_eq!(gateway.drain("acme", 4).len(), 4);
}

#[test]
fn only_an_operator_arms_and_only_what_can_be_armed() {
    let gateway = start(setup().source("plain", "acme", "").admin_token("operator-token-0123456789"));
    let arm = |name: &str, headers: &[(&str, &str)]| {
        let path = format!("/v1/sources/{name}/arm");
        Client::call(gateway.admin(), "POST", &path, headers, b"").unwrap().status
    };
    assert_eq!(arm("acme", &[]), 401);
    assert_eq!(arm("acme", &[("authorization", "Bearer wrong-token-0123456789")]), 401);
    assert_eq!(show(&gateway, FIRST).unwrap().status, 403);
    let token = [("authorization", "Bearer operator-token-0123456789")];
    assert_eq!((arm("plain", &token), arm("nobody", &token)), (404, 404));
    assert_eq!(arm("acme", &token), 200);
    for bad in ["short", &"x".repeat(2049)] {
        assert_eq!(show(&gateway, bad).unwrap().status, 400, "{} bytes", bad.len());
    }
    let plain =
        Client::call(gateway.ingress(), "POST", "/in/plain", &[("X-Hook-Secret", FIRST)], b"{}").unwrap();
    assert_eq!(
        (plain.status, plain.code().as_str()),
        (403, "not_armed"),
        "a source with a secret of its own"
    );
    assert_eq!(show(&gateway, FIRST).unwrap().status, 200);
}

#[test]
fn a_captured_secret_where_none_can_be_is_told() {
    for (lines, part) in [
        ("secrets = [{ captured = \"s/a\" }]", "never sends one"),
        ("secrets = [{ captured = \"s/a\" }, { captured = \"s/b\" }]", "a second captured secret"),
        (
            "secrets = [{ captured = \"s/a\", not_after = \"2030-01-01T00:00:00Z\" }]",
            "neither not_before nor not_after",
        ),
    ] {
        let output = Setup::new().source("shop", "stripe", lines).run(&["check"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{told}");
        assert!(told.contains(part), "{part}:\n{told}");
    }
}

/// At whatever point of a capture the process is killed: what was answered 2xx is there after a restart, and what was
/// there before is valid still.
#[cfg(feature = "failpoints")]
#[test]
fn a_kill_within_a_capture_loses_no_secret_that_was_answered_for() {
    let points = [
        ("capture.rename.before", false, false),
        ("capture.rename.after", false, true),
        ("ingress.answer.made", false, true),
    ];
    for (point, answered, there) in points {
        let mut gateway = start(setup());
        arm(&gateway);
        assert_eq!(show(&gateway, FIRST).unwrap().status, 200);
        gateway.change(|setup| setup.failpoint(point, "return"));
        gateway.restart();
        arm(&gateway);
        assert_eq!(show(&gateway, SECOND).is_some_and(|answer| answer.status == 200), answered, "{point}");
        until("it is killed", std::time::Duration::from_secs(10), || gateway.is_dead());
        gateway.ended();
        gateway.change(|setup| setup.env("FAILPOINTS", ""));
        gateway.start();
        let second = gateway.deliver(&event(SECOND, b"{\"id\":2}"));
        assert_eq!(second.status, if there { 200 } else { 401 }, "{point}");
        assert_eq!(gateway.deliver(&event(FIRST, b"{\"id\":1}")).outcome(), "accepted", "{point}");
        arm(&gateway);
        assert_eq!(
            show(&gateway, "third-0123456789abcdef").unwrap().status,
            200,
            "what a kill left stops nothing"
        );
    }
}

/// Killed the moment the sender has its 2xx.
#[test]
fn a_secret_that_was_answered_for_survives_a_kill() {
    let mut gateway = start(setup());
    arm(&gateway);
    assert_eq!(show(&gateway, FIRST).unwrap().status, 200);
    gateway.kill();
    gateway.start();
    assert_eq!(gateway.deliver(&event(FIRST, b"{\"id\":1}")).outcome(), "accepted");
}
