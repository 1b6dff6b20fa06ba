//! A source on trial over the admin listener: samples that the gateway signs itself pass what its senders' deliveries pass, and a payload
//! is judged by the source's schema with all that is wrong with it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::answers::{SCHEME, own};
use crate::gateway::*;
use crate::load::digest;

const OPERATOR: &str = "operator-0123456789abcdef";
const READER: &str = "reader-0123456789abcdef";
const SOON: Duration = Duration::from_secs(30);

fn call(gateway: &Gateway, token: &str, path: &str, body: &[u8]) -> Answer {
    let token = format!("Bearer {token}");
    gateway.admin_call("POST", path, &[("authorization", &token)], body)
}

fn send(gateway: &Gateway, source: &str, order: &Value) -> Answer {
    call(gateway, OPERATOR, &format!("/v1/sources/{source}/sample"), order.to_string().as_bytes())
}

fn sent(gateway: &Gateway, source: &str, order: &Value) -> Value {
    let answer = send(gateway, source, order);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn guarded() -> Setup {
    Setup::new()
        .env("ADMIN_TOKEN", OPERATOR)
        .env("READ_TOKEN", READER)
        .set("admin", "token = { env = \"ADMIN_TOKEN\" }\nread_token = { env = \"READ_TOKEN\" }")
}

fn get(gateway: &Gateway, path: &str) -> Value {
    let headers = [("authorization", &*format!("Bearer {OPERATOR}"))];
    gateway.admin_call("GET", path, &headers, b"").json()
}

/// What workers have of a source.
fn claimed(gateway: &Gateway, source: &str) -> Vec<Value> {
    let answer = call(gateway, OPERATOR, &format!("/v1/inbox/{source}/claim?max=100&lease=5m"), b"");
    answer.json()["events"].as_array().unwrap().clone()
}

#[test]
fn a_sample_is_an_event_like_any_other_and_its_history_says_what_it_was() {
    let gateway = guarded().source("shop", "stripe", "").source("git", "github", "").start();
    let source = get(&gateway, "/v1/sources/shop");
    let samples = json!({ "events": ["payment_intent.succeeded", "charge.refunded", "customer.subscription.updated", "invoice.paid"], "signable": true });
    assert_eq!(source["samples"], samples, "the usual one first");
    let first = sent(&gateway, "shop", &json!({}));
    assert_eq!(
        (&first["outcome"], &first["event"], &first["status"], &first["secret"], &first["sequence"]),
        (&json!("accepted"), &json!("payment_intent.succeeded"), &json!(200), &json!("live"), &json!(1))
    );
    let none = call(&gateway, OPERATOR, "/v1/sources/shop/sample", b"").json();
    assert_eq!(none["outcome"], "accepted", "without a body it is the usual one: {none}");
    assert_ne!(none["event_id"], first["event_id"], "no sample is a duplicate of the one before");
    let paid = sent(&gateway, "shop", &json!({ "event": "invoice.paid", "break": "none" }));
    assert_eq!((&paid["outcome"], &paid["event"]), (&json!("accepted"), &json!("invoice.paid")));
    for event in ["push", "issues"] {
        let one = sent(&gateway, "git", &json!({ "event": event }));
        assert_eq!((&one["outcome"], &one["event"]), (&json!("accepted"), &json!(event)));
    }

    let handed = claimed(&gateway, "shop");
    let told: Vec<&Value> = [&first, &none, &paid].into_iter().collect();
    assert_eq!(handed.len(), 3);
    for (event, told) in handed.iter().zip(told) {
        let body = event["body"].as_str().unwrap();
        assert_eq!(event["message_id"], told["message_id"]);
        assert_eq!(serde_json::from_str::<Value>(body).unwrap()["id"], told["event_id"]);
        assert_eq!(event["headers"]["hookgate-digest"], digest(body.as_bytes()));
        assert_eq!(told["bytes"], body.len());
    }
    assert_eq!(claimed(&gateway, "git").len(), 2);
    until("the history has them", SOON, || get(&gateway, "/v1/history/events/5")["steps"].is_array());
    let steps = get(&gateway, "/v1/history/events/1")["steps"].clone();
    let names: Vec<&str> =
        steps.as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names[..2], ["received", "sample"], "{steps}");
    let labels = [("source", "shop"), ("outcome", "accepted")];
    assert_eq!(sum(&scrape(&gateway), "hookgate_requests_total", &labels), 3.0);
    let audit = |line: &Value| line["audit"] == "action" && line["action"] == "send a sample";
    let lines: Vec<Value> = gateway.log().into_iter().filter(audit).collect();
    assert_eq!(lines.len(), 5);
    assert_eq!((&lines[0]["selection"], &lines[0]["operator"]), (&json!("shop"), &json!("the admin token")));
    let outcome = lines[0]["outcome"].as_str().unwrap();
    assert!(outcome.ends_with(": accepted") && outcome.contains(first["event_id"].as_str().unwrap()));
    assert!(!gateway.stderr().contains(&secret("shop")), "no secret is in the log");
}

