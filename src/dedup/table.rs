//! Keys with a few bytes each, in memory that grows with them and is never moved: what the memtable is made of.
//!
//! The upper bits of a key pick its shard, a shard is a list of chunks of 32 slots, and an entry takes the next free one.
//! So nothing is hashed anew or shifted, an entry costs the same however many there are, and all chunks being of one
//! size, the allocator has no holes to leave. A byte of every key in a chunk stands apart, in one line of memory, so that
//! a look-up reads that line of each chunk and little else. Sorted only when asked for, shard by shard.
//! It never takes an entry out; knows nothing of what the bytes mean.

use super::keyfile::Key;

const SHARD_BITS: u32 = 10;
const SHARDS: usize = 1 << SHARD_BITS;
const SLOTS: usize = 32;
/// Bytes of a key that a slot keeps beside its tag. The first byte is the upper part of the shard's number.
const REST: usize = 14;
/// Chunks that are allocated together.
const SLAB: usize = 93;

/// A map from keys to `V` bytes each.
#[derive(Debug)]
pub(super) struct Table<const V: usize> {
    shards: Vec<Shard>,
    slabs: Vec<Box<[Chunk<V>]>>,
    chunks: usize,
    count: usize,
    /// Room for so many numbers is in the shards' lists.
    listed: usize,
}

/// Its chunks in the order of their filling, and how many entries are in them.
#[derive(Clone, Debug, Default)]
struct Shard {
    chunks: Vec<u32>,
    count: u32,
}

/// 32 slots. With 7 bytes of value it is 11 lines of memory exactly, the tags half of the first.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Chunk<const V: usize> {
    tags: [u8; SLOTS],
    rests: [[u8; REST]; SLOTS],
    values: [[u8; V]; SLOTS],
}

impl<const V: usize> Chunk<V> {
    const EMPTY: Self = Self { tags: [0; SLOTS], rests: [[0; REST]; SLOTS], values: [[0; V]; SLOTS] };

    /// The slots with this tag, a bit each; those that are not taken yet among them.
    fn tagged(&self, tag: u8) -> u32 {
        let bits = self.tags.iter().enumerate();
        bits.fold(0, |bits, (slot, other)| bits | (u32::from(*other == tag) << slot))
    }
}

impl<const V: usize> Table<V> {
    /// Empty; takes 32 KB until the first key comes.
    pub(super) fn new() -> Self {
        Self { shards: vec![Shard::default(); SHARDS], slabs: Vec::new(), chunks: 0, count: 0, listed: 0 }
    }

    /// Takes in a key with its value, or gives a known one another value.
    pub(super) fn insert(&mut self, key: Key, value: [u8; V]) {
        if let Some((chunk, slot)) = self.find(key) {
            self.chunk_mut(chunk).values[slot] = value;
            return;
        }
        let (shard, tag, rest) = parts(key);
        let slot = self.shards[shard].count as usize % SLOTS;
        if slot == 0 {
            let chunk = self.new_chunk();
            let list = &mut self.shards[shard].chunks;
            self.listed -= list.capacity();
            list.push(chunk);
            self.listed += list.capacity();
        }
        let shard = &mut self.shards[shard];
        shard.count += 1;
        self.count += 1;
        let last = *shard.chunks.last().expect("a shard with entries has a chunk");
        let chunk = self.chunk_mut(last);
        (chunk.tags[slot], chunk.rests[slot], chunk.values[slot]) = (tag, rest, value);
    }

    pub(super) fn get(&self, key: Key) -> Option<[u8; V]> {
        self.find(key).map(|(chunk, slot)| self.chunk(chunk).values[slot])
    }

    /// All entries, ascending by key.
    pub(super) fn sorted(&self) -> impl Iterator<Item = (Key, [u8; V])> {
        (0..SHARDS).flat_map(|shard| {
            let mut entries: Vec<_> = self.entries(shard).collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            entries
        })
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        let lists = SHARDS * size_of::<Shard>() + self.listed * size_of::<u32>();
        self.slabs.len() * SLAB * size_of::<Chunk<V>>() + lists
    }

