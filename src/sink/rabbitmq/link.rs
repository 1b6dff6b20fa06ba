//! One connection at work: publishes in order, gathers confirms, heeds alarms and deadlines.
//!
//! Runs inside the supervisor's task. Whatever ends it, every message it took has been answered.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::options::BasicPublishOptions;
use lapin::{Connection, Event};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::confirms::{Acked, Flight};
use super::encode::{properties, short};
use super::health::{Board, Trouble, interrupted, reply};
use super::publishers::Publishers;
use super::queues::Heard;
use super::{Settings, topology};
use crate::failpoint::{self, Point};
use crate::sink::{Confirmation, Message, State};
use crate::telemetry::trace;

/// Messages taken in before confirms are looked at again.
const BATCH: usize = 64;
/// Queues and bindings are declared again after a return, and not sooner than this after the last time.
const DECLARE_AGAIN: Duration = Duration::from_secs(5);
/// How long messages in flight may still be confirmed after the stop.
const LAST_CONFIRMS: Duration = Duration::from_secs(2);

/// A message and where its outcome is awaited.
pub(super) struct Request {
    pub message: Message,
    pub answer: oneshot::Sender<Confirmation>,
}

/// Why a link ended.
pub(super) enum End {
    /// We were told to stop.
    Stopped,
    /// The connection is of no more use.
    Lost(Trouble),
}

/// What the link needs from the supervisor.
pub(super) struct Feed<'a> {
    pub requests: &'a mut mpsc::Receiver<Request>,
    pub stop: &'a mut watch::Receiver<bool>,
    pub board: &'a Board,
    pub queues: &'a mut Heard,
    pub settings: &'a Settings,
}

struct Link<'a> {
    connection: &'a Connection,
    settings: &'a Settings,
    board: &'a Board,
    queues: &'a mut Heard,
    publishers: Publishers,
    blocked: bool,
    /// When the broker answered for a message last (monotonic), or the connection was made.
    heard_at: Duration,
    /// When queues and bindings were declared last (monotonic).
    declared_at: Duration,
}

/// Serves one connection until it ends or the stop comes. Answers every message it took.
pub(super) async fn serve(connection: &Connection, publishers: Publishers, feed: Feed<'_>) -> End {
    let Feed { requests, stop, board, queues, settings } = feed;
    let now = board.clock().monotonic();
    let mut link = Link {
        connection,
        settings,
        board,
        queues,
        publishers,
        blocked: false,
        heard_at: now,
        declared_at: now,
    };
    let events = connection.events_listener();
    board.set(State::Connected);
    let end = tokio::select! {
        biased;
        () = stopped(stop) => End::Stopped,
        trouble = link.run(events, requests) => End::Lost(trouble),
    };
    if let End::Stopped = end {
        link.last_confirms().await;
    }
    let cause = match &end {
        End::Stopped => "stopped before the confirm",
        End::Lost(Trouble::Passing(cause) | Trouble::Refused { reason: cause, .. }) => cause,
    };
    link.publishers.abandon(None, &Confirmation::Unknown { cause: cause.to_owned() });
    end
}

/// Resolves when the sink is told to stop, or nobody is left to tell it anything.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sink itself was dropped.
    drop(stop.wait_for(|stop| *stop).await);
}

