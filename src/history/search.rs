//! Searches, newest first, in pages: over connections of their own that only read, each for a bounded time.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params, params_from_iter};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::course;
use super::filler::{Filled, Filler, FillerParts};
use super::names::{self, Table};
use super::rows::{EventPast, EventRow, StepRow};
use super::schema;
use super::store::{code_of, is_damage, number, status_of};
use crate::clock::{Clock, Timestamp};
use crate::disk::Disk;
use crate::event::{Digest, Sequence};
use crate::operate::Selection;
use crate::tasks;

/// Searches at once; others wait, for so long at most. Those for words are long, and have one turn of their own.
const SEARCHES: usize = 2;
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one may take.
const LONGEST: Duration = Duration::from_secs(2);
/// SQLite's steps between two looks at the time.
const STEPS: i32 = 10_000;
/// Events that are looked at one by one rather than by an index.
const FEW: u64 = 100_000;
/// Words that are asked for at once, and letters that one must begin with that stands for others: each is looked for in all.
const WORDS_MAX: usize = 8;
const BEGIN_MIN: usize = 3;
/// Longest text that is asked for, in bytes.
const WORDS_BYTES_MAX: usize = 1_024;
/// The newest events with wanted words that are looked at.
const OF_WORDS_MAX: usize = 10_000;
/// Events of one id that are looked at.
const OF_AN_ID_MAX: usize = 10_000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It took too long.
    #[error("this search takes more than {} s: narrow it down, by a source, a type or a time", LONGEST.as_secs())]
    TooLong,
    /// Others were asked for before, and are not done.
    #[error("too many searches run already; try again in some seconds")]
    Busy,
    /// The file cannot be read.
    #[error("the history cannot be read: {0}")]
    File(#[from] rusqlite::Error),
    /// The gateway is ending.
    #[error("the gateway is stopping")]
    Stopping,
}

/// Behind which event a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    received_at: i64,
    sequence: i64,
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.received_at, self.sequence)
    }
}

impl FromStr for After {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (received_at, sequence) = text.split_once('.').ok_or(())?;
        let number = |text: &str| text.parse::<i64>().map_err(|_| ());
        Ok(Self { received_at: number(received_at)?, sequence: number(sequence)? })
    }
}

/// Events, newest first.
#[derive(Clone, Debug, Default)]
pub struct EventPage {
    /// The events.
    pub events: Vec<EventRow>,
    /// Where to go on; none where there are no more.
    pub next: Option<After>,
    /// Up to which event the history is filled.
    pub through: Sequence,
}

/// Words that a body has, as they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(pub(super) String);

impl FromStr for Words {
    type Err = ();

    /// Up to eight words with spaces between; one that ends in `*` stands for all that begin so, by three letters at least.
    fn from_str(text: &str) -> Result<Self, ()> {
        let quoted = |word: &str| match word.strip_suffix('*') {
            Some(begin) if begin.chars().filter(|char| char.is_alphanumeric()).count() < BEGIN_MIN => None,
            Some(begin) => Some(format!("\"{}\"*", begin.replace('"', "\"\""))),
            None => Some(format!("\"{}\"", word.replace('"', "\"\""))),
        };
        // SQLite reads what is sought up to its first zero byte.
        let words = text.split(|char: char| char.is_whitespace() || char == '\0');
        let words = words.filter(|word| word.contains(char::is_alphanumeric));
        let words: Vec<String> = words.map(quoted).collect::<Option<_>>().ok_or(())?;
        if words.is_empty() || words.len() > WORDS_MAX || text.len() > WORDS_BYTES_MAX {
            return Err(());
        }
        Ok(Self(words.join(" ")))
    }
}

struct Inner {
    path: PathBuf,
    filled: Arc<Filled>,
    clock: Arc<dyn Clock>,
    /// Up to which event the journal is durable.
    durable: Box<dyn Fn() -> Sequence + Send + Sync>,
    turns: Arc<Semaphore>,
    turns_for_words: Arc<Semaphore>,
    /// Connections that nobody uses, and to which of the files that were made anew.
    free: Mutex<Vec<(u64, Connection)>>,
}