fn scrape(gateway: &Gateway) -> String {
    let headers = [("authorization", &*format!("Bearer {OPERATOR}"))];
    gateway.admin_call("GET", "/metrics", &headers, b"").text()
}

#[test]
fn a_broken_sample_is_refused_for_its_reason_and_leaves_a_refusal_and_no_event() {
    let gateway = guarded().source("shop", "stripe", "").source("git", "github", "").start();
    for (broken, reason) in
        [("body", "signature_mismatch"), ("signature", "signature_mismatch"), ("time", "stale")]
    {
        let told = sent(&gateway, "shop", &json!({ "break": broken }));
        assert_eq!((&told["outcome"], &told["reason"]), (&json!("refused"), &json!(reason)), "{told}");
        assert_eq!((&told["status"], &told["break"]), (&json!(401), &json!(broken)));
        assert_eq!((&told["message_id"], &told["sequence"]), (&Value::Null, &Value::Null));
        until("the refusal is listed", SOON, || {
            let listed = get(&gateway, "/v1/history/refusals?source=shop")["refusals"].clone();
            listed
                .as_array()
                .unwrap()
                .iter()
                .any(|row| row["request"] == told["request"] && row["reason"] == reason)
        });
        assert!(
            gateway.log().iter().any(|line| line["audit"] == "refusal" && line["request"] == told["request"])
        );
    }
    assert_eq!(claimed(&gateway, "shop").len(), 0);
    let refused = sum(&scrape(&gateway), "hookgate_rejected_total", &[("source", "shop")]);
    assert_eq!(refused, 3.0);
    let unfit = send(&gateway, "git", &json!({ "break": "time" }));
    assert_eq!((unfit.status, &*unfit.code()), (409, "unfit"), "{}", unfit.text());
    assert!(unfit.text().contains("signs no time"), "{}", unfit.text());
}

#[test]
fn what_a_source_is_set_to_holds_for_its_samples() {
    let secrets = "secrets = [{ env = \"NEXT\", label = \"next\", not_before = \"2099-01-01T00:00:00Z\" }, \
                   { env = \"NOW\", label = \"now\" }, { env = \"OLD\", label = \"old\" }]";
    let gateway = guarded()
        .env("NEXT", "whsec_next_0123456789abcdef")
        .env("NOW", "whsec_now_0123456789abcdef")
        .env("OLD", "whsec_old_0123456789abcdef")
        .source(
            "shop",
            "stripe",
            &format!("{secrets}\nevents = [\"invoice.paid\"]\naddresses = [\"192.0.2.1\"]"),
        )
        .source("ended", "stripe", "secrets = [{ env = \"OLD\", not_after = \"2026-01-01T00:00:00Z\" }]")
        .source("strict", "stripe", "tolerance = { past = \"10s\" }")
        .source("small", "stripe", "body_bytes_max = 64")
        .start();
    let kept = sent(&gateway, "shop", &json!({ "event": "invoice.paid" }));
    assert_eq!((&kept["outcome"], &kept["secret"]), (&json!("accepted"), &json!("now")));
    let filtered = sent(&gateway, "shop", &json!({ "event": "charge.refunded" }));
    assert_eq!((&filtered["outcome"], &filtered["sequence"]), (&json!("filtered"), &Value::Null));
    let none = send(&gateway, "ended", &json!({}));
    assert_eq!((none.status, &*none.code()), (409, "no_secret"), "{}", none.text());
    assert_eq!(sent(&gateway, "strict", &json!({ "break": "time" }))["reason"], "stale");
    let long = sent(&gateway, "small", &json!({}));
    assert_eq!((&long["reason"], &long["status"]), (&json!("body_too_large"), &json!(413)));
}

