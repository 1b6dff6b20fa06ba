//! Whatever strangers can vary without end (addresses, paths, ids) leaves nothing behind that grows.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::battery::Battery;
use crate::gateway::*;
use crate::load::number;

/// Bytes that a gateway may grow by, whatever the number of keys.
const GROWTH: u64 = 16 << 20;
/// Connections that send at once.
const SENDERS: usize = 4;

/// One of many addresses behind the trusted proxy.
fn address(number: u32) -> String {
    Ipv4Addr::from(0x0a00_0000 | number).to_string()
}

/// Sends `count` requests, each answered with `status`, and tells how much the gateway grew.
fn send(battery: &Battery, count: u32, status: u16, request: impl Fn(u32) -> Signed + Sync) -> u64 {
    let next = AtomicU32::new(0);
    let work = |to: u32| {
        let mut client = Client::new(battery.gateway.ingress());
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < to);
        for number in std::iter::from_fn(take) {
            assert_eq!(client.deliver(&request(number)).status, status, "request {number}");
        }
    };
    let round = |from: u32, to: u32| {
        next.store(from, Ordering::Relaxed);
        std::thread::scope(|scope| (0..SENDERS).for_each(|_| drop(scope.spawn(|| work(to)))));
    };
    // What the first of them touch is there for all of them.
    round(0, count / 10);
    let before = battery.resident();
    round(count / 10, count);
    battery.resident().saturating_sub(before)
}

#[test]
fn distinct_addresses_paths_and_ids_without_end_cost_no_memory() {
    let count = number("HOOKGATE_IT_KEYS", 8_000);
    let battery = Battery::of(Setup::new().set("ingress", "trusted_proxies = [\"127.0.0.1/32\"]"));
    // Some series are there once the gateway has looked at its sources for the first time.
    let looked = || battery.gateway.metrics().contains("hookgate_source_silent{");
    until("the first look", Duration::from_secs(30), looked);
    let series = || battery.gateway.metrics().lines().count();
    let before = series();
    let from = |signed: Signed, number: u32| signed.with("x-forwarded-for", &address(number));
    let addresses =
        send(&battery, count, 401, |number| from(generic("plain", b"x").with("x-signature", "00"), number));
    let paths = send(&battery, count, 404, |number| {
        let path = format!("/in/{number}/{}?{number}", "p".repeat(40));
        from(Signed { path, ..generic("plain", b"") }, count + number)
    });
    let ids = send(&battery, count, 401, |number| {
        let forged = github("git", &format!("delivery-{number}"), &format!("event_{number}"), b"{}");
        from(forged.with("x-hub-signature-256", &format!("sha256={number:064x}")), 2 * count + number)
    });
    assert!(series() <= before + 8, "metrics grow with what strangers send: {before}, {}", series());
    for (what, grown) in [("addresses", addresses), ("paths", paths), ("ids", ids)] {
        assert!(grown <= GROWTH, "{} KiB for {count} {what}", grown >> 10);
        println!("{count} {what}: {} KiB", grown >> 10);
    }
    assert_eq!(battery.honest().err(), None);
    assert_eq!(battery.gateway.metric("hookgate_dedup_total", &[]), 51.0, "only honest events have keys");
    battery.end(&[]);
}
