//! The messages that wait for their confirm, and the one rule that is hard: which of them was returned.
//!
//! The broker says of an unroutable message `basic.return` and then acknowledges it, often several messages in
//! one `multiple` ack. lapin hands each return to *some* message of that ack, not to the one it belongs to. So
//! a return is matched by its message id here, and no ack counts as confirmed before every message that was
//! acknowledged together with it has been looked at.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use lapin::Channel;
use lapin::message::BasicReturnMessage;
use tokio::sync::{Notify, oneshot};

use super::health::interrupted;
use crate::failpoint::{self, Point};
use crate::sink::Confirmation;
use crate::telemetry::trace;

/// A publish and its confirm, as lapin gives them.
pub(super) type Publishing = BoxFuture<'static, lapin::Result<Acked>>;

/// The broker's answer, with a return that lapin handed out along with it; see above for whose that is.
#[derive(Debug)]
pub(super) struct Acked {
    pub kind: Kind,
    pub returned: Option<Returned>,
}

/// What the broker answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ack,
    Nack,
    /// The channel was not in confirm mode.
    Nothing,
}

/// A returned message, by its id.
#[derive(Debug)]
pub(super) struct Returned {
    pub id: String,
    pub code: u16,
    pub reason: String,
}

impl From<lapin::Confirmation> for Acked {
    fn from(confirmation: lapin::Confirmation) -> Self {
        let (kind, message) = match confirmation {
            lapin::Confirmation::Ack(message) => (Kind::Ack, message),
            lapin::Confirmation::Nack(message) => (Kind::Nack, message),
            lapin::Confirmation::NotRequested => (Kind::Nothing, None),
        };
        Self { kind, returned: message.map(Returned::from) }
    }
}

impl From<BasicReturnMessage> for Returned {
    fn from(message: BasicReturnMessage) -> Self {
        let id = message.delivery.properties.message_id().as_ref().map(ToString::to_string);
        Self { id: id.unwrap_or_default(), code: message.reply_code, reason: message.reply_text.to_string() }
    }
}

/// A message on its way in.
pub(super) struct Flight {
    /// The `message_id`, by which a return is recognised.
    pub id: String,
    /// Where the outcome is awaited.
    pub answer: oneshot::Sender<Confirmation>,
    /// Ends with it.
    pub span: trace::Publish,
    /// Monotonic time of the publish.
    pub since: Duration,
}

impl Flight {
    /// Gives the answer; whoever dropped the other end does not want it.
    fn end(self, outcome: Confirmation) {
        self.span.end(outcome.error());
        drop(self.answer.send(outcome));
    }
}

/// Messages in flight on one channel, oldest first.
#[derive(Default)]
pub(super) struct InFlight {
    /// The number of `slots[0]`; numbers rise by one for each publish.
    first: u64,
    slots: VecDeque<Option<Slot>>,
    open: usize,
    returned: Returns,
    /// A message came back since that was last forgotten.
    has_returned: bool,
    woken: Arc<Woken>,
}

struct Slot {
    flight: Flight,
    publishing: Publishing,
    waker: Waker,
    outcome: Option<lapin::Result<Acked>>,
    /// The outcome has been collected once.
    observed: bool,
}

impl Slot {
    /// Polls, unless the outcome is known, and notes a return that came with it. True where it is known.
    fn advance(&mut self, returned: &mut Returns) -> bool {
        if self.outcome.is_none()
            && let Poll::Ready(mut outcome) =
                self.publishing.as_mut().poll(&mut Context::from_waker(&self.waker))
        {
            if let Some(found) = outcome.as_mut().ok().and_then(|acked| acked.returned.take()) {
                returned.entry(found.id).or_default().push((found.code, found.reason));
            }
            self.outcome = Some(outcome);
        }
        self.outcome.is_some()
    }
}

/// Reply codes and texts of returned messages, by message id.
type Returns = HashMap<String, Vec<(u16, String)>>;

/// The numbers of publishes that have something new to say.
#[derive(Default)]
struct Woken {
    numbers: Mutex<Vec<u64>>,
    notify: Arc<Notify>,
}

struct Bell {
    number: u64,
    woken: Arc<Woken>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.woken.numbers.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
        self.woken.notify.notify_one();
    }
}

