//! The claims that replicas share, in Redis: which replica may publish an event. Asked just before a publish: by
//! the relay after its journal's ACK, in confirm mode before the 2xx. The only room that speaks to Redis.
//!
//! # States
//! One string key an event, `<prefix><message id, 64 hex digits>`; the prefix is `hookgate:` by default.
//! ```text
//! value = "claimed" SP replica SP "run" SP run [SP "over"]            a relay's claim: holds while that run lives
//!       | "claimed" SP replica SP "lease" SP end SP token [SP "over"] confirm mode's: holds until end (ms, Redis's clock)
//!       | "done" SP replica                                           published and confirmed
//! replica = 32 hex digits: the random id in the journal's folder, or of the process where there is no journal
//! run     = 16 hex digits: one life of the replica's process;   token = the number of the attempt
//! over    = taken over: whoever held it before may have published, so every publish carries the duplicate mark
//!
//! from                                to               by                              life of the key
//! (none)                              claimed          SET NX, or the lease script     the window
//! claimed by this replica, older run  claimed, this run   SWAP of the value seen       what is left
//! claimed, its run silent for long    claimed, over    SWAP of the value seen          the window, anew
//! claimed, its lease run out          claimed, over    SWAP, or the lease script       the window, anew
//! lease, longer than any can be       lease, cut       the lease script               what is left
//! lease, certainly nothing published  (none)           the release script              -
//! lease, unknown whether published    lease run out    the release script              what is left
//! (none), published though Redis was  lease run out    SET NX, once Redis answers      the window
//!   away, not known as confirmed
//! any                                 done             SET                             the window, anew
//! claimed, done                       (none)           the window passes, or Redis loses it
//! claimed, done                       (none)           an operator forgets it: DEL     -
//! ```
//! Every write but the last `SET` is conditional on what it replaces, within one step of Redis: two replicas that both
//! see a silent owner or a lease that has run out do not both take it over, and `done` is never overwritten by a claim.
//! `done` overwrites anything, for it is true whoever says it: the old holder of a claim that was taken over too.
//! So at most one publish of an event goes out without the duplicate mark: that of the claim which found no key.
//!
//! Values of both modes are read by both, so replicas of either may share one Redis and keep this promise. What they do
//! not share is the recognition of twins: only confirm mode keeps `<prefix>content:<digest>` = `<first id> <count>`.
//!
//! A value that is not in this grammar belongs to [`Owner::Unknown`]: the caller waits and asks again. Only `done`
//! ever lets a copy be dropped. Relays claim by `SET … NX PX`, many events a round trip, and look only at what was claimed before.
//! The scripts name two keys, so they need one server (6.2 or later, Valkey), not a cluster's slots.
//!
//! # Silence
//! A relay's replica renews `<prefix>alive:<replica>` = run, which lasts 30 s. A claim of a run that is not the one
//! written there, or of a replica without such a key, belongs to a process that is gone: once that has been so for long
//! enough (see [`super::Silence`]), it is taken over. A replica that starts again makes its own claims its new run's
//! as soon as it asks for them.
//!
//! # What ends the wait of a copy for another replica's claim
//! ```text
//! the claim's replica                                       the copy is                  after
//! has lost the reply to its claim, and lives                dropped: done                its publish, with the claim or without it
//! could not say done, and lives                             dropped: done                 Redis answers
//! said done, and Redis lost that with its last writes       dropped: done, said again    its next connection to Redis
//! ended before it said done, its record marked or not       taken over, marked           30 s with a later run of it alive
//! is gone                                                   taken over, marked           takeover_after
//! holds the event unroutable or poison, and lives           dropped: done                an operator's order there
//! dropped the event by an operator's order, and lives       published                    an operator forgets its key, or the window
//! ```
//! Said again are the newest 16,384; what Redis lost beyond those waits for the end of the replica's run, or the window.
//!
//! # When Redis's clock steps
//! Forward: leases and signs of life end early. Whoever follows is marked, and who lives says so again within 10 s.
//! Back: they would last for as long as the step. So a sign of life with more than its 30 s to go counts for nothing, and
//! a lease with more to go than two of the asker's is cut to that.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use ::redis::io::tcp::TcpSettings;
use ::redis::{Client, IntoConnectionInfo, Pipeline, RedisError, RedisResult, Value};

use crate::event::Digest;
use crate::failpoint::{self, Point};

mod alive;
mod claim;
mod forget;
mod lease;
mod link;
mod script;
mod value;