#[test]
fn what_cannot_be_signed_here_is_told_with_what_to_do() {
    let key = "secrets = [{ env = \"APP_KEY\" }]";
    let hook = "secrets = [{ captured = \"secrets/tasks\" }]";
    let setup = guarded()
        .env("APP_KEY", "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29")
        .source("app", "discord", key)
        .source("tasks", "asana", hook)
        .source("acme", "acme", "");
    let gateway = own(SCHEME, setup);
    for (source, code, told) in [
        ("app", "not_signable", "have the provider send a test event"),
        ("acme", "no_sample", "hookgate send SOURCE --data FILE"),
        ("tasks", "no_secret", "arm it"),
    ] {
        let answer = send(&gateway, source, &json!({}));
        assert_eq!((answer.status, &*answer.code()), (409, code), "{source}: {}", answer.text());
        assert!(answer.text().contains(told), "{}", answer.text());
    }
    let unknown = send(&gateway, "tasks", &json!({ "event": "task.gone" }));
    assert_eq!((unknown.status, &*unknown.code()), (409, "no_sample"));
    assert!(unknown.text().contains("there is: task.changed"), "{}", unknown.text());
    assert_eq!(call(&gateway, OPERATOR, "/v1/sources/tasks/arm", b"").status, 200);
    let brought = Client::call(
        gateway.ingress(),
        "POST",
        "/in/tasks",
        &[("x-hook-secret", "b537207f20cbfa02357cf448134da559")],
        b"{}",
    );
    assert_eq!(brought.unwrap().status, 200);
    assert_eq!(
        sent(&gateway, "tasks", &json!({}))["outcome"],
        "accepted",
        "with the secret that was brought"
    );

    assert_eq!(send(&gateway, "nobody", &json!({})).code(), "unknown_source");
    for order in [json!({ "brake": "time" }), json!({ "break": "clock" }), json!([])] {
        let answer = send(&gateway, "acme", &order);
        assert_eq!((answer.status, &*answer.code()), (400, "malformed"), "{}", answer.text());
    }
    let reader = call(&gateway, READER, "/v1/sources/tasks/sample", b"{}");
    assert_eq!((reader.status, &*reader.code()), (401, "token"));
    assert_eq!(claimed(&gateway, "tasks").len(), 1);
}

