//! What a gateway says of itself: scrapes whose account has to close, and how much still waits in it.

use std::any::Any;
use std::panic::catch_unwind;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::check::Broken;
use crate::gateway::{Client, sum};
use crate::scrape::Scrape;
use crate::stage::Site;

const PATIENCE: Duration = Duration::from_secs(2);

/// The text of a scrape; nothing where the gateway is away.
pub fn scrape(admin: std::net::SocketAddr) -> Option<String> {
    let answer = Client::new(admin).within(PATIENCE).request("GET", "/metrics", &[], b"")?;
    (answer.status == 200).then(|| answer.text())
}

/// How many events a gateway has still to hand over.
pub fn waiting(scrape: &str) -> f64 {
    ["pending", "unroutable", "parked"]
        .iter()
        .map(|term| sum(scrape, &format!("hookgate_relay_{term}"), &[]))
        .sum()
}

/// What stands in a gateway, term by term and source by source, as a scrape writes it.
pub fn standing(scrape: &str) -> Vec<String> {
    let stands = |line: &&str| line.starts_with("hookgate_relay_") && !line.ends_with(" 0");
    scrape.lines().filter(stands).map(str::to_owned).collect()
}

/// Offers again what is poison, by the operator's command; how many events that were.
pub fn requeue(admin: std::net::SocketAddr) -> Option<u64> {
    let scrape = scrape(admin)?;
    if sum(&scrape, "hookgate_relay_poison", &[]) == 0.0 {
        return Some(0);
    }
    let order = json!({ "selection": { "state": "poison" } }).to_string();
    let mut client = Client::new(admin).within(PATIENCE);
    let answer = client.request("POST", "/v1/events/requeue", &[], order.as_bytes())?;
    answer.json()["outcomes"]["requeued"].as_u64()
}

/// Whether a gateway is connected to RabbitMQ.
pub fn is_connected(scrape: &str) -> bool {
    sum(scrape, "hookgate_sink_up", &[]) == 1.0
}

/// Scrapes each gateway again and again until the stage is over.
pub fn run(site: &Site<'_>) {
    while !site.stopped() {
        for unit in &site.units {
            let Some(text) = scrape(unit.admin) else { continue };
            site.tally.scrapes.fetch_add(1, Ordering::Relaxed);
            let read = catch_unwind(|| Scrape::read(&text).closes());
            if let Err(panic) = read {
                site.tell(Broken::Account, said(panic.as_ref()));
            }
        }
        sleep(Duration::from_millis(400));
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
