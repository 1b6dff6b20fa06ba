//! The key file, byte by byte: what the dedup index keeps on disk once it has left memory. This file turns
//! bytes into values and back; it never does I/O. `writer` writes key files, `run` opens and probes them.
//!
//! A key file is immutable. It is written as `<name>.tmp`, synced, renamed, and its folder synced.
//!
//! # Name
//! `keys_<id>_<day>_<from>_<through>`: decimal numbers, `id` padded to 16 digits. `id` is never given twice;
//! `day` is the bucket, days since 1970-01-01; the file answers for the events with the sequences `from` to
//! `through` (of that day and flush). The name alone tells what a damaged file leaves to be refilled.
//! Endings: `.tmp` half written; `.damaged` set aside, its events are read from the journal again at each
//! start; `.refilled` set aside and its events since written elsewhere.
//!
//! # Layout
//! Integers are little-endian. A page is 1024 bytes: to read and check one takes about a microsecond.
//! ```text
//! page 0                     header
//! pages 1 ..                 messages: ceil(messages / 42) pages
//! pages ..                   contents: ceil(contents / 15) pages
//! message filter             64 bytes a block, 8 words of 64 bits
//! content filter             the same
//! message fences             8 bytes a page: four that are not read, then the upper 32 bits of the page's first key
//! content fences             the same
//! end of file
//!
//! header   0..8     "HGATKEYS"
//!          8..12    version: 1
//!          12..16   how many files this one replaces: n, at most 64
//!          16..24   id          24..32  from        32..40  through      as in the name
//!          40..48   day (signed)
//!          48..56   newest received_at in the file, ms (signed)
//!          56..64   base sequence
//!          64..72   messages    72..80  contents
//!          80..88   message filter's blocks         88..96  content filter's blocks
//!          96..100  CRC-32C of the message filter   100..104 of the content filter
//!          104..108 CRC-32C of the message fences   108..112 of the content fences
//!          112..128 zero
//!          128..    n ids of the files that were merged into this one (8 bytes each), then zeroes
//!          1020..   CRC-32C of bytes 0..1020
//!
//! page     0..      entries, ascending by key, no key twice in a section
//!          1008..1010  how many entries
//!          1010..1020  zero
//!          1020..   CRC-32C of the page's number in the file (8 bytes) and bytes 0..1020
//!
//! message  0..16    the first 16 bytes of the message id
//!          16..24   (sequence - base sequence) << 27 | ms since the start of the day
//! content  0..16    the first 16 bytes of the content digest
//!          16..48   message id of the first event with this content
//!          48..56   when that event was received, ms (signed)
//!          56..60   how many twins of it so far
//!          60..64   zero
//! ```
//! 128 bits of a SHA-256 are identity enough: among 60 million keys the chance of one accident is 10^-23,
//! and to hit the key of another's event takes 2^128 tries.

use crate::clock::Timestamp;
use crate::event::{Digest, Sequence};

/// The first 128 bits of a digest; numbers order as the bytes do.
pub(super) type Key = u128;

pub(super) const PAGE: usize = 1024;
pub(super) const DAY_MILLIS: i64 = 86_400_000;
/// Most files that one merge may replace.
pub(super) const REPLACED_MAX: usize = 64;
/// Bits of a message's value that hold its time of day.
pub(super) const TIME_BITS: u32 = 27;
/// Highest distance between a message's sequence and its file's base.
pub(super) const SPAN_MAX: u64 = (1 << (64 - TIME_BITS)) - 1;

const MAGIC: [u8; 8] = *b"HGATKEYS";
/// Of key files alone; the journal's own format is asked first, before anything here is opened (`journal::check_format`). A file
/// of another version counts as damaged and is filled from the journal again, which has no event any more of the older keys: so
/// who raises this goes on reading version 1, and raises the journal's format with it, or an older program sets all files aside.
const VERSION: u32 = 1;
const CRC_AT: usize = PAGE - 4;
const COUNT_AT: usize = 1008;
const REPLACED_AT: usize = 128;

/// The index's name for a digest.
pub(super) fn key_of(digest: &Digest) -> Key {
    let (key, _) = digest.0.split_first_chunk().expect("a digest has 32 bytes");
    Key::from_be_bytes(*key)
}

/// What a fence keeps of a page's first key. Among the pages of a day few begin alike in so much.
pub(super) fn fence_of(key: Key) -> u32 {
    (key >> 96) as u32
}

