//! Workers at the inbox: one for each source, which now and then dies with the leases it holds.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::check::Message;
use crate::events::SOURCES;
use crate::gateway::{Client, Handed};
use crate::ledger::{digest, message_id};
use crate::random::Random;
use crate::stage::Site;

const PATIENCE: Duration = Duration::from_secs(5);

/// Claims, notes and acknowledges until the stage is over.
pub fn run(site: &Site<'_>, source: usize) {
    let mut random = Random::of(&[site.seed, 3, site.stage.number.into(), source as u64]);
    let mut client = Client::new(site.units[0].admin).within(PATIENCE);
    while !site.stopped() {
        let max = random.between(1, 50);
        let dies = random.percent(3);
        if turn(site, source, &mut client, (max, dies)).is_none() {
            // The gateway is away.
            sleep(Duration::from_millis(50));
        }
    }
}

/// One claim; nothing where the gateway did not answer 200.
fn turn(site: &Site<'_>, source: usize, client: &mut Client, (max, dies): (u32, bool)) -> Option<()> {
    let path = format!("/v1/inbox/{}", SOURCES[source].name);
    let answer = client.request("POST", &format!("{path}/claim?max={max}&wait=200ms"), &[], b"")?;
    if answer.status != 200 {
        return None;
    }
    let Value::Array(events) = answer.json()["events"].take() else { return None };
    let events: Vec<Handed> = events.into_iter().map(Handed::of).collect();
    for event in &events {
        let Some(message_id) = message_id(&event.message_id) else {
            site.stuck(format!("an event without a message id: {}", event.message_id));
            continue;
        };
        site.take(&Message {
            source,
            message_id,
            digest: digest(&event.body),
            sequence: event.headers["hookgate-sequence"].as_u64(),
            marked: event.possible_duplicate(),
            redelivery: event.headers["hookgate-redelivery"] == true,
            again: false,
            connection: 0,
            at: site.now(),
        });
    }
    if events.is_empty() {
        return Some(());
    }
    if dies {
        site.tally.leases.fetch_add(events.len() as u64, Ordering::Relaxed);
        site.incident(u32::try_from(events.len()).unwrap());
        return Some(());
    }
    let tokens: Vec<&str> = events.iter().map(|event| event.token.as_str()).collect();
    let body = json!({ "tokens": tokens }).to_string();
    client.request("POST", &format!("{path}/ack"), &[], body.as_bytes()).map(|_| ())
}