impl Link<'_> {
    async fn run(
        &mut self,
        events: impl Stream<Item = Event>,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Trouble {
        let mut events = pin!(events);
        let timeout = self.settings.confirm_timeout;
        let mut tick = interval((timeout / 8).clamp(Duration::from_millis(10), Duration::from_secs(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut declaring: Option<BoxFuture<'_, Declared>> = None;
        loop {
            if declaring.is_none() && (self.queues.has_news() || self.is_to_declare()) {
                declaring = Some(self.declare());
            }
            let room = !self.blocked && self.publishers.len() < self.settings.max_in_flight;
            let step = tokio::select! {
                biased;
                event = events.next() => self.heed(event),
                // Before the traffic: a single overdue confirm shows under load too.
                _ = tick.tick() => self.look_at_the_clock(),
                () = self.publishers.changed() => self.settle(),
                Some((at, closed)) = self.publishers.closed() => {
                    let reopened = match closed {
                        Ok(()) => self.reopen(at).await,
                        Err(trouble) => Err(trouble),
                    };
                    let Err(trouble) = reopened else { continue };
                    return trouble;
                }
                () = self.queues.news(), if declaring.is_none() => Ok(()),
                Some(declared) = OptionFuture::from(declaring.as_mut()) => {
                    declaring = None;
                    self.declared(declared);
                    Ok(())
                }
                request = requests.recv(), if room => match request {
                    Some(request) => self.publish_batch(request, requests),
                    None => Err(Interruption::of("the sink was dropped")),
                },
            };
            if let Err(interruption) = step
                && let Err(trouble) = self.mend(interruption, requests).await
            {
                return trouble;
            }
        }
    }

    fn heed(&mut self, event: Option<Event>) -> Result<(), Interruption> {
        match event {
            Some(Event::ConnectionBlocked(reason)) => {
                self.blocked = true;
                self.board.set(State::Blocked { reason });
            }
            Some(Event::ConnectionUnblocked) => {
                self.blocked = false;
                self.publishers.restart_deadlines(self.board.clock().monotonic());
                self.board.set(State::Connected);
            }
            // The error of a channel that was replaced meanwhile comes late and means nothing.
            Some(Event::Error(error)) if !self.alive() => {
                self.settle()?;
                return Err(Interruption { at: self.publishers.ended(), ..error.into() });
            }
            Some(_) => {}
            None => return Err(Interruption::of("the connection is gone")),
        }
        Ok(())
    }

    /// Whether a message came back for want of a queue that this sink declares. Somebody deleted it, or its
    /// binding: with `declare` it is put back, like at every start.
    fn is_to_declare(&self) -> bool {
        let since = self.board.clock().monotonic().saturating_sub(self.declared_at);
        self.settings.declare && self.publishers.has_returned() && since >= DECLARE_AGAIN && self.alive()
    }

    /// Declares everything for the sources that are wanted by now.
    fn declare<'f>(&mut self) -> BoxFuture<'f, Declared>
    where
        Self: 'f,
    {
        let (again, listing) = (!self.queues.has_news(), self.queues.take());
        let (connection, settings) = (self.connection, self.settings.with_sources(listing.sources));
        let version = listing.version;
        async move { Declared { again, version, outcome: topology::prepare(connection, &settings).await } }
            .boxed()
    }

    fn declared(&mut self, declared: Declared) {
        let Declared { again, version, outcome } = declared;
        self.declared_at = self.board.clock().monotonic();
        self.publishers.forget_returned();
        self.queues.made(version, outcome.as_ref().copied());
        match outcome {
            Ok(()) if again => {
                tracing::warn!("rabbitmq: a message found no queue; declared all queues and bindings again")
            }
            Ok(()) => {}
            Err(trouble) if again => {
                tracing::error!(reason = %text(&trouble), "rabbitmq: a message found no queue, nor can it be declared");
            }
            Err(trouble) => {
                tracing::error!(reason = %text(&trouble), "rabbitmq: the queues of other sources cannot be declared");
            }
        }
    }

    fn settle(&mut self) -> Result<(), Interruption> {
        let before = self.publishers.len();
        let ended = self.publishers.settle();
        if self.publishers.len() < before {
            self.heard_at = self.board.clock().monotonic();
        }
        match ended {
            Some((at, error)) => Err(Interruption { at: Some(at), ..error.into() }),
            None => Ok(()),
        }
    }

    fn publish_batch(
        &mut self,
        first: Request,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), Interruption> {
        let room = self.settings.max_in_flight.saturating_sub(self.publishers.len());
        self.publish(first);
        for _ in 1..room.min(BATCH) {
            let Ok(next) = requests.try_recv() else { break };
            self.publish(next);
        }
        Ok(())
    }

    fn publish(&mut self, request: Request) {
        let Request { mut message, answer } = request;
        if answer.is_closed() {
            return;
        }
        let at = self.publishers.place(&message);
        let Some(channel) = self.publishers.channel(at) else {
            let cause = "the channel had ended".to_owned();
            drop(answer.send(Confirmation::NotSent { cause }));
            return;
        };
        let since = self.board.clock().monotonic();
        let span = trace::Publish::begin(trace::Published {
            exchange: &self.settings.names().exchange,
            routing_key: message.routing_key(),
            message: &message.id().0,
            bytes: message.body().len(),
            parent: if trace::is_on() { message.trace() } else { None },
        });
        if let Some(context) = span.context() {
            message.go_in(context);
        }
        let flight = Flight { id: message.id().to_string(), answer, span, since };
        let exchange = short(self.settings.names().exchange.as_str());
        let publishing = async move {
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let (key, properties) = (short(message.routing_key()), properties(&mut message));
            let confirm = channel.basic_publish(exchange, key, options, message.body(), properties).await?;
            // Its bytes have left: what waits for a confirm is small.
            drop(message);
            confirm.await.map(Acked::from)
        };
        failpoint::reach(Point::SinkPublishBefore);
        self.publishers.push(at, flight, Box::pin(publishing));
        failpoint::reach(Point::SinkPublishAfter);
    }

    /// Notices what no event tells: a channel or connection that ended in silence, a confirm that is overdue.
    fn look_at_the_clock(&mut self) -> Result<(), Interruption> {
        if !self.alive() {
            return Err(Interruption {
                at: self.publishers.ended(),
                ..Interruption::of("the channel ended")
            });
        }
        let timeout = self.settings.confirm_timeout;
        let Some(limit) = self.board.clock().monotonic().checked_sub(timeout).filter(|_| !self.blocked)
        else {
            return Ok(());
        };
        let cause = format!("no confirm within {timeout:?}, though others came");
        let (expired, late) = self.publishers.expire(limit, &Confirmation::Unknown { cause });
        if expired > 0 {
            tracing::warn!(
                messages = expired,
                ?timeout,
                "rabbitmq: some confirms do not come; is a queue stuck?"
            );
        }
        let Some(at) = late else { return Ok(()) };
        let silence = Interruption::of(format!("no confirm within {timeout:?}"));
        // Where the broker answers by other channels, it is a queue behind this one that does not.
        let at = Some(at).filter(|_| self.heard_at > limit);
        Err(Interruption { at, silent: true, ..silence })
    }

    fn alive(&self) -> bool {
        self.connection.status().connected() && self.publishers.ended().is_none()
    }

    /// Answers what is in flight on the channel that is of no more use and opens a new one, where the connection still
    /// serves.
    async fn mend(
        &mut self,
        interruption: Interruption,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), Trouble> {
        let Interruption { trouble, outcome, at, silent, code } = interruption;
        // Confirms that came before the end are still good.
        drop(self.settle());
        let Some(at) = at.filter(|_| self.connection.status().connected()) else {
            self.publishers.abandon(None, &outcome);
            return Err(trouble);
        };
        self.publishers.abandon(Some(at), &outcome);
        if matches!(code, Some(403 | 404)) {
            // The exchange is missing, or may not be published to: a new channel would end the same way.
            return Err(Trouble::Passing(text(&trouble)));
        }
        if silent {
            tracing::warn!(reason = %text(&trouble), "rabbitmq: a channel is given up; is a queue without a leader?");
            self.publishers.close(at);
        } else {
            if !self.blocked {
                self.board.trouble(Trouble::Passing(text(&trouble)));
            }
            self.reopen(at).await?;
        }
        // These stand behind messages that failed, and must not overtake them.
        while let Ok(request) = requests.try_recv() {
            if self.publishers.place(&request.message) == at {
                let cause = "the channel had ended".to_owned();
                drop(request.answer.send(Confirmation::NotSent { cause }));
            } else {
                self.publish(request);
            }
        }
        if !self.blocked {
            self.board.set(State::Connected);
        }
        Ok(())
    }

    /// Opens another channel at the place of one that has ended.
    async fn reopen(&mut self, at: usize) -> Result<(), Trouble> {
        let channel = topology::confirming(self.connection, self.settings.pace.step).await?;
        self.publishers.replace(at, channel);
        Ok(())
    }

    async fn last_confirms(&mut self) {
        let confirms = async {
            while self.publishers.len() > 0 {
                self.publishers.changed().await;
                if self.settle().is_err() {
                    break;
                }
            }
        };
        if tokio::time::timeout(LAST_CONFIRMS, confirms).await.is_err() {
            tracing::warn!(messages = self.publishers.len(), "rabbitmq: stopped before their confirms came");
        }
    }
}

/// What came of declaring.
struct Declared {
    /// Whether a message that came back was the cause, and not other sources.
    again: bool,
    version: u64,
    outcome: Result<(), Trouble>,
}

/// What broke the flow of messages, and what those in flight are told.
struct Interruption {
    trouble: Trouble,
    outcome: Confirmation,
    code: Option<u16>,
    /// The place of the channel that is concerned; none where the connection is.
    at: Option<usize>,
    /// It was given up for want of an answer.
    silent: bool,
}

impl Interruption {
    fn of(cause: impl Into<String>) -> Self {
        let cause = cause.into();
        let outcome = Confirmation::Unknown { cause: cause.clone() };
        Self { trouble: Trouble::Passing(cause), outcome, code: None, at: None, silent: false }
    }
}

impl From<lapin::Error> for Interruption {
    fn from(error: lapin::Error) -> Self {
        Self {
            trouble: Trouble::of(&error),
            outcome: interrupted(&error),
            code: reply(&error).map(|(code, _)| code),
            at: None,
            silent: false,
        }
    }
}

fn text(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Passing(cause) => cause.clone(),
        Trouble::Refused { code, reason } => format!("{code} {reason}"),
    }
}
