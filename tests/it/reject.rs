//! Every refusal that a request can provoke: status, code, metric and log line, and nothing else that changes (G4).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::gateway::*;

const PUBLIC_URL: &str = "https://hooks.example.com";

/// A request, and how its refusal must show.
struct Case {
    reason: &'static str,
    status: u16,
    code: &'static str,
    source: &'static str,
    request: Request,
}

enum Request {
    Signed(Signed),
    /// Bytes for the wire, and whether our side ends after them.
    Raw(Vec<u8>, bool),
}

fn setup() -> Setup {
    let not_after =
        "secrets = [{ env = \"SECRET_OLD\", label = \"old\", not_after = \"2020-01-01T00:00:00Z\" }]";
    Setup::new()
        .set("ingress", &format!("body_timeout = \"400ms\"\npublic_url = \"{PUBLIC_URL}\""))
        .source("sms", "twilio", "")
        .source("stream", "twilio", "scheme = \"x-twilio-signature-bodysha256\"")
        .source("shop", "stripe", "tolerance = { past = \"5m\", future = \"1m\" }")
        .source("git", "github", "")
        .source("store", "shopify", "")
        .source("old", "generic", not_after)
        .source("strict", "stripe", "on_invalid = \"reject\"")
        .source("few", "generic", "limit = { rate = \"1/h\", burst = 1 }\non_limit = \"429\"")
}

fn unsigned(
    status: u16,
    code: &'static str,
    reason: &'static str,
    source: &'static str,
    request: &str,
) -> Case {
    let (request, shut) = request.strip_suffix("<end>").map_or((request, false), |request| (request, true));
    Case { reason, status, code, source, request: Request::Raw(request.as_bytes().to_vec(), shut) }
}

fn signed(reason: &'static str, source: &'static str, request: Signed) -> Case {
    let code = if reason == "signature_missing" { reason } else { "signature_invalid" };
    Case { reason, status: 401, code, source, request: Request::Signed(request) }
}

fn cases() -> Vec<Case> {
    unsigned_cases().into_iter().chain(signed_cases()).collect()
}

fn unsigned_cases() -> Vec<Case> {
    let chunks = "POST /in/shop HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n<end>";
    vec![
        unsigned(
            404,
            "not_found",
            "unknown_path",
            "",
            "POST /in/x HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\n\r\n",
        ),
        unsigned(
            405,
            "method_not_allowed",
            "method_not_allowed",
            "shop",
            "GET /in/shop HTTP/1.1\r\nhost: g\r\n\r\n",
        ),
        unsigned(
            415,
            "content_encoding",
            "content_encoded",
            "shop",
            "POST /in/shop HTTP/1.1\r\nhost: g\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
        ),
        unsigned(
            400,
            "malformed",
            "upgrade_asked",
            "",
            "POST /in/shop HTTP/1.1\r\nhost: g\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\n{}",
        ),
        unsigned(
            413,
            "body_too_large",
            "body_too_large",
            "shop",
            "POST /in/shop HTTP/1.1\r\nhost: g\r\ncontent-length: 99999999\r\n\r\n",
        ),
        unsigned(
            408,
            "body_too_slow",
            "body_too_slow",
            "shop",
            "POST /in/shop HTTP/1.1\r\nhost: g\r\ncontent-length: 9\r\n\r\n{",
        ),
        unsigned(400, "malformed", "body_incomplete", "shop", chunks),
    ]
}

