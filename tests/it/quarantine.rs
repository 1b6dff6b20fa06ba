//! The quarantine in the real binary: what was refused under a wrong secret goes its way once that is mended, judged at the time
//! at which it came in; what is forged stays out, and no flood takes the place of what is honest.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::*;
use crate::senders::stripe_at;

const SOON: Duration = Duration::from_secs(30);
/// What the provider signs with, and what an attacker has.
const RIGHT: &str = "whsec_right_0123456789abcdef";
const FORGED: &str = "whsec_forged_0123456789abcde";
const TOKEN: &str = "operator-0123456789abcdef";
const READER: &str = "reader-0123456789abcdefgh";

/// The file that the secret of `shop` is in, wrong to begin with.
fn setup(lines: &str) -> Setup {
    Setup::new().source(
        "shop",
        "stripe",
        &format!("secrets = [{{ file = \"secret\", label = \"live\" }}]\n{lines}"),
    )
}

fn wrong(gateway: &Gateway) {
    std::fs::write(gateway.path("secret"), "whsec_wrong_0123456789abcdef").unwrap();
}

/// Mends the secret, and has the gateway load it.
fn mend(gateway: &Gateway) {
    std::fs::write(gateway.path("secret"), RIGHT).unwrap();
    let answer = gateway.admin_call("POST", "/v1/reload", &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn sent(secret: &str, id: &str) -> Signed {
    stripe_at("shop", secret, now(), &stripe_event(id))
}

fn refused(gateway: &Gateway, secret: &str, ids: impl Iterator<Item = String>) {
    let mut client = Client::new(gateway.ingress());
    for id in ids {
        assert_eq!(client.deliver(&sent(secret, &id)).status, 401);
    }
}

fn kept(gateway: &Gateway) -> Vec<Value> {
    let answer = gateway.get("/v1/quarantine?limit=1000");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["requests"].as_array().unwrap().clone()
}

fn until_kept(gateway: &Gateway, count: usize) {
    until(&format!("{count} are kept"), SOON, || kept(gateway).len() == count);
}

fn requeue(gateway: &Gateway, order: &Value) -> Value {
    let answer = gateway.admin_call("POST", "/v1/quarantine/requeue", &[], order.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["outcomes"].clone()
}

#[test]
fn what_was_refused_under_a_wrong_secret_goes_its_way_once_it_is_mended_and_forgeries_stay_out() {
    let mut gateway = setup("quarantine = \"16MiB\"\ntolerance = { past = \"3s\" }").prepare();
    wrong(&gateway);
    gateway.start();
    let good = |n: usize| format!("evt_{n}");
    refused(&gateway, RIGHT, (0..50).map(good));
    refused(&gateway, FORGED, (0..20).map(|n| format!("evt_forged_{n}")));
    refused(&gateway, RIGHT, (50..100).map(good));
    until_kept(&gateway, 120);
    assert_eq!(requeue(&gateway, &json!({ "source": "shop" })), json!({ "refused": 120 }));
    // By now each of them is stale, as a request; and the gateway may be another process.
    let late = sent(RIGHT, "evt_late");
    std::thread::sleep(Duration::from_secs(4));
    gateway.restart();
    mend(&gateway);
    assert_eq!(gateway.deliver(&late).status, 401, "stale");
    until_kept(&gateway, 121);

    let last = kept(&gateway).iter().map(|one| one["at"].as_str().unwrap().to_owned()).max().unwrap();
    let all = json!({ "source": "shop", "dry_run": true });
    assert_eq!(requeue(&gateway, &all), json!({ "proven": 100, "refused": 21 }));
    assert_eq!(kept(&gateway).len(), 121, "a dry run changes nothing");
    let (output, text) = cli(&gateway, &["quarantine", "requeue", "--source", "shop", "--reverify"]);
    assert_eq!((output, &*text), (Some(0), "121 judged: 100 accepted, 21 still refused (kept)\n"));
    let handed = gateway.drain("shop", 100);
    let ids: BTreeSet<String> = handed.iter().map(|one| one.header("hookgate-event-id")).collect();
    assert_eq!(ids, (0..100).map(good).collect::<BTreeSet<_>>());
    assert!(handed.iter().all(|one| one.body == stripe_event(&one.header("hookgate-event-id"))));
    assert!(handed.iter().all(|one| one.header("hookgate-received-at") > last), "as if they came now");
    assert!(gateway.claim("shop", 10).is_empty(), "nothing forged");
    assert_eq!(kept(&gateway).len(), 21);
    let (code, text) = cli(&gateway, &["quarantine", "requeue", "--all", "--reverify"]);
    assert_eq!((code, &*text), (Some(1), "21 judged: 21 still refused (kept)\n"));
    assert_eq!(cli(&gateway, &["quarantine", "drop", "--all"]), (Some(0), "21 dropped\n".to_owned()));
    assert_eq!(kept(&gateway).len(), 0);
    let scrape = gateway.metrics();
    let metric = |name: &str, labels: &[(&str, &str)]| crate::gateway::sum(&scrape, name, labels);
    assert_eq!(metric("hookgate_requests_total", &[("source", "shop"), ("outcome", "accepted")]), 100.0);
    assert_eq!(metric("hookgate_requests_received_total", &[("source", "shop")]), 101.0, "since the restart");
}

#[test]
fn what_came_again_meanwhile_is_known_and_what_nobody_asked_to_keep_is_not_kept() {
    let mut gateway = setup("quarantine = \"1MiB\"").source("git", "github", "").prepare();
    wrong(&gateway);
    gateway.start();
    refused(&gateway, RIGHT, (0..3).map(|n| format!("evt_{n}")));
    let other = github("git", "d-1", "push", b"{}").with("x-hub-signature-256", "sha256=00");
    assert_eq!(gateway.deliver(&other).status, 401);
    until_kept(&gateway, 3);
    mend(&gateway);
    assert_eq!(gateway.deliver(&sent(RIGHT, "evt_1")).outcome(), "accepted");
    assert_eq!(requeue(&gateway, &json!({ "all": true })), json!({ "accepted": 2, "duplicate": 1 }));
    assert_eq!(gateway.drain("shop", 3).len(), 3);
    assert_eq!(kept(&gateway).len(), 0);
}

#[test]
fn a_request_is_kept_as_it_came_and_shown_to_operators_alone() {
    let setup = setup("quarantine = \"1MiB\"").admin_token(TOKEN).env("READ_TOKEN", READER);
    let mut gateway = setup.set("admin", "read_token = { env = \"READ_TOKEN\" }").prepare();
    wrong(&gateway);
    gateway.start();
    refused(&gateway, RIGHT, ["evt_1".to_owned()].into_iter());
    until_kept(&gateway, 1);
    let one = &kept(&gateway)[0];
    assert_eq!((&one["source"], &one["reason"]), (&"shop".into(), &"signature_mismatch".into()), "{one}");
    let id = one["id"].as_i64().unwrap();
    assert_eq!(gateway.get(&format!("/v1/quarantine/{id}/body")).body, stripe_event("evt_1"));
    let shown = gateway.get(&format!("/v1/quarantine/{id}")).json();
    assert!(shown["headers"].to_string().contains("stripe-signature"), "{shown}");
    assert_eq!(gateway.get("/v1/quarantine/99").status, 404);
    let bearer = format!("Bearer {READER}");
    let reader = |path: &str| gateway.admin_call("GET", path, &[("authorization", &bearer)], b"").status;
    assert_eq!(reader("/v1/quarantine"), 200);
    // A true secret may be in it.
    assert_eq!(
        [reader(&format!("/v1/quarantine/{id}")), reader(&format!("/v1/quarantine/{id}/body"))],
        [401, 401]
    );
    let stranger = [("authorization", "Bearer none")];
    for (method, path) in [
        ("GET", "/v1/quarantine".to_owned()),
        ("GET", format!("/v1/quarantine/{id}")),
        ("GET", format!("/v1/quarantine/{id}/body")),
        ("POST", "/v1/quarantine/requeue".to_owned()),
        ("POST", "/v1/quarantine/drop".to_owned()),
    ] {
        assert_eq!(gateway.admin_call(method, &path, &stranger, b"{\"all\":true}").status, 401, "{path}");
    }
    for order in ["{}", "{\"all\":true,\"source\":\"shop\"}", "{\"all\":true,\"after\":\"x\"}", ""] {
        let answer = gateway.admin_call("POST", "/v1/quarantine/requeue", &[], order.as_bytes());
        assert_eq!(answer.status, 400, "{order}");
    }
}

#[test]
fn a_flood_of_long_forgeries_stays_within_its_bytes() {
    let mut gateway = setup("quarantine = \"256KiB\"").prepare();
    wrong(&gateway);
    gateway.start();
    let body = vec![b'x'; 16 << 10];
    let forged = stripe_at("shop", FORGED, now(), &body);
    for _ in 0..8 {
        let mut client = Client::new(gateway.ingress());
        (0..10).for_each(|_| drop(client.deliver(&forged)));
        std::thread::sleep(Duration::from_millis(300));
    }
    until("some are kept", SOON, || !kept(&gateway).is_empty());
    let bytes = || kept(&gateway).iter().map(|one| one["bytes"].as_u64().unwrap()).sum::<u64>();
    until("no more than may be", SOON, || (128 << 10..=256 << 10).contains(&bytes()));
}

#[test]
fn without_a_history_there_is_no_quarantine() {
    let gateway = setup("quarantine = \"1MiB\"").set("history", "enabled = false").prepare();
    wrong(&gateway);
    let output = gateway.run(&["check"]);
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("sources.shop.quarantine") && text.contains("history.enabled = true"), "{text}");
}

fn cli(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let output = gateway.run(arguments);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}
