//! The filter of a key file: says "not in this file" without touching the disk. A blocked Bloom filter:
//! one block of 512 bits, which is one cache line, holds all the bits of a key. Never says no to a key
//! that was added. Stands below `run` and `writer`; knows nothing of files.
//!
//! Which bits a key has does not depend on the file, so they are worked out once for all of them ([`Mask`]), and a
//! block is compared as a whole, without a branch on what is in it: the processor fetches the lines of many filters at
//! a time.

use super::keyfile::Key;

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;
/// Bytes that are turned into blocks or back at a time.
const PART: usize = 1024 * BLOCK;
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

/// What to look for in a filter: the bits of one key, and what picks the block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask {
    bits: Block,
    place: u64,
}

impl Mask {
    pub(super) fn of(key: Key) -> Self {
        let high = (key >> 64) as u64;
        let mut bits = Block([0; 8]);
        for probe in 0..PROBES {
            let bit = (high >> (probe * 9)) & 511;
            bits.0[(bit >> 6) as usize] |= 1 << (bit & 63);
        }
        Self { bits, place: key as u64 }
    }
}

impl Filter {
    /// An empty filter with room for `keys` keys of `bits` bits each; without keys it takes no memory. With
    /// [`PROBES`] about 0.1 % of the absent keys pass at 16 bits, half of that at 18.
    pub(super) fn with_room_for(keys: u64, bits: u64) -> Self {
        Self::zeroed(keys.saturating_mul(bits).div_ceil(512))
    }

    fn zeroed(blocks: u64) -> Self {
        Self { blocks: vec![Block([0; 8]); usize::try_from(blocks).unwrap_or(usize::MAX)] }
    }

    pub(super) fn add(&mut self, key: Key) {
        let Some(at) = self.place(key as u64) else { return };
        let block = &mut self.blocks[at].0;
        for (word, bits) in block.iter_mut().zip(Mask::of(key).bits.0) {
            *word |= bits;
        }
    }

    /// False: the key of this mask was never added.
    pub(super) fn may_hold(&self, mask: &Mask) -> bool {
        let Some(at) = self.place(mask.place) else { return false };
        let block = &self.blocks[at].0;
        let absent = block.iter().zip(mask.bits.0).fold(0, |absent, (word, bits)| absent | (bits & !word));
        absent == 0
    }

    fn place(&self, low: u64) -> Option<usize> {
        let blocks = self.blocks.len() as u128;
        (blocks > 0).then_some(((u128::from(low) * blocks) >> 64) as usize)
    }

    /// How many blocks of [`BLOCK`] bytes.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// The blocks' words, little-endian, some blocks at a time: beside the filter there is no second one in memory.
    pub(super) fn to_bytes(&self) -> impl Iterator<Item = Vec<u8>> {
        let bytes =
            |blocks: &[Block]| blocks.iter().flat_map(|block| block.0).flat_map(u64::to_le_bytes).collect();
        self.blocks.chunks(PART / BLOCK).map(bytes)
    }

    /// The inverse of [`Filter::to_bytes`]: `fill` is to give the next bytes of all that `blocks` blocks have.
    pub(super) fn from_bytes<E>(
        blocks: u64,
        mut fill: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut filter = Self::zeroed(blocks);
        let mut bytes = vec![0; filter.blocks.len().saturating_mul(BLOCK).min(PART)];
        for part in filter.blocks.chunks_mut(PART / BLOCK) {
            let bytes = &mut bytes[..part.len() * BLOCK];
            fill(bytes)?;
            let (read, _) = bytes.as_chunks::<BLOCK>();
            part.iter_mut().zip(read).for_each(|(to, from)| *to = block(from));
        }
        Ok(filter)
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
        let mut filter = Filter::with_room_for(20_000, 16);
        (0..20_000).for_each(|n| filter.add(key(n)));
        assert!((0..20_000).all(|n| filter.may_hold(&Mask::of(key(n)))));
        let wrong = (20_000..220_000).filter(|n| filter.may_hold(&Mask::of(key(*n)))).count();
        assert!(wrong < 400, "{wrong} of 200,000 absent keys pass: more than 0.2 %");
    }

    #[test]
    fn survives_its_bytes() {
        let mut filter = Filter::with_room_for(100_000, 16);
        (0..100_000).for_each(|n| filter.add(key(n)));
        let bytes = filter.to_bytes().collect::<Vec<_>>().concat();
        assert_eq!(bytes.len() as u64, filter.blocks() * BLOCK as u64);
        let mut left = &bytes[..];
        let again =
            Filter::from_bytes(filter.blocks(), |to| std::io::Read::read_exact(&mut left, to)).unwrap();
        assert!(
            (0..110_000).all(|n| again.may_hold(&Mask::of(key(n))) == filter.may_hold(&Mask::of(key(n))))
        );
    }

    #[test]
    fn an_empty_filter_holds_nothing() {
        assert!(!Filter::with_room_for(0, 16).may_hold(&Mask::of(key(1))));
    }
}