fn signed_cases() -> Vec<Case> {
    let body = stripe_event("evt_1");
    let good = stripe("shop", &body);
    let signature = good.header("stripe-signature");
    let (time, mac) = signature.split_once(",v1=").unwrap();
    let push = github("git", "d-1", "ping", b"{}");
    vec![
        signed("signature_missing", "shop", good.clone().without("stripe-signature")),
        signed("signature_missing", "git", push.clone().with("x-hub-signature-256", "")),
        signed("signature_malformed", "shop", good.clone().with("stripe-signature", "v1,t")),
        signed("signature_malformed", "git", push.clone().with("x-hub-signature-256", "sha1=0011")),
        signed(
            "signature_malformed",
            "shop",
            good.clone().with("stripe-signature", &format!("{time},v1={}", &mac[1..])),
        ),
        signed(
            "signature_repeated",
            "git",
            push.clone().and("x-hub-signature-256", &push.header("x-hub-signature-256")),
        ),
        signed("signature_mismatch", "shop", Signed { body: b"{}".to_vec(), ..good.clone() }),
        signed("signature_mismatch", "git", Signed { body: b"{ }".to_vec(), ..push.clone() }),
        signed("signature_mismatch", "shop", stripe_at("shop", &secret("git"), now(), &body)),
        signed(
            "companion_missing",
            "store",
            shopify("store", "e-1", "orders/create", b"{}").without("x-shopify-topic"),
        ),
        signed("timestamp_missing", "shop", good.clone().with("stripe-signature", &format!("v1={mac}"))),
        signed(
            "timestamp_malformed",
            "shop",
            good.clone().with("stripe-signature", &format!("t=1e9,v1={mac}")),
        ),
        signed(
            "timestamp_malformed",
            "shop",
            good.clone().with("stripe-signature", &format!("{time},t=5,v1={mac}")),
        ),
        signed("stale", "shop", stripe_at("shop", &secret("shop"), now() - 310, &body)),
        signed("premature", "shop", stripe_at("shop", &secret("shop"), now() + 90, &body)),
        signed("body_empty", "git", github("git", "d-2", "ping", b"")),
        signed("form_malformed", "sms", twilio("sms", (PUBLIC_URL, ""), "", b"a=%FF")),
        signed("signature_mismatch", "sms", twilio("sms", ("https://other.example.com", ""), "", b"")),
        signed("companion_missing", "stream", twilio("stream", (PUBLIC_URL, ""), "", b"{}")),
        signed("body_digest_mismatch", "stream", twilio("stream", (PUBLIC_URL, "?bodySHA256=00"), "", b"{}")),
        signed("no_active_secret", "old", generic("old", b"{}")),
    ]
}

/// Everything that a forged request must leave as it is: what is counted for events, and every file.
fn kept(gateway: &Gateway) -> (BTreeMap<String, Vec<u8>>, Vec<String>) {
    let counted = [
        "hookgate_requests_total{source=\"shop\",outcome=\"accepted\"}",
        "hookgate_dedup",
        "hookgate_secret_used",
        "hookgate_relay",
        "hookgate_journal_bytes",
        "hookgate_journal_unconfirmed",
    ];
    let mut files = BTreeMap::new();
    read_files(&gateway.journal(), &mut files);
    let metrics = gateway.metrics();
    let counted = metrics.lines().filter(|line| counted.iter().any(|name| line.starts_with(name)));
    (files, counted.map(str::to_owned).collect())
}

/// Every file below a folder, with its bytes.
pub fn read_files(folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_files(&path, files);
        } else {
            files.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
}

/// The log lines of refusals with this reason from this source.
fn told<'l>(log: &'l [Value], case: &Case) -> Vec<&'l Value> {
    log.iter().filter(|line| line["reason"] == case.reason && line["source"] == case.source).collect()
}

#[test]
fn every_refusal_shows_as_its_row_says_and_changes_nothing_else() {
    let gateway = setup().start();
    until("the next segment is prepared", Duration::from_secs(10), || {
        let sizes: Vec<u64> = fs::read_dir(gateway.journal())
            .unwrap()
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "segment"))
            .map(|entry| entry.metadata().unwrap().len())
            .collect();
        sizes == [1 << 20, 1 << 20]
    });
    let before = kept(&gateway);
    for case in cases() {
        let labels = [("source", case.source), ("reason", case.reason)];
        let count = || gateway.metric("hookgate_rejected_total", &labels);
        let (counted, lines) = (count(), told(&gateway.log(), &case).len());
        let mut client = Client::new(gateway.ingress());
        let answer = match &case.request {
            Request::Signed(signed) => client.deliver(signed),
            Request::Raw(bytes, shut) => {
                client.send(bytes);
                if *shut {
                    client.shut_write();
                }
                client.answer().unwrap_or_else(|| panic!("no answer for {}", case.reason))
            }
        };
        assert_eq!((answer.status, answer.code().as_str()), (case.status, case.code), "{}", case.reason);
        assert_eq!(answer.header("retry-after"), "", "{}", case.reason);
        assert_eq!(count(), counted + 1.0, "metric of {} {}", case.source, case.reason);
        let log = gateway.log();
        let told = told(&log, &case);
        assert_eq!(told.len(), lines + 1, "log of {} {}", case.source, case.reason);
        assert_eq!(told[lines]["status"], case.status);
    }
    let after = kept(&gateway);
    assert_eq!(after.1, before.1, "a refusal is counted as an event");
    let changed: Vec<_> = after
        .0
        .iter()
        .filter(|(path, bytes)| before.0.get(*path) != Some(bytes))
        .map(|(path, _)| path)
        .collect();
    assert!(changed.is_empty() && after.0.len() == before.0.len(), "a refusal wrote to {changed:?}");
    assert_eq!(gateway.deliver(&stripe("shop", &stripe_event("evt_1"))).outcome(), "accepted");
    assert_eq!(gateway.deliver(&github("git", "d-1", "ping", b"{}")).outcome(), "accepted");
}

