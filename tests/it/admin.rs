//! The admin listener: who may call it, what it says of the gateway, and that it is nowhere else.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::gateway::*;
use crate::scrape::Scrape;
use crate::services::free_port;

const SOON: Duration = Duration::from_secs(5);

fn setup() -> Setup {
    Setup::new().source("plain", "generic", "").source("shop", "stripe", "")
}

/// A journal of half a MiB, which some events fill.
fn small() -> Setup {
    Setup::new()
        .set("journal", "segment_bytes = \"128KiB\"\nbytes_max = \"512KiB\"")
        .set("ingress", "body_bytes_max = \"48KiB\"")
        .source("plain", "generic", "body_bytes_max = \"48KiB\"")
}

/// Sends new events of 20 KiB until one is refused: those that were accepted.
fn fill(gateway: &Gateway) -> Vec<Signed> {
    let mut accepted = Vec::new();
    for index in 0..100_u32 {
        let mut body = vec![b'x'; 20_000];
        body.extend(index.to_string().as_bytes());
        let signed = generic("plain", &body);
        let answer = gateway.deliver(&signed);
        if answer.status == 503 {
            assert_eq!(answer.code(), "unavailable");
            assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
            return accepted;
        }
        assert_eq!(answer.outcome(), "accepted");
        accepted.push(signed);
    }
    panic!("2 MB went into a journal of half a MiB");
}