impl InFlight {
    /// Nothing is in flight yet; tells by `notify` when there may be something to settle.
    pub(super) fn waking(notify: Arc<Notify>) -> Self {
        Self { woken: Arc::new(Woken { notify, ..Woken::default() }), ..Self::default() }
    }

    /// How many wait for an answer.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// Starts a publish. Polled at once, so that frames leave in the order of these calls.
    pub(super) fn push(&mut self, flight: Flight, publishing: Publishing) {
        let number = self.first + self.slots.len() as u64;
        let waker = Waker::from(Arc::new(Bell { number, woken: Arc::clone(&self.woken) }));
        let mut slot = Slot { flight, publishing, waker, outcome: None, observed: false };
        // The first poll numbers the publish in lapin and queues its frames.
        if slot.advance(&mut self.returned) {
            slot.waker.wake_by_ref();
        }
        self.slots.push_back(Some(slot));
        self.open += 1;
    }

    /// Answers every message whose fate is known. Returns the first error that ended a publish, after which
    /// the channel is of no more use. `barrier` returns once lapin has finished any ack it was handing out.
    pub(super) fn settle(&mut self, barrier: impl Fn()) -> Option<lapin::Error> {
        let mut ended = None;
        let mut observed = self.collect();
        while !observed.is_empty() {
            failpoint::reach(Point::SinkConfirmAfter);
            barrier();
            let siblings = self.collect();
            for number in observed {
                ended = ended.or(self.finish(number));
            }
            observed = siblings;
        }
        ended
    }

    /// Whether a message came back for want of a queue.
    pub(super) fn has_returned(&self) -> bool {
        self.has_returned
    }

    /// That is dealt with.
    pub(super) fn forget_returned(&mut self) {
        self.has_returned = false;
    }

    /// The monotonic time of the oldest publish without an answer.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.slots.iter().flatten().map(|slot| slot.flight.since).next()
    }

    /// Gives up messages published before `limit` that later ones have overtaken: the broker answers on this
    /// channel, only not for them, as with a queue that has lost its leader. Returns how many.
    pub(super) fn expire(&mut self, limit: Duration, outcome: &Confirmation) -> usize {
        let Some(overtaken) = self.slots.iter().rposition(Option::is_none) else { return 0 };
        let late = |slot: &mut Slot| slot.flight.since <= limit && slot.outcome.is_none();
        let expired = self.slots.iter_mut().take(overtaken).filter_map(|slot| slot.take_if(late));
        let flights: Vec<_> = expired.map(|slot| slot.flight).collect();
        self.open -= flights.len();
        let count = flights.len();
        flights.into_iter().for_each(|flight| flight.end(outcome.clone()));
        self.trim();
        count
    }

    fn trim(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
    }

    /// Starts every deadline anew: while the broker asked to wait, no time passed.
    pub(super) fn restart_deadlines(&mut self, now: Duration) {
        self.slots.iter_mut().flatten().for_each(|slot| slot.flight.since = now);
    }

    /// Answers everything that is left with `outcome` and forgets it.
    pub(super) fn abandon(&mut self, outcome: &Confirmation) {
        for slot in std::mem::take(&mut self.slots).into_iter().flatten() {
            slot.flight.end(outcome.clone());
        }
        *self = Self::waking(Arc::clone(&self.woken.notify));
    }

    /// Polls what was woken; returns the numbers whose outcome became known since the last call.
    fn collect(&mut self) -> Vec<u64> {
        let mut woken =
            std::mem::take(&mut *self.woken.numbers.lock().unwrap_or_else(PoisonError::into_inner));
        woken.retain(|number| {
            let slot = index(self.first, *number).and_then(|at| self.slots.get_mut(at)?.as_mut());
            slot.is_some_and(|slot| {
                let news = slot.advance(&mut self.returned) && !slot.observed;
                slot.observed |= news;
                news
            })
        });
        woken
    }

    fn finish(&mut self, number: u64) -> Option<lapin::Error> {
        let slot = index(self.first, number).and_then(|at| self.slots.get_mut(at)?.take())?;
        self.open -= 1;
        self.trim();
        let (outcome, ended) = match slot.outcome? {
            Ok(acked) => (self.verdict(&slot.flight.id, acked.kind), None),
            Err(error) => (interrupted(&error), Some(error)),
        };
        slot.flight.end(outcome);
        ended
    }

    fn verdict(&mut self, id: &str, kind: Kind) -> Confirmation {
        if let Some((code, reason)) = self.take_returned(id) {
            self.has_returned = true;
            return Confirmation::Returned { code, reason };
        }
        match kind {
            Kind::Ack => Confirmation::Confirmed,
            Kind::Nack => Confirmation::Refused,
            Kind::Nothing => Confirmation::Unknown { cause: "the channel gives no confirms".to_owned() },
        }
    }

    fn take_returned(&mut self, id: &str) -> Option<(u16, String)> {
        let returns = self.returned.get_mut(id)?;
        let taken = returns.pop();
        if returns.is_empty() {
            self.returned.remove(id);
        }
        taken
    }
}

