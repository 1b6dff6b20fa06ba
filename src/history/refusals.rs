//! Refused requests: listed, and summed up by source and reason.

use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde::Serialize;

use super::rows::RefusalRow;
use super::search::{History, HistoryError, Where};
use crate::clock::Timestamp;

/// Which refusals are meant; what is absent is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalQuery {
    /// The source's name; empty for paths that no source has.
    pub source: Option<String>,
    /// The reason.
    pub reason: Option<String>,
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Before the refusal of that id.
    pub before: Option<i64>,
}

/// Refusals, newest first.
#[derive(Clone, Debug, Default)]
pub struct RefusalPage {
    /// The refusals.
    pub refusals: Vec<RefusalRow>,
    /// Where to go on; none where there are no more.
    pub next: Option<i64>,
}

/// Refusals for one reason, of one source, summed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The source; empty where no source has the path.
    pub source: String,
    /// The reason.
    pub reason: String,
    /// How many of them are listed: of a flood, those that the log has.
    pub count: u64,
    /// When the first of them was.
    pub first_at: String,
    /// And the last.
    pub last_at: String,
    /// What was found of the last that was looked into: code, finding, advice.
    pub cause: Option<String>,
    /// In a sentence.
    pub found: Option<String>,
    /// What to do.
    pub advice: Option<String>,
}

impl History {
    /// Up to `max` refused requests, newest first.
    ///
    /// # Errors
    /// Where it takes too long, or the file cannot be read.
    pub async fn refusals(&self, query: RefusalQuery, max: usize) -> Result<RefusalPage, HistoryError> {
        let refusals = self.ask(move |connection| refusals(connection, &query, max + 1)).await?;
        let mut page = RefusalPage { refusals, next: None };
        if page.refusals.len() > max {
            page.refusals.truncate(max);
            page.next = page.refusals.last().map(|last| last.id);
        }
        Ok(page)
    }

    /// Refusals since a time, summed up by source and reason, the most frequent first; and how many are not listed, of whatever
    /// source.
    ///
    /// # Errors
    /// Where it takes too long, or the file cannot be read.
    pub async fn failures(&self, since: Timestamp) -> Result<(Vec<Failure>, u64), HistoryError> {
        self.ask(move |connection| failures(connection, since)).await
    }
}

fn refusals(connection: &Connection, query: &RefusalQuery, max: usize) -> rusqlite::Result<Vec<RefusalRow>> {
    let RefusalQuery { source, reason, since, until, before } = query;
    let mut wanted = Where::default();
    source.iter().for_each(|source| wanted.and("source = ?", [source.clone()]));
    reason.iter().for_each(|reason| wanted.and("reason = ?", [reason.clone()]));
    since.iter().for_each(|since| wanted.and("at >= ?", [since.millis()]));
    until.iter().for_each(|until| wanted.and("at < ?", [until.millis()]));
    before.iter().for_each(|before| wanted.and("id < ?", [*before]));
    let found = format!(
        "SELECT id, at, source, reason, detail, status, address, path, request, left_out, cause, found, advice \
         FROM refusals{} ORDER BY id DESC LIMIT {max}",
        wanted.text()
    );
    let row = |row: &Row<'_>| {
        let cause = (row.get::<_, Option<String>>(10)?, row.get::<_, Option<String>>(11)?, row.get(12)?);
        Ok(RefusalRow {
            id: row.get(0)?,
            at: Timestamp::from_millis(row.get(1)?),
            source: row.get(2)?,
            reason: row.get(3)?,
            detail: row.get(4)?,
            status: row.get(5)?,
            address: row.get(6)?,
            path: row.get(7)?,
            request: row.get(8)?,
            left_out: row.get::<_, i64>(9)?.unsigned_abs(),
            cause: match cause {
                (Some(code), Some(found), Some(advice)) => Some((code, found, advice)),
                _ => None,
            },
        })
    };
    connection.prepare_cached(&found)?.query_map(params_from_iter(wanted.values), row)?.collect()
}

fn failures(connection: &Connection, since: Timestamp) -> rusqlite::Result<(Vec<Failure>, u64)> {
    let found = "SELECT source, reason, COUNT(*), MIN(at), MAX(at), MAX(CASE WHEN cause IS NULL THEN NULL ELSE id END) \
                 FROM refusals WHERE at >= ?1 GROUP BY source, reason ORDER BY COUNT(*) DESC, MAX(at) DESC";
    let mut found = connection.prepare_cached(found)?;
    let row = |row: &Row<'_>| {
        let failure = Failure {
            source: row.get(0)?,
            reason: row.get(1)?,
            count: row.get::<_, i64>(2)?.unsigned_abs(),
            first_at: Timestamp::from_millis(row.get(3)?).to_string(),
            last_at: Timestamp::from_millis(row.get(4)?).to_string(),
            cause: None,
            found: None,
            advice: None,
        };
        Ok((failure, row.get::<_, Option<i64>>(5)?))
    };
    let mut failures = Vec::new();
    for summed in found.query_map([since.millis()], row)? {
        let (mut failure, explained) = summed?;
        if let Some(id) = explained {
            let cause = "SELECT cause, found, advice FROM refusals WHERE id = ?1";
            let cause = connection
                .prepare_cached(cause)?
                .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            (failure.cause, failure.found, failure.advice) = cause.unwrap_or_default();
        }
        failures.push(failure);
    }
    let left_out = "SELECT coalesce(SUM(left_out), 0) FROM refusals WHERE at >= ?1";
    let left_out =
        connection.prepare_cached(left_out)?.query_row([since.millis()], |row| row.get::<_, i64>(0))?;
    Ok((failures, left_out.unsigned_abs()))
}