#[test]
fn off_loopback_a_token_is_needed() {
    let open = setup().set("admin", &format!("listen = \"0.0.0.0:{}\"", free_port()));
    for command in ["check", "serve"] {
        let output = open.clone().run(&[command]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{told}");
        assert!(told.contains("admin.token"), "{told}");
    }
    let output = open.admin_token("an admin token of some length").run(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_token_opens_everything_and_nothing_else_does() {
    let gateway = setup().admin_token("an admin token of some length").start();
    for path in ["/metrics", "/v1/inbox/plain/claim"] {
        let method = if path == "/metrics" { "GET" } else { "POST" };
        let status = |value: &str| gateway.admin_call(method, path, &[("authorization", value)], b"").status;
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer an admin token of some lengt",
            "Basic an admin token of some length",
        ] {
            assert_eq!(status(wrong), 401, "{path} with {wrong:?}");
        }
        assert_eq!(status("Bearer an admin token of some length"), 200);
        let bare = Client::call(gateway.admin(), method, path, &[], b"").unwrap();
        assert_eq!((bare.status, bare.code().as_str()), (401, "token"));
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(
            Client::call(gateway.admin(), "GET", path, &[], b"").unwrap().status,
            200,
            "probes need none"
        );
    }
}

#[test]
fn the_workers_token_opens_the_inbox_alone() {
    let gateway = setup()
        .admin_token("an admin token of some length")
        .env("WORKER_TOKEN", "a worker token of some length")
        .set("admin", "worker_token = { env = \"WORKER_TOKEN\" }")
        .start();
    let worker = [("authorization", "Bearer a worker token of some length")];
    assert_eq!(gateway.admin_call("POST", "/v1/inbox/plain/claim", &worker, b"").status, 200);
    assert_eq!(gateway.admin_call("GET", "/metrics", &worker, b"").status, 401);
    assert_eq!(gateway.claim("plain", 1).len(), 0);
}

#[test]
fn the_read_token_opens_what_changes_nothing() {
    let gateway = setup()
        .admin_token("an admin token of some length")
        .env("READ_TOKEN", "a read token of some length")
        .set("admin", "read_token = { env = \"READ_TOKEN\" }")
        .start();
    let sent = gateway.deliver(&generic("plain", b"looked at"));
    assert_eq!(sent.status, 200, "{}", sent.text());
    let reader = [("authorization", "Bearer a read token of some length")];
    for path in ["/metrics", "/v1/events", "/v1/events/1", "/v1/notices"] {
        assert_eq!(gateway.admin_call("GET", path, &reader, b"").status, 200, "{path}");
    }
    assert_eq!(gateway.admin_call("GET", "/v1/events/1/body", &reader, b"").body, b"looked at");
    let all = br#"{"selection": {}, "all": true}"#;
    for path in [
        "/v1/events/replay",
        "/v1/events/drop",
        "/v1/reload",
        "/v1/inbox/plain/claim",
        "/v1/sources/plain/arm",
    ] {
        assert_eq!(gateway.admin_call("POST", path, &reader, all).status, 401, "{path}");
    }
    assert_eq!(gateway.drain("plain", 1).len(), 1);
}

#[test]
fn a_web_page_of_somebody_else_is_refused() {
    let gateway = setup().start();
    let metrics = |headers: &[(&str, &str)]| gateway.admin_call("GET", "/metrics", headers, b"").status;
    let own = format!("http://{}", gateway.admin());
    assert_eq!(metrics(&[("host", "evil.example")]), 403, "a name that was rebound to this machine");
    assert_eq!(metrics(&[("origin", "https://evil.example")]), 403);
    assert_eq!(metrics(&[("origin", "null")]), 403);
    assert_eq!(metrics(&[("origin", &own)]), 200);
    assert_eq!(metrics(&[("host", "localhost")]), 200);
    let answer = gateway.admin_call("OPTIONS", "/metrics", &[("origin", &own)], b"");
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "",
        "no page of another origin may read an answer"
    );
    let claim =
        gateway.admin_call("POST", "/v1/inbox/plain/claim", &[("origin", "https://evil.example")], b"");
    assert_eq!((claim.status, claim.code().as_str()), (403, "foreign"));
}

#[test]
fn nothing_of_it_is_on_the_public_port_nor_the_other_way_round() {
    let gateway = setup().start();
    let call = |method, path, headers: &[(&str, &str)]| {
        Client::call(gateway.ingress(), method, path, headers, b"").unwrap().without_date()
    };
    for method in ["GET", "POST"] {
        let unknown = call(method, "/nothing", &[]);
        assert_eq!(unknown.status, 404);
        for path in [
            "/livez",
            "/readyz",
            "/metrics",
            "/v1/inbox/plain/claim",
            "/v1/inbox/plain/ack",
            "/in/../metrics",
            "/%2e%2e/metrics",
        ] {
            assert_eq!(call(method, path, &[]), unknown, "{method} {path}");
        }
        assert_eq!(
            call(method, "/nothing", &[("x-original-url", "/metrics"), ("x-rewrite-url", "/metrics")]),
            unknown
        );
    }
    let answer = gateway.admin_call("POST", "/in/plain", &[], b"");
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
}

#[test]
fn a_broker_that_is_away_makes_the_gateway_degraded_not_unready() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = setup()
        .env("AMQP_URL", &format!("amqp://guest:guest@{nobody}/%2f"))
        .set("sink", "kind = \"rabbitmq\"\nurl = { env = \"AMQP_URL\" }")
        .start();
    let (status, text) = gateway.ready();
    assert!(status == 200 && text.starts_with("degraded\n"), "{status} {text}");
    assert!(!text.contains("guest:guest"), "{text}");
    assert_eq!(gateway.deliver(&generic("plain", b"1")).outcome(), "accepted");
    assert_eq!(gateway.deliver(&generic("plain", b"1")).outcome(), "duplicate");
    until("it is pending", SOON, || gateway.metric("hookgate_relay_pending", &[("source", "plain")]) == 1.0);
    assert_eq!(gateway.metric("hookgate_sink_up", &[]), 0.0);
    let answer = gateway.admin_call("POST", "/v1/inbox/plain/claim", &[], b"");
    assert_eq!((answer.status, answer.code().as_str()), (404, "no_inbox"));
    let output = gateway.run(&["check", "--connect"]);
    assert_eq!(output.status.code(), Some(69), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_full_journal_refuses_what_is_new_until_workers_have_made_room() {
    let mut gateway = small().start();
    let accepted = fill(&gateway);
    assert!(accepted.len() >= 10, "{} events of 20 KB in half a MiB", accepted.len());
    assert_eq!(gateway.deliver(&accepted[0]).outcome(), "duplicate", "what is known is still answered 2xx");
    until("it is unready", SOON, || gateway.ready().0 == 503);
    assert!(gateway.ready().1.starts_with("unready\n"));
    assert!(gateway.metric("hookgate_requests_total", &[("source", "plain"), ("outcome", "fault")]) >= 1.0);
    assert!(gateway.log().iter().any(|line| line["reason"] == "journal_full" && line["level"] == "ERROR"));

    gateway.kill();
    gateway.start();
    assert_eq!(gateway.ready().0, 503, "from the first look after a start on");
    assert_eq!(gateway.deliver(&generic("plain", &[b'y'; 20_000])).status, 503);
    assert_eq!(gateway.deliver(&accepted[1]).outcome(), "duplicate");

    let handed = gateway.drain("plain", accepted.len());
    let bodies: Vec<&Vec<u8>> = handed.iter().map(|event| &event.body).collect();
    assert!(bodies == accepted.iter().map(|signed| &signed.body).collect::<Vec<_>>(), "all of it, in order");
    until("it is ready", SOON, || gateway.ready().0 == 200);
    assert_eq!(gateway.deliver(&generic("plain", &[b'y'; 20_000])).outcome(), "accepted");
    assert_eq!(gateway.deliver(&accepted[2]).outcome(), "duplicate", "keys outlive their records");
    assert_eq!(gateway.drain("plain", 1).len(), 1);
}

#[test]
fn a_small_journal_is_filled_and_emptied_for_ever() {
    let gateway = small().start();
    let mut most: u64 = 0;
    for round in 0..8_usize {
        for index in 0..12 {
            let body = vec![b'z'; 20_000 + 12 * round + index];
            assert_eq!(gateway.deliver(&generic("plain", &body)).status, 200);
            most = most.max(folder_bytes(&gateway.journal()));
        }
        assert_eq!(gateway.drain("plain", 12).len(), 12);
        // What is confirmed goes beside the deliveries, on a busy machine somewhat after them.
        until("it is within its bound again", SOON, || folder_bytes(&gateway.journal()) <= 512 << 10);
    }
    println!("at most {most} bytes");
    // One segment may be on its way out while the next is on its way in.
    assert!(most <= (512 + 2 * 128) << 10, "{most} bytes of a journal of half a MiB");
    let first = generic("plain", &[b'z'; 20_000]);
    assert_eq!(gateway.deliver(&first).outcome(), "duplicate", "its record has gone, its key has not");
}

/// Bytes of the files in a folder, those of its folders left out.
fn folder_bytes(folder: &Path) -> u64 {
    let size = |entry: std::fs::DirEntry| {
        entry.metadata().map_or(0, |file| if file.is_file() { file.len() } else { 0 })
    };
    std::fs::read_dir(folder).unwrap().filter_map(Result::ok).map(size).sum()
}

#[test]
fn what_a_scrape_holds_is_well_formed() {
    let gateway = setup().start();
    let answer = gateway.get("/metrics");
    assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let scrape = answer.text();
    assert!(scrape.ends_with("# EOF\n"));
    for name in [
        "hookgate_requests_total",
        "hookgate_rejected_total",
        "hookgate_request_duration_seconds_count",
        "hookgate_journal_commit_duration_seconds_count",
        "hookgate_journal_bytes",
        "hookgate_relay_pending",
        "hookgate_relay_oldest_age_seconds",
        "hookgate_dedup_total",
        "hookgate_secret_used_total",
        "hookgate_build_info",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ] {
        assert!(scrape.lines().any(|line| line.starts_with(name)), "{name} is missing");
    }
    Scrape::read(&scrape).closes();
    let older = gateway.admin_call("GET", "/metrics", &[("accept", "*/*")], b"");
    assert!(older.header("content-type").starts_with("text/plain; version=0.0.4"));
    let samples = |text: &str| {
        let named = |line: &str| !line.starts_with('#') && !line.starts_with("process_");
        text.lines()
            .filter(|line| named(line))
            .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(samples(&older.text()), samples(&scrape));
    assert!(older.text().contains("# TYPE hookgate_requests_total counter\n"), "{}", older.text());
    let problem: Value = gateway.get("/nothing").json();
    assert_eq!((problem["status"].as_u64(), problem["code"].as_str()), (Some(404), Some("not_found")));
}