/// The bucket of a time.
pub(super) fn day_of(at: Timestamp) -> i64 {
    at.millis().div_euclid(DAY_MILLIS)
}

/// When a bucket begins.
pub(super) fn day_start(day: i64) -> Timestamp {
    Timestamp::from_millis(day.saturating_mul(DAY_MILLIS))
}

/// What a file is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) id: u64,
    pub(super) day: i64,
    pub(super) from: Sequence,
    pub(super) through: Sequence,
}

/// In which state a file of the folder is, by the ending of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Live,
    Temporary,
    Damaged,
    Refilled,
}

impl Ending {
    fn text(self) -> &'static str {
        match self {
            Self::Live => "",
            Self::Temporary => ".tmp",
            Self::Damaged => ".damaged",
            Self::Refilled => ".refilled",
        }
    }
}

impl Name {
    /// The file's name with `ending`.
    pub(super) fn with(&self, ending: Ending) -> String {
        let Self { id, day, from, through } = self;
        format!("keys_{id:016}_{day}_{from}_{through}{}", ending.text())
    }

    /// Reads a name back; `None` for a file that is none of ours.
    pub(super) fn parse(text: &str) -> Option<(Self, Ending)> {
        let endings = [Ending::Temporary, Ending::Damaged, Ending::Refilled];
        let (stem, ending) = endings
            .into_iter()
            .find_map(|ending| Some((text.strip_suffix(ending.text())?, ending)))
            .unwrap_or((text, Ending::Live));
        let mut parts = stem.strip_prefix("keys_")?.split('_');
        let name = Self {
            id: parts.next()?.parse().ok()?,
            day: parts.next()?.parse().ok()?,
            from: Sequence(parts.next()?.parse().ok()?),
            through: Sequence(parts.next()?.parse().ok()?),
        };
        (parts.next().is_none() && name.with(ending) == text).then_some((name, ending))
    }
}

/// The header's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: Name,
    pub(super) newest: Timestamp,
    pub(super) base: Sequence,
    pub(super) messages: Shape,
    pub(super) contents: Shape,
    pub(super) replaced: Vec<u64>,
}

/// Size and check sums of one of the two sections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) count: u64,
    pub(super) blocks: u64,
    pub(super) filter_crc: u32,
    pub(super) fences_crc: u32,
}

impl Shape {
    /// How many pages hold the section's entries.
    pub(super) fn pages<R: Record>(&self) -> u64 {
        self.count.div_ceil(R::PER_PAGE as u64)
    }
}

impl Header {
    /// The header's page. At most [`REPLACED_MAX`] ids are kept.
    pub(super) fn encode(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let replaced = &self.replaced[..self.replaced.len().min(REPLACED_MAX)];
        put(&mut page, 0, MAGIC);
        put(&mut page, 8, VERSION.to_le_bytes());
        put(&mut page, 12, (replaced.len() as u32).to_le_bytes());
        put(&mut page, 16, self.name.id.to_le_bytes());
        put(&mut page, 24, self.name.from.0.to_le_bytes());
        put(&mut page, 32, self.name.through.0.to_le_bytes());
        put(&mut page, 40, self.name.day.to_le_bytes());
        put(&mut page, 48, self.newest.millis().to_le_bytes());
        put(&mut page, 56, self.base.0.to_le_bytes());
        for (n, shape) in [&self.messages, &self.contents].into_iter().enumerate() {
            put(&mut page, 64 + 8 * n, shape.count.to_le_bytes());
            put(&mut page, 80 + 8 * n, shape.blocks.to_le_bytes());
            put(&mut page, 96 + 4 * n, shape.filter_crc.to_le_bytes());
            put(&mut page, 104 + 4 * n, shape.fences_crc.to_le_bytes());
        }
        for (n, id) in replaced.iter().enumerate() {
            put(&mut page, REPLACED_AT + 8 * n, id.to_le_bytes());
        }
        let crc = crc32c::crc32c(&page[..CRC_AT]);
        put(&mut page, CRC_AT, crc.to_le_bytes());
        page
    }

