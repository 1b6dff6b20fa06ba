//! Reloading: each way to ask for it, what it changes at once, what it leaves as it is, and what it refuses.

mod kept;
mod load;
mod rabbitmq;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::gateway::*;

/// The watch looks every 2 s, and loads what stood still twice; a slow machine takes its time.
const NOTICED: Duration = Duration::from_secs(20);

fn shop() -> Setup {
    Setup::new().source("shop", "stripe", "")
}

fn reload(gateway: &Gateway) -> Answer {
    gateway.admin_call("POST", "/v1/reload", &[], b"")
}

fn applied(gateway: &Gateway) -> Value {
    let answer = reload(gateway);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!(told["outcome"], "applied", "{told}");
    told
}

fn reloads(gateway: &Gateway, outcome: &str) -> f64 {
    gateway.metric("hookgate_config_reloads_total", &[("outcome", outcome)])
}

fn successful(gateway: &Gateway) -> f64 {
    gateway.metric("hookgate_config_last_reload_successful", &[])
}

/// A source like the first, whose secret is in the environment from the start.
fn with_second(setup: Setup) -> Setup {
    setup.source("second", "stripe", "")
}

fn delivered(gateway: &Gateway, source: &str, id: &str) -> u16 {
    gateway.deliver(&stripe(source, &stripe_event(id))).status
}

/// Puts a file in the place of another at once, as editors do.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("beside");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[test]
fn a_call_reloads_and_tells_what_has_changed() {
    let mut gateway = shop().env("SECRET_SECOND", &secret("second")).start();
    assert_eq!(reload(&gateway).json(), json!({ "outcome": "unchanged" }));
    assert_eq!(delivered(&gateway, "second", "evt_1"), 404);

    gateway.change(|setup| with_second(setup).set("ingress", "trusted_proxies = [\"10.0.0.0/8\"]"));
    let told = applied(&gateway);
    let expected = json!({ "added": ["second"], "removed": [], "changed": [] });
    assert_eq!((&told["sources"], &told["settings"]), (&expected, &json!(["ingress.trusted_proxies"])));
    assert_eq!(told["secrets"]["added"], json!(["second/live"]));
    assert_eq!(delivered(&gateway, "second", "evt_1"), 200);
    assert_eq!(gateway.drain("second", 1).len(), 1, "the inbox knows it too");

    gateway.change(|setup| setup.set("sources.second", "success_status = 202"));
    assert_eq!(applied(&gateway)["sources"]["changed"], json!(["second"]));
    assert_eq!(delivered(&gateway, "second", "evt_2"), 202);
    assert_eq!(delivered(&gateway, "shop", "evt_2"), 200);

    let log = gateway.log();
    let lines: Vec<_> = log.iter().filter(|line| line["action"] == "reload").collect();
    assert_eq!(lines.len(), 3, "one line each: {lines:#?}");
    assert_eq!((&lines[1]["added"], &lines[1]["secrets_added"]), (&json!("second"), &json!("second/live")));
    let operator = lines[2]["operator"].as_str().unwrap();
    assert!(operator.starts_with("POST /v1/reload by no token from 127.0.0.1:"), "{operator}");
    assert_eq!((reloads(&gateway, "applied"), reloads(&gateway, "unchanged")), (2.0, 1.0));
    assert_eq!(successful(&gateway), 1.0);
}

#[test]
fn the_admin_token_alone_reloads_and_is_itself_reloaded() {
    let (old, new) = ("an-admin-token-of-old", "an-admin-token-of-new");
    let gateway = shop()
        .set("admin", "token = { file = \"token\" }\nworker_token = { env = \"WORKER\" }")
        .env("WORKER", "a-worker-token-0123")
        .prepare();
    fs::write(gateway.path("token"), old).unwrap();
    let mut gateway = gateway;
    gateway.start();
    let call = |token: &str| {
        let bearer = format!("Bearer {token}");
        gateway.admin_call("POST", "/v1/reload", &[("authorization", &bearer)], b"").status
    };
    assert_eq!([call("a-worker-token-0123"), call(new), call(old)], [401, 401, 200]);
    replace(&gateway.path("token"), new);
    assert_eq!(call(old), 200);
    assert_eq!([call(old), call(new)], [401, 200]);
}

#[test]
fn a_signal_reloads() {
    let mut gateway = shop().env("SECRET_SECOND", &secret("second")).start();
    gateway.change(with_second);
    gateway.signal(Signal::HUP);
    until("the signal is heeded", NOTICED, || delivered(&gateway, "second", "evt_1") == 200);
    assert!(gateway.log().iter().any(|line| line["operator"] == "SIGHUP" && line["added"] == "second"));
}

