//! Secrets: where they come from, how one takes over from another, and that none is ever shown.

use std::fs;

use crate::gateway::*;

/// The sum of verified deliveries under a label.
fn used(gateway: &Gateway, label: &str) -> f64 {
    gateway.metric("hookgate_secret_used_total", &[("source", "shop"), ("secret", label)])
}

#[test]
fn while_a_secret_is_rolled_both_verify_and_afterwards_one() {
    let (old, new) = ("whsec_old_0123456789abcdef", "whsec_new_0123456789abcdef");
    let both = "secrets = [{ env = \"NEW\", label = \"new\" }, { env = \"OLD\", label = \"old\" }]";
    let setup = Setup::new().env("OLD", old).env("NEW", new);
    let mut gateway = setup.source("shop", "stripe", both).start();
    let by = |secret: &str, id: &str| stripe_at("shop", secret, now(), &stripe_event(id));
    assert_eq!(gateway.deliver(&by(old, "evt_1")).outcome(), "accepted");
    assert_eq!(gateway.deliver(&by(new, "evt_2")).outcome(), "accepted");
    assert_eq!(
        gateway.deliver(&by(new, "evt_1")).outcome(),
        "duplicate",
        "one event, whoever signed its copy"
    );
    let two = by(old, "evt_3");
    let second = by("whsec_of_somebody_else", "evt_3").header("stripe-signature");
    let both_signed = format!("{second},v1={}", two.header("stripe-signature").split_once("v1=").unwrap().1);
    assert_eq!(gateway.deliver(&two.with("stripe-signature", &both_signed)).outcome(), "accepted");
    assert_eq!((used(&gateway, "old"), used(&gateway, "new")), (2.0, 2.0));
    let labels: Vec<_> =
        gateway.drain("shop", 3).iter().map(|event| event.header("hookgate-secret")).collect();
    assert_eq!(labels, ["old", "new", "old"]);

    gateway.change(|setup| setup.set("sources.shop", "secrets = [{ env = \"NEW\", label = \"new\" }]"));
    gateway.restart();
    assert_eq!(gateway.deliver(&by(old, "evt_4")).status, 401);
    assert_eq!(gateway.deliver(&by(new, "evt_4")).outcome(), "accepted");
    assert_eq!(gateway.deliver(&by(new, "evt_1")).outcome(), "duplicate");
}

#[test]
fn a_secret_counts_only_within_its_time() {
    let times = |line: &str| format!("secrets = [{{ env = \"SECRET_SHOP\", label = \"live\", {line} }}]");
    let lines = times("not_before = \"2100-01-01T00:00:00Z\"");
    let mut gateway = Setup::new().source("shop", "stripe", &lines).start();
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).status, 401);
    gateway.change(|setup| setup.set("sources.shop", &times("not_before = \"2020-01-01T00:00:00Z\"")));
    gateway.restart();
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).outcome(), "accepted");
}

#[test]
fn secrets_come_from_files_too() {
    let lines = "secrets = [{ file = \"shop.secret\", label = \"live\" }]";
    let mut gateway = Setup::new()
        .source("shop", "stripe", lines)
        .source("plain", "generic", "secrets = [{ env = \"PLAIN\" }]")
        .prepare();
    fs::write(gateway.path("shop.secret"), format!("{}\n", secret("shop"))).unwrap();
    fs::write(gateway.path("plain.secret"), secret("plain")).unwrap();
    let file = gateway.path("plain.secret").display().to_string();
    gateway.change(|setup| setup.env("PLAIN_FILE", &file));
    gateway.start();
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).outcome(), "accepted");
    assert_eq!(gateway.deliver(&generic("plain", b"1")).outcome(), "accepted");
}

