//! The file, as the one thread that fills it sees it: events, steps and refusals written in transactions, and the oldest let go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, params};

use super::names::{Names, Table};
use super::pending::Progress;
use super::quarantine;
use super::schema::{self, STRETCH_BITS, TABLES, VERSION};
use crate::clock::Timestamp;
use crate::disk::{Disk, RealDisk};
use crate::event::{Digest, Envelope, Sequence};
use crate::operate::Status;
use crate::steps::{Cause, Quarantined, Refusal};

/// Refusals in the file, at most.
const REFUSALS_MAX: i64 = 100_000;
/// Events that are let go at once.
const GO_MAX: i64 = 2_000;
/// Pages that are given back to the system at once, of 4 KiB.
const PAGES_MAX: i64 = 1_024;
/// Of one event's steps the first so many are kept, and the last so many.
const FIRST_STEPS: i64 = 16;
const LAST_STEPS: i64 = 48;

/// An event to be written.
pub(super) struct NewEvent<'a> {
    pub(super) sequence: Sequence,
    pub(super) envelope: &'a Envelope,
    /// SHA-256 of the body, and its length.
    pub(super) digest: Digest,
    pub(super) body_bytes: u64,
    /// How it stands in the journal.
    pub(super) status: Status,
    /// What has been told of it.
    pub(super) progress: Progress,
}

/// What is written at once.
#[derive(Default)]
pub(super) struct Batch<'a> {
    pub(super) events: Vec<NewEvent<'a>>,
    /// All events up to that one are in the file with this batch.
    pub(super) through: Sequence,
    /// What has been told of events that are there already.
    pub(super) progress: BTreeMap<Sequence, Progress>,
    pub(super) refusals: &'a [Refusal],
    pub(super) causes: &'a [Cause],
    pub(super) quarantined: &'a [Quarantined],
}

/// What of the file is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// What came in before is let go.
    pub(super) since: Timestamp,
    /// Bytes of the file beyond which the oldest is let go.
    pub(super) bytes_max: u64,
}

/// The file, open for writing.
pub(super) struct Store {
    connection: Connection,
    names: Names,
    path: PathBuf,
}

impl Store {
    /// Opens the file of the journal with that id; one of another journal, of another version or damaged is made anew.
    /// The second value is true where that happened.
    pub(super) fn open(path: &Path, journal: [u8; 16]) -> rusqlite::Result<(Self, bool)> {
        match Self::try_open(path, journal) {
            Ok(Some(store)) => return Ok((store, false)),
            Ok(None) => {}
            Err(error) if is_damage(&error) => {
                tracing::warn!(path = %path.display(), %error, "the history is damaged; it is made anew from the journal");
            }
            Err(error) => return Err(error),
        }
        let was_there = path.exists();
        remove(path);
        let store = Self::try_open(path, journal)?.ok_or(rusqlite::Error::InvalidQuery)?;
        Ok((store, was_there))
    }

    /// None where the file is another's.
    fn try_open(path: &Path, journal: [u8; 16]) -> rusqlite::Result<Option<Self>> {
        let mut connection = schema::open(path)?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let tables: i64 = connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if version == 0 && tables == 0 {
            let transaction = connection.transaction()?;
            transaction.execute_batch(TABLES)?;
            transaction
                .execute("INSERT INTO about VALUES ('journal', ?1), ('through', 0)", [&journal[..]])?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        } else if version != VERSION || about::<Vec<u8>>(&connection, "journal")?.as_deref() != Some(&journal)
        {
            return Ok(None);
        }
        Ok(Some(Self { connection, names: Names::default(), path: path.to_owned() }))
    }

    /// All events up to that one are in the file, but those that were let go.
    pub(super) fn through(&self) -> rusqlite::Result<Sequence> {
        Ok(Sequence(about::<i64>(&self.connection, "through")?.unwrap_or_default().unsigned_abs()))
    }

    /// Writes all of it or nothing.
    pub(super) fn write(&mut self, batch: &Batch<'_>) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let written = write(&transaction, &mut self.names, batch).and_then(|()| transaction.commit());
        if written.is_err() {
            self.names.forget();
        }
        written
    }

    /// Some events behind that one that had not ended when they were told of last.
    pub(super) fn unended(&self, after: Sequence, max: usize) -> rusqlite::Result<Vec<Sequence>> {
        let found = "SELECT sequence FROM events INDEXED BY events_live \
                     WHERE state < 4 AND sequence > ?1 ORDER BY sequence LIMIT ?2";
        let mut found = self.connection.prepare_cached(found)?;
        let found = found.query_map(params![number(after), max as i64], |row| row.get::<_, i64>(0))?;
        found.map(|number| number.map(|number| Sequence(number.unsigned_abs()))).collect()
    }

