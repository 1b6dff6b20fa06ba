//! A source's own rate: counted after verification, and never a reason to lose an event.

use crate::gateway::*;

#[test]
fn above_the_rate_the_sender_is_told_to_come_again() {
    let lines = "limit = { rate = \"1/h\", burst = 3 }\non_limit = \"429\"";
    let gateway = Setup::new().source("few", "generic", lines).source("free", "generic", "").start();
    let statuses: Vec<u16> =
        (0..5).map(|index| gateway.deliver(&generic("few", format!("{index}").as_bytes())).status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let answer = gateway.deliver(&generic("few", b"4"));
    assert_eq!(answer.code(), "rate_limited");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(gateway.drain("few", 3).len(), 3);
    assert_eq!(gateway.deliver(&generic("free", b"1")).status, 200, "another source's limit is its own");
}

#[test]
fn above_the_rate_events_are_kept_where_the_source_accepts() {
    let gateway = Setup::new().source("few", "generic", "limit = { rate = \"1/h\", burst = 1 }").start();
    for index in 0..20 {
        assert_eq!(gateway.deliver(&generic("few", format!("{index}").as_bytes())).outcome(), "accepted");
    }
    assert_eq!(gateway.metric("hookgate_rejected_total", &[("source", "few")]), 0.0);
    assert_eq!(gateway.metric("hookgate_relay_pending", &[("source", "few")]), 20.0);
}

#[test]
fn forged_requests_do_not_use_the_rate_up() {
    let lines = "limit = { rate = \"1/h\", burst = 2 }\non_limit = \"429\"";
    let gateway = Setup::new().source("few", "stripe", lines).start();
    let mut client = Client::new(gateway.ingress());
    for index in 0..50 {
        let body = stripe_event(&format!("evt_{index}"));
        let at = if index % 2 == 0 { now() } else { now() - 4000 };
        let secret = if index % 2 == 0 { secret("other") } else { secret("few") };
        assert_eq!(client.deliver(&stripe_at("few", &secret, at, &body)).status, 401);
    }
    for (id, status) in [("evt_a", 200), ("evt_b", 200), ("evt_c", 429)] {
        assert_eq!(client.deliver(&stripe("few", &stripe_event(id))).status, status, "{id}");
    }
}
