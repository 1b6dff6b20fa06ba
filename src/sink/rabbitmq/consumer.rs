//! The workers' side of a queue: takes messages, and answers for each once its work is done.
//!
//! The sink never reads here: this is what `hookgate consume --from rabbitmq` stands on. One connection, one
//! channel, a bounded number of messages out; lost ones are opened again by the next call. A message whose work
//! failed goes back once, then to the dead-letter exchange.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lapin::Acker;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use serde_json::{Map, Value};

use super::dial::Line;
use super::health::Trouble;
use super::topology::within;
use super::{CheckError, Settings};

/// How often a quorum queue has offered the message before, in a header of the broker's own.
const DELIVERY_COUNT: &str = "x-delivery-count";

/// A message that a worker has, until it answers.
#[derive(Debug)]
pub struct Handed {
    /// Properties and headers by the names of [`crate::sink::Message::to_json`], and which `attempt` this is,
    /// from 1; the body is left out.
    pub fields: Map<String, Value>,
    /// The bytes as they were received.
    pub body: Bytes,
    /// What answers for it.
    pub answer: Answer,
}

/// The right to answer for one message, once. Dropped without an answer, the message comes again when the
/// connection ends.
#[derive(Debug)]
pub struct Answer {
    acker: Acker,
    first: bool,
    step: Duration,
}

/// One queue, as a worker reads it.
pub struct Consumer {
    settings: Settings,
    queue: String,
    prefetch: u16,
    open: Option<Open>,
}

struct Open {
    line: Line,
    /// Ends with this value.
    _channel: Channel,
    messages: lapin::Consumer,
}

impl Consumer {
    /// A worker at the queue of `source`, with at most `prefetch` messages out; connects at the first
    /// [`Consumer::next`].
    pub fn new(settings: Settings, source: &str, prefetch: u16) -> Self {
        let queue = settings.names().queue(source);
        Self { settings, queue, prefetch: prefetch.max(1), open: None }
    }

    /// The queue's name.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// The next message, as soon as there is one; connects where there is no connection.
    ///
    /// # Errors
    /// Where the broker cannot be reached, refuses, or the connection was lost; the next call tries again.
    pub async fn next(&mut self) -> Result<Handed, CheckError> {
        if self.open.is_none() {
            let open = self.connect().await.map_err(CheckError::of)?;
            self.open = Some(open);
        }
        let Some(open) = &mut self.open else { return Err(lost("no connection")) };
        match open.messages.next().await {
            Some(Ok(delivery)) => Ok(handed(delivery, self.settings.pace.step)),
            Some(Err(error)) => {
                self.open = None;
                Err(CheckError::of(Trouble::of(&error)))
            }
            None => {
                self.open = None;
                Err(lost("the queue was deleted, or the connection lost"))
            }
        }
    }

    /// A message that is here already.
    pub fn ready(&mut self) -> Option<Handed> {
        let delivery = self.open.as_mut()?.messages.next().now_or_never()??;
        // What went wrong shows again at the next call that waits.
        delivery.ok().map(|delivery| handed(delivery, self.settings.pace.step))
    }

    /// Takes leave, so that all answers have arrived; what was not answered comes again.
    pub async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.line.close().await;
        }
    }

    async fn connect(&self) -> Result<Open, Trouble> {
        let step = self.settings.pace.step;
        let line = Line::open(&self.settings).await?;
        let channel = within(step, "opening a channel", line.connection().create_channel()).await?;
        let bound = channel.basic_qos(self.prefetch, BasicQosOptions::default());
        within(step, "bounding what is out", bound).await?;
        let options = BasicConsumeOptions::default();
        let reading =
            channel.basic_consume(self.queue.as_str().into(), "".into(), options, FieldTable::default());
        let advice = format!("is the queue «{}» declared? `hookgate serve` does that", self.queue);
        let messages =
            within(step, "reading the queue", reading).await.map_err(|trouble| trouble.advise(&advice))?;
        Ok(Open { line, _channel: channel, messages })
    }
}

fn lost(why: &str) -> CheckError {
    CheckError::of(Trouble::Passing(why.to_owned()))
}

impl Answer {
    /// The work is done: the message ends.
    ///
    /// # Errors
    /// Where the connection is lost: the message comes again.
    pub async fn done(self) -> Result<(), CheckError> {
        let acked = self.acker.ack(BasicAckOptions::default());
        within(self.step, "an ack", acked).await.map(|_| ()).map_err(CheckError::of)
    }

