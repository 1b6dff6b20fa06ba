//! The claims that replicas share, in Redis: which replica may publish an event. Asked by the relay just
//! before it publishes, never before a journal ACK. The only file that speaks to Redis.
//!
//! # States
//! One string key an event, `<prefix><message id, 64 hex digits>`; the prefix is `hookgate:` by default.
//! ```text
//! value  = state SP replica [SP more]
//! state  = "claimed" | "done"
//! replica = 32 hex digits, the random id in the replica's journal folder
//! more   = text that this version ignores: room for a lease
//!
//! (none)             -- SET <key> "claimed <me>" NX PX <window> --> claimed by me      life: the window
//! claimed by anyone  -- SET <key> "done <me>" PX <window> --------> done               life: the window, anew
//! claimed, done      -- the window passes, or Redis loses it -----> (none)
//! claimed, done      -- an operator forgets it: DEL <key> ---------> (none)
//! ```
//! A claim and the look at what stands in its way are `SET … NX PX` and `GET` in one pipeline: one round
//! trip, two commands of one key each, so they work on Redis 6.2 and later, Valkey and a cluster's node alike
//! (`NX` together with `GET` needs 7.0). The `SET` alone decides. Should the key vanish between
//! the two, or hold what is not in this grammar, the answer is [`Shared::Theirs`] with the owner `unknown`:
//! the caller parks the event and asks again. Only `done` ever lets a copy be dropped.
//!
//! # Silence
//! A replica that lives renews `<prefix>alive:<replica>`, which lasts 30 s. Whoever waits for a claim of a
//! replica whose key has been away for long enough publishes by itself, with the duplicate mark, and notes
//! `done` over that claim. Nothing here decides how long that is.
//!
//! # Connection
//! One connection, opened by the first command and opened again by the first command after a failure; the
//! command that meets a dead connection fails. Between attempts lies a delay that doubles from 50 ms to 5 s,
//! shortened at random by up to a half; commands that come sooner fail at once. No command takes longer than
//! the deadline, connecting included. A reply that came late is never taken for another command's: a
//! connection that missed a deadline is dropped.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, Pipeline, RedisError, RedisResult, Value};

use crate::clock::{Clock, System};
use crate::event::Digest;

/// How long a replica counts as living after [`RedisClaims::renew`].
const ALIVE_MILLIS: u64 = 30_000;
/// Commands of one round trip; a bigger batch takes several.
const PIPELINE_MAX: usize = 1_024;
const DELAY_FIRST: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(5);
/// Server errors by which a node says that it is not, or not yet, the one to ask.
const WRONG_NODE: [&str; 6] = ["READONLY", "MASTERDOWN", "LOADING", "CLUSTERDOWN", "NOREPLICAS", "UNBLOCKED"];

/// Where the claims are and as whom they are made.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://`, `rediss://` or `unix://`, with user and password; never shown.
    pub url: String,
    /// What every key begins with.
    pub key_prefix: String,
    /// How long a claim or a `done` lives.
    pub window: Duration,
    /// This replica's id: 32 hex digits.
    pub replica: String,
    /// The longest that one command may take.
    pub deadline: Duration,
}

impl RedisSettings {
    /// The usual prefix `hookgate:` and a deadline of 500 ms.
    pub fn new(url: impl Into<String>, replica: impl Into<String>, window: Duration) -> Self {
        Self {
            url: url.into(),
            key_prefix: "hookgate:".to_owned(),
            window,
            replica: replica.into(),
            deadline: Duration::from_millis(500),
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("url", &"(hidden)")
            .field("key_prefix", &self.key_prefix)
            .field("window", &self.window)
            .field("replica", &self.replica)
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// Whose an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shared {
    /// Claimed by this call: publish.
    Mine,
    /// Claimed by this replica already, in this run or an earlier one: publish with the duplicate mark unless
    /// the caller knows that it never published.
    MineAgain,
    /// Claimed by another replica: park.
    Theirs {
        /// Its id, or `unknown` where the value is none of ours.
        owner: String,
    },
    /// Published and confirmed, by whomever: drop the copy.
    Done,
}

/// Why Redis gave no answer. Nothing can be concluded about any event of the batch; to ask again is safe, and
/// a claim that had been made after all comes back as [`Shared::MineAgain`].
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// A setting cannot work.
    #[error("{0}")]
    Settings(&'static str),
    /// No connection, or it broke.
    #[error("Redis cannot be reached: {0}")]
    Away(String),
    /// No answer within the deadline.
    #[error("Redis did not answer within {0:?}")]
    Deadline(Duration),
    /// Redis answered with an error.
    #[error("Redis refused: {0}")]
    Refused(String),
}

/// The shared claims; clones use one connection.
#[derive(Clone)]
pub struct RedisClaims {
    inner: Arc<Inner>,
}

struct Inner {
    settings: RedisSettings,
    client: Client,
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
    /// Failures since the last answer.
    failures: u32,
    not_before: Duration,
}

impl fmt::Debug for RedisClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisClaims")
            .field("settings", &self.inner.settings)
            .field("connected", &self.connected())
            .finish_non_exhaustive()
    }
}

