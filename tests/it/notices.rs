//! Notices: what an operator is told of without having looked, on the admin listener, in metrics and in the log.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::gateway::*;
use crate::load::with_rabbitmq;
use crate::services::RabbitMq;

/// A look every other second, and what has to last ten before it is told, on a busy machine.
const TOLD: Duration = Duration::from_secs(40);

/// The pauses between tries to send one, and more.
const SENT: Duration = Duration::from_secs(90);

/// The notices that stand, as `notice/source`.
fn told(gateway: &Gateway) -> Vec<String> {
    let name = |notice: &Value| {
        let source = notice["source"].as_str().unwrap_or_default();
        format!("{}/{source}", notice["notice"].as_str().unwrap())
    };
    listed(gateway).iter().map(name).collect()
}

fn listed(gateway: &Gateway) -> Vec<Value> {
    let answer = gateway.get("/v1/notices");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["notices"].as_array().unwrap().clone()
}

fn until_told(gateway: &Gateway, names: &[&str]) {
    until(&format!("{names:?} are told"), TOLD, || told(gateway) == names);
    // The metrics are set after the board.
    let shown = |name: &&str| {
        let (notice, source) = name.split_once('/').unwrap();
        gateway.metric("hookgate_notice", &[("notice", notice), ("source", source)]) == 1.0
    };
    until("they are in the metrics", TOLD, || names.iter().all(shown));
}

/// Lines of the log about this notice: those of its beginning, and those of its end.
fn lines(gateway: &Gateway, notice: &str) -> (usize, usize) {
    let of = |level: &str| {
        let is = |line: &&Value| line["notice"] == notice && line["level"] == level;
        gateway.log().iter().filter(is).count()
    };
    (of("WARN"), of("INFO"))
}

#[test]
fn a_silent_source_is_told_of_until_its_next_event() {
    let setup = Setup::new().source("shop", "stripe", "silent_after = \"5s\"").source("git", "github", "");
    let gateway = setup.start();
    let silent = |source| gateway.metric("hookgate_source_silent", &[("source", source)]);
    until("a first look", TOLD, || gateway.metrics().contains("hookgate_source_silent{source=\"git\"} 0"));
    let begun = Instant::now();
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).outcome(), "accepted");
    // On a busy machine it may have been told of before that.
    until("it is not silent", TOLD, || told(&gateway).is_empty());
    until_told(&gateway, &["source_silent/shop"]);
    assert!(begun.elapsed() > Duration::from_secs(4), "not before its time");
    let notice = &listed(&gateway)[0];
    assert_eq!(notice["text"], "no event for more than 5 s");
    assert!(notice["advice"].as_str().unwrap().contains("disabled"), "{notice}");
    let since: Vec<char> = notice["since"].as_str().unwrap().chars().collect();
    assert_eq!((since.len(), since[23]), (24, 'Z'), "{notice}");
    assert_eq!((silent("shop"), silent("git")), (1.0, 0.0));
    let bad = stripe("shop", &stripe_event("evt_2")).with("stripe-signature", "t=1,v1=00");
    assert_eq!(gateway.deliver(&bad).status, 401);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(told(&gateway), ["source_silent/shop"], "what anybody sends is no event");
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_3"))).outcome(), "accepted");
    until_told(&gateway, &[]);
    until("the metric too", TOLD, || silent("shop") == 0.0);
    assert_eq!(gateway.metric("hookgate_notice", &[("notice", "source_silent"), ("source", "shop")]), 0.0);
    let (began, ended) = lines(&gateway, "source_silent");
    assert!(began == ended && began > 0, "{began}, {ended}");
}