/// Searches in the history; cheap to clone.
#[derive(Clone)]
pub struct History(Arc<Inner>);

impl History {
    /// The history in that file, and what fills it: to be run on a thread of its own.
    pub fn new<D: Disk>(parts: FillerParts<D>) -> (Self, Filler<D>) {
        let filled = Arc::new(Filled::default());
        let reader = parts.reader.clone();
        let inner = Inner {
            path: parts.path.clone(),
            durable: Box::new(move || reader.durable_through()),
            filled: Arc::clone(&filled),
            clock: Arc::clone(&parts.clock),
            turns: Arc::new(Semaphore::new(SEARCHES)),
            turns_for_words: Arc::new(Semaphore::new(1)),
            free: Mutex::default(),
        };
        (Self(Arc::new(inner)), Filler::new(parts, filled))
    }

    /// Wall time, by which a choice is read.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Up to which event it is filled.
    pub fn through(&self) -> Sequence {
        Sequence(self.0.filled.through.load(Ordering::Acquire))
    }

    /// How many of the journal's events are not in it yet.
    pub fn behind(&self) -> u64 {
        (self.0.durable)().0.saturating_sub(self.through().0)
    }

    /// Bytes of the file, as they were counted last.
    pub fn bytes(&self) -> u64 {
        self.0.filled.bytes.load(Ordering::Relaxed)
    }

    /// Up to `max` events of a selection, newest first; with words, of the newest ten thousand whose bodies have all of them.
    ///
    /// # Errors
    /// Where it takes too long, or the file cannot be read.
    pub async fn events(
        &self,
        (selection, words): (Selection, Option<Words>),
        after: Option<After>,
        max: usize,
    ) -> Result<EventPage, HistoryError> {
        let (through, with_words) = (self.through(), words.is_some());
        let question =
            move |connection: &Connection| events(connection, (&selection, words.as_ref()), after, max + 1);
        let turns = if with_words { &self.0.turns_for_words } else { &self.0.turns };
        let events = self.ask_in(turns, question).await?;
        let mut page = EventPage { events, next: None, through };
        if page.events.len() > max {
            page.events.truncate(max);
            let last = page.events.last();
            page.next = last.map(|last| After {
                received_at: last.received_at.millis(),
                sequence: number(last.sequence),
            });
        }
        Ok(page)
    }

    /// One event, and what has happened to it; none where the history does not have it.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn event(&self, sequence: Sequence) -> Result<Option<EventPast>, HistoryError> {
        let sequence = number(sequence);
        self.ask(move |connection| {
            let Some(event) = event(connection, sequence)? else { return Ok(None) };
            let (courses, steps) = (course::before(connection, sequence)?, steps(connection, sequence)?);
            Ok(Some(EventPast { event, courses, steps }))
        })
        .await
    }

    /// Changes something beside the thread that fills it.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let path = self.0.path.clone();
        let changed = tasks::blocking(move || change(&mut schema::open(&path)?)).await;
        Ok(changed.map_err(|_| HistoryError::Stopping)??)
    }

    /// Asks where that may block.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, HistoryError> {
        self.ask_in(&self.0.turns, question).await
    }

    async fn ask_in<T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let turn = timeout(PATIENCE, Arc::clone(turns).acquire_owned()).await;
        let turn = turn.map_err(|_| HistoryError::Busy)?.map_err(|_| HistoryError::Stopping)?;
        let inner = Arc::clone(&self.0);
        // The turn is the search's: who hangs up does not end it.
        let search = move || {
            let answer = inner.ask(question);
            drop(turn);
            answer
        };
        tasks::blocking(search).await.map_err(|_| HistoryError::Stopping)?
    }
}