pub use alive::Life;
pub use lease::{Answer as LeaseAnswer, Ask, Lease, Leased};

use link::Line;
use script::{Call, FINISH_OWN, SWAP};
use value::{Held, Term, Words, is_replica};

/// Commands of one round trip; a bigger batch takes several.
const PIPELINE_MAX: usize = 1_024;

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

/// Proof that Redis says an event is published and confirmed, by whomever. Made here from a `done` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    _made_here: (),
}

/// Who holds a claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A replica with a journal.
    Replica {
        /// Its id.
        id: String,
        /// Its run, where the value tells.
        run: Option<String>,
    },
    /// An attempt in confirm mode, for so long still; zero where its lease has run out.
    Lease(Duration),
    /// The value is none of ours.
    Unknown,
}

/// A claim of somebody else's, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Who.
    pub owner: Owner,
    /// The value: it is taken over only while it still stands.
    seen: String,
}

/// Whose an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shared {
    /// Claimed by this call: publish.
    Mine,
    /// Claimed by this replica already, in this run or an earlier one: publish with the duplicate mark unless
    /// the caller knows that it never published.
    MineAgain {
        /// Taken over from another: with the duplicate mark in any case.
        over: bool,
    },
    /// Claimed by another replica: park.
    Theirs(Claimant),
    /// Published and confirmed, by whomever: drop the copy.
    Done(Done),
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
    line: Line,
    /// This life of the process.
    run: String,
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
        // Its keys are random anew in each process.
        let run = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        let line = Line::new(client, settings.deadline);
        Ok(Self { inner: Arc::new(Inner { settings, line, run }) })
    }

    /// Takes over the claims of others, of each of which only what was seen of it is replaced. The answers are
    /// [`Shared::MineAgain`] with `over`, or whose the event is meanwhile.
    ///
    /// # Errors
    /// Then no event's answer is known; see [`ClaimsError`].
    pub async fn take_over(&self, batch: &[(Digest, Claimant)]) -> Result<Vec<Shared>, ClaimsError> {
        let Inner { settings, run, line } = &*self.inner;
        let value = value::claimed(&settings.replica, run, true);
        let mut answers = Vec::with_capacity(batch.len());
        for part in batch.chunks(PIPELINE_MAX) {
            let swaps = part.iter().map(|(message_id, claimant)| {
                self.swap(message_id, &claimant.seen, value.clone(), self.life())
            });
            for reply in SWAP.run(line, &swaps.collect::<Vec<_>>()).await? {
                let reply = reply.map_err(|error| refused(&error))?;
                answers.push(match reply {
                    Value::Int(1) => Shared::MineAgain { over: true },
                    other => self.read(text(&other).unwrap_or_default(), 0),
                });
            }
        }
        Ok(answers)
    }

    fn swap(&self, message_id: &Digest, seen: &str, instead: String, life: u64) -> Call {
        let arguments = vec![seen.to_owned(), instead, life.to_string()];
        Call { keys: vec![self.key(message_id)], arguments }
    }

    /// Notes that events are published and confirmed. Their life starts anew with the window.
    ///
    /// # Errors
    /// Then any of them may still be only claimed; to call again is safe.
    pub async fn finish(&self, batch: &[Digest]) -> Result<(), ClaimsError> {
        let value = value::done(&self.inner.settings.replica);
        let add = |pipe: &mut Pipeline, key| {
            pipe.cmd("SET").arg(key).arg(&value).arg("PX").arg(self.life());
        };
        failpoint::reach(Point::RedisDoneBefore);
        self.for_each(batch, add).await?;
        failpoint::reach(Point::RedisDoneAfter);
        Ok(())
    }

    /// One command on the key of each event; the first that Redis refuses is the error.
    async fn for_each(
        &self,
        batch: &[Digest],
        add: impl Fn(&mut Pipeline, String),
    ) -> Result<(), ClaimsError> {
        for part in batch.chunks(PIPELINE_MAX) {
            let mut pipe = Pipeline::with_capacity(part.len());
            part.iter().for_each(|message_id| add(&mut pipe, self.key(message_id)));
            for reply in self.inner.line.send(&pipe, part.len()).await? {
                reply.map_err(|error| refused(&error))?;
            }
        }
        Ok(())
    }

    /// Notes the same, of those events whose claim Redis still holds as this replica's; the others stay as they are.
    ///
    /// # Errors
    /// Then any of them may still be only claimed; to call again is safe.
    pub async fn finish_own(&self, batch: &[Digest]) -> Result<(), ClaimsError> {
        let replica = &self.inner.settings.replica;
        let arguments = vec![format!("claimed {replica} "), value::done(replica), self.life().to_string()];
        let call = |id| Call { keys: vec![self.key(id)], arguments: arguments.clone() };
        for part in batch.chunks(PIPELINE_MAX) {
            for reply in FINISH_OWN.run(&self.inner.line, &part.iter().map(call).collect::<Vec<_>>()).await? {
                reply.map_err(|error| refused(&error))?;
            }
        }
        Ok(())
    }

    /// Asks Redis for its version, e.g. `7.0.15`; `unknown` where the user may not run `INFO`.
    ///
    /// # Errors
    /// Where Redis does not answer a `PING`, or lets this user run no script.
    pub async fn ping(&self) -> Result<String, ClaimsError> {
        let mut pipe = Pipeline::with_capacity(3);
        pipe.cmd("PING").cmd("INFO").arg("server").cmd("EVAL").arg("return 1").arg(0);
        let replies = self.inner.line.send(&pipe, 3).await?;
        replies[0].as_ref().map_err(refused)?;
        replies[2].as_ref().map_err(refused)?;
        let info = replies[1].as_ref().ok().and_then(text).unwrap_or_default();
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(version.unwrap_or("unknown").trim().to_owned())
    }

    /// Whether the last command had a connection that answered.
    pub fn connected(&self) -> bool {
        self.inner.line.connected()
    }

    /// Changes with every connection that is opened: what Redis acknowledged on an older one may be lost.
    pub fn connection(&self) -> u64 {
        self.inner.line.generation()
    }

    fn key(&self, message_id: &Digest) -> String {
        format!("{}{message_id}", self.inner.settings.key_prefix)
    }

    fn life(&self) -> u64 {
        millis(self.inner.settings.window)
    }

    /// The answer, and with [`Shared::MineAgain`] the value of an earlier run.
    fn judge(&self, get: &RedisResult<Value>, now: u64) -> Result<(Shared, Option<String>), ClaimsError> {
        let seen = match get {
            Ok(value) => text(value).unwrap_or_default(),
            Err(error) if error.code() == Some("WRONGTYPE") => "",
            Err(error) => return Err(refused(error)),
        };
        let older = match value::read(seen) {
            Held::Claimed(words) => words.term != Term::Run(Some(&self.inner.run)),
            Held::Done | Held::Foreign => false,
        };
        Ok((self.read(seen, now), older.then(|| seen.to_owned())))
    }

    /// Reads a key's value at `now`, in milliseconds on Redis's clock.
    fn read(&self, seen: &str, now: u64) -> Shared {
        match value::read(seen) {
            Held::Claimed(words) if words.replica == self.inner.settings.replica => {
                Shared::MineAgain { over: words.over }
            }
            Held::Done => Shared::Done(Done { _made_here: () }),
            held => Shared::Theirs(Claimant::of(held, seen, now)),
        }
    }
}