    /// The work was not done: the message goes back to its queue the first time, then to the dead letters.
    /// Tells whether it goes back.
    ///
    /// # Errors
    /// Where the connection is lost: the message comes again.
    pub async fn give_back(self) -> Result<bool, CheckError> {
        let options = BasicNackOptions { requeue: self.first, multiple: false };
        let nacked = self.acker.nack(options);
        within(self.step, "a nack", nacked).await.map(|_| self.first).map_err(CheckError::of)
    }
}

fn handed(delivery: Delivery, step: Duration) -> Handed {
    let attempt = attempt(&delivery);
    let body = Bytes::from(delivery.data);
    let mut fields = fields(&delivery.properties, delivery.routing_key.as_str());
    fields.insert("attempt".to_owned(), attempt.into());
    Handed { fields, body, answer: Answer { acker: delivery.acker, first: attempt == 1, step } }
}

/// Which try this is: by the broker's count where it keeps one, else by its mark of a redelivery.
fn attempt(delivery: &Delivery) -> u64 {
    let headers = delivery.properties.headers().as_ref();
    let counted = headers.and_then(|table| table.inner().get(DELIVERY_COUNT)).and_then(number);
    counted.unwrap_or(u64::from(delivery.redelivered)).saturating_add(1)
}

/// A number that is no less than 0, however wide it was sent.
pub(super) fn number(value: &AMQPValue) -> Option<u64> {
    match value {
        AMQPValue::LongLongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::LongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::LongUInt(number) => Some(u64::from(*number)),
        AMQPValue::ShortInt(number) => u64::try_from(*number).ok(),
        AMQPValue::ShortShortInt(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn fields(properties: &BasicProperties, routing_key: &str) -> Map<String, Value> {
    let text = |value: Option<&str>| Value::from(value.unwrap_or_default());
    let mut fields = Map::new();
    let short = [
        ("message_id", properties.message_id()),
        ("type", properties.kind()),
        ("app_id", properties.app_id()),
        ("content_type", properties.content_type()),
    ];
    for (name, value) in short {
        fields.insert(name.to_owned(), text(value.as_ref().map(|value| value.as_str())));
    }
    fields.insert("routing_key".to_owned(), routing_key.into());
    fields.insert("timestamp".to_owned(), properties.timestamp().unwrap_or_default().into());
    let table = properties.headers().clone().unwrap_or_default();
    let headers: Map<String, Value> =
        table.inner().iter().filter_map(|(name, value)| Some((name.to_string(), plain(value)?))).collect();
    fields.insert("headers".to_owned(), headers.into());
    fields
}

/// A header's value as JSON; tables and lists are the broker's own and left out.
fn plain(value: &AMQPValue) -> Option<Value> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into()),
        AMQPValue::ShortString(text) => Some(text.as_str().into()),
        AMQPValue::Boolean(flag) => Some((*flag).into()),
        other => number(other).map(Value::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(redelivered: bool, headers: &[(&str, AMQPValue)]) -> Delivery {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        let mut delivery =
            Delivery::mock(1, "webhooks".into(), "shop.paid".into(), redelivered, b"{}".to_vec());
        delivery.properties = BasicProperties::default()
            .with_message_id("ab12".into())
            .with_type("paid".into())
            .with_timestamp(5)
            .with_headers(table);
        delivery
    }

    #[test]
    fn the_brokers_count_goes_before_its_mark() {
        let count = |count| [(DELIVERY_COUNT, AMQPValue::LongLongInt(count))];
        assert_eq!(attempt(&delivery(false, &[])), 1);
        assert_eq!(attempt(&delivery(true, &[])), 2);
        assert_eq!(attempt(&delivery(true, &count(3))), 4);
        assert_eq!(attempt(&delivery(true, &count(-1))), 2, "a count that makes no sense is none");
    }

    #[test]
    fn a_message_looks_as_it_does_from_the_inbox() {
        let headers = [
            ("hookgate-source", AMQPValue::LongString("shop".into())),
            ("hookgate-sequence", AMQPValue::LongLongInt(7)),
            ("hookgate-possible-duplicate", AMQPValue::Boolean(true)),
            ("x-death", AMQPValue::FieldTable(FieldTable::default())),
        ];
        let handed = handed(delivery(false, &headers), Duration::from_secs(1));
        let expected = serde_json::json!({
            "message_id": "ab12", "type": "paid", "app_id": "", "content_type": "", "routing_key": "shop.paid",
            "timestamp": 5, "attempt": 1,
            "headers": {"hookgate-source": "shop", "hookgate-sequence": 7, "hookgate-possible-duplicate": true},
        });
        assert_eq!(Value::Object(handed.fields), expected);
        assert!(handed.answer.first && handed.body == "{}");
    }
}