impl Inner {
    fn ask<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, HistoryError> {
        let file = self.filled.file.load(Ordering::Acquire);
        let mut connection = self.connection(file)?;
        let (clock, end) = (Arc::clone(&self.clock), self.clock.monotonic() + LONGEST);
        connection.progress_handler(STEPS, Some(move || clock.monotonic() > end))?;
        let answer = question(&connection);
        connection.progress_handler(0, None::<fn() -> bool>)?;
        match answer {
            Ok(answer) => {
                self.free().push((file, connection));
                Ok(answer)
            }
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                Err(HistoryError::TooLong)
            }
            Err(error) => {
                self.filled.damaged.fetch_or(is_damage(&error), Ordering::AcqRel);
                Err(error.into())
            }
        }
    }

    fn connection(&self, file: u64) -> rusqlite::Result<Connection> {
        let mut free = self.free();
        free.retain(|(of, _)| *of == file);
        free.pop()
            .map_or_else(|| schema::open_to_read(Path::new(&self.path)), |(_, connection)| Ok(connection))
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Connection)>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is read of an event, in the order of [`event_row`].
const EVENT: &str = "SELECT sequence, received_at, \
    (SELECT name FROM names WHERE id = source), (SELECT name FROM names WHERE id = provider), \
    (SELECT name FROM types WHERE id = type), event_id, message_id, twin_of, digest, body_bytes, \
    (SELECT name FROM names WHERE id = secret), invalid, state, attempts, attempted_at, ended_at, replays, replayed_at FROM events";

fn event_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let time = |at: Option<i64>| at.map(Timestamp::from_millis);
    Ok(EventRow {
        sequence: Sequence(row.get::<_, i64>(0)?.unsigned_abs()),
        received_at: Timestamp::from_millis(row.get(1)?),
        source: row.get::<_, Option<_>>(2)?.unwrap_or_default(),
        provider: row.get::<_, Option<_>>(3)?.unwrap_or_default(),
        event_type: row.get::<_, Option<_>>(4)?.unwrap_or_default(),
        event_id: row.get(5)?,
        message_id: Digest(row.get(6)?),
        twin_of: row.get::<_, Option<_>>(7)?.map(Digest),
        digest: Digest(row.get(8)?),
        body_bytes: row.get::<_, i64>(9)?.unsigned_abs(),
        secret: row.get::<_, Option<_>>(10)?.unwrap_or_default(),
        invalid: row.get(11)?,
        status: row.get::<_, Option<i64>>(12)?.and_then(status_of),
        attempts: row.get(13)?,
        attempted_at: time(row.get(14)?),
        ended_at: time(row.get(15)?),
        replays: row.get(16)?,
        replayed_at: time(row.get(17)?),
    })
}

fn event(connection: &Connection, sequence: i64) -> rusqlite::Result<Option<EventRow>> {
    let found = format!("{EVENT} WHERE sequence = ?1");
    connection.prepare_cached(&found)?.query_row([sequence], event_row).optional()
}

fn steps(connection: &Connection, sequence: i64) -> rusqlite::Result<Vec<StepRow>> {
    let found = "SELECT at, what, detail FROM steps WHERE sequence = ?1 ORDER BY nth";
    let mut found = connection.prepare_cached(found)?;
    let row = |row: &Row<'_>| {
        Ok(StepRow { at: Timestamp::from_millis(row.get(0)?), what: row.get(1)?, detail: row.get(2)? })
    };
    found.query_map([sequence], row)?.collect()
}

/// Conditions, and their values.
#[derive(Default)]
pub(super) struct Where {
    conditions: Vec<&'static str>,
    pub(super) values: Vec<Value>,
}

impl Where {
    pub(super) fn and(
        &mut self,
        condition: &'static str,
        values: impl IntoIterator<Item = impl Into<Value>>,
    ) {
        self.conditions.push(condition);
        self.values.extend(values.into_iter().map(Into::into));
    }

    pub(super) fn text(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.conditions.join(" AND "))
        }
    }
}

/// The index by which the fewest rows are looked at.
fn index(selection: &Selection) -> &'static str {
    let numbers = selection.first.zip(selection.last).map(|(first, last)| last.0.saturating_sub(first.0));
    match (&selection.event_type, &selection.source) {
        _ if numbers.is_some_and(|numbers| numbers < FEW) => " NOT INDEXED",
        _ if selection.is_live() => " INDEXED BY events_live",
        (Some(_), _) => " INDEXED BY events_type",
        (None, Some(_)) => " INDEXED BY events_source",
        (None, None) => " INDEXED BY events_at",
    }
}

