//! The tables of the file, and how it is opened.
//!
//! `ids` finds an event by its provider's id or its message id. Both are random, so an index over all of them would be written
//! all over; it is cut into stretches of the journal's numbers, of which only the newest is written to, and a search asks each. `courses` has what became of an event before it was replayed. `texts` has the words of bodies, and not the bodies;
//! `texts_of` on what terms: words that another mask would hide are let go.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// Says that the file is a history of hookgate, and may be put aside and made anew.
pub(super) const APPLICATION: i64 = 0x686b_6774;
/// Raised whenever the tables change: a file of another version is made anew.
pub(super) const VERSION: i64 = 3;
/// An event's stretch of `ids` is its number shifted by so much: what is written to then fits in a few hundred pages, and ten
/// million events are a few hundred stretches.
pub(super) const STRETCH_BITS: u32 = 14;
/// How long one connection waits for another's write.
const BUSY: Duration = Duration::from_secs(5);
/// KiB of pages that a connection keeps; the system's cache has the rest.
const CACHE_KIB: i64 = 2048;

pub(super) const TABLES: &str = "
CREATE TABLE about (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE types (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    received_at INTEGER NOT NULL,
    source INTEGER NOT NULL,
    type INTEGER NOT NULL,
    provider INTEGER NOT NULL,
    secret INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    message_id BLOB NOT NULL,
    twin_of BLOB,
    digest BLOB NOT NULL,
    body_bytes INTEGER NOT NULL,
    invalid TEXT,
    state INTEGER,
    attempts INTEGER NOT NULL,
    attempted_at INTEGER,
    ended_at INTEGER,
    replays INTEGER NOT NULL,
    replayed_at INTEGER
) STRICT;
CREATE INDEX events_at ON events (received_at);
CREATE INDEX events_source ON events (source, received_at);
CREATE INDEX events_type ON events (type, received_at);
CREATE INDEX events_live ON events (sequence) WHERE state < 4;
CREATE TABLE ids (stretch INTEGER, hash INTEGER, sequence INTEGER, PRIMARY KEY (stretch, hash, sequence)) STRICT, WITHOUT ROWID;
CREATE TABLE courses (sequence INTEGER, nth INTEGER, replayed_at INTEGER, attempted_at INTEGER, ended_at INTEGER, state INTEGER,
    PRIMARY KEY (sequence, nth)) STRICT, WITHOUT ROWID;
CREATE TABLE steps (sequence INTEGER, nth INTEGER, at INTEGER NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL,
    PRIMARY KEY (sequence, nth)) STRICT, WITHOUT ROWID;
CREATE VIRTUAL TABLE texts USING fts5(body, content='', contentless_delete=1);
CREATE TABLE texts_of (source TEXT PRIMARY KEY, terms TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE refusals (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    status INTEGER NOT NULL,
    address TEXT,
    path TEXT,
    request TEXT NOT NULL,
    left_out INTEGER NOT NULL,
    cause TEXT,
    found TEXT,
    advice TEXT
) STRICT;
CREATE INDEX refusals_at ON refusals (at);
CREATE INDEX refusals_source ON refusals (source, at);
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    source TEXT NOT NULL,
    address TEXT NOT NULL,
    party TEXT NOT NULL,
    reason TEXT NOT NULL,
    request TEXT NOT NULL,
    method TEXT NOT NULL,
    target TEXT NOT NULL,
    headers BLOB NOT NULL,
    body BLOB NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX quarantine_source ON quarantine (source, party, id, bytes);
";

/// Opens a file for reading and writing. It is there: `store` makes it, for its owner alone.
pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // Before there are tables: pages that are free can then be given back.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // The newest seconds may be lost with the power; they are in the journal.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    common(&connection)?;
    Ok(connection)
}

/// Opens a file for reading alone.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    common(&connection)?;
    Ok(connection)
}

fn common(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(32);
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // A read-only root has no folder for temporary files.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)
}

/// What stands in `ids` for a text or a digest: spread evenly, the same in every process and on every machine.
pub(super) fn hash(bytes: &[u8]) -> i64 {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(bytes);
    digest.first_chunk::<8>().map_or(0, |first| i64::from_le_bytes(*first))
}

/// The stretch of `ids` that an event's number belongs to.
pub(super) fn stretch(sequence: i64) -> i64 {
    sequence >> STRETCH_BITS
}
