//! The channels of a connection, each for some of the queues: RabbitMQ waits with a whole channel while a queue that
//! has lost its leader does not answer (65 s before the first message of a channel that goes there), so that messages
//! for other queues need channels of their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, try_join_all};
use futures_util::stream::FuturesUnordered;
use lapin::{Channel, Connection};
use tokio::sync::Notify;

use super::confirms::{Flight, InFlight, Publishing, barrier};
use super::health::Trouble;
use super::{Settings, topology};
use crate::sink::{Confirmation, Message};

/// Channels of a connection, at most; of more queues, some share one.
const CHANNELS_MAX: usize = 32;
/// Where messages go that are not valid by their schema, and those of sources that were not there when the connection
/// was made.
const SHARED: usize = 0;

/// The channels, by their places, with what is in flight on each.
pub(super) struct Publishers {
    all: Vec<Publisher>,
    places: HashMap<String, usize>,
    closing: FuturesUnordered<BoxFuture<'static, Closed>>,
    woken: Arc<Notify>,
}

struct Publisher {
    channel: Arc<Channel>,
    /// It is being closed; nothing is published here before another one is open.
    is_closing: bool,
    in_flight: InFlight,
}

/// The place of a channel, and what came of closing it.
pub(super) type Closed = (usize, Result<(), Trouble>);

impl Publishers {
    /// Opens the channels for the sources of these settings.
    pub(super) async fn open(connection: &Connection, settings: &Settings) -> Result<Self, Trouble> {
        let sources = settings.sources();
        let count = (sources.len() + 1).min(CHANNELS_MAX);
        let places = sources.iter().enumerate().map(|(at, source)| (source.clone(), place(at, count)));
        let opening = (0..count).map(|_| topology::confirming(connection, settings.pace.step));
        let woken = Arc::new(Notify::new());
        let with = |channel| Publisher {
            channel: Arc::new(channel),
            is_closing: false,
            in_flight: InFlight::waking(Arc::clone(&woken)),
        };
        let all = try_join_all(opening).await?.into_iter().map(with).collect();
        Ok(Self { all, places: places.collect(), closing: FuturesUnordered::new(), woken })
    }

    /// The place of the channel that a message goes by.
    pub(super) fn place(&self, message: &Message) -> usize {
        let queue = message.routing_key().split('.').next().unwrap_or_default();
        self.places.get(queue).copied().unwrap_or(SHARED)
    }

    /// The channel at a place; none where that has ended or is being closed.
    pub(super) fn channel(&self, at: usize) -> Option<Arc<Channel>> {
        let serves = |publisher: &&Publisher| !publisher.is_closing && publisher.channel.status().connected();
        Some(Arc::clone(&self.all.get(at).filter(serves)?.channel))
    }

    /// Starts a publish on the channel at a place.
    pub(super) fn push(&mut self, at: usize, flight: Flight, publishing: Publishing) {
        if let Some(publisher) = self.all.get_mut(at) {
            publisher.in_flight.push(flight, publishing);
        }
    }

    /// How many wait for an answer.
    pub(super) fn len(&self) -> usize {
        self.all.iter().map(|publisher| publisher.in_flight.len()).sum()
    }

    /// Resolves when there may be something to settle.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + Send + use<> {
        let woken = Arc::clone(&self.woken);
        async move { woken.notified().await }
    }

    /// Answers every message whose fate is known. The first error that ended a publish, after which its channel is of no
    /// more use, and that channel's place.
    pub(super) fn settle(&mut self) -> Option<(usize, lapin::Error)> {
        let mut ended = None;
        for (at, Publisher { channel, in_flight, .. }) in self.all.iter_mut().enumerate() {
            let error = in_flight.settle(|| barrier(channel));
            ended = ended.or(error.map(|error| (at, error)));
        }
        ended
    }

    /// The place of a channel that has ended by itself.
    pub(super) fn ended(&self) -> Option<usize> {
        let has_ended =
            |publisher: &Publisher| !publisher.is_closing && !publisher.channel.status().connected();
        self.all.iter().position(has_ended)
    }

    /// Gives up what was published before `limit` and has been overtaken on its channel. How many, and the place of a
    /// channel by which nothing has been answered since.
    pub(super) fn expire(&mut self, limit: Duration, outcome: &Confirmation) -> (usize, Option<usize>) {
        let expired = self.all.iter_mut().map(|one| one.in_flight.expire(limit, outcome)).sum();
        let is_late = |one: &Publisher| one.in_flight.oldest().is_some_and(|since| since <= limit);
        (expired, self.all.iter().position(is_late))
    }

    /// Starts every deadline anew: while the broker asked to wait, no time passed.
    pub(super) fn restart_deadlines(&mut self, now: Duration) {
        self.all.iter_mut().for_each(|publisher| publisher.in_flight.restart_deadlines(now));
    }

    /// Answers everything that is left with `outcome` and forgets it: of the channel at a place, or of all.
    pub(super) fn abandon(&mut self, at: Option<usize>, outcome: &Confirmation) {
        let those = |(place, publisher)| at.is_none_or(|at| at == place).then_some(publisher);
        let those = self.all.iter_mut().enumerate().filter_map(those);
        those.for_each(|publisher: &mut Publisher| publisher.in_flight.abandon(outcome));
    }

    /// Closes a channel whose messages have been answered; nothing is published at its place before the broker has closed
    /// it too and another one is there. The broker may still have some of its messages to deal with, and copies on
    /// another channel, which carry the duplicate mark, could come before those.
    pub(super) fn close(&mut self, at: usize) {
        let Some(publisher) = self.all.get_mut(at) else { return };
        publisher.is_closing = true;
        let channel = Arc::clone(&publisher.channel);
        self.closing.push(Box::pin(async move { (at, topology::close(&channel).await) }));
    }

    /// Resolves when a channel is closed, or could not be; none where there is nothing to close.
    pub(super) async fn closed(&mut self) -> Option<Closed> {
        self.closing.next().await
    }

    /// Puts a new channel, on which nothing is in flight, in the place of one whose messages have been answered.
    pub(super) fn replace(&mut self, at: usize, channel: Channel) {
        if let Some(publisher) = self.all.get_mut(at) {
            publisher.channel = Arc::new(channel);
            publisher.is_closing = false;
        }
    }

    /// Whether a message came back for want of a queue.
    pub(super) fn has_returned(&self) -> bool {
        self.all.iter().any(|publisher| publisher.in_flight.has_returned())
    }

    /// That is dealt with.
    pub(super) fn forget_returned(&mut self) {
        self.all.iter_mut().for_each(|publisher| publisher.in_flight.forget_returned());
    }
}

/// The place for the source with that number, out of `count` channels: its own, as far as there are enough, and the shared
/// one only where there is no other.
fn place(number: usize, count: usize) -> usize {
    if count > 1 { 1 + number % (count - 1) } else { SHARED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_have_channels_of_their_own_as_long_as_there_are_enough() {
        let places = |sources: usize| {
            let count = (sources + 1).min(CHANNELS_MAX);
            (0..sources).map(|number| place(number, count)).collect::<Vec<_>>()
        };
        assert_eq!(places(3), [1, 2, 3]);
        assert_eq!(places(31), (1..=31).collect::<Vec<_>>());
        let many = places(1000);
        assert!(many.iter().all(|place| (1..CHANNELS_MAX).contains(place)));
        let most = (1..CHANNELS_MAX).map(|at| many.iter().filter(|place| **place == at).count()).max();
        assert_eq!(most, Some(33), "evenly");
    }
}