    /// Reads a header's page; the error says what is wrong with it.
    pub(super) fn decode(page: &[u8; PAGE]) -> Result<Self, &'static str> {
        if crc32c::crc32c(&page[..CRC_AT]) != u32_at(page, CRC_AT) {
            return Err("the header's check sum is wrong");
        }
        if page[..8] != MAGIC || u32_at(page, 8) != VERSION {
            return Err("this is not a key file of version 1");
        }
        let replaced = u32_at(page, 12) as usize;
        if replaced > REPLACED_MAX {
            return Err("the header names too many replaced files");
        }
        let shape = |n: usize| Shape {
            count: u64_at(page, 64 + 8 * n),
            blocks: u64_at(page, 80 + 8 * n),
            filter_crc: u32_at(page, 96 + 4 * n),
            fences_crc: u32_at(page, 104 + 4 * n),
        };
        Ok(Self {
            name: Name {
                id: u64_at(page, 16),
                day: u64_at(page, 40).cast_signed(),
                from: Sequence(u64_at(page, 24)),
                through: Sequence(u64_at(page, 32)),
            },
            newest: Timestamp::from_millis(u64_at(page, 48).cast_signed()),
            base: Sequence(u64_at(page, 56)),
            messages: shape(0),
            contents: shape(1),
            replaced: (0..replaced).map(|n| u64_at(page, REPLACED_AT + 8 * n)).collect(),
        })
    }

    /// What the entries' values count from.
    pub(super) fn base(&self) -> Base {
        Base { sequence: self.base, start: day_start(self.name.day) }
    }
}

/// What the values of a file's entries count from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub(super) sequence: Sequence,
    pub(super) start: Timestamp,
}

/// An entry of one of the two sections.
pub(super) trait Record: Copy {
    /// Bytes of an entry.
    const STRIDE: usize;
    /// Entries that fit into a page.
    const PER_PAGE: usize = COUNT_AT / Self::STRIDE;
    /// Bits of filter an entry.
    const FILTER_BITS: u64;

    fn key(&self) -> Key;
    fn at(&self) -> Timestamp;
    fn encode(&self, base: Base, to: &mut [u8]);
    fn decode(bytes: &[u8], base: Base) -> Self;
    /// What is kept of two entries with one key.
    fn joined(self, other: Self) -> Self;
}

/// A known event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) key: Key,
    pub(super) sequence: Sequence,
    pub(super) at: Timestamp,
}

/// A known content: its first event and how many twins followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) key: Key,
    pub(super) first: Digest,
    pub(super) at: Timestamp,
    pub(super) twins: u32,
}

impl Record for Message {
    const STRIDE: usize = 24;
    /// In the files of a week less than one absent key in a hundred passes, so that 99 of them cost no read.
    const FILTER_BITS: u64 = 18;

    fn key(&self) -> Key {
        self.key
    }

    fn at(&self) -> Timestamp {
        self.at
    }

    fn encode(&self, base: Base, to: &mut [u8]) {
        let millis = self.at.millis_since(base.start).clamp(0, (1 << TIME_BITS) - 1);
        let value = ((self.sequence.0 - base.sequence.0) << TIME_BITS) | millis.cast_unsigned();
        put(to, 0, self.key.to_be_bytes());
        put(to, 16, value.to_le_bytes());
    }

    fn decode(bytes: &[u8], base: Base) -> Self {
        let value = u64_at(bytes, 16);
        let millis = (value & ((1 << TIME_BITS) - 1)).cast_signed();
        Self {
            key: Key::from_be_bytes(array_at(bytes, 0)),
            sequence: Sequence(base.sequence.0.saturating_add(value >> TIME_BITS)),
            at: Timestamp::from_millis(base.start.millis().saturating_add(millis)),
        }
    }

    fn joined(self, other: Self) -> Self {
        Self { sequence: self.sequence.max(other.sequence), at: self.at.max(other.at), ..self }
    }
}

impl Record for Content {
    const STRIDE: usize = 64;
    const FILTER_BITS: u64 = 16;

    fn key(&self) -> Key {
        self.key
    }

    fn at(&self) -> Timestamp {
        self.at
    }

    fn encode(&self, _: Base, to: &mut [u8]) {
        put(to, 0, self.key.to_be_bytes());
        put(to, 16, self.first.0);
        put(to, 48, self.at.millis().to_le_bytes());
        put(to, 56, self.twins.to_le_bytes());
    }

    fn decode(bytes: &[u8], _: Base) -> Self {
        Self {
            key: Key::from_be_bytes(array_at(bytes, 0)),
            first: Digest(array_at(bytes, 16)),
            at: Timestamp::from_millis(u64_at(bytes, 48).cast_signed()),
            twins: u32_at(bytes, 56),
        }
    }

    fn joined(self, other: Self) -> Self {
        if (self.at, self.twins) >= (other.at, other.twins) { self } else { other }
    }
}

