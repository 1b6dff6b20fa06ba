//! The filter of a key file: says "not in this file" without touching the disk. A blocked Bloom filter:
//! one block of 512 bits, which is one cache line, holds all the bits of a key. Never says no to a key
//! that was added. Stands below `run` and `writer`; knows nothing of files.

use super::keyfile::Key;

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;
/// Bits of filter a key; with [`PROBES`] about 0.1 % of the absent keys pass, so that with the files of a
/// week less than one new key in a hundred costs a read.
const BITS_PER_KEY: u64 = 16;
/// Bits set a key, each chosen by 9 bits of the key's upper half.
const PROBES: u32 = 7;

/// Keys are parts of a SHA-256, uniform already: the lower half picks the block, the upper half the bits.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Block([u64; 8]);

impl Filter {
    /// An empty filter with room for `keys` keys; without keys it takes no memory.
    pub(super) fn with_room_for(keys: u64) -> Self {
        Self::zeroed(keys.saturating_mul(BITS_PER_KEY).div_ceil(512))
    }

    fn zeroed(blocks: u64) -> Self {
        Self { blocks: vec![Block([0; 8]); usize::try_from(blocks).unwrap_or(usize::MAX)] }
    }

    pub(super) fn add(&mut self, key: Key) {
        let Some(at) = self.place(key) else { return };
        let block = &mut self.blocks[at].0;
        for (word, mask) in bits(key) {
            block[word] |= mask;
        }
    }

    /// False: the key was never added.
    pub(super) fn may_hold(&self, key: Key) -> bool {
        let Some(at) = self.place(key) else { return false };
        let block = &self.blocks[at].0;
        bits(key).fold(true, |all, (word, mask)| all & (block[word] & mask != 0))
    }

    fn place(&self, key: Key) -> Option<usize> {
        let blocks = self.blocks.len() as u128;
        let low = key & u128::from(u64::MAX);
        (blocks > 0).then_some(((low * blocks) >> 64) as usize)
    }

    /// How many blocks of [`BLOCK`] bytes.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// The blocks' words, little-endian.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flat_map(|block| block.0).flat_map(u64::to_le_bytes).collect()
    }

    /// The inverse of [`Filter::to_bytes`]; a partial block at the end is left out.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let (blocks, _) = bytes.as_chunks::<BLOCK>();
        Self { blocks: blocks.iter().map(block).collect() }
    }
}

fn block(bytes: &[u8; BLOCK]) -> Block {
    let (words, _) = bytes.as_chunks::<8>();
    let mut block = Block([0; 8]);
    for (to, from) in block.0.iter_mut().zip(words) {
        *to = u64::from_le_bytes(*from);
    }
    block
}

fn bits(key: Key) -> impl Iterator<Item = (usize, u64)> {
    let high = (key >> 64) as u64;
    (0..PROBES).map(move |probe| {
        let bit = (high >> (probe * 9)) & 511;
        ((bit >> 6) as usize, 1 << (bit & 63))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        use sha2::Digest as _;
        let hash = sha2::Sha256::digest(n.to_le_bytes());
        Key::from_be_bytes(hash[..16].try_into().unwrap())
    }

    #[test]
    fn holds_what_was_added_and_little_else() {
        let mut filter = Filter::with_room_for(20_000);
        (0..20_000).for_each(|n| filter.add(key(n)));
        assert!((0..20_000).all(|n| filter.may_hold(key(n))));
        let wrong = (20_000..220_000).filter(|n| filter.may_hold(key(*n))).count();
        assert!(wrong < 400, "{wrong} of 200,000 absent keys pass: more than 0.2 %");
    }

    #[test]
    fn survives_its_bytes() {
        let mut filter = Filter::with_room_for(1_000);
        (0..1_000).for_each(|n| filter.add(key(n)));
        let bytes = filter.to_bytes();
        assert_eq!(bytes.len() as u64, filter.blocks() * BLOCK as u64);
        let again = Filter::from_bytes(&bytes);
        assert!((0..5_000).all(|n| again.may_hold(key(n)) == filter.may_hold(key(n))));
    }

    #[test]
    fn an_empty_filter_holds_nothing() {
        assert!(!Filter::with_room_for(0).may_hold(key(1)));
    }
}
