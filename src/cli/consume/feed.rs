//! Where events come from: a source's inbox over HTTP, or its queue in RabbitMQ. Both are answered for alike.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::event::Event;
use super::inbox::Inbox;
use crate::cli::stop::Stop;
use crate::sink::rabbitmq::{Answer, CheckError, Consumer, Handed};
use crate::tasks;
use crate::units::Span;

/// How long one call waits for an event; below the HTTP client's own deadline.
const WAIT_SECONDS: u32 = 20;
/// A queue that gives nothing for so long is empty.
const QUIET: Duration = Duration::from_secs(1);

/// Where events come from.
pub(super) enum Feed {
    /// An inbox, and for how long its events are asked for.
    Inbox(Arc<Inbox>, Option<Span>),
    /// A queue.
    Queue(Box<Mutex<Consumer>>),
}

/// An event, and the right to answer for it.
pub(super) struct Taken {
    /// The event.
    pub event: Event,
    /// The right.
    pub right: Right,
}

/// The right to answer for an event.
pub(super) enum Right {
    /// A lease, for so long.
    Lease(String, Span),
    /// A message that the broker has out.
    Message(Answer),
}

impl Feed {
    /// Up to `max` events; where there is none, none, or the first to come within some seconds if it `waits`.
    ///
    /// # Errors
    /// Where nobody answers (exit code 69), or refuses.
    pub(super) async fn take(&self, max: u64, waits: bool) -> Result<Vec<Taken>, Stop> {
        match self {
            Self::Inbox(inbox, lease) => {
                let (inbox, lease) = (Arc::clone(inbox), *lease);
                let wait = waits.then(|| Span::seconds(WAIT_SECONDS));
                let claimed = called(move || inbox.claim_leases(max, lease, wait)).await?;
                let lease = Span::from_millis(claimed.lease_milliseconds).unwrap_or(Span::seconds(1));
                Ok(claimed.events.into_iter().filter_map(|event| leased(event, lease)).collect())
            }
            Self::Queue(consumer) => {
                let mut consumer = consumer.lock().await;
                let patience = if waits { Duration::from_secs(WAIT_SECONDS.into()) } else { QUIET };
                let Ok(first) = timeout(patience, consumer.next()).await else { return Ok(Vec::new()) };
                let mut taken = vec![message(first.map_err(unreachable)?)];
                while (taken.len() as u64) < max
                    && let Some(next) = consumer.ready()
                {
                    taken.push(message(next));
                }
                Ok(taken)
            }
        }
    }

    /// The work is done: the events end.
    ///
    /// # Errors
    /// Where that did not count: they come again.
    pub(super) async fn done(&self, rights: Vec<Right>) -> Result<(), Stop> {
        let mut tokens: Vec<Value> = Vec::new();
        for right in rights {
            match right {
                Right::Lease(token, _) => tokens.push(token.into()),
                Right::Message(answer) => answer.done().await.map_err(unreachable)?,
            }
        }
        match self {
            Self::Inbox(inbox, _) if !tokens.is_empty() => {
                let inbox = Arc::clone(inbox);
                called(move || inbox.ack(&tokens)).await
            }
            Self::Inbox(..) | Self::Queue(_) => Ok(()),
        }
    }

    /// The work was not done. Tells what becomes of the event.
    ///
    /// # Errors
    /// Where that did not count: it comes again all the same.
    pub(super) async fn give_back(&self, right: Right, delay: Span) -> Result<String, Stop> {
        match (self, right) {
            (Self::Inbox(inbox, _), Right::Lease(token, _)) => {
                let inbox = Arc::clone(inbox);
                called(move || inbox.nack(&token, delay)).await?;
                Ok(format!("given back, to be offered again after {delay}"))
            }
            (_, Right::Message(answer)) => match answer.give_back().await.map_err(unreachable)? {
                true => Ok("given back to its queue".to_owned()),
                false => Ok("rejected, to the dead letters".to_owned()),
            },
            (Self::Queue(_), Right::Lease(..)) => Ok(String::new()),
        }
    }

    /// Keeps a lease alive for as long as this is awaited; it never ends by itself. A lease that is lost is
    /// noticed when the event is answered for.
    pub(super) async fn keep(&self, right: &Right) {
        if let (Self::Inbox(inbox, _), Right::Lease(token, lease)) = (self, right) {
            loop {
                tokio::time::sleep(lease.duration() / 3).await;
                let (inbox, token, lease) = (Arc::clone(inbox), token.clone(), *lease);
                if let Err(stop) = called(move || inbox.extend(&token, lease)).await {
                    eprintln!("hookgate: {}", stop.why);
                }
            }
        }
        std::future::pending().await
    }

    /// Takes leave, so that every answer has arrived.
    pub(super) async fn close(&self) {
        if let Self::Queue(consumer) = self {
            consumer.lock().await.close().await;
        }
    }
}

fn leased(event: serde_json::Map<String, Value>, lease: Span) -> Option<Taken> {
    let (event, token) = Event::of_inbox(event);
    Some(Taken { event, right: Right::Lease(token?, lease) })
}

fn message(handed: Handed) -> Taken {
    Taken { event: Event::new(handed.fields, handed.body), right: Right::Message(handed.answer) }
}

fn unreachable(error: CheckError) -> Stop {
    Stop::unreachable(error.to_string())
}

/// Runs a blocking call beside everything else.
async fn called<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Stop> + Send + 'static,
) -> Result<T, Stop> {
    tasks::blocking(call).await.unwrap_or_else(|error| Err(Stop::failure(error)))
}
