//! Elements at the inbox: each is leased, acknowledged and given back by itself, and the record ends with the last.

use super::*;

fn inbox() -> Gateway {
    let mut gateway = prepared(Setup::new().source("bulk", "bulk", SPLIT));
    gateway.start();
    gateway
}

fn confirmed(gateway: &Gateway) -> f64 {
    Scrape::read(&gateway.metrics()).term("events_confirmed")
}

#[test]
fn each_element_has_a_lease_and_attempts_of_its_own_and_the_record_ends_with_the_last() {
    let gateway = inbox();
    let sent = [send(&gateway, "one", 5), send(&gateway, "two", 2)].concat();
    let first = gateway.claim("bulk", 3);
    let second = gateway.claim("bulk", 3);
    let bodies: Vec<&[u8]> = first.iter().chain(&second).map(|event| &*event.body).collect();
    assert_eq!(bodies, sent[..6].iter().map(String::as_bytes).collect::<Vec<_>>(), "in order");
    assert_eq!(first[0].header("hookgate-part"), "1/5");
    assert_eq!(gateway.ack("bulk", &first).status, 200);
    assert_eq!(gateway.ack("bulk", &first[..1]).status, 409, "answered before");
    assert_eq!(gateway.nack("bulk", &second[..1], "0s").status, 200);
    assert_eq!(confirmed(&gateway), 0.0, "two of the first are not done");
    let again = gateway.claim("bulk", 1);
    assert_eq!((again[0].body.as_slice(), again[0].attempt), (sent[3].as_bytes(), 2));
    assert!(!again[0].possible_duplicate(), "it was given back");
    assert_eq!(gateway.ack("bulk", &again).status, 200);
    assert_eq!(gateway.ack("bulk", &second[1..2]).status, 200);
    assert_eq!(confirmed(&gateway), 1.0);
    let last = gateway.claim("bulk", 9);
    assert_eq!(last.iter().map(|event| &*event.body).collect::<Vec<_>>(), [sent[6].as_bytes()]);
    assert_eq!(gateway.ack("bulk", &[&second[2..], &last].concat()).status, 200);
    assert_eq!(confirmed(&gateway), 2.0);
    Scrape::read(&gateway.metrics()).closes();
}

#[test]
fn a_lease_that_runs_out_marks_its_element_and_no_other() {
    let gateway = inbox();
    let sent = send(&gateway, "one", 4);
    let lost = gateway.claim_by("bulk", "max=2&lease=1s");
    let rest = gateway.claim("bulk", 9);
    assert_eq!((lost.len(), rest.len()), (2, 2));
    assert_eq!(gateway.ack("bulk", &lost[..1]).status, 200);
    let back = gateway.claim_by("bulk", "max=9&wait=10s");
    assert_eq!(back.iter().map(|event| &*event.body).collect::<Vec<_>>(), [sent[1].as_bytes()]);
    assert!(back[0].possible_duplicate() && back[0].attempt == 2);
    assert_eq!(gateway.ack("bulk", &[rest, back].concat()).status, 200);
    assert_eq!(confirmed(&gateway), 1.0);
}

#[test]
fn a_replay_hands_over_all_elements_and_show_names_them() {
    let gateway = inbox();
    let sent = send(&gateway, "one", 3);
    let events = gateway.claim("bulk", 9);
    assert_eq!(gateway.ack("bulk", &events).status, 200);
    assert!(gateway.claim("bulk", 9).is_empty());
    let sequence = events[0].header("hookgate-sequence");
    let shown = gateway.run(&["events", "show", &sequence, "--output", "json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["parts"].as_array().unwrap().len(), 3, "{shown}");
    assert_eq!(shown["parts"][1]["message_id"], events[1].message_id.as_str());
    assert_eq!(shown["parts"][1]["part"], "2/3");
    assert!(gateway.run(&["events", "replay", "--source", "bulk", "--all", "--yes"]).status.success());
    let again = gateway.claim_by("bulk", "max=9&wait=5s");
    assert_eq!(
        again.iter().map(|event| &*event.body).collect::<Vec<_>>(),
        sent.iter().map(String::as_bytes).collect::<Vec<_>>()
    );
    assert!(again.iter().all(|event| event.header("hookgate-replay") == "true"));
    assert_eq!(gateway.ack("bulk", &again).status, 200);
}

#[test]
fn after_a_kill_the_elements_of_a_record_that_is_not_done_come_again_marked() {
    let mut gateway = inbox();
    let done = send(&gateway, "done", 3);
    let sent = send(&gateway, "half", 6);
    let first = gateway.claim("bulk", 5);
    assert_eq!(gateway.ack("bulk", &first).status, 200, "all of one record, and two of the other");
    let leased = gateway.claim("bulk", 2);
    gateway.kill();
    gateway.start();
    assert_eq!(gateway.ack("bulk", &leased).status, 409, "no lease outlives its process");
    let again = gateway.drain("bulk", 6);
    assert_eq!(again.len(), 6, "none of the record that was done: {done:?}");
    assert!(again.iter().all(Handed::possible_duplicate));
    let bodies: BTreeSet<&[u8]> = again.iter().map(|event| &*event.body).collect();
    assert_eq!(bodies, sent.iter().map(String::as_bytes).collect());
    until("the record is done", SOON, || gateway.metric("hookgate_relay_pending", &[]) == 0.0);
}
