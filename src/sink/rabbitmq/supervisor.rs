//! Keeps a connection for ever: connects, prepares, serves, pauses, and again. Also the sink's front.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::dial::Line;
use super::health::{Board, Trouble};
use super::link::{End, Feed, Request, serve, stopped};
use super::publishers::Publishers;
use super::queues::{Heard, Told, queues};
use super::{Pace, Settings, topology};
use crate::clock::Clock;
use crate::sink::{Confirmation, Health, Message, Pending, Sink, State};
use crate::tasks;

/// A connection that lasted this long makes the next pause short again.
const SETTLED: Duration = Duration::from_secs(10);
/// The first pause after a refusal.
const REFUSED_FIRST: Duration = Duration::from_secs(1);
/// Refusals that no restart cures: rights, and what was declared otherwise. A missing exchange, queue or virtual
/// host (404, 530) may be back with the rest of a cluster.
const REFUSED_FOR_GOOD: [u16; 2] = [403, 406];
/// How long `close` waits for last confirms and goodbyes.
const CLOSE: Duration = Duration::from_secs(10);

/// The RabbitMQ sink. Dropping it stops it.
pub struct RabbitMq {
    requests: mpsc::Sender<Request>,
    health: watch::Receiver<Health>,
    stop: watch::Sender<bool>,
    queues: Told,
    clock: Arc<dyn Clock>,
}

impl RabbitMq {
    /// Starts the supervisor on the current Tokio runtime and returns at once, connected or not.
    pub fn start(mut settings: Settings, clock: Arc<dyn Clock>) -> Self {
        settings.max_in_flight = settings.max_in_flight.max(1);
        // Room for all that may be in flight: whoever keeps to that number never waits to be taken in.
        let (requests, queue) = mpsc::channel(settings.max_in_flight);
        let (stop, stopping) = watch::channel(false);
        let (board, health) = Board::new(Arc::clone(&clock));
        let (told, heard) = queues(settings.sources());
        let supervisor = Supervisor { requests: queue, stop: stopping, board, queues: heard, settings };
        drop(tasks::task(supervisor.run()));
        Self { requests, health, stop, queues: told, clock }
    }

    /// Has queues for these sources and no others from here on, whose names have been checked; one that has one
    /// already keeps it, with what is in it. Waits a few seconds at most.
    ///
    /// # Errors
    /// Why they are not declared, or not yet: nothing is published on the next connection before they are.
    pub async fn serve_sources(&self, sources: Vec<String>) -> Result<(), String> {
        self.queues.want(sources, self.health().state == State::Connected).await
    }

    /// Takes no more messages, waits a few seconds for the confirms under way, then takes leave of the broker.
    pub async fn close(&self) {
        self.stop.send_replace(true);
        let mut health = self.health.clone();
        let closed = health.wait_for(|health| health.state == State::Closed);
        if timeout(CLOSE, closed).await.is_err() {
            tracing::warn!("rabbitmq: did not end in time");
        }
    }

    /// Tries out `settings` once, declaring nothing.
    ///
    /// # Errors
    /// [`CheckError`] where the broker cannot be reached or lets nobody in.
    pub async fn check(settings: &Settings) -> Result<Checked, CheckError> {
        let line = Line::open(settings).await.map_err(CheckError::of)?;
        let step = settings.pace.step;
        let opening = topology::within(step, "opening a channel", line.connection().create_channel());
        let channel = opening.await.map_err(CheckError::of)?;
        let exchange = match topology::find(&channel, &settings.names().exchange, step).await {
            Ok(()) => ExchangeFound::Exists,
            Err(Trouble::Refused { code: 404, .. }) if settings.declare => ExchangeFound::WillBeDeclared,
            Err(Trouble::Refused { code: 404, .. }) => ExchangeFound::Missing,
            Err(trouble) => return Err(CheckError::of(trouble)),
        };
        let server = super::dial::server_version(settings).await;
        line.close().await;
        Ok(Checked { server, exchange })
    }
}

impl Sink for RabbitMq {
    #[expect(clippy::async_yields_async, reason = "a publish has two ends: taken, and confirmed")]
    fn publish(&self, message: Message) -> BoxFuture<'_, Pending> {
        async move {
            let (answer, outcome) = oneshot::channel();
            match self.requests.send(Request { message, answer }).await {
                Ok(()) => outcome
                    .map(|told| told.unwrap_or(Confirmation::Unknown { cause: "the sink ended".to_owned() }))
                    .boxed(),
                Err(_) => ready(Confirmation::NotSent { cause: "the sink is closed".to_owned() }).boxed(),
            }
        }
        .boxed()
    }

    fn health(&self) -> Health {
        match self.health.has_changed() {
            Ok(_) => self.health.borrow().clone(),
            // The supervisor ended without a word.
            Err(_) => Health { state: State::Closed, since: self.clock.now() },
        }
    }

    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        async move {
            let mut health = self.health.clone();
            let connected = health.wait_for(|health| health.state == State::Connected).await.is_ok();
            if !connected {
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Product and version, such as `RabbitMQ 3.10.8`; none where the connection is encrypted.
    pub server: Option<String>,
    /// The exchange.
    pub exchange: ExchangeFound,
}

/// What `serve` will find in place of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeFound {
    /// It is there.
    Exists,
    /// It is not there; `declare = true` will make it.
    WillBeDeclared,
    /// It is not there, and `declare = false` forbids to make it.
    Missing,
}

/// Why a check could not be made, or a queue not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckError {
    /// No connection, for now.
    #[error("RabbitMQ cannot be reached: {0}")]
    Unreachable(String),
    /// Reached, and turned away.
    #[error("RabbitMQ refuses: {code} {reason}")]
    Refused {
        /// AMQP reply code.
        code: u16,
        /// The broker's words.
        reason: String,
    },
}

