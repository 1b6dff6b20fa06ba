//! The part of the index that is not yet in a key file: all keys of one day since the last flush.
//! It grows with its keys, 22 bytes each and a few per cent of slack, and is never written by itself:
//! `writer` turns it into a file. It knows neither window nor clock; `embedded` judges what is found.

use super::keyfile::{Content, Key, Message, TIME_BITS, day_of, day_start};
use super::table::Table;
use crate::clock::Timestamp;
use crate::event::{Digest, Sequence};

/// Bytes of a message's value: a key file's without the upper one.
const MESSAGE: usize = 7;
/// Bytes of a content's value: message id of the first event, its time and the count of twins.
const CONTENT: usize = 32 + 8 + 4;
/// Highest distance from the first sequence that the 7 bytes of a value leave room for.
const SPAN_MAX: u64 = (1 << (8 * MESSAGE as u32 - TIME_BITS)) - 1;

/// The keys of one day between two flushes.
#[derive(Debug)]
pub(super) struct Memtable {
    day: i64,
    from: Sequence,
    base: Sequence,
    through: Sequence,
    oldest: Timestamp,
    messages: Table<MESSAGE>,
    contents: Option<Table<CONTENT>>,
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
            messages: Table::new(),
            contents: None,
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
        let millis = at.millis_since(day_start(self.day)).clamp(0, (1 << TIME_BITS) - 1);
        let value = ((message.sequence.0 - self.base.0) << TIME_BITS) | millis.cast_unsigned();
        let mut bytes = [0; MESSAGE];
        bytes.copy_from_slice(&value.to_le_bytes()[..MESSAGE]);
        self.messages.insert(message.key, bytes);
        self.through = self.through.max(message.sequence);
        self.oldest = self.oldest.min(message.at);
    }

    /// Takes in a content or replaces what was known of it.
    pub(super) fn insert_content(&mut self, content: Content) {
        let mut bytes = [0; CONTENT];
        bytes[..32].copy_from_slice(&content.first.0);
        bytes[32..40].copy_from_slice(&content.at.millis().to_le_bytes());
        bytes[40..].copy_from_slice(&content.twins.to_le_bytes());
        self.contents.get_or_insert_with(Table::new).insert(content.key, bytes);
    }

    pub(super) fn message(&self, key: Key) -> Option<Message> {
        self.messages.get(key).map(|value| self.read(key, value))
    }

    pub(super) fn content(&self, key: Key) -> Option<Content> {
        self.contents.as_ref()?.get(key).map(|value| read_content(key, value))
    }

    /// All messages, ascending by key.
    pub(super) fn messages(&self) -> impl Iterator<Item = Message> {
        self.messages.sorted().map(|(key, value)| self.read(key, value))
    }

    /// All contents, ascending by key.
    pub(super) fn contents(&self) -> impl Iterator<Item = Content> {
        self.contents.iter().flat_map(Table::sorted).map(|(key, value)| read_content(key, value))
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
        self.messages.len()
    }

    pub(super) fn content_count(&self) -> usize {
        self.contents.as_ref().map_or(0, Table::len)
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        self.messages.bytes() + self.contents.as_ref().map_or(0, Table::bytes)
    }

    fn read(&self, key: Key, value: [u8; MESSAGE]) -> Message {
        let mut bytes = [0; 8];
        bytes[..MESSAGE].copy_from_slice(&value);
        let value = u64::from_le_bytes(bytes);
        let millis = (value & ((1 << TIME_BITS) - 1)).cast_signed();
        Message {
            key,
            sequence: Sequence(self.base.0 + (value >> TIME_BITS)),
            at: Timestamp::from_millis(day_start(self.day).millis().saturating_add(millis)),
        }
    }
}

fn read_content(key: Key, value: [u8; CONTENT]) -> Content {
    let (mut first, mut at, mut twins) = ([0; 32], [0; 8], [0; 4]);
    first.copy_from_slice(&value[..32]);
    at.copy_from_slice(&value[32..40]);
    twins.copy_from_slice(&value[40..]);
    let at = Timestamp::from_millis(i64::from_le_bytes(at));
    Content { key, first: Digest(first), at, twins: u32::from_le_bytes(twins) }
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
    fn gives_back_every_content_in_order_within_68_bytes_each() {
        let start = Timestamp::from_seconds(1_795_219_200);
        let mut table = Memtable::new(start, Sequence(1), Sequence(7));
        let content = |n: u64| Content {
            key: key(n),
            first: Digest(sha2::Sha256::digest(n.to_be_bytes()).into()),
            at: Timestamp::from_millis(n as i64 - 1_000),
            twins: n as u32,
        };
        (0..200_000).for_each(|n| table.insert_content(Content { twins: 0, ..content(n) }));
        (0..200_000).for_each(|n| table.insert_content(content(n)));
        assert!((0..200_000).all(|n| table.content(key(n)) == Some(content(n))));
        assert!((200_000..210_000).all(|n| table.content(key(n)).is_none()));
        assert!(table.contents().map(|content| content.key).is_sorted());
        assert_eq!((table.contents().count(), table.content_count(), table.count()), (200_000, 200_000, 0));
        let each = table.bytes() as f64 / 200_000.0;
        assert!(each <= 68.0, "{each:.2} bytes a content");
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
