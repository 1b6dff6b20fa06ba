//! Tests of the whole journal, on a disk in memory unless they are about the real one.

mod archive;
mod damage;
mod disk;
mod flips;
mod hostile;
mod model;
mod open;
mod speed;
mod survey;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::disk::MemDisk;
use super::{Journal, LiveRecord, Position, Reader, Recovery, Room, ScanBudget, Settings, Upkeep};
use crate::clock::Timestamp;
use crate::disk::Disk;
use crate::event::{Digest, Envelope, Event, Keys, Part, Sequence, Split};

const SEGMENT: u64 = 64 << 10;
const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const ALL: ScanBudget = ScanBudget { records: usize::MAX, bytes: u64::MAX };

fn settings() -> Settings {
    Settings {
        dir: PathBuf::from("/journal"),
        segment_bytes: SEGMENT,
        bytes_max: 8 * SEGMENT,
        retention: Duration::from_secs(3600),
        upkeep: Upkeep::Inline,
    }
}

fn event(number: u64, source: &str, bytes: usize, held: bool) -> Event {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_le_bytes());
    let envelope = Envelope {
        source: Arc::from(source),
        provider: Arc::from("stripe"),
        keys: Keys { message_id: Digest(id), content: number.is_multiple_of(2).then_some(Digest([7; 32])) },
        event_id: format!("evt_{number}"),
        event_type: "charge.succeeded".to_owned(),
        received_at: NOW,
        secret: Arc::from("live"),
        content_type: "application/json".to_owned(),
        headers: vec![("user-agent".to_owned(), "Stripe/1.0".to_owned())],
        source_authenticated: number.is_multiple_of(3),
        unauthenticated: number.is_multiple_of(7),
        invalid: number.is_multiple_of(5).then(|| "no id".to_owned()),
        twin_of: number.is_multiple_of(7).then_some(Digest([9; 32])),
        held,
        redelivery: false,
    };
    Event::restore(envelope, Bytes::from(vec![number as u8; bytes]))
}

fn open<D: Disk>(disk: &D, settings: &Settings) -> (Journal<D>, Recovery) {
    Journal::open(disk.clone(), settings.clone(), NOW, &mut |_| {}).unwrap()
}

fn append(journal: &mut Journal<impl Disk>, event: &Event) -> Sequence {
    let bytes = Journal::<MemDisk>::record_bytes(event);
    if journal.room(bytes) == Room::Commit {
        journal.commit().unwrap();
    }
    assert_eq!(journal.room(bytes), Room::Open);
    journal.append(event)
}

/// All live records, page by page.
fn live<D: Disk>(reader: &Reader<D>, budget: ScanBudget) -> Vec<LiveRecord> {
    let (mut all, mut at) = (Vec::new(), Position::START);
    loop {
        let page = reader.scan(at, budget).unwrap();
        all.extend(page.live);
        assert!(page.at_end || page.next > at, "a scan goes on");
        at = page.next;
        if page.at_end {
            return all;
        }
    }
}

fn numbers(live: &[LiveRecord]) -> Vec<u64> {
    live.iter().map(|record| record.sequence.0).collect()
}