fn index(first: u64, number: u64) -> Option<usize> {
    usize::try_from(number.checked_sub(first)?).ok()
}

/// Waits until lapin has handed out the ack it is busy with, if any. The first poll of `wait_for_confirms`
/// takes the lock under which a whole ack is handed out; its result is not needed.
pub(super) fn barrier(channel: &Channel) {
    let waiting = pin!(channel.wait_for_confirms());
    drop(waiting.poll(&mut Context::from_waker(Waker::noop())));
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_util::FutureExt;

    use super::*;

    type Broker = oneshot::Sender<lapin::Result<Acked>>;
    type Relay = oneshot::Receiver<Confirmation>;

    /// Publishes a message; returns the broker's end and the relay's.
    fn publish(in_flight: &mut InFlight, id: &str) -> (Broker, Relay) {
        let (broker, acked) = oneshot::channel();
        let (answer, relay) = oneshot::channel();
        let flight = Flight {
            id: id.to_owned(),
            answer,
            span: trace::Publish::default(),
            since: Duration::from_secs(1),
        };
        in_flight.push(flight, acked.map(|acked| acked.expect("the test answers")).boxed());
        (broker, relay)
    }

    fn say(broker: Broker, kind: Kind, returned: Option<&str>) {
        let returned =
            returned.map(|id| Returned { id: id.to_owned(), code: 312, reason: "NO_ROUTE".to_owned() });
        assert!(broker.send(Ok(Acked { kind, returned })).is_ok());
    }

    fn heard(relay: &mut Relay) -> Option<Confirmation> {
        relay.try_recv().ok()
    }

    fn no_route() -> Option<Confirmation> {
        Some(Confirmation::Returned { code: 312, reason: "NO_ROUTE".to_owned() })
    }

    #[test]
    fn a_return_finds_its_message_though_it_came_with_another() {
        let mut in_flight = InFlight::default();
        let (first, mut lost) = publish(&mut in_flight, "lost");
        let (second, mut kept) = publish(&mut in_flight, "kept");
        say(first, Kind::Ack, None);
        say(second, Kind::Ack, Some("lost"));
        assert!(in_flight.settle(|| ()).is_none());
        assert_eq!((heard(&mut lost), heard(&mut kept)), (no_route(), Some(Confirmation::Confirmed)));
        assert_eq!(in_flight.len(), 0);
    }

    #[test]
    fn no_ack_counts_before_the_rest_of_it_was_handed_out() {
        let mut in_flight = InFlight::default();
        let (first, mut lost) = publish(&mut in_flight, "lost");
        let (second, mut kept) = publish(&mut in_flight, "kept");
        say(first, Kind::Ack, None);
        // lapin is in the midst of one multiple ack: the return comes with the message it hands out next.
        let rest = RefCell::new(Some(second));
        let handed_out = || {
            if let Some(second) = rest.take() {
                say(second, Kind::Ack, Some("lost"));
            }
        };
        assert!(in_flight.settle(handed_out).is_none());
        assert_eq!((heard(&mut lost), heard(&mut kept)), (no_route(), Some(Confirmation::Confirmed)));
    }

    #[test]
    fn every_answer_has_its_own_meaning() {
        let mut in_flight = InFlight::default();
        let (nack, mut refused) = publish(&mut in_flight, "1");
        let (off, mut unknown) = publish(&mut in_flight, "2");
        let (_silent, mut pending) = publish(&mut in_flight, "3");
        say(nack, Kind::Nack, None);
        say(off, Kind::Nothing, None);
        assert!(in_flight.settle(|| ()).is_none());
        assert_eq!(heard(&mut refused), Some(Confirmation::Refused));
        assert!(matches!(heard(&mut unknown), Some(Confirmation::Unknown { .. })));
        assert_eq!(heard(&mut pending), None);
        assert_eq!((in_flight.len(), in_flight.oldest()), (1, Some(Duration::from_secs(1))));
        in_flight.abandon(&Confirmation::Unknown { cause: "lost".to_owned() });
        assert_eq!(heard(&mut pending), Some(Confirmation::Unknown { cause: "lost".to_owned() }));
        assert_eq!((in_flight.len(), in_flight.oldest()), (0, None));
    }

    #[test]
    fn an_error_answers_its_message_and_is_told() {
        let mut in_flight = InFlight::default();
        let (broker, mut relay) = publish(&mut in_flight, "1");
        assert!(broker.send(Err(lapin::ErrorKind::MissingHeartbeatError.into())).is_ok());
        assert!(in_flight.settle(|| ()).is_some());
        assert!(matches!(heard(&mut relay), Some(Confirmation::Unknown { .. })));
    }

    #[test]
    fn a_publish_that_ends_at_once_is_settled_like_any_other() {
        let notify = Arc::new(Notify::new());
        let mut in_flight = InFlight::waking(Arc::clone(&notify));
        let (answer, mut relay) = oneshot::channel();
        let flight =
            Flight { id: "1".to_owned(), answer, span: trace::Publish::default(), since: Duration::ZERO };
        let acked = Acked { kind: Kind::Ack, returned: None };
        in_flight.push(flight, std::future::ready(Ok(acked)).boxed());
        assert!(notify.notified().now_or_never().is_some(), "it rings");
        assert!(in_flight.settle(|| ()).is_none());
        assert_eq!(heard(&mut relay), Some(Confirmation::Confirmed));
    }

    #[test]
    fn the_oldest_is_found_behind_those_settled_out_of_order() {
        let mut in_flight = InFlight::default();
        let ends: Vec<_> = (0..1000).map(|n| publish(&mut in_flight, &n.to_string())).collect();
        let (mut brokers, mut relays): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
        for broker in brokers.drain(1..) {
            say(broker, Kind::Ack, None);
        }
        assert!(in_flight.settle(|| ()).is_none());
        assert_eq!((in_flight.len(), in_flight.oldest()), (1, Some(Duration::from_secs(1))));
        assert_eq!(heard(&mut relays[0]), None);
        assert!(relays[1..].iter_mut().all(|relay| heard(relay) == Some(Confirmation::Confirmed)));
        in_flight.restart_deadlines(Duration::from_secs(9));
        assert_eq!(in_flight.oldest(), Some(Duration::from_secs(9)));
        say(brokers.remove(0), Kind::Ack, None);
        assert!(in_flight.settle(|| ()).is_none());
        assert_eq!(in_flight.slots.len(), 0, "settled slots are let go");
    }

    #[test]
    fn what_later_ones_have_overtaken_expires_and_nothing_else() {
        let mut in_flight = InFlight::default();
        let ends: Vec<_> = (0..6).map(|n| publish(&mut in_flight, &n.to_string())).collect();
        let (brokers, mut relays): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
        let mut brokers: Vec<_> = brokers.into_iter().map(Some).collect();
        let outcome = Confirmation::Unknown { cause: "late".to_owned() };
        let (before, after) = (Duration::from_millis(999), Duration::from_secs(1));
        assert_eq!(in_flight.expire(after, &outcome), 0, "nobody has overtaken anybody");
        say(brokers[3].take().unwrap(), Kind::Ack, None);
        assert!(in_flight.settle(|| ()).is_none());
        assert_eq!(in_flight.expire(before, &outcome), 0, "nobody is late");
        assert_eq!(in_flight.expire(after, &outcome), 3);
        let heard: Vec<_> = relays.iter_mut().map(heard).collect();
        let late = || Some(outcome.clone());
        assert_eq!(heard, [late(), late(), late(), Some(Confirmation::Confirmed), None, None]);
        assert_eq!((in_flight.len(), in_flight.slots.len()), (2, 2));
        // An answer after all goes nowhere, and the rest is settled as ever.
        say(brokers[4].take().unwrap(), Kind::Ack, None);
        assert!(in_flight.settle(|| ()).is_none());
        assert_eq!(relays[4].try_recv().ok(), Some(Confirmation::Confirmed));
    }
}
