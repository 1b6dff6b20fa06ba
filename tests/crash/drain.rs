//! The drain: takes what comes out of RabbitMQ as it comes, over any number of connections, and shows it the checker.

use std::future::ready;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{SelectAll, once};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use tokio::time::{sleep, timeout};

use crate::check::Message;
use crate::events::SOURCES;
use crate::ledger::{digest, message_id};
use crate::stage::Site;

/// How often it looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);
const STEP: Duration = Duration::from_secs(5);
/// The type of a message of our own, whose id is a number.
pub const BEHIND: &str = "behind";

/// Drains until the stage is over. Faults of the broker end a connection; another follows.
pub fn run(site: &Site<'_>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut number = 0;
        while !site.stopped() {
            // An end of the connection is what faults are about.
            connection(site, number).await.unwrap_or_default();
            number += 1;
            sleep(LOOK).await;
        }
    });
}

/// One connection; nothing where the broker ended it or did not answer.
async fn connection(site: &Site<'_>, number: u32) -> Option<()> {
    let connecting = Connection::connect(&site.url, ConnectionProperties::default());
    let connection = timeout(STEP, connecting).await.ok()?.ok()?;
    let drained = drain(site, &connection, number).await;
    // However it ended: a connection that stays keeps what was sent to it and not taken. The acknowledgements before
    // arrive with this.
    timeout(STEP, connection.close(200, "OK".into())).await.ok()?.ok()?;
    drained
}

/// Takes from all queues; nothing where one of them ended or did not answer.
async fn drain(site: &Site<'_>, connection: &Connection, number: u32) -> Option<()> {
    let mut queues = SelectAll::new();
    for name in SOURCES.iter().map(|source| source.name).chain(["invalid"]) {
        let channel = timeout(STEP, connection.create_channel()).await.ok()?.ok()?;
        timeout(STEP, channel.basic_qos(500, BasicQosOptions::default())).await.ok()?.ok()?;
        let (queue, tag) = (format!("webhooks.{name}"), format!("drain-{name}"));
        let consuming = channel.basic_consume(
            queue.as_str().into(),
            tag.as_str().into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = timeout(STEP, consuming).await.ok()?.ok()?;
        // The end of one is told too: its queue was deleted.
        queues.push(consumer.map(Result::ok).chain(once(ready(None))));
    }
    while !site.stopped() {
        let Ok(next) = timeout(LOOK, queues.next()).await else { continue };
        let delivery = next??;
        take(site, &delivery, number);
        delivery.acker.ack(BasicAckOptions::default()).await.ok()?;
    }
    Some(())
}

fn take(site: &Site<'_>, delivery: &Delivery, connection: u32) {
    let properties = &delivery.properties;
    if properties.kind().as_ref().is_some_and(|kind| kind.as_str() == BEHIND) {
        let number = properties.message_id().as_ref().and_then(|id| id.as_str().parse().ok());
        site.behind.store(number.unwrap_or_default(), Ordering::SeqCst);
        return;
    }
    let header =
        |name: &str| properties.headers().as_ref().and_then(|table| table.inner().get(name).cloned());
    let id = properties.message_id().as_ref().and_then(|id| message_id(id.as_str()));
    let source = match header("hookgate-source") {
        Some(AMQPValue::LongString(name)) => {
            let name = name.to_string();
            SOURCES.iter().position(|source| source.name == name)
        }
        _ => None,
    };
    let (Some(message_id), Some(source)) = (id, source) else {
        site.stuck(format!("a message without id or source: {properties:?}"));
        return;
    };
    let sequence = match header("hookgate-sequence") {
        Some(AMQPValue::LongLongInt(number)) => u64::try_from(number).ok(),
        _ => None,
    };
    site.take(&Message {
        source,
        message_id,
        digest: digest(&delivery.data),
        sequence,
        marked: header("hookgate-possible-duplicate").is_some(),
        redelivery: header("hookgate-redelivery").is_some(),
        again: delivery.redelivered,
        connection,
        at: site.now(),
    });
}
