//! The broker: takes messages in the order of their publishing, keeps some, loses some, and answers when a schedule
//! says so. What it kept it keeps.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use super::random::Random;
use crate::clock::Timestamp;
use crate::event::{Digest, Sequence};
use crate::sink::{Confirmation, HeaderValue, Health, Message, Pending, Sink, State as SinkState};

/// A message as the broker sees it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub id: Digest,
    pub body: Bytes,
    pub source: String,
    pub event_id: String,
    pub sequence: Sequence,
    /// Which part of the event it is and of how many; 1 of 1 where it is all of it.
    pub part: (u32, u32),
    pub marked: bool,
    pub redelivery: bool,
    pub replay: bool,
    pub twin: bool,
    /// Not a part of the event.
    pub whole: bool,
}

impl Seen {
    pub(super) fn of(message: &Message) -> Self {
        let header = |name: &str| message.headers().iter().find(|(known, _)| known == name).map(|(_, v)| v);
        let text = |name: &str| match header(name) {
            Some(HeaderValue::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let sequence = match header("hookgate-sequence") {
            Some(HeaderValue::Number(number)) => Sequence(*number),
            _ => Sequence(0),
        };
        let part = text("hookgate-part");
        let part = part.split_once('/').and_then(|(at, of)| Some((at.parse().ok()?, of.parse().ok()?)));
        Self {
            id: message.id(),
            body: message.body().clone(),
            source: text("hookgate-source"),
            event_id: text("hookgate-event-id"),
            sequence,
            part: part.unwrap_or((1, 1)),
            whole: part.is_none(),
            marked: header("hookgate-possible-duplicate").is_some(),
            redelivery: header("hookgate-redelivery").is_some(),
            replay: header("hookgate-replay").is_some(),
            twin: header("hookgate-twin-of").is_some(),
        }
    }
}

/// What the broker did with a message that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Returned,
    Refused,
    /// Lost with its connection, or never written to it.
    Lost,
}

struct Flying {
    seen: Seen,
    fate: Option<Fate>,
    answer: Option<oneshot::Sender<Confirmation>>,
}

#[derive(Default)]
struct State {
    flying: VecDeque<Flying>,
    /// Published since the last look.
    published: Vec<Seen>,
    /// Kept since the last look.
    kept: Vec<Seen>,
    /// Confirmed since the last look.
    confirmed: Vec<Seen>,
}

pub(super) struct Broker {
    state: Mutex<State>,
    connected: watch::Sender<bool>,
}

/// What has happened since the last look, in order of each.
#[derive(Default)]
pub(super) struct News {
    pub published: Vec<Seen>,
    pub kept: Vec<Seen>,
    pub confirmed: Vec<Seen>,
}

impl Broker {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), connected: watch::Sender::new(true) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn news(&self) -> News {
        let mut state = self.state();
        News {
            published: std::mem::take(&mut state.published),
            kept: std::mem::take(&mut state.kept),
            confirmed: std::mem::take(&mut state.confirmed),
        }
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.send_if_modified(|now| std::mem::replace(now, connected) != connected);
    }

    /// Messages without an answer.
    pub(super) fn flying(&self) -> usize {
        self.state().flying.len()
    }

    /// Reads the next messages from the wire, in their order.
    pub(super) fn read(&self, count: usize, kind: bool, random: &mut Random) {
        let state = &mut *self.state();
        let unread = state.flying.iter_mut().filter(|one| one.fate.is_none());
        for one in unread.take(count) {
            let fate = match random.below(100) {
                _ if kind => Fate::Kept,
                0..80 => Fate::Kept,
                80..86 => Fate::Returned,
                86..92 => Fate::Refused,
                _ => Fate::Lost,
            };
            one.fate = Some(fate);
            // A nack says that not all of a queue's members have it; some of them may.
            let keeps = fate == Fate::Kept || fate == Fate::Refused && random.chance(30);
            if keeps {
                state.kept.push(one.seen.clone());
            }
        }
    }