fn judge(gateway: &Gateway, token: &str, path: &str, body: &[u8]) -> Value {
    let answer = call(gateway, token, &format!("/v1/sources/{path}"), body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn a_payload_is_judged_with_all_that_is_wrong_and_nothing_of_it_is_kept() {
    let gateway = guarded().source("shop", "stripe", "on_invalid = \"reject\"").start();
    let valid = judge(&gateway, READER, "shop/schema/check", &stripe_event("evt_1"));
    assert_eq!(
        (&valid["verdict"], &valid["type"], &valid["derived"]),
        (&json!("valid"), &json!("charge.captured"), &json!(true))
    );
    assert_eq!((&valid["schema"], &valid["violations"]), (&json!("_envelope"), &json!([])));

    let body = br#"{"id":7,"object":"event","type":"invoice.paid","created":-1,"livemode":"no","data":{"object":{"hidden":"sesame"}}}"#;
    let invalid = judge(&gateway, READER, "shop/schema/check", body);
    assert_eq!((&invalid["verdict"], &invalid["schema"]), (&json!("invalid"), &json!("invoice.paid")));
    assert!(invalid["text"].as_str().unwrap().contains("refused with 422"), "{invalid}");
    let violations = invalid["violations"].as_array().unwrap();
    let at = |pointer: &str| {
        let of = violations.iter().filter(|one| one["pointer"] == pointer);
        of.map(|one| one["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(at("/id"), ["7 is not of type \"string\""]);
    assert_eq!(at("/livemode"), ["\"no\" is not of type \"boolean\""]);
    assert_eq!(at("/created").len(), 1);
    assert!(at("/data/object").len() > 3, "each property that is missing: {invalid}");
    assert!(violations.iter().all(|one| one["rule"].as_str().unwrap().starts_with('/')), "{invalid}");

    for body in [&b"not JSON"[..], b"", b"\xff\xfe", b"{\"id\":"] {
        let told = judge(&gateway, READER, "shop/schema/check?type=invoice.paid", body);
        assert_eq!((&told["verdict"], &told["derived"]), (&json!("invalid"), &json!(false)));
        let message = told["violations"][0]["message"].as_str().unwrap();
        assert!(message.starts_with("the body is not JSON"), "{message}");
    }
    let many = format!(
        "{{\"metadata\":{}}}",
        json!((0..500).map(|n| (n.to_string(), n)).collect::<std::collections::BTreeMap<_, _>>())
    );
    let told = judge(&gateway, READER, "shop/schema/check?type=invoice.paid", many.as_bytes());
    assert!(told["violations"].as_array().unwrap().len() <= 50, "{told}");
    let counts = get(&gateway, "/v1/sources/shop")["counts"]["received"].clone();
    assert_eq!((counts, claimed(&gateway, "shop").len()), (json!(0), 0));
    assert!(!gateway.stderr().contains("sesame"), "nothing of a payload is in the log");
}

#[test]
fn a_payload_without_a_schema_is_told_so_and_who_may_not_is_told_nothing() {
    let gateway = guarded()
        .source("shop", "stripe", "")
        .source("git", "github", "")
        .source("off", "stripe", "schema = false")
        .source("mail", "mailgun", "")
        .start();
    let push = judge(&gateway, READER, "git/schema/check", b"{\"ref\":1}");
    assert_eq!(
        (&push["verdict"], &push["type"]),
        (&json!("unchecked"), &json!("")),
        "its type is in a header"
    );
    assert!(
        push["text"].as_str().unwrap().contains("name it; there are schemas of issues, pull_request, push")
    );
    let push = judge(&gateway, READER, "git/schema/check?type=push", b"{\"ref\":1}");
    assert_eq!(push["verdict"], "invalid");
    for source in ["off", "mail"] {
        let told = judge(&gateway, READER, &format!("{source}/schema/check?type=x"), b"{}");
        assert_eq!((&told["verdict"], &told["schema"]), (&json!("unchecked"), &Value::Null), "{source}");
        assert!(told["text"].as_str().unwrap().contains("schema = false"), "{told}");
    }

    let check = |token: &str, path: &str, body: &[u8]| {
        let answer = call(&gateway, token, &format!("/v1/sources/{path}"), body);
        (answer.status, answer.code())
    };
    let long = vec![b' '; (512 << 10) + 1];
    assert_eq!(check(READER, "shop/schema/check", &long), (413, "body_too_large".to_owned()));
    assert_eq!(check(OPERATOR, "shop/schema/check", &long[1..]).0, 200);
    assert_eq!(check(READER, "nobody/schema/check", b"{}"), (404, "unknown_source".to_owned()));
    assert_eq!(check(READER, "shop/schema/check?kind=x", b"{}"), (400, "malformed".to_owned()));
    assert_eq!(check("nobody's", "shop/schema/check", b"{}"), (401, "token".to_owned()));
}
