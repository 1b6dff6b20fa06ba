//! The audit log: every refusal and every operator's action is a line that somebody can find, whatever a stranger writes and
//! however often.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::gateway::*;

/// Lines of the audit log, of one kind.
fn lines(gateway: &Gateway, kind: &str) -> Vec<Value> {
    let of_kind = |line: &Value| line["target"] == "hookgate::audit" && line["audit"] == kind;
    gateway.log().into_iter().filter(of_kind).collect()
}

/// The `request_id` of a problem document.
fn id(answer: &Answer) -> String {
    answer.json()["request_id"].as_str().unwrap_or_default().to_owned()
}

/// What a kind's lines account for: those written, and those that they say were left out.
fn accounted(lines: &[Value]) -> u64 {
    let left_out: u64 = lines.iter().map(|line| line["left_out"].as_u64().unwrap()).sum();
    left_out + lines.iter().filter(|line| line["reason"].is_string()).count() as u64
}

#[test]
fn a_senders_support_ticket_finds_its_line() {
    let gateway = Setup::new().source("shop", "stripe", "").source("git", "github", "").start();
    let good = stripe("shop", &stripe_event("evt_1"));
    let refused = [
        gateway.deliver(&good.clone().without("stripe-signature")),
        gateway.deliver(&Signed { body: b"{}".to_vec(), ..good.clone() }),
        gateway.deliver(&stripe_at("shop", &secret("shop"), now() - 9_000, b"{}")),
        gateway.deliver(&Signed { path: "/in/nobody?token=not-shown".to_owned(), ..good.clone() }),
        gateway.deliver(&good.clone().with("content-encoding", "gzip")),
        gateway.deliver(&github("git", "d-1", "ping", b"{}").with("x-hub-signature-256", "sha1=00")),
    ];
    let ids: BTreeSet<String> = refused.iter().map(id).collect();
    assert_eq!(ids.len(), refused.len(), "{ids:?}");
    assert_eq!(gateway.deliver(&good).outcome(), "accepted");
    let told = lines(&gateway, "refusal");
    assert_eq!(told.len(), refused.len(), "{told:#?}");
    for (answer, line) in refused.iter().zip(&told) {
        let shown = id(answer);
        // One unknown path is answered as another, to the byte: its id stands in the log alone.
        assert!(line["request"] == shown.as_str() || (answer.status == 404 && shown.is_empty()), "{line}");
        assert!(line["request"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
        assert_eq!(
            (line["status"].as_u64(), &line["address"]),
            (Some(answer.status.into()), &"127.0.0.1".into())
        );
        assert!(line["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{line}");
    }
    let sources: Vec<_> = told.iter().map(|line| line["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["shop", "shop", "shop", "", "shop", "git"]);
    assert_eq!(told[3]["path"], "\"/in/nobody\"", "the path of nobody's source is told, and no query");
    let stale = &refused[2];
    assert_eq!(
        stale.without_date().body,
        refused[1].without_date().body,
        "an id tells nothing of the secret"
    );
    until("the cause is told under the same id", Duration::from_secs(10), || {
        lines(&gateway, "cause").iter().any(|line| ids.contains(line["request"].as_str().unwrap()))
    });
}

#[test]
fn what_a_stranger_writes_stays_on_its_line_and_is_not_obeyed() {
    for format in ["json", "text"] {
        let gateway = Setup::new()
            .set("log", &format!("format = \"{format}\""))
            .set("ingress", "trusted_proxies = [\"127.0.0.0/8\"]")
            .source("shop", "stripe", "")
            .source("keys", "generic", "scheme = \"token\"")
            .start();
        let evil = [
            "\u{1b}[2J\u{1b}]0;owned\u{7}",
            "\u{202e}txt.exe\u{2066}",
            "\u{9b}31m\u{85}",
            "%0d%0a{\"level\":\"INFO\",\"message\":\"forged\"}",
            "\\u001b[31m\\n\\r",
            "\u{2028}\u{feff}\u{7f}",
        ];
        for text in evil {
            for head in [
                format!("POST /in/{text} HTTP/1.1\r\nhost: g\r\n"),
                format!("POST /in/shop?{text} HTTP/1.1\r\nhost: g\r\n"),
                format!("{text} /in/shop HTTP/1.1\r\nhost: g\r\n"),
                format!("POST /in/shop HTTP/1.1\r\nhost: {text}\r\n"),
                format!("POST /in/shop HTTP/1.1\r\nhost: g\r\nx-forwarded-for: {text}, 1.2.3.4{text}\r\n"),
                format!("POST /in/shop HTTP/1.1\r\nhost: g\r\nstripe-signature: t={text},v1={text}\r\n"),
                format!("POST /in/shop HTTP/1.1\r\nhost: g\r\ncontent-encoding: {text}\r\n"),
                format!("POST /in/keys HTTP/1.1\r\nhost: g\r\nx-webhook-token: {text}\r\n"),
            ] {
                let mut client = Client::new(gateway.ingress());
                client.send(format!("{head}content-length: 2\r\n\r\n{{}}").as_bytes());
                let answer = client.answer();
                assert!(answer.is_none_or(|answer| answer.status >= 400), "{head:?}");
            }
            let query = format!("/v1/events?source={}", text.replace(['%', ' '], ""));
            gateway.admin_call("GET", &query, &[("host", "evil.example")], b"");
        }
        let shown = gateway.stderr();
        assert!(shown.lines().count() > 20, "{shown}");
        let obeyed =
            |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2066}\u{2028}\u{feff}".contains(c));
        assert_eq!(shown.chars().find(|c| obeyed(*c)), None, "{shown:?}");
        for line in shown.lines() {
            let whole = match format {
                "json" => serde_json::from_str::<Value>(line).is_ok_and(|line| line["message"] != "forged"),
                _ => {
                    let level = line.split_whitespace().nth(1).unwrap_or_default();
                    line.starts_with("20") && ["INFO", "WARN", "ERROR"].contains(&level)
                }
            };
            assert!(whole, "{format}: {line:?}");
        }
    }
}

#[test]
fn a_flood_is_counted_within_a_second_and_hides_no_other_kind() {
    let gateway = Setup::new().source("shop", "stripe", "").admin_token("admin-0123456789abcdef").start();
    // Of their form, since answers to requests whose proof fails are held back.
    let packed = stripe("shop", b"{}").with("content-encoding", "gzip");
    let mut client = Client::new(gateway.ingress());
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_millis(1_500) || sent < 400 {
        assert_eq!(client.deliver(&packed).status, 415);
        sent += 1;
    }
    let wrong = gateway.admin_call("GET", "/metrics", &[("authorization", "Bearer guessed")], b"");
    assert_eq!(wrong.status, 401);
    let call = lines(&gateway, "call").pop().expect("a line of the call, whatever floods the ingress");
    assert_eq!((call["request"].as_str(), call["reason"].as_str()), (Some(&*id(&wrong)), Some("token")));
    assert!(!gateway.stderr().contains("guessed"));
    // Nothing more comes in: what was left out is told all the same.
    until("the account of the flood", Duration::from_millis(1_500), || {
        accounted(&lines(&gateway, "refusal")) == sent
    });
    let told = lines(&gateway, "refusal").len();
    let seconds = began.elapsed().as_secs() as usize + 1;
    assert!(told <= seconds * 53, "{told} lines of {sent} refusals in {seconds} s");
    let by_reason = [("reason", "content_encoded")];
    assert_eq!(gateway.metric("hookgate_rejected_total", &by_reason), sent as f64);
}

#[test]
fn what_an_operator_does_is_told_whatever_the_level() {
    let gateway = Setup::new()
        .set("log", "level = \"error\"")
        .source("shop", "stripe", "")
        .admin_token("admin-0123456789abcdef")
        .start();
    for number in 0..3 {
        gateway.deliver(&stripe("shop", &stripe_event(&format!("evt_{number}"))));
    }
    let order = |action: &str, order: Value| {
        let body = order.to_string();
        gateway.admin_call("POST", &format!("/v1/events/{action}"), &[], body.as_bytes()).status
    };
    let shop = serde_json::json!({ "source": "shop", "type": "charge\u{202e}\n.succeeded" });
    assert_eq!(order("drop", serde_json::json!({ "selection": shop })), 200);
    let first = serde_json::json!({ "source": "shop", "sequence": "1-2" });
    assert_eq!(order("drop", serde_json::json!({ "selection": first, "dry_run": true })), 200);
    assert_eq!(order("drop", serde_json::json!({ "selection": first })), 200);
    assert_eq!(order("drop", serde_json::json!({ "selection": {} })), 400, "it changed nothing");
    assert_eq!(order("forget", serde_json::json!({ "selection": {}, "all": true })), 200);
    let told = lines(&gateway, "action");
    let shown = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        (text("action"), line["count"].as_u64().unwrap(), text("outcome"))
    };
    let wanted = [
        ("drop", 0, ""),
        ("drop", 2, "dropped 2, dry run"),
        ("drop", 2, "dropped 2"),
        ("forget", 3, "forgotten 3"),
    ];
    let wanted = wanted.map(|(action, count, outcome)| (action.to_owned(), count, outcome.to_owned()));
    assert_eq!(told.iter().map(shown).collect::<Vec<_>>(), wanted);
    for line in &told {
        assert_eq!((&line["operator"], &line["address"]), (&"the admin token".into(), &"127.0.0.1".into()));
        assert!(!line["request"].as_str().unwrap().is_empty());
    }
    assert_eq!(told[0]["selection"], "source=\"shop\" type=\"charge\\u{202e}\\n.succeeded\"");
    assert_eq!(told[3]["selection"], "all");
    assert!(!gateway.stderr().contains("\"ready\""), "other lines have the level that was asked for");
}

#[test]
#[cfg(feature = "failpoints")]
fn a_panic_tells_where_it_was_and_not_what_it_held() {
    let gateway = Setup::new()
        .source("shop", "stripe", "")
        .failpoint("ingress.answer.decided", "1*panic(canary-of-a-body)->off")
        .start();
    let signed = stripe("shop", &stripe_event("evt_1"));
    let mut client = Client::new(gateway.ingress()).within(Duration::from_secs(5));
    assert!(client.try_deliver(&signed).is_none(), "nobody answers what panicked");
    assert_eq!(gateway.deliver(&signed).outcome(), "duplicate", "and everybody else is served");
    let shown = gateway.stderr();
    let line = gateway.log().into_iter().find(|line| line["why"].is_string()).expect(&shown);
    assert_eq!(
        (&line["level"], &line["why"]),
        (&"ERROR".into(), &"not told: it may hold what a sender wrote".into())
    );
    assert!(line["at"].as_str().unwrap().contains(".rs:"), "{line}");
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.lines().all(|line| line.starts_with('{')), "every line is of the log: {shown}");
}