impl CheckError {
    pub(super) fn of(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Passing(error) => Self::Unreachable(error),
            Trouble::Refused { code, reason } => Self::Refused { code, reason },
        }
    }
}

struct Supervisor {
    requests: mpsc::Receiver<Request>,
    stop: watch::Receiver<bool>,
    board: Board,
    queues: Heard,
    settings: Settings,
}

impl Supervisor {
    async fn run(mut self) {
        let mut tries = Tries::default();
        loop {
            let begun = self.board.clock().monotonic();
            let trouble = match self.once().await {
                End::Stopped => break,
                End::Lost(trouble) => trouble,
            };
            let lasted = self.board.clock().monotonic().saturating_sub(begun);
            if lasted >= SETTLED {
                tries = Tries::default();
            }
            let pause = tries.pause_after(&trouble, &self.settings.pace);
            if self.refusing_until(sleep(jitter(pause))).await.is_none() {
                break;
            }
        }
        self.requests.close();
        self.board.set(State::Closed);
    }

    /// One connection from its first packet to its end.
    async fn once(&mut self) -> End {
        let listing = self.queues.take();
        self.settings = self.settings.with_sources(listing.sources);
        let settings = self.settings.clone();
        let connecting = async {
            let line = Line::open(&settings).await?;
            match prepared(&line, &settings).await {
                Ok(publishers) => Ok((line, publishers)),
                Err(trouble) => {
                    line.close().await;
                    Err(trouble)
                }
            }
        };
        let (line, publishers) = match self.refusing_until(connecting).await {
            None => return End::Stopped,
            Some(Err(trouble)) => {
                self.queues.made(listing.version, Err(&trouble));
                self.board.trouble(trouble.clone());
                return End::Lost(trouble);
            }
            Some(Ok(ready)) => ready,
        };
        self.queues.made(listing.version, Ok(()));
        let Self { requests, stop, board, queues, settings } = self;
        let end =
            serve(line.connection(), publishers, Feed { requests, stop, board, queues, settings }).await;
        match &end {
            End::Stopped => line.close().await,
            End::Lost(trouble) => {
                // First, so that nobody takes the sink for ready while it takes leave.
                self.board.trouble(trouble.clone());
                self.refusing_until(line.close()).await;
            }
        }
        end
    }

    /// Waits for `event`, telling whoever asks meanwhile that nothing was sent; none where the stop came first.
    async fn refusing_until<T>(&mut self, event: impl Future<Output = T>) -> Option<T> {
        let mut event = pin!(event);
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return None,
                done = &mut event => return Some(done),
                request = self.requests.recv() => {
                    let cause = "not connected".to_owned();
                    drop(request?.answer.send(Confirmation::NotSent { cause }));
                }
            }
        }
    }
}

async fn prepared(line: &Line, settings: &Settings) -> Result<Publishers, Trouble> {
    topology::prepare(line.connection(), settings).await?;
    Publishers::open(line.connection(), settings).await
}

/// The pause after so many failures in a row: doubles from `min` to `max`.
/// Tries in a row that came to nothing.
#[derive(Default)]
struct Tries {
    failed: u32,
    /// The last of them that were refused. A broker that starts refuses what it grants a moment later, so however
    /// often it could not be reached before, the first refusal is as good as none.
    refused: u32,
}

impl Tries {
    /// How long to wait after one more.
    fn pause_after(&mut self, trouble: &Trouble, pace: &Pace) -> Duration {
        self.failed = self.failed.saturating_add(1);
        let Trouble::Refused { code, .. } = trouble else {
            self.refused = 0;
            return backoff(pace.retry_min, pace.retry_max, self.failed);
        };
        self.refused = self.refused.saturating_add(1);
        let longest = if REFUSED_FOR_GOOD.contains(code) { pace.refused } else { pace.retry_max };
        backoff(REFUSED_FIRST, longest, self.refused)
    }
}

fn backoff(min: Duration, max: Duration, failures: u32) -> Duration {
    min.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(max)
}

/// Between half and all of `pause`, so that replicas do not come back in step.
fn jitter(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1000;
    pause / 2 + pause.mul_f64(random as f64 / 2000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_limit_and_never_overflow() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(5));
        let pauses: Vec<_> = [1, 2, 3, 6, 7, 40, u32::MAX].map(|n| backoff(min, max, n).as_millis()).into();
        assert_eq!(pauses, [100, 200, 400, 3200, 5000, 5000, 5000]);
    }

    #[test]
    fn a_broker_that_starts_is_tried_again_soon_whatever_it_refuses() {
        let pace = Pace::default();
        let refused = |code| Trouble::Refused { code, reason: String::new() };
        let mut tries = Tries::default();
        let passing = Trouble::Passing("connection refused".to_owned());
        let away: Vec<_> = (0..100).map(|_| tries.pause_after(&passing, &pace)).collect();
        assert!(away.iter().all(|pause| *pause <= Duration::from_secs(2)), "{away:?}");
        let mut seconds = |code| tries.pause_after(&refused(code), &pace).as_secs();
        assert_eq!([403, 406, 403, 403, 403, 403, 403].map(&mut seconds), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!([404, 530].map(&mut seconds), [2, 2]);
        tries.pause_after(&passing, &pace);
        assert_eq!(tries.pause_after(&refused(403), &pace).as_secs(), 1, "it went away in between");
    }

    #[test]
    fn jitter_stays_within_the_pause() {
        let pause = Duration::from_secs(4);
        let tries: Vec<_> = (0..200).map(|_| jitter(pause)).collect();
        assert!(tries.iter().all(|t| (pause / 2..=pause).contains(t)));
        assert!(tries.iter().any(|t| *t != tries[0]), "it varies");
    }
}
