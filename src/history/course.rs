//! An event's courses in the file: the first, and one that each replay begins. The course under way is the event's own row; those before
//! it have a row each, the first and the last few.

use rusqlite::{Connection, Row, Transaction, params};

use super::pending::{Course, Progress, REPLAYS_KEPT};
use super::rows::CourseRow;
use super::store::{code_of, number, status_of};
use crate::clock::Timestamp;
use crate::event::Sequence;

/// Writes what has been told of an event that is in the file; false where it is not.
pub(super) fn advance(
    to: &Transaction<'_>,
    sequence: Sequence,
    progress: &Progress,
) -> rusqlite::Result<bool> {
    for course in &progress.earlier {
        follow(to, sequence, course, 0)?;
    }
    follow(to, sequence, &progress.course, progress.attempts)
}

/// The same for an event whose row has the first course of these already.
pub(super) fn go_on(to: &Transaction<'_>, sequence: Sequence, progress: &Progress) -> rusqlite::Result<()> {
    if progress.earlier.is_empty() {
        return Ok(());
    }
    for course in progress.earlier.iter().skip(1).chain([&progress.course]) {
        follow(to, sequence, course, 0)?;
    }
    Ok(())
}

fn follow(
    to: &Transaction<'_>,
    sequence: Sequence,
    course: &Course,
    attempts: u32,
) -> rusqlite::Result<bool> {
    if course.replays > 0 {
        begin(to, sequence, course)?;
    }
    let changed = "UPDATE events SET state = coalesce(?2, state), attempts = attempts + ?3, \
                   attempted_at = coalesce(?4, attempted_at), \
                   ended_at = CASE WHEN ?2 IS NULL THEN ended_at ELSE ?5 END WHERE sequence = ?1";
    let values = params![
        number(sequence),
        course.status.map(code_of),
        attempts,
        course.attempted_at.map(Timestamp::millis),
        course.ended_at.map(Timestamp::millis)
    ];
    Ok(to.prepare_cached(changed)?.execute(values)? > 0)
}

/// Puts the course under way with those before it, and begins the next.
fn begin(to: &Transaction<'_>, sequence: Sequence, course: &Course) -> rusqlite::Result<()> {
    let kept = "INSERT OR REPLACE INTO courses \
                SELECT sequence, replays, replayed_at, attempted_at, ended_at, state FROM events WHERE sequence = ?1";
    to.prepare_cached(kept)?.execute([number(sequence)])?;
    let begun = "UPDATE events SET replays = replays + ?2, replayed_at = ?3, attempted_at = NULL, ended_at = NULL \
                 WHERE sequence = ?1";
    let at = course.replayed_at.map(Timestamp::millis);
    to.prepare_cached(begun)?.execute(params![number(sequence), course.replays, at])?;
    let gone = "DELETE FROM courses WHERE sequence = ?1 AND nth > 0 \
                AND nth <= (SELECT replays FROM events WHERE sequence = ?1) - ?2";
    to.prepare_cached(gone)?.execute(params![number(sequence), REPLAYS_KEPT as i64])?;
    Ok(())
}

/// The courses of an event before the one under way, in their order.
pub(super) fn before(connection: &Connection, sequence: i64) -> rusqlite::Result<Vec<CourseRow>> {
    let found = "SELECT nth, replayed_at, attempted_at, ended_at, state FROM courses WHERE sequence = ?1 ORDER BY nth";
    let mut found = connection.prepare_cached(found)?;
    let time = |at: Option<i64>| at.map(Timestamp::from_millis);
    let row = |row: &Row<'_>| {
        Ok(CourseRow {
            nth: row.get(0)?,
            replayed_at: time(row.get(1)?),
            attempted_at: time(row.get(2)?),
            ended_at: time(row.get(3)?),
            status: row.get::<_, Option<i64>>(4)?.and_then(status_of),
        })
    };
    found.query_map([sequence], row)?.collect()
}
