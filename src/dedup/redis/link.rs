//! The one connection to Redis: opened by the first command, opened again by the first after a failure, and never
//! waited for beyond a deadline. Knows nothing of claims.
//!
//! The command that meets a dead connection fails. Between attempts lies a delay that doubles from 50 ms to 5 s,
//! shortened at random by up to a half; commands that come sooner fail at once. Only a connection that served for a
//! second makes the next delay short again: a way that ends each of them soon is no storm of new ones. No command takes
//! longer than the deadline, connecting included. A reply that came late is never taken for another command's: a
//! connection that missed a deadline is dropped.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, Pipeline, RedisError, RedisResult, Value};

use super::ClaimsError;
use crate::clock::{Clock, System};

const DELAY_FIRST: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(5);
/// A connection that lasted so long was none of a row of failures.
const SETTLED: Duration = Duration::from_secs(1);
/// Server errors by which a node says that it is not, or not yet, the one to ask.
const WRONG_NODE: [&str; 6] = ["READONLY", "MASTERDOWN", "LOADING", "CLUSTERDOWN", "NOREPLICAS", "UNBLOCKED"];

/// The way to one server.
pub(super) struct Line {
    client: Client,
    /// The longest that one command may take.
    deadline: Duration,
    link: Mutex<Link>,
    /// Held by the command that connects.
    connecting: tokio::sync::Mutex<()>,
    connected: AtomicBool,
    clock: System,
    random: RandomState,
}

/// The connection or, without one, when to try again.
#[derive(Default)]
struct Link {
    connection: Option<MultiplexedConnection>,
    /// Which connection or attempt this is; a failure of an older one does not end it.
    generation: u64,
    /// The last one that failed, so that its failure counts once however many commands it met.
    failed: u64,
    /// Failures since the last connection that settled.
    failures: u32,
    /// When the last attempt to connect began (monotonic).
    begun_at: Duration,
    not_before: Duration,
}

impl Line {
    /// A line that nothing was sent over yet.
    pub(super) fn new(client: Client, deadline: Duration) -> Self {
        Self {
            client,
            deadline,
            link: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            connected: AtomicBool::new(false),
            clock: System::new(),
            random: RandomState::new(),
        }
    }

    /// Whether the last command had a connection that answered.
    pub(super) fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// The number of the newest connection, or attempt at one.
    pub(super) fn generation(&self) -> u64 {
        self.link().generation
    }

    /// Sends a pipeline and waits for its `count` replies, all within the deadline.
    pub(super) async fn send(
        &self,
        pipe: &Pipeline,
        count: usize,
    ) -> Result<Vec<RedisResult<Value>>, ClaimsError> {
        let deadline = self.deadline;
        let mut used = None;
        let answered = tokio::time::timeout(deadline, self.exchange(pipe, count, &mut used)).await;
        let result = answered.unwrap_or(Err(ClaimsError::Deadline(deadline)));
        match &result {
            Ok(replies) if !replies.iter().any(is_wrong_node) => {
                self.connected.store(true, Ordering::Relaxed);
            }
            _ => self.failed(used),
        }
        result
    }

    async fn exchange(
        &self,
        pipe: &Pipeline,
        count: usize,
        used: &mut Option<u64>,
    ) -> Result<Vec<RedisResult<Value>>, ClaimsError> {
        let (mut connection, generation) = self.connection(used).await?;
        *used = Some(generation);
        let mut pipe = pipe.clone();
        pipe.ignore_errors();
        let replies: Vec<RedisResult<Value>> =
            pipe.query_async(&mut connection).await.map_err(|error| away(&error))?;
        if replies.len() != count {
            return Err(ClaimsError::Away("it sent another number of replies than commands".to_owned()));
        }
        Ok(replies)
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<(MultiplexedConnection, u64)> {
        let link = self.link();
        link.connection.clone().map(|connection| (connection, link.generation))
    }

    /// The connection and its generation, which is in `used` as soon as a failure is to count against it.
    async fn connection(&self, used: &mut Option<u64>) -> Result<(MultiplexedConnection, u64), ClaimsError> {
        if let Some(current) = self.current() {
            return Ok(current);
        }
        let _alone = self.connecting.lock().await;
        if let Some(current) = self.current() {
            return Ok(current);
        }
        let generation = self.begin()?;
        *used = Some(generation);
        // The one deadline around the whole command is enough: no timers of the client's own.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connected = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connected.map_err(|error| away(&error))?;
        self.link().connection = Some(connection.clone());
        Ok((connection, generation))
    }

    fn begin(&self) -> Result<u64, ClaimsError> {
        let mut link = self.link();
        let now = self.clock.monotonic();
        let left = link.not_before.saturating_sub(now);
        if !left.is_zero() {
            return Err(ClaimsError::Away(format!("the next attempt is in {} ms", left.as_millis())));
        }
        link.generation += 1;
        link.begun_at = now;
        Ok(link.generation)
    }

    fn failed(&self, used: Option<u64>) {
        self.connected.store(false, Ordering::Relaxed);
        let mut link = self.link();
        if used != Some(link.generation) || link.failed == link.generation {
            return;
        }
        link.failed = link.generation;
        let now = self.clock.monotonic();
        // Without a connection, the time went into trying to get one.
        if link.connection.take().is_some() && now.saturating_sub(link.begun_at) >= SETTLED {
            link.failures = 0;
        }
        link.not_before = now + delay(link.failures, self.random.hash_one(link.generation));
        link.failures = link.failures.saturating_add(1);
    }
}

/// How long to wait after a failure that `before` others preceded: nothing after the first.
fn delay(before: u32, random: u64) -> Duration {
    let Some(doubled) = before.checked_sub(1) else { return Duration::ZERO };
    let full = DELAY_FIRST.saturating_mul(1 << doubled.min(16)).min(DELAY_MAX);
    full - full.mul_f64((random % 1_024) as f64 / 2_048.0)
}

fn is_wrong_node(reply: &RedisResult<Value>) -> bool {
    reply.as_ref().is_err_and(|error| error.code().is_some_and(|code| WRONG_NODE.contains(&code)))
}

fn away(error: &RedisError) -> ClaimsError {
    ClaimsError::Away(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_a_cap_and_vary_below_it() {
        assert_eq!(delay(0, 7), Duration::ZERO);
        for (before, full) in [(1, 50), (2, 100), (5, 800), (8, 5_000), (u32::MAX, 5_000)] {
            let full = Duration::from_millis(full);
            assert_eq!(delay(before, 0), full);
            assert!(delay(before, 1_023) >= full / 2 && delay(before, 512) == full - full / 4);
        }
    }
}
