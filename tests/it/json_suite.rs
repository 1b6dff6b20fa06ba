//! JSONTestSuite as signed bodies: whatever a body is, its signature decides, its bytes come out as they went in, and nobody is
//! hurt. `HOOKGATE_TEST_DATA` names a folder that has it, and tests/run runs these tests where one lies beside the checkout.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::gateway::*;
use crate::load::of_others;

/// No body of the suite may keep its sender longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the whole suite may cost, in bytes.
const GROWTH: f64 = 64e6;

/// The suite's files by name.
fn suite() -> BTreeMap<String, Vec<u8>> {
    let folder = of_others("test-data/json/test_parsing");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let named = paths.filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path)));
    let suite: BTreeMap<_, _> = named.map(|(name, path)| (name, fs::read(path).unwrap())).collect();
    assert!(suite.len() > 300, "{} files only", suite.len());
    suite
}

#[test]
#[ignore = "reads JSONTestSuite; HOOKGATE_TEST_DATA says where it lies"]
fn every_body_of_the_suite_is_taken_for_what_it_is() {
    let suite = suite();
    let mut gateway = Setup::new()
        .set("ingress", "trusted_proxies = [\"127.0.0.1\"]")
        .source("plain", "generic", "settings = { id = \"json:/id\", type = \"json:/type\" }\nschema = false")
        .source("shop", "stripe", "")
        .source("git", "github", "")
        .source("strict", "stripe", "on_invalid = \"reject\"")
        .source("slack", "slack", "")
        .start();
    gateway.deliver(&stripe("shop", &stripe_event("evt_first")));
    let resident = |gateway: &Gateway| gateway.metric("process_resident_memory_bytes", &[]);
    let before = resident(&gateway);
    let mut client = Client::new(gateway.ingress()).within(PATIENCE);
    let mut accepted: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
    for (count, (name, body)) in suite.iter().enumerate() {
        let push = github("git", name, "push", body);
        for (source, signed) in [
            ("plain", generic("plain", body)),
            ("shop", stripe("shop", body)),
            ("git", push),
            ("strict", stripe("strict", body)),
        ] {
            let begun = Instant::now();
            let answer =
                client.try_deliver(&signed).unwrap_or_else(|| panic!("{name} at {source}: no answer"));
            assert!(begun.elapsed() < PATIENCE, "{name} at {source}: {:?}", begun.elapsed());
            let legal = match source {
                "strict" => [200, 422].contains(&answer.status),
                // GitHub signs no empty body.
                _ if body.is_empty() => [200, 401].contains(&answer.status),
                _ => answer.status == 200,
            };
            assert!(legal, "{name} at {source}: {} {}", answer.status, answer.text());
            if answer.status == 200 && answer.outcome() == "accepted" {
                accepted.entry(source).or_default().push(body);
            }
        }
        // The same bytes where a challenge is looked for in them; from an address of its own, since many refusals of one
        // are held back.
        let address = format!("192.0.2.{}", count % 250);
        let challenge = Signed { path: "/in/slack".to_owned(), ..generic("slack", body) };
        let answer = client.try_deliver(&challenge.with("x-forwarded-for", &address));
        let answer = answer.unwrap_or_else(|| panic!("{name} at slack: no answer"));
        assert_eq!(answer.status, 401, "{name} at slack");
    }
    assert!(!gateway.is_dead() && gateway.deliver(&stripe("shop", &stripe_event("evt_last"))).status == 200);
    let grown = resident(&gateway) - before;
    assert!(grown <= GROWTH, "{grown} bytes more");
    for (source, bodies) in accepted.iter().filter(|(source, _)| ["plain", "git"].contains(source)) {
        assert!(bodies.len() > 250, "{source}: {}", bodies.len());
        let handed = gateway.drain(source, bodies.len());
        assert!(handed.iter().map(|event| &*event.body).eq(bodies.iter().copied()), "{source}: other bytes");
    }
    assert_eq!(gateway.metric("hookgate_requests_total", &[("outcome", "fault")]), 0.0);
}

#[test]
#[ignore = "reads JSONTestSuite; HOOKGATE_TEST_DATA says where it lies"]
fn what_the_suite_calls_json_is_json_to_the_schemas() {
    let suite = suite();
    let gateway = Setup::new().source("shop", "stripe", "").start();
    let mut client = Client::new(gateway.ingress()).within(PATIENCE);
    let mut count = 0;
    for (name, member) in suite.iter().filter(|(name, _)| name.starts_with("y_")) {
        // Its value as a member of an event that is right without it.
        let event = stripe_event(name.trim_end_matches(".json"));
        let body = [&event[..event.len() - 1], b",\"extra\":", &member[..], b"}"].concat();
        assert_eq!(event.last(), Some(&b'}'));
        let answer =
            client.try_deliver(&stripe("shop", &body)).unwrap_or_else(|| panic!("{name}: no answer"));
        assert_eq!((answer.status, answer.outcome().as_str()), (200, "accepted"), "{name}");
        count += 1;
    }
    assert!(count >= 95, "{count}");
    assert_eq!(gateway.metric("hookgate_invalid_total", &[("source", "shop")]), 0.0, "each was valid");
}