#[test]
fn what_was_learnt_outlives_a_restart_and_a_broken_file_stops_nothing() {
    let mut gateway = Setup::new().source("shop", "stripe", "").source("git", "github", "").prepare();
    let pace = gateway.journal().join("pace.json");
    gateway.start();
    gateway.terminate();
    // A day of an event every ten seconds, and then an hour of none.
    let mut seconds = vec![0.0; 7];
    seconds[6] = 90_000.0;
    let learnt = serde_json::json!({
        "shop": { "learnt": { "seconds": seconds, "gaps": 9000 }, "quiet_ms": 3_600_000, "heard": true },
        "gone": { "learnt": { "seconds": [], "gaps": 0 }, "quiet_ms": 0, "heard": false },
    });
    std::fs::write(&pace, learnt.to_string()).unwrap();
    gateway.start();
    until_told(&gateway, &["source_silent/shop"]);
    assert!(listed(&gateway)[0]["text"].as_str().unwrap().contains("as a rule it is quiet for 11 s"));
    gateway.terminate();
    let kept: Value = serde_json::from_slice(&std::fs::read(&pace).unwrap()).unwrap();
    assert_eq!(kept["shop"]["learnt"], learnt["shop"]["learnt"]);
    assert!((3_600_001..3_660_000).contains(&kept["shop"]["quiet_ms"].as_u64().unwrap()), "{kept}");
    assert!(kept["git"]["quiet_ms"].as_u64().unwrap() < 60_000 && kept.get("gone").is_none(), "{kept}");

    std::fs::write(&pace, "{\"shop\":").unwrap();
    gateway.start();
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).outcome(), "accepted");
    assert!(gateway.stderr().contains("it is learnt anew"), "{}", gateway.stderr());
    gateway.terminate();
    let kept: Value = serde_json::from_slice(&std::fs::read(&pace).unwrap()).unwrap();
    assert!(kept["shop"]["learnt"].is_object());
}

#[test]
fn a_secret_that_is_left_over_and_events_that_wait_are_told_of() {
    let lines = "on_twin = \"hold\"\nsecrets = [{ env = \"NEW\", label = \"new\" }, { env = \"OLD\", label = \"old\" }]";
    let setup = Setup::new().env("OLD", "whsec_old_0123456789abcdef").env("NEW", &secret("git"));
    let setup = setup.source("git", "github", lines);
    let setup = setup.set("notices", "secret_unused_after = \"5s\"").admin_token("operator-0123456789abcdef");
    let gateway = setup.start();
    let send = |id: &str| gateway.deliver(&github("git", id, "ping", b"{\"zen\":\"x\"}"));
    assert_eq!(send("d-1").outcome(), "accepted");
    assert_eq!(send("d-2").outcome(), "accepted");
    until_told(&gateway, &["held/git"]);
    let mut next = 3;
    until("the old secret is told of", TOLD, || {
        send(&format!("d-{next}"));
        next += 1;
        told(&gateway) == ["held/git", "secret_unused/git"]
    });
    let notice = &listed(&gateway)[1];
    assert_eq!((&notice["secret"], &notice["source"]), (&"old".into(), &"git".into()));
    let released =
        gateway.admin_call("POST", "/v1/events/release", &[], b"{\"selection\":{\"source\":\"git\"}}");
    assert_eq!(released.status, 200, "{}", released.text());
    until_told(&gateway, &["secret_unused/git"]);
    let refused = Client::call(gateway.admin(), "GET", "/v1/notices", &[], b"").unwrap();
    assert_eq!(refused.status, 401);
}

#[test]
fn a_broker_that_is_away_and_a_queue_that_is_gone_are_told_of_once_they_last() {
    let mut broker = RabbitMq::own();
    let vhost = broker.vhost();
    let setup = with_rabbitmq(&broker.url(&vhost)).source("shop", "stripe", "");
    let mut gateway = setup.start();
    until("the gateway is connected", TOLD, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    gateway.change(|setup| setup.set("sink", "declare = false"));
    gateway.restart();
    until("the gateway is connected", TOLD, || gateway.metric("hookgate_sink_up", &[]) == 1.0);
    broker.rabbitmqctl(&["delete_queue", "-p", &vhost, "webhooks.shop"]);
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).outcome(), "accepted");
    until_told(&gateway, &["unroutable/shop"]);
    assert_eq!(listed(&gateway)[0]["text"], "1 event finds no queue");
    broker.stop();
    until_told(&gateway, &["unroutable/shop", "sink_away/"]);
    let text = listed(&gateway)[1]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("events are not handed over: rabbitmq: connecting"), "{text}");
    assert!(!text.contains("guest:"), "{text}");
    broker.restart();
    until_told(&gateway, &["unroutable/shop"]);
    assert_eq!((lines(&gateway, "sink_away"), lines(&gateway, "unroutable")), ((1, 1), (1, 0)));
}