/// Closes a page of `count` entries that will be page `number` of its file.
pub(super) fn seal_page(page: &mut [u8; PAGE], count: usize, number: u64) {
    put(page, COUNT_AT, (count as u16).to_le_bytes());
    let crc = page_crc(page, number);
    put(page, CRC_AT, crc.to_le_bytes());
}

/// The entries of page `number`, once its check sum is found right.
pub(super) fn entries<R: Record>(page: &[u8; PAGE], number: u64) -> Result<&[u8], &'static str> {
    let count = usize::from(u16::from_le_bytes(array_at(page, COUNT_AT)));
    if page_crc(page, number) != u32_at(page, CRC_AT) || count == 0 || count > R::PER_PAGE {
        return Err("a page's check sum is wrong");
    }
    Ok(&page[..count * R::STRIDE])
}

/// The entry of `key` among a page's entries.
pub(super) fn find<R: Record>(entries: &[u8], key: Key, base: Base) -> Option<R> {
    let wanted = key.to_be_bytes();
    let (mut low, mut high) = (0, entries.len() / R::STRIDE);
    while low < high {
        let middle = usize::midpoint(low, high);
        let entry = &entries[middle * R::STRIDE..][..R::STRIDE];
        match entry[..16].cmp(&wanted) {
            std::cmp::Ordering::Equal => return Some(R::decode(entry, base)),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

fn page_crc(page: &[u8; PAGE], number: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &page[..CRC_AT])
}

fn put<const N: usize>(to: &mut [u8], at: usize, bytes: [u8; N]) {
    to[at..at + N].copy_from_slice(&bytes);
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("offsets are constants within the entry or page")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Name = Name { id: 7, day: -3, from: Sequence(11), through: Sequence(u64::MAX) };

    #[test]
    fn names_are_read_back_and_others_passed_over() {
        for ending in [Ending::Live, Ending::Temporary, Ending::Damaged, Ending::Refilled] {
            assert_eq!(Name::parse(&NAME.with(ending)), Some((NAME, ending)));
        }
        assert_eq!(NAME.with(Ending::Live), "keys_0000000000000007_-3_11_18446744073709551615");
        for other in ["", "keys_", "keys_7_-3_11_12", "keys_0000000000000007_-3_11_12_13", "forgotten"] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_is_read_back_and_every_flipped_bit_found() {
        let shape = |n: u64| Shape { count: n, blocks: n + 1, filter_crc: 3, fences_crc: 4 };
        let header = Header {
            name: NAME,
            newest: Timestamp::from_millis(-5),
            base: Sequence(11),
            messages: shape(1),
            contents: shape(9),
            replaced: (1..=REPLACED_MAX as u64).collect(),
        };
        let page = header.encode();
        assert_eq!(Header::decode(&page), Ok(header));
        for bit in 0..PAGE * 8 {
            let mut bad = page;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_page_is_full_to_its_last_entry_and_belongs_to_its_place() {
        let base = Base { sequence: Sequence(100), start: day_start(20_000) };
        let message = |n: u64| Message {
            key: Key::from(n) << 64,
            sequence: Sequence(100 + SPAN_MAX - n),
            at: base.start.plus(std::time::Duration::from_millis(86_399_999 - n)),
        };
        let mut page = [0; PAGE];
        for n in 0..Message::PER_PAGE as u64 {
            message(n).encode(base, &mut page[n as usize * Message::STRIDE..]);
        }
        seal_page(&mut page, Message::PER_PAGE, 5);
        let entries = entries::<Message>(&page, 5).unwrap();
        for n in 0..Message::PER_PAGE as u64 {
            assert_eq!(find(entries, message(n).key, base), Some(message(n)));
            assert_eq!(find::<Message>(entries, message(n).key + 1, base), None);
        }
        assert!(super::entries::<Message>(&page, 6).is_err(), "a page of another place");
        assert!(super::entries::<Content>(&page, 5).is_err(), "more entries than fit");
    }

    #[test]
    fn the_times_of_a_day_share_its_bucket() {
        for millis in [-1, 0, 1, DAY_MILLIS - 1, DAY_MILLIS, i64::MIN, i64::MAX] {
            let at = Timestamp::from_millis(millis);
            assert!(day_start(day_of(at)) <= at);
        }
        assert_eq!((day_of(Timestamp::from_millis(-1)), day_of(Timestamp::from_millis(0))), (-1, 0));
    }
}
