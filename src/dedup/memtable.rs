//! The part of the index that is not yet in a key file: all keys of one day since the last flush, sorted.
//! It grows with its keys, 22 bytes each and a few per cent of slack, and is never written by itself:
//! `writer` turns it into a file. It knows neither window nor clock; `embedded` judges what is found.

use std::collections::BTreeMap;

use super::keyfile::{Content, Key, Message, TIME_BITS, day_of, day_start};
use crate::clock::Timestamp;
use crate::event::Sequence;

/// The upper bits of a key pick its shard; the first 8 of them need not be stored.
const SHARD_BITS: u32 = 11;
/// 15 bytes of key after the first, 7 bytes of value as in a key file.
const SLOT: usize = 22;
const KEY: usize = 15;
/// Highest distance from the first sequence that the 7 bytes of a value leave room for.
const SPAN_MAX: u64 = (1 << (56 - TIME_BITS)) - 1;
/// What an entry of a `BTreeMap` costs on average, nodes two thirds full.
const CONTENT_COST: usize = (size_of::<Key>() + size_of::<Content>()) * 3 / 2;

type Slot = [u8; SLOT];

/// The keys of one day between two flushes.
#[derive(Debug)]
pub(super) struct Memtable {
    day: i64,
    from: Sequence,
    base: Sequence,
    through: Sequence,
    oldest: Timestamp,
    shards: Vec<Vec<Slot>>,
    count: usize,
    slots: usize,
    contents: BTreeMap<Key, Content>,
}

impl Memtable {
    /// An empty table for the day of `at`, which answers for the sequences `from` on; the first event to be
    /// inserted has the number `base`.
    pub(super) fn new(at: Timestamp, from: Sequence, base: Sequence) -> Self {
        Self {
            day: day_of(at),
            from,
            base,
            through: base,
            oldest: at,
            shards: vec![Vec::new(); 1 << SHARD_BITS],
            count: 0,
            slots: 0,
            contents: BTreeMap::new(),
        }
    }

    /// Whether an event fits: its number not too far from the first, its time not after this day. A time
    /// before the day fits where `lift`: it is stored as the day's first instant, so the key lives longer.
    pub(super) fn fits(&self, sequence: Sequence, at: Timestamp, lift: bool) -> bool {
        let day = day_of(at);
        let near = sequence.0.checked_sub(self.base.0).is_some_and(|span| span <= SPAN_MAX);
        near && (day == self.day || (day < self.day && (lift || day == self.day - 1)))
    }

    /// Takes in an event that [`Memtable::fits`]; replaces an older one of the same key.
    pub(super) fn insert(&mut self, message: Message) {
        let at = message.at.max(day_start(self.day));
        let slot = self.slot(Message { at, ..message });
        let shard = &mut self.shards[shard_of(message.key)];
        match shard.binary_search_by(|other| other[..KEY].cmp(&slot[..KEY])) {
            Ok(found) => shard[found] = slot,
            Err(place) => {
                if shard.len() == shard.capacity() {
                    self.slots -= shard.capacity();
                    shard.reserve_exact((shard.len() / 16).max(4));
                    self.slots += shard.capacity();
                }
                shard.insert(place, slot);
                self.count += 1;
            }
        }
        self.through = self.through.max(message.sequence);
        self.oldest = self.oldest.min(message.at);
    }

    /// Takes in a content or replaces what was known of it.
    pub(super) fn insert_content(&mut self, content: Content) {
        self.contents.insert(content.key, content);
    }

    pub(super) fn message(&self, key: Key) -> Option<Message> {
        let rest = &key.to_be_bytes()[1..];
        let shard = &self.shards[shard_of(key)];
        let found = shard.binary_search_by(|slot| slot[..KEY].cmp(rest)).ok()?;
        Some(self.read(shard_of(key), &shard[found]))
    }

    pub(super) fn content(&self, key: Key) -> Option<Content> {
        self.contents.get(&key).copied()
    }

    /// All messages, ascending by key.
    pub(super) fn messages(&self) -> impl Iterator<Item = Message> {
        let shards = self.shards.iter().enumerate();
        shards.flat_map(move |(n, shard)| shard.iter().map(move |slot| self.read(n, slot)))
    }

