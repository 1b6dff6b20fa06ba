//! Requests whose proof failed, kept whole beside the history. Strangers wrote all of it, so each source has so many bytes
//! for them, and where these are used up, the party that has most of them (an IPv4 address, a /64 of IPv6) loses its oldest:
//! who floods pushes out his own.

use std::collections::BinaryHeap;
use std::net::IpAddr;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::{Value, json};

use super::search::{History, HistoryError};
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::steps::Quarantined;

/// A request that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its number, rising.
    pub id: i64,
    /// The source that it was sent to.
    pub source: String,
    /// Who sent it; empty where that is not known.
    pub address: String,
    /// Why it was refused.
    pub reason: String,
    /// The id in the answer and in the log.
    pub request: String,
    /// The request; its body is empty where a list was asked for.
    pub delivery: Delivery,
    /// Length of the body.
    pub body_bytes: u64,
}

/// Some of them, oldest first.
#[derive(Clone, Debug, Default)]
pub struct KeptPage {
    /// The requests.
    pub kept: Vec<Kept>,
    /// Where to go on; none at the end.
    pub next: Option<i64>,
}

impl Kept {
    /// As data, without query, headers and body: a true secret may be there, which only our own copy of it was not.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "at": self.delivery.received_at.to_string(),
            "source": self.source,
            "address": self.address,
            "reason": self.reason,
            "request": self.request,
            "method": self.delivery.method,
            "path": self.delivery.path(),
            "bytes": self.body_bytes,
        })
    }
}

impl History {
    /// Requests whose proof failed, of one source or of all, behind `after`: so many at most and, but for the first, so many bytes
    /// of bodies.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn quarantined(
        &self,
        source: Option<String>,
        after: i64,
        most: (usize, usize),
    ) -> Result<KeptPage, HistoryError> {
        self.ask(move |connection| page(connection, source.as_deref(), after, most)).await
    }

    /// One of them.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn quarantined_one(&self, id: i64) -> Result<Option<Kept>, HistoryError> {
        self.ask(move |connection| one(connection, id)).await
    }

    /// Lets requests go whose proof has held.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub async fn let_quarantined_go(&self, ids: Vec<i64>) -> Result<(), HistoryError> {
        self.change(move |connection| let_go(connection, &ids)).await
    }

    /// Lets all of a source go, or of every source; how many.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub async fn empty_quarantine(&self, source: Option<String>) -> Result<u64, HistoryError> {
        self.change(move |connection| let_all_go(connection, source.as_deref())).await
    }
}

/// Writes requests, and lets go what has no room any more.
pub(super) fn put(to: &Transaction<'_>, requests: &[Quarantined]) -> rusqlite::Result<()> {
    for request in requests {
        let Delivery { method, target, headers, body, received_at } = &request.delivery;
        let added = "INSERT INTO quarantine (at, source, address, party, reason, request, method, target, headers, body, bytes) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let text = |address: Option<IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
        to.prepare_cached(added)?.execute(params![
            received_at.millis(),
            &*request.source,
            text(request.address),
            text(request.party()),
            request.reason,
            request.request,
            method,
            target,
            written(headers),
            &body[..],
            request.bytes() as i64,
        ])?;
    }
    let mut seen: Vec<&str> = Vec::new();
    for request in requests.iter().rev() {
        if !seen.contains(&&*request.source) {
            seen.push(&request.source);
            trim(to, &request.source, request.bytes_max)?;
        }
    }
    Ok(())
}

/// Lets go down to seven eighths of what may be, so that the next request finds room: the oldest of the party that has most, until
/// another one has.
fn trim(to: &Transaction<'_>, source: &str, bytes_max: u64) -> rusqlite::Result<()> {
    let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
    let sum = "SELECT coalesce(SUM(bytes), 0) FROM quarantine WHERE source = ?1";
    let sum: i64 = to.prepare_cached(sum)?.query_row([source], |row| row.get(0))?;
    let mut over = if sum > bytes_max { sum - bytes_max / 8 * 7 } else { 0 };
    let parties = "SELECT party, SUM(bytes) FROM quarantine WHERE source = ?1 GROUP BY party";
    let mut parties: BinaryHeap<(i64, String)> = to
        .prepare_cached(parties)?
        .query_map([source], |row| Ok((row.get(1)?, row.get(0)?)))?
        .collect::<rusqlite::Result<_>>()?;
    while over > 0
        && let Some((bytes, party)) = parties.pop()
    {
        let second = parties.peek().map_or(0, |(bytes, _)| *bytes);
        let freed = let_oldest_go(to, (source, &party), over.min((bytes - second).max(1)))?;
        over -= freed;
        if freed > 0 && bytes > freed {
            parties.push((bytes - freed, party));
        }
    }
    Ok(())
}