#[test]
fn refusals_of_verified_deliveries_show_as_their_rows_say() {
    let gateway = setup().start();
    let invalid = gateway.deliver(&stripe("strict", b"{\"id\": \"evt_1\"}"));
    assert_eq!((invalid.status, invalid.code().as_str()), (422, "schema_invalid"));
    assert_eq!(gateway.deliver(&generic("few", b"1")).status, 200);
    let limited = gateway.deliver(&generic("few", b"2"));
    assert_eq!((limited.status, limited.code().as_str()), (429, "rate_limited"));
    assert!(limited.header("retry-after").parse::<u32>().unwrap() >= 1);
    for (source, reason) in [("strict", "schema_invalid"), ("few", "rate_limited")] {
        let labels = [("source", source), ("reason", reason)];
        assert_eq!(gateway.metric("hookgate_rejected_total", &labels), 1.0);
        assert_eq!(
            gateway.metric("hookgate_requests_total", &[("source", source), ("outcome", "rejected")]),
            1.0
        );
        assert!(gateway.log().iter().any(|line| line["reason"] == reason && line["source"] == source));
    }
}

#[test]
fn the_account_of_answers_closes() {
    let gateway = setup().start();
    for case in cases() {
        if let Request::Signed(signed) = &case.request {
            gateway.deliver(signed);
        }
    }
    gateway.deliver(&stripe("shop", &stripe_event("evt_1")));
    gateway.deliver(&stripe("shop", &stripe_event("evt_1")));
    let scrape = gateway.metrics();
    let requests = sum(&scrape, "hookgate_requests_total", &[]);
    let answers = cases().iter().filter(|case| matches!(case.request, Request::Signed(_))).count() + 2;
    assert_eq!(requests, f64::from(u32::try_from(answers).unwrap()));
    assert_eq!(sum(&scrape, "hookgate_rejected_total", &[]), requests - 2.0);
    assert_eq!(sum(&scrape, "hookgate_request_duration_seconds_count", &[]), requests);
}

#[test]
fn a_forged_flood_costs_the_honest_sender_nothing() {
    let gateway = setup().start();
    let address = gateway.ingress();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let mut client = Client::new(address);
                for index in 0..100 {
                    let body = stripe_event(&format!("evt_flood_{thread}_{index}"));
                    assert_eq!(client.deliver(&stripe_at("shop", &secret("x"), now(), &body)).status, 401);
                }
            });
        }
        let mut client = Client::new(address);
        for index in 0..50 {
            let asked = Instant::now();
            let answer = client.deliver(&stripe("shop", &stripe_event(&format!("evt_flood_0_{index}"))));
            assert_eq!((answer.status, answer.outcome().as_str()), (200, "accepted"));
            assert!(asked.elapsed() < Duration::from_millis(900), "the honest wait with the forgers");
        }
    });
    assert_eq!(gateway.drain("shop", 50).len(), 50);
    let lines = gateway.log().iter().filter(|line| line["reason"] == "signature_mismatch").count();
    let most = 50 * (began.elapsed().as_secs() as usize + 2);
    assert!((1..=most).contains(&lines), "{lines} lines for a flood of 400, {most} allowed");
}

#[test]
fn answers_to_a_captured_request_are_held_as_those_to_a_forged_one_are() {
    let gateway = setup().start();
    let body = stripe_event("evt_captured");
    // Were they not, the time of an answer would tell whether the signature was right.
    let captured = stripe_at("shop", &secret("shop"), now() - 9_000, &body);
    let forged = stripe_at("shop", "whsec_of_nobody_0123456789abcdef", now() - 9_000, &body);
    let address = gateway.ingress();
    for (name, signed) in [("forged", &forged), ("captured", &captured), ("forged again", &forged)] {
        let held = || {
            let mut client = Client::new(address);
            (0..5_000).any(|_| {
                let begun = Instant::now();
                let answer = client.deliver(signed);
                assert_eq!(answer.status, 401);
                begun.elapsed() >= Duration::from_millis(450)
            })
        };
        // Several, as one alone may be slower than what an address is allowed.
        let held = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(held)).collect();
            clients.into_iter().all(|client| client.join().unwrap())
        });
        assert!(held, "{name}: 20,000 refusals of one address, and some were not held");
    }
    let soon = |index: u32| {
        let begun = Instant::now();
        let honest = stripe("shop", &stripe_event(&format!("evt_honest_{index}")));
        assert_eq!(gateway.deliver(&honest).status, 200);
        begun.elapsed() < Duration::from_millis(400)
    };
    assert!((0..5).any(soon), "what verifies was held");
}