#[test]
fn a_journal_that_fills_up_is_told_of_before_it_is_full() {
    let setup = Setup::new().source("shop", "stripe", "schema = false");
    let gateway = setup.set("journal", "segment_bytes = \"1MiB\"\nbytes_max = \"8MiB\"").start();
    let body = |index: usize| {
        format!("{{\"id\":\"evt_{index}\",\"type\":\"x\",\"text\":\"{}\"}}", "x".repeat(30_000))
    };
    let mut client = Client::new(gateway.ingress());
    // Of the 8 MiB, 7 may be unconfirmed: these are more than four fifths of them, and not all.
    for index in 0..204 {
        let answer = client.deliver(&stripe("shop", body(index).as_bytes()));
        assert_eq!(answer.outcome(), "accepted", "{index}: {}", answer.text());
    }
    until_told(&gateway, &["journal_filling/"]);
    let text = listed(&gateway)[0]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("unconfirmed events take 8") && text.ends_with("they may"), "{text}");
    assert_eq!(gateway.drain("shop", 204).len(), 204);
    until_told(&gateway, &[]);
}

#[test]
fn notices_are_sent_signed_and_another_gateway_takes_them() {
    let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let taker = "provider = \"standard_webhooks\"\nsecrets = [{ env = \"KEY\" }]";
    let mut taker = Setup::new().env("KEY", key).set("sources.pager", taker).prepare();
    let url = format!("url = \"http://{}/in/pager\"\nsecret = {{ env = \"KEY\" }}", taker.ingress());
    let setup = Setup::new().env("KEY", key).set("notices", &url);
    let gateway = setup.source("shop", "stripe", "silent_after = \"2s\"").start();
    let sent = |outcome| gateway.metric("hookgate_notices_sent_total", &[("outcome", outcome)]);
    until("nobody is there yet", TOLD, || sent("retried") >= 1.0);
    taker.start();
    let first = taker.claim_within("pager", SENT).remove(0);
    let body: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!((&body["type"], &body["data"]["notice"]), (&"notice.began".into(), &"source_silent".into()));
    assert_eq!(taker.ack("pager", std::slice::from_ref(&first)).status, 200);
    assert_eq!((&body["data"]["source"], &body["data"]["secret"]), (&"shop".into(), &Value::Null));
    assert_eq!(first.header("hookgate-event-type"), "notice.began");
    assert!(first.header("hookgate-event-id").starts_with("msg_"));
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).outcome(), "accepted");
    let second = taker.claim_within("pager", SENT).remove(0);
    assert_eq!(second.header("hookgate-event-type"), "notice.ended");
    assert_ne!(first.header("hookgate-event-id"), second.header("hookgate-event-id"));
    until("both are counted", TOLD, || sent("delivered") >= 2.0);
    assert_eq!(taker.metric("hookgate_rejected_total", &[]), 0.0);
    assert!(!gateway.stderr().contains("MfKQ9r8GKYqr"));
}

#[test]
fn a_key_of_another_form_is_refused_by_check() {
    let told = |lines: &str, key: &str| {
        let setup = Setup::new().source("shop", "stripe", "").env("KEY", key).set("notices", lines);
        let output = setup.run(&["check"]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let url = "url = \"https://pager.example.com/hooks\"";
    let (code, text) = told(url, "");
    assert!(code == Some(78) && text.contains("notices.secret") && text.contains("openssl rand"), "{text}");
    let both = format!("{url}\nsecret = {{ env = \"KEY\" }}");
    let (code, text) = told(&both, "no-key-of-this-form-at-all");
    assert!(code == Some(78) && text.contains("a secret of another form"), "{text}");
    assert!(!text.contains("no-key-of-this"), "{text}");
    assert_eq!(told(&both, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").0, Some(0));
}