pub(super) fn events(
    connection: &Connection,
    (selection, words): (&Selection, Option<&Words>),
    after: Option<After>,
    max: usize,
) -> rusqlite::Result<Vec<EventRow>> {
    let Selection { source, event_type, id, key, states, first, last, since, until } = selection;
    let mut wanted = Where::default();
    for (name, table, condition) in
        [(source, Table::Names, "source = ?"), (event_type, Table::Types, "type = ?")]
    {
        let Some(name) = name else { continue };
        let Some(number) = names::find(connection, table, name)? else { return Ok(Vec::new()) };
        wanted.and(condition, [number]);
    }
    since.iter().for_each(|since| wanted.and("received_at >= ?", [since.millis()]));
    until.iter().for_each(|until| wanted.and("received_at < ?", [until.millis()]));
    first.iter().for_each(|first| wanted.and("sequence >= ?", [number(*first)]));
    last.iter().for_each(|last| wanted.and("sequence <= ?", [number(*last)]));
    id.iter().for_each(|id| wanted.and("event_id = ?", [id.clone()]));
    key.iter().for_each(|key| wanted.and("message_id = ?", [key.0.to_vec()]));
    if !states.is_empty() {
        let codes: Vec<i64> = states.iter().map(|status| code_of(*status)).collect();
        let codes = serde_json::to_string(&codes).unwrap_or_default();
        wanted.and("state IN (SELECT value FROM json_each(?))", [codes]);
    }
    if let Some(After { received_at, sequence }) = after {
        wanted.and(
            "received_at <= ? AND (received_at < ? OR sequence < ?)",
            [received_at, received_at, sequence],
        );
    }
    let hash = id.as_ref().map(|id| schema::hash(id.as_bytes())).or(key.map(|key| schema::hash(&key.0)));
    if let Some(hash) = hash {
        return of_an_id(connection, hash, wanted, max);
    }
    if let Some(Words(words)) = words {
        let with = "sequence IN (SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rowid DESC LIMIT ?)";
        wanted.and(with, [Value::from(words.clone()), Value::from(OF_WORDS_MAX as i64)]);
    }
    if selection.is_live() {
        wanted.conditions.push("state < 4");
    }
    let index = if words.is_some() { " NOT INDEXED" } else { index(selection) };
    let conditions = wanted.text();
    let found = format!("{EVENT}{index}{conditions} ORDER BY received_at DESC, sequence DESC LIMIT {max}");
    let mut found = connection.prepare_cached(&found)?;
    found.query_map(params_from_iter(wanted.values), event_row)?.collect()
}

/// The events that `ids` has under a hash, of those that are wanted.
fn of_an_id(
    connection: &Connection,
    hash: i64,
    mut wanted: Where,
    max: usize,
) -> rusqlite::Result<Vec<EventRow>> {
    // Each by itself: together they would be looked for in every row.
    let ends = "SELECT coalesce((SELECT MIN(sequence) FROM events), 0), \
                coalesce((SELECT MAX(sequence) FROM events), -1)";
    let (oldest, newest) = connection
        .prepare_cached(ends)?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    let mut under = connection.prepare_cached("SELECT sequence FROM ids WHERE stretch = ?1 AND hash = ?2")?;
    let mut sequences = Vec::new();
    for stretch in (schema::stretch(oldest)..=schema::stretch(newest)).rev() {
        let some = under.query_map(params![stretch, hash], |row| row.get::<_, i64>(0))?;
        for sequence in some {
            sequences.push(sequence?);
        }
        if sequences.len() > OF_AN_ID_MAX {
            break;
        }
    }
    wanted.conditions.insert(0, "sequence = ?");
    let found = format!("{EVENT}{}", wanted.text());
    let (mut found, mut events) = (connection.prepare_cached(&found)?, Vec::new());
    for sequence in sequences {
        let values = [Value::from(sequence)].into_iter().chain(wanted.values.iter().cloned());
        events.extend(found.query_row(params_from_iter(values), event_row).optional()?);
    }
    events.sort_by_key(|event: &EventRow| std::cmp::Reverse((event.received_at, event.sequence)));
    events.truncate(max);
    Ok(events)
}
