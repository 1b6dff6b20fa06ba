//! Takes letters out of the queue without answering for them, some at a time, as few bytes of them at once as may be.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Acker, BasicProperties, Channel, Connection};
use tokio::time::timeout;

use super::letter::{self, Letter};
use crate::sink::rabbitmq::health::Trouble;
use crate::sink::rabbitmq::topology::within;

/// Consumers of a channel: of so many and no more that end together, every RabbitMQ gives back in order.
const WINDOWS_MAX: usize = 32;
/// Letters in the first window, of which nobody knows yet how long they are.
const FIRST: usize = 16;
/// Letters in any window.
const WINDOW_MAX: usize = 512;
/// Bytes that a window should have, if the letters in it are as long as the longest so far.
const WINDOW_BYTES: usize = 8 << 20;
/// A queue that hands out nothing for so long has nothing to hand out.
const QUIET: Duration = Duration::from_secs(1);

/// A letter that was taken, and the right to end it.
pub(super) struct Taken {
    pub letter: Letter,
    /// How often it was offered before.
    pub offered: u64,
    /// Its number on the channel: the order of the queue.
    pub number: u64,
    pub properties: BasicProperties,
    pub body: Vec<u8>,
    acker: Acker,
}

impl Taken {
    fn of(delivery: Delivery, dead: &str) -> Self {
        Self {
            letter: Letter::of(&delivery, dead),
            offered: letter::offered(&delivery.properties),
            number: delivery.delivery_tag,
            properties: delivery.properties,
            body: delivery.data,
            acker: delivery.acker,
        }
    }
}

/// The queue, as it is read by one call. Dropped with its connection, it gives back what was not ended.
///
/// Its channel is transactional, for the acknowledgements: RabbitMQ passes 32 on to a quorum queue, holds more back until those are
/// written, and forgets them where the channel ends before. Those of a commit go there as one, and are answered.
pub(super) struct Reader {
    channel: Channel,
    dead: String,
    step: Duration,
    windows: usize,
    longest: usize,
}

impl Reader {
    /// A channel to read `dead` by.
    pub(super) async fn open(connection: &Connection, dead: &str, step: Duration) -> Result<Self, Trouble> {
        let channel = within(step, "opening a channel", connection.create_channel()).await?;
        within(step, "tx.select", channel.tx_select()).await?;
        Ok(Self { channel, dead: dead.to_owned(), step, windows: 0, longest: 0 })
    }

    /// How many letters could be taken.
    pub(super) async fn ready(&self) -> Result<u64, Trouble> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let asking = self.channel.queue_declare(self.dead.as_str().into(), options, FieldTable::default());
        let advice = format!(
            "is the queue «{}» declared? `hookgate serve` does that where sink.declare is true",
            self.dead
        );
        let queue = within(self.step, "looking for the queue", asking).await;
        queue.map(|queue| u64::from(queue.message_count())).map_err(|trouble| trouble.advise(&advice))
    }

    /// Whether there are no more windows.
    pub(super) fn is_spent(&self) -> bool {
        self.windows >= WINDOWS_MAX
    }

    /// The next letters, `most` of them; fewer where the queue has no more, or they are long.
    pub(super) async fn take(&mut self, most: usize) -> Result<Vec<Taken>, Trouble> {
        let size = self.window().min(most);
        let prefetch = u16::try_from(size).unwrap_or(u16::MAX);
        // Tags in order: so they are given back.
        let tag = ShortString::from(format!("hookgate-dead-{:02}", self.windows));
        self.windows += 1;
        let bound = self.channel.basic_qos(prefetch, BasicQosOptions::default());
        within(self.step, "bounding what is out", bound).await?;
        let (queue, options) = (self.dead.as_str().into(), BasicConsumeOptions::default());
        let reading = self.channel.basic_consume(queue, tag.clone(), options, FieldTable::default());
        let mut deliveries = within(self.step, "reading the queue", reading).await?;
        let mut taken = Vec::with_capacity(size);
        let mut lost = None;
        let collecting = async {
            while taken.len() < size {
                match timeout(QUIET, deliveries.next()).await {
                    Ok(Some(Ok(delivery))) => taken.push(Taken::of(delivery, &self.dead)),
                    Ok(Some(Err(error))) => return lost = Some(Trouble::of(&error)),
                    Ok(None) => return lost = Some(gone()),
                    Err(_) => return,
                }
            }
        };
        // Whatever came in time is looked at.
        timeout(self.step, collecting).await.unwrap_or_default();
        if let Some(lost) = lost {
            return Err(lost);
        }
        // Before any is answered for, or the broker would send others in their place.
        let cancelling = self.channel.basic_cancel(tag, BasicCancelOptions::default());
        within(self.step, "ending a look", cancelling).await?;
        let rest = async {
            while let Some(delivery) = deliveries.next().await {
                taken.push(Taken::of(delivery?, &self.dead));
            }
            Ok::<(), lapin::Error>(())
        };
        within(self.step, "ending a look", rest).await?;
        self.longest = taken.iter().map(|one| one.body.len()).fold(self.longest, usize::max);
        Ok(taken)
    }

    /// Takes letters of one window out of the queue for good, all or none.
    pub(super) async fn end(&self, letters: &[Taken]) -> Result<(), Trouble> {
        let acking = async {
            for one in letters {
                one.acker.ack(BasicAckOptions::default()).await?;
            }
            self.channel.tx_commit().await
        };
        within(self.step, "acknowledging", acking).await
    }

    fn window(&self) -> usize {
        match self.windows {
            0 => FIRST,
            _ => (WINDOW_BYTES / self.longest.max(1)).clamp(1, WINDOW_MAX),
        }
    }

    /// Ends the look: what was not ended goes back, and what was is known to the broker.
    pub(super) async fn close(self) -> Result<(), Trouble> {
        within(self.step, "closing a channel", self.channel.close(200, "OK".into())).await
    }
}

fn gone() -> Trouble {
    Trouble::Passing("the queue was deleted, or the connection lost".to_owned())
}
