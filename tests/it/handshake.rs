//! Handshakes over HTTP: answered as the provider's file says, to whom it says, and never kept as an event.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

use crate::gateway::*;
use crate::reject::read_files;

/// What Slack sends, signed with that secret at that time.
fn slack_at(source: &str, secret: &str, at: i64, body: &[u8]) -> Signed {
    let time = at.to_string();
    let proof = format!("v0={}", hex::encode(mac(secret, &[b"v0:", time.as_bytes(), b":", body])));
    generic(source, body)
        .without("x-signature")
        .with("x-slack-request-timestamp", &time)
        .with("x-slack-signature", &proof)
}

pub fn slack(source: &str, body: &[u8]) -> Signed {
    slack_at(source, &secret(source), now(), body)
}

pub fn challenge(text: &str) -> Vec<u8> {
    json!({ "token": "t", "challenge": text, "type": "url_verification" }).to_string().into_bytes()
}

fn message(id: &str) -> Vec<u8> {
    let event = json!({ "type": "event_callback", "event_id": id, "event": { "type": "app_mention" } });
    event.to_string().into_bytes()
}

fn handshakes(gateway: &Gateway, source: &str) -> f64 {
    gateway.metric("hookgate_requests_total", &[("source", source), ("outcome", "handshake")])
}

/// Journal and key files, once nothing more is prepared in the background.
fn files(gateway: &Gateway) -> BTreeMap<String, Vec<u8>> {
    let read = || {
        let mut files = BTreeMap::new();
        read_files(&gateway.journal(), &mut files);
        files
    };
    let mut last = read();
    until("the files are at rest", Duration::from_secs(10), || {
        std::thread::sleep(Duration::from_millis(150));
        let next = read();
        let same = next == last;
        last = next;
        same
    });
    last
}

/// What is counted for events.
fn counted(gateway: &Gateway) -> Vec<String> {
    let of_events = ["hookgate_dedup", "hookgate_relay", "hookgate_journal", "hookgate_published"];
    let metrics = gateway.metrics();
    let lines = metrics.lines().filter(|line| of_events.iter().any(|name| line.starts_with(name)));
    lines.filter(|line| !line.contains("_seconds")).map(str::to_owned).collect()
}

/// A gateway with a provider of the operator's own.
fn own_provider(file: &str, lines: &str) -> Gateway {
    let setup = Setup::new().set("providers", "dir = \"providers.d\"").source("acme", "acme", lines);
    let mut gateway = setup.prepare();
    let head = "name = \"acme\"\ntitle = \"Acme\"\n[settings.verify_token]\nhelp = \"the token of the subscription\"\n\
                [[schemes]]\nname = \"v1\"\nalgorithm = \"hmac-sha256\"\nsigned = [\"{body}\"]\n\
                signature = { from = \"header:X-Signature\", encoding = \"hex\" }\n";
    fs::create_dir(gateway.path("providers.d")).unwrap();
    fs::write(gateway.path("providers.d/acme.toml"), format!("{head}{file}")).unwrap();
    gateway.start();
    gateway
}

fn call(gateway: &Gateway, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    Client::call(gateway.ingress(), method, path, headers, b"").expect("an answer")
}

#[test]
fn a_signed_challenge_is_echoed_as_text_and_nothing_is_kept_of_it() {
    let mut gateway = Setup::new().source("chat", "slack", "").start();
    let (before, counts) = (files(&gateway), counted(&gateway));
    for text in
        ["3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P", "<script>alert(1)</script>", "Zoë 東京"]
    {
        let answer = gateway.deliver(&slack("chat", &challenge(text)));
        assert_eq!((answer.status, answer.text().as_str()), (200, text));
        assert_eq!(answer.header("content-type"), "text/plain");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let again = gateway.deliver(&slack("chat", &challenge(text)));
        assert_eq!((again.status, again.text().as_str()), (200, text), "asked again, answered again");
    }
    assert_eq!(handshakes(&gateway, "chat"), 6.0);
    assert_eq!(counted(&gateway), counts, "a handshake is counted as an event");
    assert!(files(&gateway) == before, "a handshake wrote to the journal or to the key files");
    assert!(gateway.claim("chat", 10).is_empty());
    let told: Vec<_> =
        gateway.log().into_iter().filter(|line| line["handshake"] == "url_verification").collect();
    assert_eq!(told.len(), 6);
    assert!(!gateway.stderr().contains("3eZbrw1aBm2"), "the challenge is in the log");
    gateway.restart();
    assert!(gateway.claim("chat", 10).is_empty(), "a handshake came out after a restart");
}