    /// Writes how events stand; none where nobody knows.
    pub(super) fn stand(&mut self, events: &[(Sequence, Option<Status>)]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        for (sequence, status) in events {
            let code = status.map(code_of);
            // A pending one may wait aside, which the journal does not know.
            let changed = "UPDATE events SET state = ?2 WHERE sequence = ?1 AND NOT (?2 IS 0 AND state IS 1)";
            transaction.prepare_cached(changed)?.execute(params![number(*sequence), code])?;
        }
        transaction.commit()
    }

    /// Lets the oldest go; true where there is more to let go.
    pub(super) fn prune(&mut self, keep: Keep) -> rusqlite::Result<bool> {
        let over = self.bytes()? > keep.bytes_max;
        let transaction = self.connection.transaction()?;
        let old = "DELETE FROM refusals WHERE at < ?1 OR id <= (SELECT MAX(id) FROM refusals) - ?2";
        transaction.execute(old, params![keep.since.millis(), REFUSALS_MAX])?;
        transaction.execute("DELETE FROM quarantine WHERE at < ?1", [keep.since.millis()])?;
        let oldest = "SELECT sequence, received_at FROM events ORDER BY sequence LIMIT ?1";
        let mut end = None;
        for row in transaction
            .prepare_cached(oldest)?
            .query_map([GO_MAX], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?
        {
            let (sequence, received_at) = row?;
            if !over && received_at >= keep.since.millis() {
                break;
            }
            end = Some(sequence);
        }
        if let Some(end) = end {
            transaction.execute("DELETE FROM events WHERE sequence <= ?1", [end])?;
            transaction.execute("DELETE FROM steps WHERE sequence <= ?1", [end])?;
            transaction.execute("DELETE FROM ids WHERE stretch < ?1", [end >> STRETCH_BITS])?;
        }
        self.names.prune(&transaction)?;
        transaction.commit()?;
        if over {
            self.connection.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES_MAX})"))?;
        }
        Ok(end.is_some())
    }

    /// Bytes of the file that hold something.
    pub(super) fn bytes(&self) -> rusqlite::Result<u64> {
        let pragma = |name: &str| self.connection.query_row(name, [], |row| row.get::<_, i64>(0));
        let pages = pragma("PRAGMA page_count")? - pragma("PRAGMA freelist_count")?;
        Ok((pages * pragma("PRAGMA page_size")?).unsigned_abs())
    }

    /// Removes the file, which holds nothing that the journal does not.
    pub(super) fn remove(self) {
        let Self { connection, path, .. } = self;
        drop(connection);
        remove(&path);
    }
}

/// Whether the file itself is at fault.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn remove(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        // What is not there need not go, and what cannot go is told of when it is opened.
        RealDisk.remove(Path::new(&name)).ok();
    }
}

