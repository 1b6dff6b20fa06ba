//! The keys that an operator told the index to forget: small, in memory, and whole in one file that is
//! replaced at each change. A key is forgotten up to a sequence; a later event of that key counts again.
//! The file outlives refills from the journal, which still holds the forgotten record.
//!
//! `forgotten`, little-endian: 0..8 `"HGATFORG"`, 8..16 count; an entry has 32 bytes: 0..16 the first 16 bytes
//! of the message id, 16..24 the sequence, 24..32 received_at of that event (ms, signed); at the end the
//! CRC-32C of all before it, 4 bytes.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::keyfile::Key;
use super::run::Broken;
use crate::clock::Timestamp;
use crate::disk::{self, Disk};
use crate::event::Sequence;
use crate::failpoint::{self, Point};

/// Most keys that can be forgotten within one window.
pub(super) const FORGOTTEN_MAX: usize = 65_536;
/// The file's name.
pub(super) const FILE: &str = "forgotten";
/// The name it gets where it is damaged.
pub(super) const ASIDE: &str = "forgotten.damaged";
const TEMPORARY: &str = "forgotten.tmp";
const MAGIC: &[u8; 8] = b"HGATFORG";
const ENTRY: usize = 32;

/// What is forgotten.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    keys: BTreeMap<Key, (Sequence, Timestamp)>,
}

impl Forgotten {
    /// Reads the file; none yet is an empty one.
    pub(super) fn load<D: Disk>(disk: &D, dir: &Path) -> Result<Self, Broken> {
        let files = disk.list(dir)?;
        if !files.iter().any(|path| path.file_name().is_some_and(|name| name == FILE)) {
            return Ok(Self::default());
        }
        let file = disk.open(&dir.join(FILE))?;
        let len = usize::try_from(disk.len(&file)?).unwrap_or(usize::MAX);
        if len > 20 + FORGOTTEN_MAX * ENTRY {
            return Err(Broken::Damaged("the file is longer than it may be"));
        }
        let mut bytes = vec![0; len];
        disk.read_at(&file, &mut bytes, 0)?;
        decode(&bytes).ok_or(Broken::Damaged("the check sum is wrong"))
    }

    /// Whether the event of `key` with this sequence is forgotten.
    pub(super) fn holds(&self, key: Key, sequence: Sequence) -> bool {
        self.keys.get(&key).is_some_and(|(through, _)| sequence <= *through)
    }

    pub(super) fn is_full(&self) -> bool {
        self.keys.len() >= FORGOTTEN_MAX
    }

    pub(super) fn insert(&mut self, key: Key, through: Sequence, at: Timestamp) {
        self.keys.insert(key, (through, at));
    }

    /// Drops what the window has passed for; that needs no writing, the next change leaves it out.
    pub(super) fn expire(&mut self, now: Timestamp, window: Duration) {
        self.keys.retain(|_, (_, at)| at.plus(window) > now);
    }

    /// Replaces the file durably.
    pub(super) fn save<D: Disk>(&self, disk: &D, dir: &Path) -> io::Result<()> {
        let bytes = self.encode();
        let temporary = dir.join(TEMPORARY);
        disk::write_anew(disk, &temporary, &bytes)?;
        failpoint::reach(Point::DedupForgottenSynced);
        disk.rename(&temporary, &dir.join(FILE))?;
        failpoint::reach(Point::DedupForgottenRenamed);
        disk.sync_dir(dir)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        for (key, (through, at)) in &self.keys {
            bytes.extend(key.to_be_bytes());
            bytes.extend(through.0.to_le_bytes());
            bytes.extend(at.millis().to_le_bytes());
        }
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }
}

fn decode(bytes: &[u8]) -> Option<Forgotten> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let entries = body.strip_prefix(MAGIC)?.get(8..)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (entries, _) = entries.as_chunks::<ENTRY>();
    let number = |bytes: &[u8]| bytes.first_chunk().map(|eight| u64::from_le_bytes(*eight));
    let keys = entries.iter().map(|entry| {
        let key = Key::from_be_bytes(*entry.first_chunk()?);
        let at = Timestamp::from_millis(number(&entry[24..])?.cast_signed());
        Some((key, (Sequence(number(&entry[16..])?), at)))
    });
    Some(Forgotten { keys: keys.collect::<Option<_>>()? })
}
