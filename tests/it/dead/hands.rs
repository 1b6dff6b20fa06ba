//! A worker's and an operator's hands on the queues of one virtual host, by AMQP alone.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ExchangeKind};
use tokio::runtime::Runtime;

use crate::gateway::until;
use crate::load::drained;
use crate::services::{Drained, RabbitMq, connect};

pub const SOON: Duration = Duration::from_secs(30);
pub const DEAD: &str = "webhooks.dead";

/// A connection to a virtual host of its own.
pub struct Hands {
    pub broker: &'static RabbitMq,
    pub vhost: String,
    runtime: Runtime,
    channel: Channel,
    _connection: Connection,
}

impl Hands {
    pub fn new() -> Self {
        let broker = RabbitMq::shared();
        let vhost = broker.vhost();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (connection, channel) = runtime.block_on(async {
            let connection = connect(&broker.url(&vhost)).await;
            let channel = connection.create_channel().await.unwrap();
            channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
            (connection, channel)
        });
        Self { broker, vhost, runtime, channel, _connection: connection }
    }

    pub fn url(&self) -> String {
        self.broker.url(&self.vhost)
    }

    /// What `hookgate serve` declares for the source `plain`, but for the arguments of the two queues.
    pub fn declare(&self, plain: &[(&str, AMQPValue)], dead: &[(&str, AMQPValue)]) {
        self.runtime.block_on(async {
            let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
            for (name, kind) in [("webhooks", ExchangeKind::Topic), (DEAD, ExchangeKind::Fanout)] {
                let declaring =
                    self.channel.exchange_declare(name.into(), kind, durable, FieldTable::default());
                declaring.await.unwrap();
            }
            let letters = ("x-dead-letter-exchange", AMQPValue::LongString(DEAD.into()));
            let plain = [&[letters], plain].concat();
            for (name, exchange, key, arguments) in
                [(DEAD, DEAD, "", dead), ("webhooks.plain", "webhooks", "plain.#", &plain)]
            {
                self.queue(name, arguments).await;
                let options = QueueBindOptions::default();
                let (queue, exchange, key) = (name.into(), exchange.into(), key.into());
                self.channel.queue_bind(queue, exchange, key, options, FieldTable::default()).await.unwrap();
            }
        });
    }

    async fn queue(&self, name: &str, arguments: &[(&str, AMQPValue)]) {
        let mut table = FieldTable::default();
        table.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        for (key, value) in arguments {
            table.insert((*key).into(), value.clone());
        }
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        self.channel.queue_declare(name.into(), options, table).await.unwrap();
    }

    /// Publishes messages of `plain` with ids `id-<n>`, and waits until they are in their queue.
    pub fn publish(&self, numbers: std::ops::Range<usize>, body: impl Fn(usize) -> Vec<u8>) {
        self.runtime.block_on(async {
            let mut confirms = Vec::new();
            for n in numbers {
                let mut headers = FieldTable::default();
                headers.insert("hookgate-source".into(), AMQPValue::LongString("plain".into()));
                headers.insert("hookgate-sequence".into(), AMQPValue::LongLongInt(n as i64 + 1));
                let properties = BasicProperties::default()
                    .with_message_id(id(n).into())
                    .with_type("paid".into())
                    .with_delivery_mode(2)
                    .with_headers(headers);
                confirms.push(self.publish_to("webhooks", "plain.paid", &body(n), properties).await);
            }
            for confirm in confirms {
                assert!(confirm.await.unwrap().is_ack());
            }
        });
    }

    /// A message of somebody else's, straight among the dead letters.
    pub fn foreign(&self, body: &[u8]) {
        self.runtime.block_on(async {
            let confirm = self.publish_to("", DEAD, body, BasicProperties::default()).await;
            assert!(confirm.await.unwrap().is_ack());
        });
    }

    async fn publish_to(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> lapin::PublisherConfirm {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        self.channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.unwrap()
    }

    /// Takes `count` messages of a queue and rejects them for good, in order; returns once they are dead letters.
    pub fn reject(&self, queue: &str, count: u64) {
        let before = self.count(DEAD);
        self.look(queue, count, |channel, last| async move {
            let options = BasicNackOptions { multiple: true, requeue: false };
            channel.basic_nack(last, options).await.unwrap();
            // Answered in order: the broker has the nack by then.
            channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
        });
        until("they are dead letters", SOON, || self.count(DEAD) == before + count);
    }

    /// Takes `count` messages of a queue and gives them back by closing the channel; false where there are none left.
    pub fn peek(&self, queue: &str, count: u64) -> bool {
        if self.count(queue) == 0 {
            return false;
        }
        self.look(queue, count, |_, _| async {});
        true
    }

    fn look<F: Future<Output = ()>>(&self, queue: &str, count: u64, end: impl FnOnce(Channel, u64) -> F) {
        self.runtime.block_on(async {
            let channel = self._connection.create_channel().await.unwrap();
            channel.basic_qos(u16::try_from(count).unwrap(), BasicQosOptions::default()).await.unwrap();
            let tag = ShortString::from("");
            let options = BasicConsumeOptions::default();
            let reading = channel.basic_consume(queue.into(), tag, options, FieldTable::default());
            let mut deliveries = reading.await.unwrap();
            let mut last = 0;
            for n in 0..count {
                let next = tokio::time::timeout(SOON, deliveries.next()).await;
                last = next
                    .unwrap_or_else(|_| panic!("{queue} has {n} of {count}"))
                    .unwrap()
                    .unwrap()
                    .delivery_tag;
            }
            end(channel.clone(), last).await;
            channel.close(200, "OK".into()).await.unwrap();
        });
    }

    /// How many messages a queue has that nobody holds.
    pub fn count(&self, queue: &str) -> u64 {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let asking = self.channel.queue_declare(queue.into(), options, FieldTable::default());
        self.runtime.block_on(asking).unwrap().message_count().into()
    }

    pub fn delete(&self, queue: &str) {
        let deleting = self.channel.queue_delete(queue.into(), QueueDeleteOptions::default());
        self.runtime.block_on(deleting).unwrap();
    }

    /// Takes everything from the queue of a source, or from `dead`.
    pub fn drained(&self, source: &str) -> Vec<Drained> {
        drained(self.broker, &self.vhost, source)
    }
}

/// The id of the n-th message.
pub fn id(n: usize) -> String {
    format!("id-{n}")
}
