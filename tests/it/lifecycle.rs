//! Starts and ends: in good order, by force, on a disk that fails; what was answered 2xx is there afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::gateway::*;

fn setup() -> Setup {
    Setup::new().source("shop", "stripe", "").source("plain", "generic", "")
}

/// Sends new events on a connection until told to stop or nobody answers any more: the ids answered 2xx, and those
/// that were sent.
fn load(address: SocketAddr, sender: usize, stop: &AtomicBool) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut acked, mut sent) = (BTreeSet::new(), BTreeSet::new());
    let mut client = Client::new(address);
    let mut silent = 0;
    for index in 0.. {
        if stop.load(Ordering::Relaxed) || silent > 3 {
            break;
        }
        let id = format!("evt_{sender}_{index}");
        sent.insert(id.clone());
        match client.try_deliver(&stripe("shop", &stripe_event(&id))) {
            Some(answer) if answer.status == 200 => {
                silent = 0;
                acked.insert(id);
            }
            Some(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
            None => silent += 1,
        }
    }
    (acked, sent)
}

/// Runs load on four connections, ends the gateway in the middle by `end`, starts it again and compares.
fn ended_under_load(end: impl FnOnce(&mut Gateway)) {
    let mut gateway = setup().start();
    let (address, stop) = (gateway.ingress(), AtomicBool::new(false));
    let (acked, sent) = thread::scope(|scope| {
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                scope.spawn({
                    let stop = &stop;
                    move || load(address, sender, stop)
                })
            })
            .collect();
        until("some events are in", Duration::from_secs(10), || {
            gateway.metric("hookgate_requests_total", &[("outcome", "accepted")]) > 200.0
        });
        end(&mut gateway);
        stop.store(true, Ordering::Relaxed);
        let mut all = (BTreeSet::new(), BTreeSet::new());
        for sender in senders {
            let (acked, sent) = sender.join().unwrap();
            all.0.extend(acked);
            all.1.extend(sent);
        }
        all
    });
    gateway.start();
    let handed = gateway.drain("shop", acked.len());
    let kept: BTreeSet<String> = handed.iter().map(|event| event.header("hookgate-event-id")).collect();
    assert_eq!(kept.len(), handed.len(), "an event came twice");
    let lost: Vec<_> = acked.difference(&kept).collect();
    assert!(lost.is_empty(), "answered 2xx and lost: {lost:?}");
    assert!(kept.is_subset(&sent));
    for event in &handed {
        assert!(event.body == stripe_event(&event.header("hookgate-event-id")), "other bytes");
    }
    for id in acked.iter().take(50) {
        assert_eq!(gateway.deliver(&stripe("shop", &stripe_event(id))).outcome(), "duplicate");
    }
}