impl Claimant {
    fn of(held: Held<'_>, seen: &str, now: u64) -> Self {
        let owner = match held {
            Held::Claimed(Words { replica, term: Term::Run(run), .. }) => {
                Owner::Replica { id: replica.to_owned(), run: run.map(str::to_owned) }
            }
            Held::Claimed(Words { term: Term::Until(ends), .. }) => Owner::Lease(value::left(ends, now)),
            Held::Done | Held::Foreign => Owner::Unknown,
        };
        Self { owner, seen: seen.to_owned() }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX >> 1).min(i64::MAX as u64 >> 1)
}

/// The answer to `TIME` in milliseconds since the epoch.
fn time(reply: Option<&RedisResult<Value>>) -> Result<u64, ClaimsError> {
    let parts = match reply {
        Some(Ok(Value::Array(parts))) => parts.as_slice(),
        Some(Err(error)) => return Err(refused(error)),
        _ => &[],
    };
    let part = |at: usize| parts.get(at).and_then(text).and_then(|text| text.parse::<u64>().ok());
    match (part(0), part(1)) {
        (Some(seconds), Some(micros)) => Ok(seconds.saturating_mul(1_000).saturating_add(micros / 1_000)),
        _ => Err(ClaimsError::Refused("the answer to TIME is not two numbers".to_owned())),
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

fn refused(error: &RedisError) -> ClaimsError {
    let (code, detail) = (error.code().unwrap_or("ERR"), error.detail().unwrap_or("no reason given"));
    ClaimsError::Refused(format!("{code} {detail}"))
}

#[cfg(test)]
mod tests;