impl RedisClaims {
    /// Checks the settings; does not connect.
    ///
    /// # Errors
    /// [`ClaimsError::Settings`], which never repeats the URL.
    pub fn new(settings: RedisSettings) -> Result<Self, ClaimsError> {
        if !is_replica(&settings.replica) {
            return Err(ClaimsError::Settings("the replica id must be 32 lower-case hexadecimal digits"));
        }
        if settings.window < Duration::from_millis(1) || settings.deadline.is_zero() {
            return Err(ClaimsError::Settings("window and deadline must be at least a millisecond"));
        }
        let bad_url = |_| {
            ClaimsError::Settings(
                "the Redis URL must be redis://, rediss:// or unix://, e.g. redis://host:6379",
            )
        };
        let info = settings.url.as_str().into_connection_info().map_err(bad_url)?;
        let tcp = TcpSettings::default().set_nodelay(true);
        let client = Client::open(info.set_tcp_settings(tcp)).map_err(bad_url)?;
        let inner = Inner {
            settings,
            client,
            link: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            connected: AtomicBool::new(false),
            clock: System::new(),
            random: RandomState::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Claims events, one answer each, in order. One round trip for up to 1,024 of them.
    ///
    /// # Errors
    /// Then no event's answer is known; see [`ClaimsError`].
    pub async fn claim(&self, batch: &[Digest]) -> Result<Vec<Shared>, ClaimsError> {
        let settings = &self.inner.settings;
        let value = format!("claimed {}", settings.replica);
        let mut answers = Vec::with_capacity(batch.len());
        for part in batch.chunks(PIPELINE_MAX) {
            let mut pipe = Pipeline::with_capacity(2 * part.len());
            for message_id in part {
                let key = self.key(message_id);
                pipe.cmd("SET").arg(&key).arg(&value).arg("NX").arg("PX").arg(self.life());
                pipe.cmd("GET").arg(&key);
            }
            let replies = self.send(&pipe, 2 * part.len()).await?;
            for pair in replies.chunks_exact(2) {
                answers.push(judge(&pair[0], &pair[1], &settings.replica)?);
            }
        }
        Ok(answers)
    }

    /// Takes the keys of events out of Redis, whatever they say: whoever asks next may publish.
    ///
    /// # Errors
    /// Then any of them may still be there; to call again is safe.
    pub async fn forget(&self, batch: &[Digest]) -> Result<(), ClaimsError> {
        for part in batch.chunks(PIPELINE_MAX) {
            let mut pipe = Pipeline::with_capacity(part.len());
            for message_id in part {
                pipe.cmd("DEL").arg(self.key(message_id));
            }
            for reply in self.send(&pipe, part.len()).await? {
                reply.map_err(|error| refused(&error))?;
            }
        }
        Ok(())
    }

    /// Notes that events are published and confirmed. Their life starts anew with the window.
    ///
    /// # Errors
    /// Then any of them may still be only claimed; to call again is safe.
    pub async fn finish(&self, batch: &[Digest]) -> Result<(), ClaimsError> {
        let value = format!("done {}", self.inner.settings.replica);
        for part in batch.chunks(PIPELINE_MAX) {
            let mut pipe = Pipeline::with_capacity(part.len());
            for message_id in part {
                pipe.cmd("SET").arg(self.key(message_id)).arg(&value).arg("PX").arg(self.life());
            }
            for reply in self.send(&pipe, part.len()).await? {
                reply.map_err(|error| refused(&error))?;
            }
        }
        Ok(())
    }

    /// Says that this replica lives: for 30 s, in a key of its own, `<prefix>alive:<replica>`.
    ///
    /// # Errors
    /// Then others may take this replica for silent; to call again is safe.
    pub async fn renew(&self) -> Result<(), ClaimsError> {
        let mut pipe = Pipeline::with_capacity(1);
        pipe.cmd("SET").arg(self.alive_key(&self.inner.settings.replica)).arg(1).arg("PX").arg(ALIVE_MILLIS);
        let replies = self.send(&pipe, 1).await?;
        replies[0].as_ref().map(|_| ()).map_err(refused)
    }

    /// Which of these replicas live, in order.
    ///
    /// # Errors
    /// Then nothing is known about any of them.
    pub async fn living(&self, replicas: &[&str]) -> Result<Vec<bool>, ClaimsError> {
        let mut living = Vec::with_capacity(replicas.len());
        for part in replicas.chunks(PIPELINE_MAX) {
            let mut pipe = Pipeline::with_capacity(part.len());
            for replica in part {
                pipe.cmd("EXISTS").arg(self.alive_key(replica));
            }
            for reply in self.send(&pipe, part.len()).await? {
                living.push(reply.map_err(|error| refused(&error))? == Value::Int(1));
            }
        }
        Ok(living)
    }

    /// Asks Redis for its version, e.g. `7.0.15`; `unknown` where the user may not run `INFO`.
    ///
    /// # Errors
    /// Where Redis does not answer a `PING`.
    pub async fn ping(&self) -> Result<String, ClaimsError> {
        let mut pipe = Pipeline::with_capacity(2);
        pipe.cmd("PING").cmd("INFO").arg("server");
        let replies = self.send(&pipe, 2).await?;
        replies[0].as_ref().map_err(refused)?;
        let info = replies[1].as_ref().ok().and_then(text).unwrap_or_default();
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(version.unwrap_or("unknown").trim().to_owned())
    }

    /// Whether the last command had a connection that answered.
    pub fn connected(&self) -> bool {
        self.inner.connected.load(Ordering::Relaxed)
    }

    fn key(&self, message_id: &Digest) -> String {
        format!("{}{message_id}", self.inner.settings.key_prefix)
    }

    fn alive_key(&self, replica: &str) -> String {
        format!("{}alive:{replica}", self.inner.settings.key_prefix)
    }

    fn life(&self) -> u64 {
        u64::try_from(self.inner.settings.window.as_millis()).unwrap_or(u64::MAX >> 1)
    }

    /// Sends a pipeline and waits for its `count` replies, all within the deadline.
    async fn send(&self, pipe: &Pipeline, count: usize) -> Result<Vec<RedisResult<Value>>, ClaimsError> {
        let deadline = self.inner.settings.deadline;
        let mut used = None;
        let answered = tokio::time::timeout(deadline, self.exchange(pipe, count, &mut used)).await;
        let result = answered.unwrap_or(Err(ClaimsError::Deadline(deadline)));
        match &result {
            Ok(replies) if !replies.iter().any(is_wrong_node) => {
                self.inner.answered();
            }
            _ => self.inner.failed(used),
        }
        result
    }

    async fn exchange(
        &self,
        pipe: &Pipeline,
        count: usize,
        used: &mut Option<u64>,
    ) -> Result<Vec<RedisResult<Value>>, ClaimsError> {
        let (mut connection, generation) = self.inner.connection(used).await?;
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
}

impl Inner {
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
        let left = link.not_before.saturating_sub(self.clock.monotonic());
        if !left.is_zero() {
            return Err(ClaimsError::Away(format!("the next attempt is in {} ms", left.as_millis())));
        }
        link.generation += 1;
        Ok(link.generation)
    }

    fn answered(&self) {
        if !self.connected.swap(true, Ordering::Relaxed) {
            self.link().failures = 0;
        }
    }

    fn failed(&self, used: Option<u64>) {
        self.connected.store(false, Ordering::Relaxed);
        let mut link = self.link();
        if used != Some(link.generation) || link.failed == link.generation {
            return;
        }
        link.failed = link.generation;
        link.connection = None;
        link.not_before =
            self.clock.monotonic() + delay(link.failures, self.random.hash_one(link.generation));
        link.failures = link.failures.saturating_add(1);
    }
}

/// How long to wait after a failure that `before` others preceded: nothing after the first.
fn delay(before: u32, random: u64) -> Duration {
    let Some(doubled) = before.checked_sub(1) else { return Duration::ZERO };
    let full = DELAY_FIRST.saturating_mul(1 << doubled.min(16)).min(DELAY_MAX);
    full - full.mul_f64((random % 1_024) as f64 / 2_048.0)
}

fn judge(set: &RedisResult<Value>, get: &RedisResult<Value>, me: &str) -> Result<Shared, ClaimsError> {
    match set {
        Ok(Value::Okay) => return Ok(Shared::Mine),
        Ok(Value::Nil) => {}
        Ok(_) => return Err(ClaimsError::Refused("the answer to SET is neither OK nor nil".to_owned())),
        Err(error) => return Err(refused(error)),
    }
    match get {
        Ok(value) => Ok(read(text(value).unwrap_or_default(), me)),
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(read("", me)),
        Err(error) => Err(refused(error)),
    }
}

/// Reads a key's value by the grammar at the head of this file.
fn read(value: &str, me: &str) -> Shared {
    let mut words = value.split(' ');
    let (state, replica) = (words.next(), words.next().unwrap_or_default());
    let is_replica = is_replica(replica);
    match state {
        Some("done") if is_replica => Shared::Done,
        Some("claimed") if replica == me => Shared::MineAgain,
        Some("claimed") if is_replica => Shared::Theirs { owner: replica.to_owned() },
        _ => Shared::Theirs { owner: "unknown".to_owned() },
    }
}

fn is_replica(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

fn is_wrong_node(reply: &RedisResult<Value>) -> bool {
    reply.as_ref().is_err_and(|error| error.code().is_some_and(|code| WRONG_NODE.contains(&code)))
}

fn away(error: &RedisError) -> ClaimsError {
    ClaimsError::Away(error.to_string())
}

fn refused(error: &RedisError) -> ClaimsError {
    let (code, detail) = (error.code().unwrap_or("ERR"), error.detail().unwrap_or("no reason given"));
    ClaimsError::Refused(format!("{code} {detail}"))
}

#[cfg(test)]
mod tests;