#[test]
fn sigterm_under_load_loses_nothing() {
    ended_under_load(|gateway| {
        let (code, took) = gateway.terminate();
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
}

#[test]
fn sigkill_under_load_loses_nothing() {
    ended_under_load(Gateway::kill);
}

#[test]
fn sigterm_waits_for_nobody_beyond_ten_seconds() {
    let mut gateway = setup().set("ingress", "body_timeout = \"60s\"").start();
    gateway.deliver(&generic("plain", b"with a worker"));
    assert_eq!(gateway.claim_within("plain", Duration::from_secs(5)).len(), 1);
    let mut idle = Client::new(gateway.ingress());
    assert_eq!(idle.deliver(&generic("plain", b"idle")).status, 200);
    let mut slow = Client::new(gateway.ingress());
    slow.send(b"POST /in/plain HTTP/1.1\r\nhost: g\r\ncontent-length: 100\r\n\r\nhalf");
    let mut head = Client::new(gateway.ingress());
    head.send(b"POST /in/plain HT");
    let (code, took) = gateway.terminate();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    gateway.start();
    assert_eq!(gateway.drain("plain", 2).len(), 2);
}

#[test]
fn services_that_never_answer_hold_up_neither_deliveries_nor_the_end() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let mut gateway = setup()
        .env("AMQP_URL", &format!("amqp://guest:guest@{address}/%2f"))
        .env("REDIS_URL", &format!("redis://{address}/0"))
        .set("sink", "kind = \"rabbitmq\"\nurl = { env = \"AMQP_URL\" }")
        .set("dedup", "backend = \"redis\"\nurl = { env = \"REDIS_URL\" }")
        .start();
    for index in 0..50 {
        let begun = Instant::now();
        let answer = gateway.deliver(&generic("plain", format!("{index}").as_bytes()));
        assert_eq!(answer.outcome(), "accepted");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    assert!(gateway.ready().1.starts_with("degraded"), "{:?}", gateway.ready());
    let (code, took) = gateway.terminate();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    let inbox = |setup: Setup| setup.set("sink", "kind = \"inbox\"").set("dedup", "backend = \"embedded\"");
    gateway.change(inbox);
    gateway.start();
    let handed = gateway.drain("plain", 50);
    assert_eq!(handed.len(), 50);
    assert!(!handed.iter().any(Handed::possible_duplicate), "nothing was ever published");
}

#[test]
fn an_idle_gateway_ends_at_once() {
    let mut gateway = setup().start();
    let mut idle = Client::new(gateway.ingress());
    assert_eq!(idle.deliver(&generic("plain", b"1")).status, 200);
    let (code, took) = gateway.terminate();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn every_error_of_the_configuration_is_listed_at_once() {
    let wrong = Setup::new()
        .set("ingress", "boddy_timeout = \"1s\"")
        .set("dedup", "window = \"1h\"")
        .env("A_SHORT_ONE", "too short")
        .source("short", "generic", "secrets = [{ env = \"A_SHORT_ONE\" }]")
        .env("EMPTY", "")
        .source("empty", "generic", "secrets = [{ env = \"EMPTY\" }]")
        .source("unset", "generic", "secrets = [{ env = \"NOT_SET_ANYWHERE\" }]")
        .source("none", "generic", "secrets = []")
        .source("plaintext", "generic", "secrets = [\"a secret in plain text\"]")
        .source("one", "generic", "path = \"/in/same\"")
        .source("two", "generic", "path = \"/in/same\"")
        .source("who", "nobody-knows-it", "")
        .source("shop", "stripe", "");
    let expected = [
        "boddy_timeout",
        "A_SHORT_ONE",
        "EMPTY",
        "NOT_SET_ANYWHERE",
        "sources.none.secrets",
        "sources.plaintext.secrets",
        "/in/same",
        "nobody-knows-it",
        "dedup.window",
    ];
    for command in ["check", "serve"] {
        let output = wrong.clone().run(&[command]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{command}: {told}");
        for text in expected {
            assert!(told.contains(text), "{command} does not tell of {text}:\n{told}");
        }
        assert!(
            !told.contains("in plain text") && !told.contains("too short\""),
            "a secret is told:\n{told}"
        );
    }
}

#[test]
fn a_right_configuration_is_said_to_be_right() {
    let output = setup().run(&["check"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("shop") && said.contains("/in/shop") && said.contains("live"), "{said}");
}

#[test]
fn a_folder_has_one_gateway() {
    let gateway = setup().start();
    gateway.deliver(&generic("plain", b"1"));
    let dir = format!("dir = {:?}", gateway.journal());
    let output = setup().set("journal", &dir).run(&["serve"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code != 0), "{:?}", output.status);
    let journal = gateway.journal().display().to_string();
    assert!(told.contains(&journal) && !told.contains("panicked"), "{told}");
    assert_eq!(gateway.deliver(&generic("plain", b"2")).outcome(), "accepted", "the first one goes on");
    assert_eq!(gateway.drain("plain", 2).len(), 2);
}

#[test]
fn a_port_that_is_taken_is_told() {
    let gateway = setup().start();
    let listen = format!("listen = \"{}\"", gateway.ingress());
    let output = setup().set("ingress", &listen).run(&["serve"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("ingress.listen") && told.contains(&gateway.ingress().to_string()), "{told}");
}

#[test]
fn an_operators_own_provider_is_served_like_a_built_in_one() {
    let mut gateway = Setup::new()
        .set("providers", "dir = \"providers.d\"")
        .source("acme", "acme", "")
        .source("shop", "stripe", "")
        .prepare();
    fs::create_dir(gateway.path("providers.d")).unwrap();
    let acme = r#"
name = "acme"
title = "Acme"
[event]
id = "json:/uid"
type = "header:Acme-Topic"
[forward]
headers = ["acme-topic"]
[[schemes]]
name = "v1"
algorithm = "hmac-sha256"
secret = "utf8"
signed = ["{timestamp}:{body}"]
[schemes.signature]
from = "header:Acme-Sign"
encoding = "base64"
[schemes.timestamp]
from = "header:Acme-Time"
unit = "seconds"
past = "5m"
"#;
    fs::write(gateway.path("providers.d/acme.toml"), acme).unwrap();
    gateway.start();
    let body = b"{\"uid\":\"u-1\"}";
    let signed = |at: i64| {
        let time = at.to_string();
        let proof = base64_of(&mac(&secret("acme"), &[time.as_bytes(), b":", body]));
        generic("acme", body).with("acme-sign", &proof).with("acme-time", &time).with("acme-topic", "made")
    };
    assert_eq!(gateway.deliver(&signed(now())).outcome(), "accepted");
    assert_eq!(gateway.deliver(&signed(now() - 100)).outcome(), "duplicate", "signed anew, the same id");
    assert_eq!(gateway.deliver(&signed(now() - 400)).status, 401);
    let event = gateway.drain("acme", 1).remove(0);
    assert_eq!((event.routing_key.as_str(), event.header("http-acme-topic").as_str()), ("acme.made", "made"));

    fs::write(gateway.path("providers.d/acme.toml"), acme.replace("hmac-sha256", "hmac-md4")).unwrap();
    fs::write(gateway.path("providers.d/broken.toml"), "name = ").unwrap();
    let output = gateway.run(&["check"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("hmac-md4") && told.contains("broken.toml"), "{told}");
}

#[test]
fn a_write_that_fails_ends_the_process_and_the_next_start_has_everything() {
    let ignore_signal = ["/bin/sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];
    let mut gateway = setup().wrapper(&ignore_signal).start();
    let body = |index: usize| format!("{index:0>60000}").into_bytes();
    for index in 0..3 {
        assert_eq!(gateway.deliver(&generic("plain", &body(index))).outcome(), "accepted");
    }
    let pid = Pid::from_raw(i32::try_from(gateway.pid()).unwrap());
    let limit = Rlimit { current: Some(48 << 10), maximum: None };
    prlimit(pid, Resource::Fsize, limit).unwrap();
    let answer = gateway.deliver(&generic("plain", &body(3)));
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(gateway.ended().0, Some(70), "{}", gateway.stderr());
    let log = gateway.log();
    assert!(log.iter().any(|line| line["reason"] == "journal_failed" && line["level"] == "ERROR"), "{log:?}");

    gateway.start();
    assert_eq!(gateway.deliver(&generic("plain", &body(2))).outcome(), "duplicate");
    // The refused one may have reached the file or not: nothing was promised, and a retry is safe either way.
    assert_eq!(gateway.deliver(&generic("plain", &body(3))).status, 200);
    let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    gateway.drain("plain", 4).into_iter().for_each(|event| *counts.entry(event.body).or_default() += 1);
    assert!(counts == (0..4).map(|index| (body(index), 1)).collect(), "{:?}", counts.values());
}

#[test]
fn a_torn_end_of_the_journal_is_cut_and_told() {
    let mut gateway = setup().start();
    for index in 0..5 {
        gateway.deliver(&generic("plain", format!("{index}").as_bytes()));
    }
    gateway.kill();
    let newest = newest_record_file(&gateway);
    let mut bytes = fs::read(&newest).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end - 2] ^= 0x40;
    fs::write(&newest, &bytes).unwrap();
    gateway.start();
    let count = gateway.drain("plain", 4).len();
    assert_eq!(count, 4, "what is whole is served");
    let warned = gateway.log().iter().any(|line| line["level"] == "WARN" || line["level"] == "ERROR");
    assert!(warned, "damage is told");
}

/// The file of the journal that holds records and was written last.
fn newest_record_file(gateway: &Gateway) -> std::path::PathBuf {
    let files = fs::read_dir(gateway.journal()).unwrap().map(|entry| entry.unwrap().path());
    let with_record = |path: &std::path::PathBuf| {
        path.is_file() && fs::read(path).unwrap().windows(5).any(|text| text == b"plain")
    };
    files.filter(with_record).max().unwrap()
}
