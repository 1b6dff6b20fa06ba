//! The property of words that are searched for, over any text. In tests and under the feature `fuzzing` only.

use std::sync::{LazyLock, Mutex, PoisonError};

use rusqlite::{Connection, Error};

use super::schema;
use super::search::Words;

/// Up to here, letters are the same to SQLite's tables, which are of an older Unicode, and to ours.
const KNOWN_LETTERS: char = '\u{24f}';

static TEXTS: LazyLock<Mutex<Connection>> = LazyLock::new(|| {
    let connection = Connection::open_in_memory().expect("it needs no file");
    connection.execute_batch(schema::TABLES).expect("they are in form");
    Mutex::new(connection)
});

/// Whatever words are taken can be searched for, and the text that they were taken from has them.
pub fn finds_what_has_the_words(text: &str) {
    let Ok(Words(words)) = text.parse::<Words>() else { return };
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut found = || -> Result<bool, Error> {
        // Never kept: it ends where it is let go.
        let transaction = texts.transaction()?;
        transaction.prepare_cached("INSERT INTO texts (rowid, body) VALUES (1, ?1)")?.execute([text])?;
        let mut with = transaction.prepare_cached("SELECT count(*) FROM texts WHERE texts MATCH ?1")?;
        with.query_one([&words], |row| row.get(0))
    };
    let found = found().unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert!(found || text.chars().any(|char| char > KNOWN_LETTERS), "{words:?}");
}
