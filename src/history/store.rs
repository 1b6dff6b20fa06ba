//! The file, as the one thread that fills it sees it: events, steps and refusals written in transactions, and the oldest let go.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, params};

use super::course;
use super::names::{Names, Table};
use super::pending::{FIRST_STEPS, LAST_STEPS, Progress};
use super::quarantine;
use super::schema::{self, APPLICATION, STRETCH_BITS, TABLES, VERSION};
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

/// An event to be written.
pub(super) struct NewEvent<'a> {
    pub(super) sequence: Sequence,
    pub(super) envelope: &'a Envelope,
    /// SHA-256 of the body, and its length.
    pub(super) digest: Digest,
    pub(super) body_bytes: u64,
    /// What of the body can be searched for.
    pub(super) text: Option<String>,
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
    /// The same of requests in quarantine.
    pub(super) quarantined_since: Timestamp,
    /// Bytes of the file beyond which the oldest is let go.
    pub(super) bytes_max: u64,
}

/// The file, open for writing.
pub(super) struct Store {
    connection: Connection,
    names: Names,
    path: PathBuf,
    /// Held for as long as the file is: two gateways would each make it anew.
    _lock: File,
}

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// SQLite's word.
    #[error(transparent)]
    File(#[from] rusqlite::Error),
    /// The system's.
    #[error(transparent)]
    System(#[from] io::Error),
    /// It is something else.
    #[error("it is no history of hookgate, and stays as it is; set history.file to another path")]
    Foreign,
    /// Two would write it.
    #[error("another gateway has it; set history.file to a path of its own")]
    Taken,
}

impl Store {
    /// Opens the file of the journal with that id; one of another journal, of another version or damaged is put aside and made
    /// anew. The second value is true where that happened.
    ///
    /// # Errors
    /// Where it cannot be opened, another gateway has it, or it is no history: such a file is left as it is.
    pub(super) fn open(path: &Path, journal: [u8; 16]) -> Result<(Self, bool), OpenError> {
        let lock = lock(path)?;
        match Self::try_open(path, journal) {
            Ok(Some(connection)) => return Ok((Self::of(connection, path, lock), false)),
            Ok(None) => {
                tracing::warn!(path = %path.display(), "the history is another journal's, or of another version; it is put aside and made anew");
            }
            Err(OpenError::File(error)) if is_damage(&error) => {
                tracing::warn!(path = %path.display(), %error, "the history is damaged; it is put aside and made anew from the journal");
            }
            Err(error) => return Err(error),
        }
        put_aside(path);
        let connection = Self::try_open(path, journal)?.ok_or(OpenError::Foreign)?;
        Ok((Self::of(connection, path, lock), true))
    }

    fn of(connection: Connection, path: &Path, lock: File) -> Self {
        Self { connection, names: Names::default(), path: path.to_owned(), _lock: lock }
    }

    /// None where the file is another journal's, or of another version.
    fn try_open(path: &Path, journal: [u8; 16]) -> Result<Option<Connection>, OpenError> {
        // For its owner alone, as are the files that SQLite lays beside it.
        match RealDisk.create(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        let found = Connection::open(path)?;
        let asked = |what: &str| found.query_row(what, [], |row| row.get::<_, i64>(0));
        let (application, version) = (asked("PRAGMA application_id")?, asked("PRAGMA user_version")?);
        let is_new = application == 0 && version == 0 && asked("SELECT COUNT(*) FROM sqlite_schema")? == 0;
        if !is_new && application != APPLICATION {
            return Err(OpenError::Foreign);
        }
        drop(found);
        if !is_new && version != VERSION {
            return Ok(None);
        }
        let mut connection = schema::open(path)?;
        if is_new {
            let transaction = connection.transaction()?;
            transaction.execute_batch(TABLES)?;
            transaction
                .execute("INSERT INTO about VALUES ('journal', ?1), ('through', 0)", [&journal[..]])?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        } else if about::<Vec<u8>>(&connection, "journal")?.as_deref() != Some(&journal) {
            return Ok(None);
        }
        Ok(Some(connection))
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

    /// Lets words of sources go that came in on other terms than these; true where there are more of them.
    pub(super) fn agree(&mut self, terms: &BTreeMap<String, String>) -> rusqlite::Result<bool> {
        let transaction = self.connection.transaction()?;
        let former: Vec<(String, String)> = {
            let mut found = transaction.prepare("SELECT source, terms FROM texts_of")?;
            found.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?
        };
        let mut more = false;
        for (source, _) in former.iter().filter(|(source, before)| terms.get(source) != Some(before)) {
            let some = "DELETE FROM texts WHERE rowid IN (SELECT sequence FROM events INDEXED BY events_source \
                        JOIN texts ON texts.rowid = sequence \
                        WHERE source = (SELECT id FROM names WHERE name = ?1) LIMIT ?2)";
            if transaction.execute(some, params![source, GO_MAX])? as i64 >= GO_MAX {
                more = true;
            } else {
                transaction.execute("DELETE FROM texts_of WHERE source = ?1", [source])?;
            }
        }
        if !more {
            for (source, terms) in terms {
                transaction
                    .execute("INSERT OR REPLACE INTO texts_of VALUES (?1, ?2)", params![source, terms])?;
            }
        }
        transaction.commit()?;
        Ok(more)
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
        transaction.execute("DELETE FROM quarantine WHERE at < ?1", [keep.quarantined_since.millis()])?;
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
            transaction.execute("DELETE FROM courses WHERE sequence <= ?1", [end])?;
            transaction.execute("DELETE FROM steps WHERE sequence <= ?1", [end])?;
            transaction.execute("DELETE FROM texts WHERE rowid <= ?1", [end])?;
            transaction.execute("DELETE FROM ids WHERE stretch < ?1", [end >> STRETCH_BITS])?;
        }
        self.names.prune(&transaction)?;
        transaction.commit()?;
        if over {
            // A page each step.
            let mut pages = self.connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES_MAX})"))?;
            let mut pages = pages.query([])?;
            while pages.next()?.is_some() {}
        }
        Ok(end.is_some())
    }

    /// Bytes of the file that hold something.
    pub(super) fn bytes(&self) -> rusqlite::Result<u64> {
        let pragma = |name: &str| self.connection.query_row(name, [], |row| row.get::<_, i64>(0));
        let pages = pragma("PRAGMA page_count")? - pragma("PRAGMA freelist_count")?;
        Ok((pages * pragma("PRAGMA page_size")?).unsigned_abs())
    }

    /// Puts the file aside, to be made anew.
    pub(super) fn put_aside(self) {
        let Self { connection, path, .. } = self;
        drop(connection);
        put_aside(&path);
    }
}