    /// Answers one of the messages that it has read, not always the oldest, nor always truly.
    pub(super) fn answer(&self, kind: bool, random: &mut Random) -> Option<&'static str> {
        let state = &mut *self.state();
        let read: Vec<usize> =
            (0..state.flying.len()).filter(|at| state.flying[*at].fate.is_some()).collect();
        let first = *read.first()?;
        let at = if kind || random.chance(70) { first } else { *random.pick(&read) };
        let Flying { seen, fate, answer } = state.flying.remove(at)?;
        let told = match fate? {
            Fate::Kept if !kind && random.chance(10) => Confirmation::Unknown { cause: "timeout".into() },
            Fate::Kept => Confirmation::Confirmed,
            Fate::Returned => Confirmation::Returned { code: 312, reason: "NO_ROUTE".into() },
            Fate::Refused => Confirmation::Refused,
            Fate::Lost if random.chance(50) => Confirmation::Unknown { cause: "reset".into() },
            Fate::Lost => Confirmation::NotSent { cause: "not connected".into() },
        };
        let name = match &told {
            Confirmation::Confirmed => "confirmed",
            Confirmation::Returned { .. } => "returned",
            Confirmation::Refused => "refused",
            Confirmation::Unknown { .. } if fate == Some(Fate::Kept) => "confirm lost",
            Confirmation::Unknown { .. } => "unknown",
            _ => "not sent",
        };
        if told == Confirmation::Confirmed {
            state.confirmed.push(seen.clone());
        }
        answer?.send(told).ok();
        Some(name)
    }

    /// Closes the channel over what is on its way; some of it was read and kept.
    pub(super) fn close(&self, random: &mut Random) -> usize {
        let state = &mut *self.state();
        let closed = state.flying.len();
        let read = random.index(closed + 1);
        for (at, one) in state.flying.drain(..).enumerate() {
            if one.fate.is_none() && at < read {
                state.kept.push(one.seen.clone());
            }
            let told = Confirmation::ChannelClosed { code: 406, reason: "PRECONDITION_FAILED".into() };
            if let Some(answer) = one.answer {
                answer.send(told).ok();
            }
        }
        closed
    }

    /// The gateway is gone; what it had written may still be read.
    pub(super) fn hang_up(&self, random: &mut Random) {
        let state = &mut *self.state();
        let read = random.index(state.flying.len() + 1);
        for (at, one) in state.flying.drain(..).enumerate() {
            if one.fate.is_none() && at < read {
                state.kept.push(one.seen);
            }
        }
    }

    /// A worker of the inbox has this message; it does the work.
    pub(super) fn work(&self, seen: Seen) {
        self.state().kept.push(seen);
    }

    /// A worker says that the work is done.
    pub(super) fn worked(&self, seen: Seen) {
        self.state().confirmed.push(seen);
    }

    /// A worker was handed this message.
    pub(super) fn handed(&self, seen: Seen) {
        self.state().published.push(seen);
    }
}

impl Sink for Broker {
    fn publish(&self, message: Message) -> BoxFuture<'_, Pending> {
        let seen = Seen::of(&message);
        let (answer, outcome) = oneshot::channel();
        let mut state = self.state();
        state.published.push(seen.clone());
        state.flying.push_back(Flying { seen, fate: None, answer: Some(answer) });
        drop(state);
        let pending = outcome
            .map(|told| told.unwrap_or_else(|_| Confirmation::Unknown { cause: "dropped".to_owned() }))
            .boxed();
        std::future::ready(pending).boxed()
    }

    fn health(&self) -> Health {
        Health { state: SinkState::Connected, since: Timestamp::default() }
    }

    fn name(&self) -> &'static str {
        "simulated"
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        let mut connected = self.connected.subscribe();
        async move { drop(connected.wait_for(|connected| *connected).await) }.boxed()
    }
}