    /// All contents, ascending by key.
    pub(super) fn contents(&self) -> impl Iterator<Item = Content> {
        self.contents.values().copied()
    }

    pub(super) fn day(&self) -> i64 {
        self.day
    }

    /// First sequence that the table answers for.
    pub(super) fn from(&self) -> Sequence {
        self.from
    }

    /// Sequence that the values count from.
    pub(super) fn base(&self) -> Sequence {
        self.base
    }

    /// Highest sequence in the table.
    pub(super) fn through(&self) -> Sequence {
        self.through
    }

    /// The earliest time of an event in the table.
    pub(super) fn oldest(&self) -> Timestamp {
        self.oldest
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn content_count(&self) -> usize {
        self.contents.len()
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        self.slots * SLOT + self.shards.len() * size_of::<Vec<Slot>>() + self.contents.len() * CONTENT_COST
    }

    fn slot(&self, message: Message) -> Slot {
        let millis = message.at.millis_since(day_start(self.day)).clamp(0, (1 << TIME_BITS) - 1);
        let value = ((message.sequence.0 - self.base.0) << TIME_BITS) | millis.cast_unsigned();
        let mut slot = [0; SLOT];
        slot[..KEY].copy_from_slice(&message.key.to_be_bytes()[1..]);
        slot[KEY..].copy_from_slice(&value.to_le_bytes()[..7]);
        slot
    }

    fn read(&self, shard: usize, slot: &Slot) -> Message {
        let mut key = [0; 16];
        key[0] = (shard >> (SHARD_BITS - 8)) as u8;
        key[1..].copy_from_slice(&slot[..KEY]);
        let mut value = [0; 8];
        value[..7].copy_from_slice(&slot[KEY..]);
        let value = u64::from_le_bytes(value);
        let millis = (value & ((1 << TIME_BITS) - 1)).cast_signed();
        Message {
            key: Key::from_be_bytes(key),
            sequence: Sequence(self.base.0 + (value >> TIME_BITS)),
            at: Timestamp::from_millis(day_start(self.day).millis().saturating_add(millis)),
        }
    }
}

fn shard_of(key: Key) -> usize {
    (key >> (128 - SHARD_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest as _;

    fn key(n: u64) -> Key {
        Key::from_be_bytes(sha2::Sha256::digest(n.to_le_bytes())[..16].try_into().unwrap())
    }

    #[test]
    fn gives_back_every_message_in_order_within_24_bytes_each() {
        let start = Timestamp::from_seconds(1_795_219_200);
        let mut table = Memtable::new(start, Sequence(1), Sequence(7));
        let message = |n: u64| Message {
            key: key(n),
            sequence: Sequence(7 + n),
            at: Timestamp::from_millis(start.millis() + n as i64 % 86_400_000),
        };
        (0..300_000).for_each(|n| table.insert(message(n)));
        assert!((0..300_000).all(|n| table.message(key(n)) == Some(message(n))));
        assert!((300_000..310_000).all(|n| table.message(key(n)).is_none()));
        assert!(table.messages().map(|m| m.key).is_sorted());
        assert_eq!(table.messages().count(), 300_000);
        let each = table.bytes() as f64 / 300_000.0;
        assert!(each <= 24.0, "{each:.2} bytes a key");
    }

    #[test]
    fn lifts_a_time_before_its_day_and_refuses_one_after() {
        let noon = Timestamp::from_seconds(1_795_219_200 + 43_200);
        let mut table = Memtable::new(noon, Sequence(1), Sequence(1));
        let yesterday = Timestamp::from_seconds(1_795_219_200 - 1);
        assert!(table.fits(Sequence(2), yesterday, false));
        assert!(!table.fits(Sequence(2), Timestamp::from_seconds(0), false));
        assert!(table.fits(Sequence(2), Timestamp::from_seconds(0), true));
        assert!(!table.fits(Sequence(2), Timestamp::from_seconds(1_795_219_200 + 86_400), true));
        assert!(!table.fits(Sequence(0), noon, true));
        table.insert(Message { key: 5, sequence: Sequence(1), at: yesterday });
        assert_eq!(table.message(5).unwrap().at, Timestamp::from_seconds(1_795_219_200));
    }
}