/// Lets the oldest requests of a party go that have so many bytes together, or a few more; how many bytes they had.
fn let_oldest_go(to: &Transaction<'_>, (source, party): (&str, &str), wanted: i64) -> rusqlite::Result<i64> {
    let oldest = "SELECT id, bytes FROM quarantine WHERE source = ?1 AND party = ?2 ORDER BY id";
    let mut oldest = to.prepare_cached(oldest)?;
    let mut rows = oldest.query(params![source, party])?;
    let (mut freed, mut last) = (0, None);
    while freed < wanted
        && let Some(row) = rows.next()?
    {
        last = Some(row.get::<_, i64>(0)?);
        freed += row.get::<_, i64>(1)?;
    }
    drop(rows);
    let gone = "DELETE FROM quarantine WHERE source = ?1 AND party = ?2 AND id <= ?3";
    to.prepare_cached(gone)?.execute(params![source, party, last])?;
    Ok(freed)
}

/// Requests behind `after`, up to `max` and, but for the first, of at most so many bytes; with none of them, without bodies.
pub(super) fn page(
    connection: &Connection,
    source: Option<&str>,
    after: i64,
    (max, bytes_max): (usize, usize),
) -> rusqlite::Result<KeptPage> {
    let body = if bytes_max == 0 { "x''" } else { "body" };
    let found = format!(
        "SELECT id, at, source, address, reason, request, method, target, headers, {body}, length(body) \
         FROM quarantine WHERE id > ?1 AND (?2 IS NULL OR source = ?2) ORDER BY id LIMIT ?3"
    );
    let mut found = connection.prepare_cached(&found)?;
    let rows = found.query_map(params![after, source, max as i64 + 1], kept)?;
    let (mut page, mut bytes) = (KeptPage::default(), 0);
    for row in rows {
        let row = row?;
        bytes += row.delivery.body.len();
        if page.kept.len() == max || (bytes > bytes_max && !page.kept.is_empty()) {
            page.next = page.kept.last().map(|last| last.id);
            break;
        }
        page.kept.push(row);
    }
    Ok(page)
}

/// One of them.
pub(super) fn one(connection: &Connection, id: i64) -> rusqlite::Result<Option<Kept>> {
    let found = "SELECT id, at, source, address, reason, request, method, target, headers, body, length(body) \
                 FROM quarantine WHERE id = ?1";
    connection.prepare_cached(found)?.query_row([id], kept).optional()
}

/// Lets these go.
pub(super) fn let_go(connection: &mut Connection, ids: &[i64]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for id in ids {
        transaction.prepare_cached("DELETE FROM quarantine WHERE id = ?1")?.execute([id])?;
    }
    transaction.commit()
}

/// Lets all of a source go, or of every source; how many.
pub(super) fn let_all_go(connection: &Connection, source: Option<&str>) -> rusqlite::Result<u64> {
    let gone = "DELETE FROM quarantine WHERE ?1 IS NULL OR source = ?1";
    Ok(connection.execute(gone, [source])? as u64)
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let delivery = Delivery {
        received_at: Timestamp::from_millis(row.get(1)?),
        method: row.get(6)?,
        target: row.get(7)?,
        headers: read(row.get_ref(8)?.as_blob()?),
        body: row.get::<_, Vec<u8>>(9)?.into(),
    };
    Ok(Kept {
        id: row.get(0)?,
        source: row.get(2)?,
        address: row.get(3)?,
        reason: row.get(4)?,
        request: row.get(5)?,
        delivery,
        body_bytes: row.get::<_, i64>(10)?.unsigned_abs(),
    })
}

/// Headers as bytes: name and value of each, behind their lengths.
fn written(headers: &Headers) -> Vec<u8> {
    let mut out = Vec::new();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text);
    }
    out
}