    fn find(&self, key: Key) -> Option<(u32, usize)> {
        let (shard, tag, rest) = parts(key);
        let shard = &self.shards[shard];
        let mut left = shard.count as usize;
        for number in &shard.chunks {
            let chunk = self.chunk(*number);
            let mut tagged = chunk.tagged(tag);
            while tagged != 0 {
                let slot = tagged.trailing_zeros() as usize;
                tagged &= tagged - 1;
                if slot < left && chunk.rests[slot] == rest {
                    return Some((*number, slot));
                }
            }
            left = left.saturating_sub(SLOTS);
        }
        None
    }

    fn entries(&self, number: usize) -> impl Iterator<Item = (Key, [u8; V])> {
        let shard = &self.shards[number];
        let slots = shard.chunks.iter().flat_map(|chunk| (0..SLOTS).map(|slot| (self.chunk(*chunk), slot)));
        slots.take(shard.count as usize).map(move |(chunk, slot)| {
            (joined(number, chunk.tags[slot], chunk.rests[slot]), chunk.values[slot])
        })
    }

    fn chunk(&self, number: u32) -> &Chunk<V> {
        &self.slabs[number as usize / SLAB][number as usize % SLAB]
    }

    fn chunk_mut(&mut self, number: u32) -> &mut Chunk<V> {
        &mut self.slabs[number as usize / SLAB][number as usize % SLAB]
    }

    fn new_chunk(&mut self) -> u32 {
        if self.chunks == self.slabs.len() * SLAB {
            self.slabs.push(vec![Chunk::EMPTY; SLAB].into_boxed_slice());
        }
        self.chunks += 1;
        u32::try_from(self.chunks - 1).expect("four thousand million chunks are more than any memory")
    }
}

/// A key's shard, tag and the bytes that are left.
fn parts(key: Key) -> (usize, u8, [u8; REST]) {
    let [_, second, tag, tail @ ..] = key.to_be_bytes();
    let mut rest = [second; REST];
    rest[1..].copy_from_slice(&tail);
    ((key >> (Key::BITS - SHARD_BITS)) as usize, tag, rest)
}

/// The inverse of [`parts`].
fn joined(shard: usize, tag: u8, rest: [u8; REST]) -> Key {
    let mut key = [0; 16];
    (key[0], key[1], key[2]) = ((shard >> (SHARD_BITS - 8)) as u8, rest[0], tag);
    key[3..].copy_from_slice(&rest[1..]);
    Key::from_be_bytes(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use std::collections::BTreeMap;

    /// Keys of few shards and tags, so that they crowd.
    fn key((high, middle, low): (u8, u8, u8)) -> Key {
        Key::from(high % 3) << 120 | Key::from(middle % 2) << 104 | Key::from(low)
    }

    proptest! {
        #[test]
        fn is_a_sorted_map(entries in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 0..2_000)) {
            let (mut table, mut model) = (Table::<7>::new(), BTreeMap::new());
            for (high, middle, low, value) in entries {
                let (key, value) = (key((high, middle, low)), [value; 7]);
                prop_assert_eq!(table.get(key), model.get(&key).copied());
                table.insert(key, value);
                model.insert(key, value);
                prop_assert_eq!(table.get(key), Some(value));
            }
            prop_assert_eq!(table.len(), model.len());
            prop_assert!(table.sorted().eq(model));
        }
    }

    #[test]
    fn keys_that_differ_in_one_bit_are_two() {
        for (shard, bit) in
            [0, Key::MAX, Key::MAX / 3].into_iter().flat_map(|key| (0..128).map(move |bit| (key, bit)))
        {
            let other = shard ^ (1 << bit);
            let mut table = Table::<1>::new();
            table.insert(shard, [1]);
            assert_eq!(table.get(other), None, "bit {bit}");
            table.insert(other, [2]);
            assert_eq!((table.get(shard), table.get(other)), (Some([1]), Some([2])), "bit {bit}");
        }
    }
}