#[test]
fn files_are_watched_through_renames_and_swapped_links() {
    let (old, new) = ("whsec_old_0123456789abcdef", "whsec_new_0123456789abcdef");
    let gateway = shop()
        .source("mounted", "stripe", "secrets = [{ file = \"mount/key\", label = \"live\" }]")
        .env("SECRET_SECOND", &secret("second"))
        .prepare();
    let at = |name: &str| gateway.path(name);
    for (folder, text) in [("mount/..1", old), ("mount/..2", new)] {
        fs::create_dir_all(at(folder)).unwrap();
        fs::write(at(folder).join("key"), text).unwrap();
    }
    symlink("..1", at("mount/..data")).unwrap();
    symlink("..data/key", at("mount/key")).unwrap();
    let mut gateway = gateway;
    gateway.start();
    let by = |secret: &str, id: &str| {
        gateway.deliver(&stripe_at("mounted", secret, now(), &stripe_event(id))).status
    };
    assert_eq!([by(old, "evt_1"), by(new, "evt_2")], [200, 401]);

    // As Kubernetes does.
    symlink("..2", gateway.path("mount/..tmp")).unwrap();
    fs::rename(gateway.path("mount/..tmp"), gateway.path("mount/..data")).unwrap();
    until("the link is noticed", NOTICED, || by(new, "evt_3") == 200);
    assert_eq!(by(old, "evt_4"), 401);

    // As editors do, and first into a folder that was not there.
    fs::create_dir(gateway.path("sources.d")).unwrap();
    let text = "[sources.second]\nprovider = \"stripe\"\nsecrets = [{ env = \"SECRET_SECOND\" }]\n\
                body_bytes_max = \"512KiB\"\n";
    replace(&gateway.path("sources.d/second.toml"), text);
    until("the file is noticed", NOTICED, || delivered(&gateway, "second", "evt_1") == 200);
    fs::remove_file(gateway.path("sources.d/second.toml")).unwrap();
    until("its absence is noticed", NOTICED, || delivered(&gateway, "second", "evt_2") == 404);
    let quiet = reloads(&gateway, "unchanged") + reloads(&gateway, "invalid");
    assert_eq!((quiet, reloads(&gateway, "applied")), (0.0, 3.0), "one reload for each change");
}

#[test]
fn nothing_is_watched_where_that_is_not_wanted() {
    let mut gateway = shop().env("SECRET_SECOND", &secret("second")).set("reload", "watch = false").start();
    gateway.change(with_second);
    thread::sleep(Duration::from_secs(7));
    assert_eq!(delivered(&gateway, "second", "evt_1"), 404);
    gateway.change(|setup| setup.set("reload", "watch = true"));
    applied(&gateway);
    gateway.change(|setup| setup.set("sources.second", "success_status = 202"));
    let ids = std::cell::Cell::new(1);
    let fresh = || format!("evt_{}", ids.replace(ids.get() + 1));
    until("files are watched from here on", NOTICED, || delivered(&gateway, "second", &fresh()) == 202);
}

