//! What hookgate needs in the broker: names, and declaring or looking for them.

use std::time::Duration;

use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ExchangeKind};
use tokio::time::timeout;

use super::Settings;
use super::health::Trouble;

/// A channel that takes longer to close is ended with its connection, which the broker does without regard to what it is
/// busy with. It may try 65 s for each of some messages.
const CLOSED_WITHIN: Duration = Duration::from_secs(15 * 60);
const RIGHTS: &str = "give the user configure, write and read rights on it, or declare it yourself and set sink.declare = false";

/// Names of what lives in the broker, all derived from the exchange's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The durable topic exchange everything is published to.
    pub exchange: String,
    /// The queue of events that are not valid by their schema.
    pub invalid: String,
    /// The dead-letter exchange, and its queue: what workers reject ends here.
    pub dead: String,
}

impl Names {
    pub(super) fn of(exchange: &str) -> Self {
        Self {
            exchange: exchange.to_owned(),
            invalid: format!("{exchange}.invalid"),
            dead: format!("{exchange}.dead"),
        }
    }

    /// The queue of a source.
    pub fn queue(&self, source: &str) -> String {
        format!("{}.{source}", self.exchange)
    }
}

/// Opens a channel with publisher confirms.
pub(super) async fn confirming(connection: &Connection, step: Duration) -> Result<Channel, Trouble> {
    let channel = within(step, "opening a channel", connection.create_channel()).await?;
    within(step, "confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

/// Closes a channel, however long the broker is busy with what came by it.
pub(super) async fn close(channel: &Channel) -> Result<(), Trouble> {
    let closing = timeout(CLOSED_WITHIN, channel.close(200, "no confirm in time".into())).await;
    // An error in time means that the channel, or its connection, has ended otherwise.
    closing
        .map(drop)
        .map_err(|_| Trouble::Passing(format!("a channel is not closed within {CLOSED_WITHIN:?}")))
}

/// Makes sure that there is something to publish to: declares it, or only looks for it.
pub(super) async fn prepare(connection: &Connection, settings: &Settings) -> Result<(), Trouble> {
    let step = settings.pace.step;
    let channel = within(step, "opening a channel", connection.create_channel()).await?;
    if !settings.declare {
        let exchange = &settings.names().exchange;
        let advice = format!("declare the topic exchange «{exchange}», or set sink.declare = true");
        find(&channel, exchange, step).await.map_err(|trouble| trouble.advise(&advice))?;
    } else {
        Declaring { channel: &channel, step, names: settings.names() }.everything(settings.sources()).await?;
    }
    // A channel left open would only wait for its connection's end.
    within(step, "closing a channel", channel.close(200, "OK".into())).await
}

/// Looks for an exchange; a missing one closes the channel with 404.
pub(super) async fn find(channel: &Channel, exchange: &str, step: Duration) -> Result<(), Trouble> {
    let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
    let looking =
        channel.exchange_declare(exchange.into(), ExchangeKind::Topic, options, FieldTable::default());
    within(step, "looking for the exchange", looking).await
}

struct Declaring<'a> {
    channel: &'a Channel,
    step: Duration,
    names: &'a Names,
}

impl Declaring<'_> {
    async fn everything(&self, sources: &[String]) -> Result<(), Trouble> {
        let Names { exchange, invalid, dead } = self.names;
        self.exchange(exchange, ExchangeKind::Topic).await?;
        self.exchange(dead, ExchangeKind::Fanout).await?;
        self.queue(dead, None).await?;
        self.bind(dead, dead, "").await?;
        self.queue(invalid, Some(dead)).await?;
        self.bind(invalid, exchange, "invalid.#").await?;
        for source in sources {
            let queue = self.names.queue(source);
            self.queue(&queue, Some(dead)).await?;
            self.bind(&queue, exchange, &format!("{source}.#")).await?;
        }
        Ok(())
    }

    async fn exchange(&self, name: &str, kind: ExchangeKind) -> Result<(), Trouble> {
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let declaring = self.channel.exchange_declare(name.into(), kind, options, FieldTable::default());
        within(self.step, "declaring an exchange", declaring).await.map_err(|trouble| trouble.advise(RIGHTS))
    }

    /// A replicated queue that refuses when full: dropping its oldest would lose what was confirmed.
    async fn queue(&self, name: &str, dead_letters: Option<&str>) -> Result<(), Trouble> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text("quorum"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        if let Some(exchange) = dead_letters {
            arguments.insert("x-dead-letter-exchange".into(), text(exchange));
        }
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let declaring = self.channel.queue_declare(name.into(), options, arguments);
        let declared = within(self.step, "declaring a queue", declaring).await;
        declared.map(|_| ()).map_err(|trouble| trouble.advise(RIGHTS))
    }

    async fn bind(&self, queue: &str, exchange: &str, key: &str) -> Result<(), Trouble> {
        let [queue, exchange, key] = [queue, exchange, key].map(ShortString::from);
        let binding =
            self.channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default());
        within(self.step, "binding a queue", binding).await.map_err(|trouble| trouble.advise(RIGHTS))
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// One step with its deadline.
pub(super) async fn within<T>(
    step: Duration,
    what: &str,
    doing: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Trouble> {
    match timeout(step, doing).await {
        Ok(done) => done.map_err(|error| Trouble::of(&error)),
        Err(_) => Err(Trouble::Passing(format!("{what}: no answer within {step:?}"))),
    }
}
