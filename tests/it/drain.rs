//! A gateway taken out for good: balancers are turned away first, senders later, and «drained» is said only when nothing
//! that was answered 2xx is left.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::chaos::{Mode, Proxy};
use crate::gateway::*;
use crate::load::{drained, with_rabbitmq};
use crate::services::{RabbitMq, Redis};

const SOON: Duration = Duration::from_secs(20);

fn setup() -> Setup {
    Setup::new().source("shop", "stripe", "").source("git", "github", "on_twin = \"hold\"")
}

fn begin(gateway: &Gateway, grace: &str) -> Value {
    let order = json!({ "grace": grace }).to_string();
    let answer = gateway.admin_call("POST", "/v1/drain", &[], order.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn seen(gateway: &Gateway) -> Value {
    gateway.get("/v1/drain").json()
}

fn is(gateway: &Gateway, phase: &str) {
    until(phase, SOON, || seen(gateway)["phase"] == phase);
}

fn event(id: &str) -> Signed {
    stripe("shop", &stripe_event(id))
}

/// What a command came to: exit code, stdout, stderr.
fn said(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn journal_holds(gateway: &Gateway) -> u64 {
    let dir = gateway.journal();
    let output = hookgate(&["--output", "json", "journal", "inspect", dir.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["segments"].as_array().unwrap().iter().map(|segment| segment["live"].as_u64().unwrap()).sum()
}

#[test]
fn balancers_are_turned_away_first_and_senders_later() {
    let gateway = setup().start();
    let mut sender = Client::new(gateway.ingress());
    assert_eq!(sender.deliver(&event("evt_1")).header("connection"), "");
    // Two calls have to fit into it, on a busy machine too.
    let told = begin(&gateway, "5s");
    assert_eq!((&told["phase"], &told["left"]["total"]), (&json!("turning_away"), &json!(1)));
    let (status, text) = gateway.ready();
    assert_eq!(status, 503);
    assert!(text.starts_with("unready\ndrain: FAILED (deliveries are taken until "), "{text}");
    let taken = sender.deliver(&event("evt_2"));
    assert_eq!((taken.status, taken.header("connection")), (200, "close"), "{}", taken.text());
    is(&gateway, "draining");
    let refused = gateway.deliver(&event("evt_3"));
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"));
    assert_eq!((refused.header("retry-after"), refused.header("connection")), ("5", "close"));
    let mut forged = event("evt_4");
    forged.body = stripe_event("evt_5");
    assert_eq!(gateway.deliver(&forged).status, 401, "a forgery is still one");
    assert_eq!(gateway.metric("hookgate_rejected_total", &[("reason", "draining")]), 1.0);
    until("the notice", SOON, || gateway.metric("hookgate_notice", &[("notice", "draining")]) == 1.0);
    assert_eq!(seen(&gateway)["sources"]["shop"]["pending"], 2);
    gateway.drain("shop", 2);
    is(&gateway, "drained");
    let (_, text) = gateway.ready();
    assert!(text.contains("drain: FAILED (deliveries are answered 503; nothing is left)"), "{text}");
    let actions = |line: &Value| line["audit"] == "action" && line["action"] == "drain";
    assert_eq!(gateway.log().iter().filter(|line| actions(line)).count(), 1, "{}", gateway.stderr());
}

#[test]
fn a_drain_that_is_cancelled_leaves_no_trace_even_within_its_grace() {
    let gateway = setup().start();
    begin(&gateway, "700ms");
    let output = gateway.run(&["drain", "--cancel"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "deliveries are taken again\n");
    thread::sleep(Duration::from_secs(1));
    assert_eq!((gateway.deliver(&event("evt_1")).status, gateway.ready().0), (200, 200));
    begin(&gateway, "0s");
    is(&gateway, "draining");
    assert_eq!(gateway.deliver(&event("evt_2")).status, 503);
    begin(&gateway, "1h");
    assert_eq!(seen(&gateway)["phase"], "draining", "a longer grace takes nothing back");
    gateway.run(&["drain", "--cancel"]);
    assert_eq!((gateway.deliver(&event("evt_2")).status, gateway.ready().0), (200, 200));
    until("no notice", SOON, || gateway.metric("hookgate_notice", &[("notice", "draining")]) == 0.0);
}

/// Sends new events until told to stop: those that were answered 2xx.
pub fn sent(address: SocketAddr, sender: usize, stop: &AtomicBool) -> BTreeSet<String> {
    let mut acked = BTreeSet::new();
    let mut client = Client::new(address);
    for index in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("evt_{sender}_{index}");
        if client.try_deliver(&event(&id)).is_some_and(|answer| answer.status == 200) {
            acked.insert(id);
        }
    }
    acked
}

/// Takes and acknowledges all that comes until told to stop.
pub fn worked(gateway: &Gateway, work: &AtomicBool) -> BTreeSet<String> {
    let mut handed = BTreeSet::new();
    while work.load(Ordering::Relaxed) {
        let some = gateway.claim_by("shop", "max=500&wait=1s");
        assert!(some.is_empty() || gateway.ack("shop", &some).status == 200);
        handed.extend(some.iter().map(|event| event.header("hookgate-event-id")));
    }
    handed
}

#[test]
fn once_it_says_drained_a_kill_leaves_nothing_behind_of_what_was_answered_under_load() {
    let mut gateway = setup().start();
    let (address, stop, work) = (gateway.ingress(), &AtomicBool::new(false), &AtomicBool::new(true));
    let (acked, handed) = thread::scope(|scope| {
        let senders: Vec<_> = (0..6).map(|sender| scope.spawn(move || sent(address, sender, stop))).collect();
        let gateway = &gateway;
        let worker = scope.spawn(move || worked(gateway, work));
        until("some events are in", SOON, || {
            gateway.metric("hookgate_requests_total", &[("outcome", "accepted")]) > 300.0
        });
        let (code, out, err) = said(gateway.spawn(&["drain", "--grace", "500ms", "--wait", "60s"]));
        // Senders go on: what is answered from here on is no 2xx.
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        work.store(false, Ordering::Relaxed);
        assert_eq!(code, Some(0), "{out}{err}");
        assert!(out.starts_with("drained: nothing is left, ") && out.lines().count() == 1, "{out}");
        let acked: BTreeSet<String> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        (acked, worker.join().unwrap())
    });
    gateway.kill();
    assert!(acked.len() > 300);
    assert_eq!(journal_holds(&gateway), 0);
    let lost: Vec<_> = acked.difference(&handed).collect();
    assert!(lost.is_empty(), "answered 2xx, and left behind: {lost:?}");
}

#[test]
fn what_is_left_after_the_wait_is_told_with_what_to_do() {
    let mut gateway = setup().start();
    for id in ["evt_1", "evt_2"] {
        gateway.deliver(&event(id));
    }
    assert_eq!(gateway.claim_by("shop", "max=1&lease=1m").len(), 1);
    for delivery in ["d-1", "d-2"] {
        assert_eq!(gateway.deliver(&github("git", delivery, "push", b"{}")).status, 200);
    }
    let (code, out, err) = said(gateway.spawn(&["drain", "--grace", "0s", "--wait", "1s"]));
    assert_eq!(code, Some(1), "{err}");
    let expected = "deliveries are answered 503\n  3 pending (git 1, shop 2): for workers to claim and acknowledge; 1 are out with them\n  1 held (git 1): see ";
    assert!(out.contains(expected), "{out}");
    let (code, out, _) = said(gateway.spawn(&["--output", "json", "drain", "--status"]));
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, Some(1));
    assert_eq!((&status["phase"], &status["left"]["leased"]), (&json!("draining"), &json!(1)));
    // A restart takes deliveries again, and whoever waits is told.
    let waiting = gateway.spawn(&["drain", "--wait", "60s"]);
    until("the wait has begun", SOON, || {
        gateway.log().iter().filter(|line| line["action"] == "drain").count() == 2
    });
    gateway.restart();
    let (code, _, err) = said(waiting);
    assert!(matches!(code, Some(1 | 69)), "{code:?} {err}");
    // It may have been stopped before it answered.
    let told = ["left: 3 pending", "was started again", "holds 4 events"];
    assert!(told.iter().any(|told| err.contains(told)), "{err}");
    assert_eq!((gateway.ready().0, seen(&gateway)["phase"].as_str()), (200, Some("serving")));
    gateway.kill();
    let output = gateway.run(&["drain"]);
    assert_eq!(output.status.code(), Some(69));
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(err.contains("holds 4 events that are not handed over"), "{err}");
}

#[test]
fn an_order_is_an_operators_and_a_look_is_enough_for_who_looks() {
    let reader = "reader-0123456789abcdef0123";
    let gateway = setup()
        .admin_token("admin-0123456789abcdef0123")
        .env("READ", reader)
        .set("admin", "read_token = { env = \"READ\" }")
        .start();
    let bearer = format!("Bearer {reader}");
    let by = [("authorization", bearer.as_str())];
    assert_eq!(gateway.admin_call("GET", "/v1/drain", &by, b"").status, 200);
    for path in ["/v1/drain", "/v1/drain/cancel"] {
        assert_eq!(gateway.admin_call("POST", path, &by, b"").status, 401, "{path}");
    }
    assert_eq!(seen(&gateway)["phase"], "serving");
    let answer = gateway.admin_call("POST", "/v1/drain", &[], b"{\"grace\":\"2h\"}");
    assert_eq!((answer.status, seen(&gateway)["phase"].as_str()), (400, Some("serving")));
}

#[test]
fn with_a_broker_away_it_says_so_and_ends_once_it_is_back() {
    let broker = RabbitMq::shared();
    let (vhost, proxy) = (broker.vhost(), Proxy::start(broker.address()));
    let gateway = with_rabbitmq(&broker.url_by(proxy.address(), &vhost)).source("shop", "stripe", "").start();
    until("ready", SOON, || gateway.ready().1.starts_with("ready\n"));
    proxy.set(Mode::Cut);
    until("it is noticed", SOON, || gateway.ready().1.starts_with("degraded"));
    for index in 0..20 {
        assert_eq!(gateway.deliver(&event(&format!("evt_{index}"))).status, 200);
    }
    let (code, out, err) = said(gateway.spawn(&["drain", "--grace", "0s", "--wait", "1s"]));
    assert_eq!(code, Some(1), "{err}");
    assert!(out.contains("  20 pending (shop 20): not handed over: rabbitmq: "), "{out}");
    proxy.restore();
    let (code, out, err) = said(gateway.spawn(&["drain", "--wait", "90s"]));
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.starts_with("drained: nothing is left, 20 events ended since "), "{out}");
    assert_eq!(drained(broker, &vhost, "shop").len(), 20);
}

#[test]
fn in_confirm_mode_there_is_nothing_left_once_no_answer_waits() {
    let (broker, redis) = (RabbitMq::shared(), Redis::start());
    let vhost = broker.vhost();
    let gateway = with_rabbitmq(&broker.url(&vhost))
        .source("shop", "stripe", "")
        .env("REDIS_URL", &redis.url())
        .set("dedup", "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }\nwindow = \"7d\"")
        .set("journal", "ack = \"confirm\"")
        .start();
    until("ready", SOON, || gateway.ready().1.starts_with("ready\n"));
    assert_eq!(gateway.deliver(&event("evt_1")).status, 200);
    let (code, out, err) = said(gateway.spawn(&["drain", "--grace", "0s", "--wait", "20s"]));
    assert_eq!(code, Some(0), "{out}{err}");
    let refused = gateway.deliver(&event("evt_2"));
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"));
    assert_eq!(gateway.metric("hookgate_rejected_total", &[("reason", "draining")]), 1.0);
    gateway.run(&["drain", "--cancel"]);
    assert_eq!(gateway.deliver(&event("evt_2")).status, 200);
    assert_eq!(drained(broker, &vhost, "shop").len(), 2);
}