#[test]
fn a_broken_file_changes_nothing_and_is_told_of_until_it_is_mended() {
    let mut gateway = shop().env("SECRET_SECOND", &secret("second")).start();
    gateway.change(|setup| {
        with_second(setup)
            .set("sources.second", "provider = \"strip\"\npath = \"/in/shop\"")
            .set("ingress", "keep_alive = \"soon\"")
    });
    let answer = reload(&gateway);
    assert_eq!((answer.status, answer.code()), (422, "invalid_configuration".to_owned()));
    let told = answer.json();
    let keys: Vec<&str> =
        told["errors"].as_array().unwrap().iter().map(|error| error["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["ingress.keep_alive", "sources.second.provider", "sources.shop.path"], "{told}");
    assert_eq!((successful(&gateway), reloads(&gateway, "invalid")), (0.0, 1.0));
    assert_eq!([delivered(&gateway, "shop", "evt_1"), delivered(&gateway, "second", "evt_1")], [200, 404]);
    let stderr = gateway.stderr();
    assert!(
        stderr.contains("what was in force stays so") && stderr.contains("found \\\"strip\\\""),
        "{stderr}"
    );

    // The watch finds it mended.
    gateway.change(|setup| {
        setup
            .set("sources.second", "provider = \"stripe\"\npath = \"/in/second\"")
            .set("ingress", "keep_alive = \"75s\"")
    });
    until("it is mended", NOTICED, || delivered(&gateway, "second", "evt_1") == 200);
    assert_eq!(successful(&gateway), 1.0);
}

#[test]
fn a_secret_that_was_missing_is_looked_for() {
    let mut gateway = shop().start();
    gateway.change(|setup| setup.source("late", "stripe", "secrets = [{ file = \"late.key\" }]"));
    until("it is found missing", NOTICED, || successful(&gateway) == 0.0);
    fs::write(gateway.path("late.key"), secret("late")).unwrap();
    until("it is found", NOTICED, || delivered(&gateway, "late", "evt_1") == 200);
}

#[test]
fn what_only_a_restart_changes_is_refused_by_name_and_nothing_else_is_done() {
    let mut gateway = shop().env("SECRET_SECOND", &secret("second")).start();
    gateway.change(|setup| {
        with_second(setup)
            .set("dedup", "window = \"8d\"")
            .set("ingress", "workers = 3")
            .set("log", "level = \"debug\"")
    });
    let answer = reload(&gateway);
    assert_eq!((answer.status, answer.code()), (422, "restart_needed".to_owned()), "{}", answer.text());
    let told = answer.json();
    let keys: Vec<_> = told["errors"].as_array().unwrap().iter().map(|error| &error["key"]).collect();
    assert_eq!(keys, ["ingress.workers", "dedup.window", "log.level"]);
    let detail = told["detail"].as_str().unwrap();
    assert!(
        detail.contains("ingress.workers is 2 in the running gateway and 3 in the files: restart to apply"),
        "{detail}"
    );
    assert_eq!(delivered(&gateway, "second", "evt_1"), 404, "nothing of it is applied");
    assert_eq!((successful(&gateway), reloads(&gateway, "restart_needed")), (0.0, 1.0));
    gateway.restart();
    assert_eq!(delivered(&gateway, "second", "evt_1"), 200);
    assert_eq!(successful(&gateway), 1.0);
}

#[test]
fn buckets_counts_and_known_events_outlive_a_reload() {
    let (old, new) = ("whsec_old_0123456789abcdef", "whsec_new_0123456789abcdef");
    let limit = "limit = { rate = \"3/h\" }\non_limit = \"429\"";
    let lines = format!("{limit}\nsecrets = [{{ env = \"OLD\", label = \"old\" }}]");
    let mut gateway = Setup::new().env("OLD", old).env("NEW", new).source("shop", "stripe", &lines).start();
    let by = |gateway: &Gateway, secret: &str, id: &str| {
        let answer = gateway.deliver(&stripe_at("shop", secret, now(), &stripe_event(id)));
        (answer.status, if answer.status == 200 { answer.outcome() } else { String::new() })
    };
    let accepted = (200, "accepted".to_owned());
    assert_eq!(by(&gateway, old, "evt_1"), accepted);
    assert_eq!(by(&gateway, old, "evt_2"), accepted);
    let both = "secrets = [{ env = \"NEW\", label = \"new\" }, { env = \"OLD\", label = \"old\" }]";
    gateway.change(|setup| setup.set("sources.shop", both));
    let told = applied(&gateway);
    assert_eq!(told["secrets"], json!({ "added": ["shop/new"], "removed": [], "replaced": [] }));
    assert_eq!(by(&gateway, new, "evt_1"), (200, "duplicate".to_owned()));
    assert_eq!(by(&gateway, new, "evt_3").0, 429, "a reload fills no bucket");
    let used = |label| gateway.metric("hookgate_secret_used_total", &[("source", "shop"), ("secret", label)]);
    assert_eq!((used("old"), used("new")), (2.0, 2.0), "a delivery over the limit was verified");
    let received = gateway.metric("hookgate_requests_received_total", &[("source", "shop")]);
    assert_eq!(received, 4.0);

    gateway.change(|setup| {
        setup
            .set("sources.shop", "secrets = [{ env = \"NEW\", label = \"new\" }]\nlimit = { rate = \"4/h\" }")
    });
    assert_eq!(applied(&gateway)["secrets"]["removed"], json!(["shop/old"]));
    assert!(!gateway.metrics().contains("secret=\"old\""), "a dead secret has no series");
    assert_eq!(by(&gateway, old, "evt_4").0, 401);
    assert_eq!(by(&gateway, new, "evt_4"), accepted, "another rate is another bucket");
}