/// Whether the file itself is at fault.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// What is put aside lies there until the next one is.
fn put_aside(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        // What is not there need not go, and what cannot go is told of when it is opened.
        RealDisk.rename(&beside(path, end), &beside(path, &format!(".old{end}"))).ok();
    }
}

/// The one lock of a file: it outlives the file, which may be put aside.
fn lock(path: &Path) -> Result<File, OpenError> {
    let path = beside(path, ".lock");
    let lock = RealDisk.create(&path).or_else(|_| RealDisk.open(&path))?;
    if RealDisk.try_lock(&lock)? { Ok(lock) } else { Err(OpenError::Taken) }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
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
        if course::advance(to, *sequence, progress)? {
            steps(to, *sequence, &progress.unusual)?;
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
    let NewEvent { sequence, envelope, digest, body_bytes, text, status, progress } = event;
    let mut name = |text: &str| names.number(to, Table::Names, text);
    let (source, provider, secret) =
        (name(&envelope.source)?, name(&envelope.provider)?, name(&envelope.secret)?);
    let kind = names.number(to, Table::Types, &envelope.event_type)?;
    let first = progress.earlier.first().unwrap_or(&progress.course);
    // What the journal says is newer than what was told, unless it has not been told of an end yet.
    let newer = !status.is_live();
    let state = first.status.filter(|_| !newer || !progress.earlier.is_empty()).unwrap_or(*status);
    let added = "INSERT OR REPLACE INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, 0, NULL)";
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
        code_of(state),
        progress.attempts,
        first.attempted_at.map(Timestamp::millis),
        first.ended_at.map(Timestamp::millis),
    ])?;
    course::go_on(to, *sequence, progress)?;
    if newer && !progress.earlier.is_empty() {
        let state = "UPDATE events SET state = ?2 WHERE sequence = ?1";
        to.prepare_cached(state)?.execute([number(*sequence), code_of(*status)])?;
    }
    let id = (!envelope.event_id.is_empty()).then(|| schema::hash(envelope.event_id.as_bytes()));
    for hash in id.into_iter().chain([schema::hash(&envelope.keys.message_id.0)]) {
        let added = "INSERT OR IGNORE INTO ids VALUES (?1, ?2, ?3)";
        let number = number(*sequence);
        to.prepare_cached(added)?.execute([schema::stretch(number), hash, number])?;
    }
    if let Some(text) = text {
        let added = "INSERT OR REPLACE INTO texts (rowid, body) VALUES (?1, ?2)";
        to.prepare_cached(added)?.execute(params![number(*sequence), text])?;
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
    let (first, last) = (FIRST_STEPS as i64, LAST_STEPS as i64);
    if nth > first + last {
        let gone = "DELETE FROM steps WHERE sequence = ?1 AND nth >= ?2 AND nth < ?3";
        to.prepare_cached(gone)?.execute([sequence, first, nth - last])?;
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