#[test]
fn tokens_and_passwords_are_proof_of_the_sender_only() {
    let gateway = Setup::new()
        .env("USER", "user:a password with spaces")
        .source("token", "generic", "scheme = \"token\"")
        .source("bearer", "generic", "scheme = \"bearer\"")
        .source("basic", "generic", "scheme = \"basic\"\nsecrets = [{ env = \"USER\" }]")
        .start();
    let sent = |source: &str, name: &str, value: &str| {
        let request = Signed { path: format!("/in/{source}"), ..generic(source, b"{}") };
        gateway.deliver(&request.without("x-signature").with(name, value)).status
    };
    assert_eq!(sent("token", "x-webhook-token", &secret("token")), 200);
    assert_eq!(sent("token", "x-webhook-token", &secret("token")[1..]), 401);
    assert_eq!(sent("bearer", "authorization", &format!("Bearer {}", secret("bearer"))), 200);
    assert_eq!(sent("bearer", "authorization", &format!("bearer {}", secret("bearer"))), 200);
    assert_eq!(sent("bearer", "authorization", &secret("bearer")), 401);
    let basic = |text: &str| format!("Basic {}", base64_of(text.as_bytes()));
    assert_eq!(sent("basic", "authorization", &basic("user:a password with spaces")), 200);
    assert_eq!(sent("basic", "authorization", &basic("user:a password with space")), 401);
    let event = gateway.drain("token", 1).remove(0);
    assert_eq!(event.header("hookgate-source-authenticated"), "true", "{}", event.headers);
}

#[test]
fn no_secret_and_no_body_is_ever_shown() {
    let canary = |name: &str| format!("canary-{name}-0123456789abcdef");
    let mut gateway = Setup::new()
        .set("log", "level = \"trace\"")
        .env("CANARY", &canary("source"))
        .source("shop", "stripe", "secrets = [{ env = \"CANARY\", label = \"live\" }]")
        .source("token", "generic", "scheme = \"token\"\nsecrets = [{ env = \"CANARY\", label = \"live\" }]")
        .env("AMQP_URL", &format!("amqp://user:{}@127.0.0.1:{}/%2f", canary("amqp"), port()))
        .env("REDIS_URL", &format!("redis://user:{}@127.0.0.1:{}/0", canary("redis"), port()))
        .set("sink", "kind = \"rabbitmq\"\nurl = { env = \"AMQP_URL\" }")
        .set("dedup", "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }")
        .admin_token(&canary("admin"))
        .start();
    let body = stripe_event("evt_1");
    let text = String::from_utf8(body.clone()).unwrap().replace("ch_1", &canary("body"));
    let mut shown = String::new();
    let bearer = canary("header");
    for signed in [
        stripe_at("shop", &canary("source"), now(), text.as_bytes()),
        stripe_at("shop", &canary("source"), now() - 9000, text.as_bytes()),
        stripe_at("shop", "wrong", now(), text.as_bytes()),
        stripe_at("shop", &canary("source"), now(), canary("body").as_bytes()),
        Signed { path: "/in/token".to_owned(), ..generic("shop", text.as_bytes()) }
            .with("x-webhook-token", &canary("source"))
            .with("authorization", &bearer),
        Signed { path: "/in/token".to_owned(), ..generic("shop", text.as_bytes()) }
            .with("x-webhook-token", &canary("source")[1..]),
    ] {
        let answer = gateway.deliver(&signed);
        shown.push_str(&format!("{:?}{}", answer.headers, answer.text()));
    }
    for path in ["/metrics", "/readyz", "/nothing"] {
        shown.push_str(&gateway.get(path).text());
    }
    let wrong = [("authorization", bearer.as_str())];
    shown.push_str(&gateway.admin_call("GET", "/metrics", &wrong, b"").text());
    for arguments in [["check"].as_slice(), &["check", "--connect"]] {
        let output = gateway.run(arguments);
        shown.push_str(&String::from_utf8_lossy(&output.stdout));
        shown.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(gateway.terminate().0, Some(0));
    shown.push_str(&gateway.stderr());
    assert!(shown.contains("accepted") && shown.contains("signature_mismatch"), "{shown}");
    let found: Vec<&str> = shown.lines().filter(|line| line.contains("canary")).collect();
    assert!(found.is_empty(), "{found:#?}");
}