#[test]
fn a_challenge_without_a_good_fresh_signature_is_refused() {
    let gateway = Setup::new().source("chat", "slack", "").start();
    let body = challenge("never-echoed");
    let good = slack("chat", &body);
    let tampered = Signed { body: challenge("other"), ..good.clone() };
    let cases = [
        ("signature_missing", good.clone().without("x-slack-signature")),
        ("timestamp_missing", good.clone().without("x-slack-request-timestamp")),
        ("signature_mismatch", slack_at("chat", &secret("other"), now(), &body)),
        ("signature_mismatch", tampered),
        ("signature_mismatch", good.clone().with("x-slack-request-timestamp", &(now() - 7).to_string())),
        ("stale", slack_at("chat", &secret("chat"), now() - 400, &body)),
        ("signature_malformed", good.clone().with("x-slack-signature", "v0=")),
    ];
    for (reason, request) in cases {
        let counted = || gateway.metric("hookgate_rejected_total", &[("source", "chat"), ("reason", reason)]);
        let before = counted();
        let answer = gateway.deliver(&request);
        assert_eq!((answer.status, counted()), (401, before + 1.0), "{reason}");
        assert!(!answer.text().contains("never-echoed") && !answer.text().contains("other"), "{reason}");
    }
    assert_eq!(handshakes(&gateway, "chat"), 0.0);
    assert_eq!(gateway.deliver(&good).text(), "never-echoed");
}

#[test]
fn what_is_verified_and_no_handshake_is_an_event() {
    let gateway = Setup::new().source("chat", "slack", "events = [\"app_mention\"]").start();
    let nearly: [&[u8]; 4] = [
        br#"{"type":"url_verification"}"#,
        br#"{"type":["url_verification"],"challenge":"c"}"#,
        br#"{"challenge":"c","event":{"type":"url_verification"}}"#,
        br#"{"type":"url_verification","challenge":{"nested":"c"}}"#,
    ];
    for body in nearly {
        assert_eq!(gateway.deliver(&slack("chat", body)).outcome(), "filtered", "{body:?}");
    }
    assert_eq!(gateway.deliver(&slack("chat", &message("Ev1"))).outcome(), "accepted");
    assert_eq!(gateway.deliver(&slack("chat", &message("Ev1"))).outcome(), "duplicate");
    assert_eq!(gateway.deliver(&slack("chat", &challenge("c"))).text(), "c", "whatever `events` lists");
    assert_eq!(gateway.drain("chat", 1)[0].body, message("Ev1"));
    assert_eq!(handshakes(&gateway, "chat"), 1.0);
}