/// And back; what is no header ends them.
fn read(mut bytes: &[u8]) -> Headers {
    fn text<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        *bytes = rest;
        Some(text)
    }
    let mut headers = Headers::default();
    while let (Some(name), Some(value)) = (text(&mut bytes), text(&mut bytes)) {
        headers.push(&String::from_utf8_lossy(name), value);
    }
    headers
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::history::schema;

    fn request(n: u32, address: u8, body: usize) -> Quarantined {
        let mut headers = Headers::default();
        headers.push("X-One", b"1\xff");
        headers.push("x-two", b"");
        let delivery = Delivery {
            method: "POST".to_owned(),
            target: format!("/in/shop?n={n}"),
            headers,
            body: vec![b'x'; body].into(),
            received_at: Timestamp::from_seconds(n.into()),
        };
        Quarantined {
            request: n.to_string(),
            source: "shop".into(),
            address: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, address))),
            reason: "signature_mismatch",
            delivery,
            bytes_max: 100_000,
        }
    }

    fn opened() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::File::create(folder.path().join("h")).unwrap();
        let connection = schema::open(&folder.path().join("h")).unwrap();
        connection.execute_batch(schema::TABLES).unwrap();
        (folder, connection)
    }

    fn add(connection: &mut Connection, requests: &[Quarantined]) {
        let transaction = connection.transaction().unwrap();
        put(&transaction, requests).unwrap();
        transaction.commit().unwrap();
    }

    #[test]
    fn a_request_comes_back_as_it_was() {
        let (_folder, mut connection) = opened();
        add(&mut connection, &[request(7, 1, 3)]);
        let kept = one(&connection, 1).unwrap().unwrap();
        let Delivery { method, target, headers, body, received_at } = &kept.delivery;
        assert_eq!((&**method, &**target, &body[..]), ("POST", "/in/shop?n=7", &b"xxx"[..]));
        assert_eq!(*received_at, Timestamp::from_seconds(7));
        let headers: Vec<_> = headers.iter().collect();
        assert_eq!(headers, [(&b"x-one"[..], &b"1\xff"[..]), (b"x-two", b"")]);
        assert_eq!((&*kept.address, &*kept.reason), ("192.0.2.1", "signature_mismatch"));
        assert!(one(&connection, 2).unwrap().is_none());
    }

    #[test]
    fn who_floods_pushes_out_his_own() {
        let (_folder, mut connection) = opened();
        let honest: Vec<_> = (0..10).map(|n| request(n, 1, 1_000)).collect();
        add(&mut connection, &honest);
        for round in 0..50 {
            let flood: Vec<_> = (0..20).map(|n| request(100 + round * 20 + n, 2, 1_000)).collect();
            add(&mut connection, &flood);
        }
        let all = page(&connection, Some("shop"), 0, (10_000, usize::MAX)).unwrap().kept;
        let of = |address: &str| all.iter().filter(|kept| kept.address == address).count();
        assert_eq!(of("192.0.2.1"), 10, "what the others sent stays");
        let bytes: usize = all.iter().map(|kept| kept.delivery.body.len() + 300).sum();
        assert!(of("192.0.2.2") > 50 && bytes <= 110_000, "{} of the flood, {bytes} bytes", of("192.0.2.2"));
        assert_eq!(all.last().unwrap().request, (100 + 50 * 20 - 1).to_string(), "the newest stay");
    }

    #[test]
    fn a_list_has_no_bodies_and_shows_no_query() {
        let (_folder, mut connection) = opened();
        add(&mut connection, &[request(7, 1, 3)]);
        let listed = &page(&connection, None, 0, (9, 0)).unwrap().kept[0];
        assert_eq!((listed.delivery.body.len(), listed.body_bytes), (0, 3));
        assert!(!listed.to_json().to_string().contains("n=7"), "{}", listed.to_json());
    }

    #[test]
    fn pages_go_on_where_they_ended_and_hold_no_more_than_is_said() {
        let (_folder, mut connection) = opened();
        let requests: Vec<_> = (1..=9).map(|n| request(n, 1, 1_000)).collect();
        add(&mut connection, &requests);
        let (mut after, mut sizes, mut seen) = (0, Vec::new(), Vec::new());
        loop {
            let page = page(&connection, None, after, (4, 2_500)).unwrap();
            sizes.push(page.kept.len());
            seen.extend(page.kept.iter().map(|kept| kept.id));
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!((sizes, seen), (vec![2, 2, 2, 2, 1], (1..=9).collect()));
        assert_eq!(page(&connection, None, 0, (4, 1)).unwrap().kept.len(), 1, "one is always there");
        let_go(&mut connection, &[1, 3]).unwrap();
        assert_eq!(let_all_go(&connection, Some("none")).unwrap(), 0);
        assert_eq!(let_all_go(&connection, None).unwrap(), 7);
        add(&mut connection, &[request(1, 1, 1)]);
        assert!(one(&connection, 10).unwrap().is_some(), "no number is given twice");
    }
}