fn about<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<Option<T>> {
    connection
        .prepare_cached("SELECT value FROM about WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

fn write(to: &Transaction<'_>, names: &mut Names, batch: &Batch<'_>) -> rusqlite::Result<()> {
    for event in &batch.events {
        insert(to, names, event)?;
    }
    for (sequence, progress) in &batch.progress {
        let Progress { status, attempts, attempted_at, ended_at, unusual } = progress;
        let changed = "UPDATE events SET state = coalesce(?2, state), attempts = attempts + ?3, \
                       attempted_at = coalesce(?4, attempted_at), \
                       ended_at = CASE WHEN ?2 IS NULL THEN ended_at ELSE ?5 END WHERE sequence = ?1";
        let values = params![
            number(*sequence),
            status.map(code_of),
            attempts,
            attempted_at.map(Timestamp::millis),
            ended_at.map(Timestamp::millis)
        ];
        if to.prepare_cached(changed)?.execute(values)? > 0 {
            steps(to, *sequence, unusual)?;
        }
    }
    for refusal in batch.refusals {
        refused(to, refusal)?;
    }
    for cause in batch.causes {
        let explained = "UPDATE refusals SET cause = ?2, found = ?3, advice = ?4 \
                         WHERE id > (SELECT MAX(id) FROM refusals) - 1000 AND request = ?1";
        let Cause { request, code, found, advice } = cause;
        to.prepare_cached(explained)?.execute(params![request, code, found, advice])?;
    }
    quarantine::put(to, batch.quarantined)?;
    to.prepare_cached("UPDATE about SET value = ?1 WHERE name = 'through'")?
        .execute([number(batch.through)])?;
    Ok(())
}

fn insert(to: &Transaction<'_>, names: &mut Names, event: &NewEvent<'_>) -> rusqlite::Result<()> {
    let NewEvent { sequence, envelope, digest, body_bytes, status, progress } = event;
    let mut name = |text: &str| names.number(to, Table::Names, text);
    let (source, provider, secret) =
        (name(&envelope.source)?, name(&envelope.provider)?, name(&envelope.secret)?);
    let kind = names.number(to, Table::Types, &envelope.event_type)?;
    // What the journal says is newer than what was told, unless it has not been told of an end yet.
    let status = if status.is_live() { progress.status.unwrap_or(*status) } else { *status };
    let added = "INSERT OR REPLACE INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    to.prepare_cached(added)?.execute(params![
        number(*sequence),
        envelope.received_at.millis(),
        source,
        kind,
        provider,
        secret,
        envelope.event_id,
        &envelope.keys.message_id.0[..],
        envelope.twin_of.as_ref().map(|twin| &twin.0[..]),
        &digest.0[..],
        *body_bytes as i64,
        envelope.invalid,
        code_of(status),
        progress.attempts,
        progress.attempted_at.map(Timestamp::millis),
        progress.ended_at.map(Timestamp::millis),
    ])?;
    let id = (!envelope.event_id.is_empty()).then(|| schema::hash(envelope.event_id.as_bytes()));
    for hash in id.into_iter().chain([schema::hash(&envelope.keys.message_id.0)]) {
        let added = "INSERT OR IGNORE INTO ids VALUES (?1, ?2, ?3)";
        let number = number(*sequence);
        to.prepare_cached(added)?.execute([schema::stretch(number), hash, number])?;
    }
    steps(to, *sequence, &progress.unusual)
}

fn steps(
    to: &Transaction<'_>,
    sequence: Sequence,
    unusual: &[(Timestamp, &'static str, String)],
) -> rusqlite::Result<()> {
    if unusual.is_empty() {
        return Ok(());
    }
    let sequence = number(sequence);
    let last = "SELECT coalesce(MAX(nth) + 1, 0) FROM steps WHERE sequence = ?1";
    let mut nth: i64 = to.prepare_cached(last)?.query_row([sequence], |row| row.get(0))?;
    for (at, what, detail) in unusual {
        let added = "INSERT INTO steps VALUES (?1, ?2, ?3, ?4, ?5)";
        to.prepare_cached(added)?.execute(params![sequence, nth, at.millis(), what, detail])?;
        nth += 1;
    }
    if nth > FIRST_STEPS + LAST_STEPS {
        let gone = "DELETE FROM steps WHERE sequence = ?1 AND nth >= ?2 AND nth < ?3";
        to.prepare_cached(gone)?.execute([sequence, FIRST_STEPS, nth - LAST_STEPS])?;
    }
    Ok(())
}

fn refused(to: &Transaction<'_>, refusal: &Refusal) -> rusqlite::Result<()> {
    let Refusal { at, request, source, address, path, reason, detail, status, left_out } = refusal;
    let added = "INSERT INTO refusals (at, source, reason, detail, status, address, path, request, left_out) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let address = address.map(|address| address.to_string());
    let values =
        params![at.millis(), source, reason, detail, status, address, path, request, *left_out as i64];
    to.prepare_cached(added)?.execute(values)?;
    Ok(())
}

/// SQLite's numbers are signed; no journal gets so far.
pub(super) fn number(sequence: Sequence) -> i64 {
    i64::try_from(sequence.0).unwrap_or(i64::MAX)
}

/// How a state stands in the file: those below 4 have not ended.
pub(super) fn code_of(status: Status) -> i64 {
    match status {
        Status::Pending => 0,
        Status::Aside => 1,
        Status::Held => 2,
        Status::Poison => 3,
        Status::Confirmed => 4,
        Status::Superseded => 5,
        Status::Dropped => 6,
    }
}

/// And back.
pub(super) fn status_of(code: i64) -> Option<Status> {
    [
        Status::Pending,
        Status::Aside,
        Status::Held,
        Status::Poison,
        Status::Confirmed,
        Status::Superseded,
        Status::Dropped,
    ]
    .into_iter()
    .find(|status| code_of(*status) == code)
}