#[test]
fn a_handshake_neither_waits_for_the_sources_rate_nor_uses_it_up() {
    let lines = "limit = { rate = \"1/h\", burst = 2 }\non_limit = \"429\"";
    let gateway = Setup::new().source("chat", "slack", lines).start();
    for _ in 0..5 {
        assert_eq!(gateway.deliver(&slack("chat", &challenge("c"))).text(), "c");
    }
    let statuses: Vec<u16> =
        ["Ev1", "Ev2", "Ev3"].iter().map(|id| gateway.deliver(&slack("chat", &message(id))).status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(gateway.deliver(&slack("chat", &challenge("c"))).text(), "c");
}

#[test]
fn a_challenge_that_is_too_long_is_refused_and_never_an_event() {
    let gateway = Setup::new()
        .set("journal", "segment_bytes = \"4MiB\"\nbytes_max = \"64MiB\"")
        .source("chat", "slack", "body_bytes_max = \"2MiB\"")
        .start();
    let before = files(&gateway);
    for length in [2049, 1 << 20] {
        let answer = gateway.deliver(&slack("chat", &challenge(&"x".repeat(length))));
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"), "{length}");
        assert!(answer.body.len() < 300, "{} bytes of answer", answer.body.len());
    }
    assert_eq!(gateway.deliver(&slack("chat", &challenge(&"x".repeat(2048)))).body.len(), 2048);
    let refused =
        gateway.metric("hookgate_rejected_total", &[("source", "chat"), ("reason", "challenge_refused")]);
    assert_eq!((refused, handshakes(&gateway, "chat")), (2.0, 1.0));
    assert!(files(&gateway) == before, "a refused challenge was kept");
}

#[test]
fn probes_and_challenges_without_a_signature_are_answered_where_the_file_declares_them() {
    let file = r#"
[[handshakes]]
name = "probe"
verify = false
match = { methods = ["HEAD"] }
answer = { text = "up" }
[[handshakes]]
name = "subscribe"
verify = false
match = { methods = ["GET"], equal = { "query:hub.mode" = "subscribe", "query:hub.verify_token" = "${verify_token}" } }
answer = { text = "{query:hub.challenge}" }
[[handshakes]]
name = "origin"
verify = false
match = { methods = ["OPTIONS"] }
answer = { headers = { WebHook-Allowed-Origin = "{header:WebHook-Request-Origin}", WebHook-Allowed-Rate = "*" } }
"#;
    let gateway = own_provider(file, "settings = { verify_token = \"tok-1\" }");
    let mut stream = TcpStream::connect(gateway.ingress()).unwrap();
    let request = |last: &str| format!("HEAD /in/acme HTTP/1.1\r\nhost: gateway\r\n{last}\r\n");
    stream.write_all(format!("{}{}", request(""), request("connection: close\r\n")).as_bytes()).unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    assert_eq!((told.matches("HTTP/1.1 200").count(), told.matches("content-length: 2").count()), (2, 2));
    assert!(!told.contains("up") && told.ends_with("\r\n\r\n"), "a HEAD is answered without a body: {told}");
    let get = |query: &str| call(&gateway, "GET", &format!("/in/acme?{query}"), &[]);
    let answer = get("hub.mode=subscribe&hub.challenge=%3Cb%3E1%3C%2Fb%3E&hub.verify_token=tok-1");
    assert_eq!((answer.status, answer.text().as_str()), (200, "<b>1</b>"));
    assert_eq!(answer.header("content-type"), "text/plain");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    for query in [
        "",
        "hub.mode=subscribe&hub.challenge=c",
        "hub.mode=subscribe&hub.challenge=c&hub.verify_token=tok-2",
        "hub.mode=subscribe&hub.challenge=&hub.verify_token=tok-1",
        "hub.mode=denied&hub.challenge=c&hub.verify_token=tok-1",
    ] {
        let answer = get(query);
        assert_eq!((answer.status, answer.code().as_str()), (401, "signature_missing"), "{query}");
    }
    let answer = call(&gateway, "OPTIONS", "/in/acme", &[("webhook-request-origin", "grid.example")]);
    assert_eq!((answer.status, answer.header("webhook-allowed-origin")), (200, "grid.example"));
    assert_eq!(answer.header("webhook-allowed-rate"), "*");
    assert_eq!(call(&gateway, "PUT", "/in/acme", &[]).status, 405);
    assert_eq!(handshakes(&gateway, "acme"), 4.0);

    let signed = generic("acme", b"").header("x-signature");
    let answer = call(&gateway, "GET", "/in/acme", &[("x-signature", &signed)]);
    let allowed = "POST, HEAD, GET, OPTIONS";
    assert_eq!((answer.status, answer.header("allow")), (405, allowed), "a signed GET is no event either");
    assert_eq!(gateway.deliver(&generic("acme", b"{}")).outcome(), "accepted");
    assert_eq!(gateway.drain("acme", 1)[0].body, b"{}");
}

#[test]
fn a_ping_of_one_scheme_is_answered_with_fixed_json_or_nothing() {
    let file = r#"
[[schemes.handshakes]]
name = "ping"
match = { equal = { "json:/type" = 1 } }
answer = { json = { type = 1 } }
[[schemes.handshakes]]
name = "quiet"
match = { equal = { "json:/type" = 0 } }
answer = { status = 204, headers = { content-type = "application/json" } }
"#;
    let gateway = own_provider(file, "");
    let answer = gateway.deliver(&generic("acme", br#"{"type":1}"#));
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"type":1}"#));
    assert_eq!(answer.header("content-type"), "application/json");
    let answer = gateway.deliver(&generic("acme", br#"{"version":1,"type":0}"#));
    assert_eq!((answer.status, answer.body.len(), answer.header("content-length")), (204, 0, ""));
    assert_eq!(answer.header("content-type"), "application/json");
    let unsigned = generic("acme", br#"{"type":1}"#).without("x-signature");
    assert_eq!(gateway.deliver(&unsigned).status, 401);
    assert_eq!(gateway.deliver(&generic("acme", br#"{"type":2}"#)).outcome(), "accepted");
    assert_eq!(gateway.drain("acme", 1).len(), 1);
}

#[test]
fn discords_pings_are_answered_under_its_key_alone() {
    let (own, other) = (Ed25519KeyPair::generate().unwrap(), Ed25519KeyPair::generate().unwrap());
    let keys = "secrets = [{ env = \"APP_KEY\", label = \"app\" }]";
    let gateway = Setup::new()
        .env("APP_KEY", &hex::encode(own.public_key().as_ref()))
        .source("app", "discord", keys)
        .source("news", "discord", &format!("{keys}\nscheme = \"webhook-events-ed25519\""))
        .start();
    let sent = |source: &str, key: &Ed25519KeyPair, body: &[u8]| {
        let time = now().to_string();
        let proof = hex::encode(key.sign(&[time.as_bytes(), body].concat()).as_ref());
        let signed = generic(source, body).without("x-signature");
        gateway.deliver(&signed.with("x-signature-timestamp", &time).with("x-signature-ed25519", &proof))
    };
    let ping = sent("app", &own, br#"{"id":"1","type":1}"#);
    assert_eq!((ping.status, ping.text().as_str()), (200, r#"{"type":1}"#));
    assert_eq!(ping.header("content-type"), "application/json");
    let ping = sent("news", &own, br#"{"version":1,"type":0}"#);
    assert_eq!((ping.status, ping.body.len(), ping.header("content-type")), (204, 0, "application/json"));
    for (source, body) in [("app", &br#"{"type":1}"#[..]), ("news", br#"{"type":0}"#)] {
        assert_eq!(sent(source, &other, body).status, 401, "{source}");
    }
    assert_eq!(sent("news", &own, br#"{"version":1,"type":1,"event":{}}"#).outcome(), "accepted");
    assert_eq!(sent("app", &own, br#"{"id":"2","type":2}"#).outcome(), "accepted");
    assert_eq!((gateway.drain("news", 1).len(), gateway.drain("app", 1).len()), (1, 1));
}

#[test]
fn a_provider_file_whose_handshake_would_answer_every_event_does_not_start() {
    let gateway = Setup::new().set("providers", "dir = \"providers.d\"").source("acme", "acme", "").prepare();
    fs::create_dir(gateway.path("providers.d")).unwrap();
    let file = "name = \"acme\"\ntitle = \"Acme\"\n[[schemes]]\nname = \"v1\"\nalgorithm = \"hmac-sha256\"\n\
                signed = [\"{body}\"]\nsignature = { from = \"header:X-Signature\", encoding = \"hex\" }\n\
                [[handshakes]]\nname = \"all\"\nverify = false\nmatch = {}\nanswer = { text = \"ok\" }\n";
    fs::write(gateway.path("providers.d/acme.toml"), file).unwrap();
    let output = gateway.run(&["check"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("handshakes.all.match") && told.contains("at least one place"), "{told}");
}

#[test]
fn a_handshake_vector_holds_only_with_the_answer_that_it_names() {
    let at = 1_767_225_600;
    let vector = |secret: &str, response: serde_json::Value| {
        let signed = slack_at("chat", secret, at, &challenge("c"));
        json!([{
            "id": "slack/signing-secret-v0/handshake", "provider": "slack", "scheme": "signing-secret-v0",
            "expect": "handshake", "now": at, "secrets": [{ "kind": "shared", "value": "s", "encoding": "utf8" }],
            "request": {
                "method": "POST", "url": "https://hooks.example.com/in/slack", "headers": signed.headers,
                "body": String::from_utf8(signed.body).unwrap(),
            },
            "response": response,
        }])
    };
    let plain = json!([["Content-Type", "text/plain"]]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slack.json");
    for (secret, response, said) in [
        ("s", json!({ "status": 200, "headers": plain, "body": "c" }), "1 passed, 0 failed"),
        ("s", json!({ "status": "2xx", "headers": [], "body": null }), "1 passed, 0 failed"),
        ("x", json!({ "status": 401, "headers": [], "body": null }), "1 passed, 0 failed"),
        ("s", json!({ "status": 204, "headers": plain, "body": "c" }), "expected status 204, found 200"),
        (
            "s",
            json!({ "status": 200, "headers": [["A", "b"]], "body": "c" }),
            "expected A: \"b\", found none",
        ),
        ("s", json!({ "status": 200, "headers": plain, "body": "d" }), "expected the body \"d\""),
        (
            "s",
            json!({ "status": 200, "headers": [], "body": "c", "forbid_headers": ["X-Content-Type-Options"] }),
            "found the header X-Content-Type-Options",
        ),
        ("x", json!({ "status": 200, "headers": plain, "body": "c" }), "found signature_mismatch"),
    ] {
        fs::write(&path, vector(secret, response).to_string()).unwrap();
        let output = hookgate(&["vectors", path.to_str().unwrap()]);
        let told = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert!(told.contains(said), "{said}:\n{told}");
    }
}
