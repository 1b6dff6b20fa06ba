//! One key file, open: its filters and fences in memory, its entries on disk. A key that the filter does not
//! pass costs no disk access, one that it passes costs one read of a page. Files are written by `writer`; many are
//! probed at once by [`passing`].

use std::io;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::filter::{BLOCK, Filter, Mask};
use super::keyfile::{self, Content, Ending, Header, Key, Message, Name, PAGE, Record, Shape};
use crate::clock::Timestamp;
use crate::disk::Disk;

/// Why a key file cannot be used.
#[derive(Debug)]
pub(super) enum Broken {
    /// The system could not read or write.
    Io(io::Error),
    /// What was read is not what was written.
    Damaged(&'static str),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Damaged("the file is cut short");
        }
        Self::Io(error)
    }
}

/// What is in memory of one of a file's two sections.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) first_page: u64,
    pub(super) count: u64,
    pub(super) filter: Filter,
    /// The upper bits of each page's first key.
    pub(super) fences: Vec<u32>,
}

impl Section {
    /// The pages that can hold `key`, counted from the section's first, last one first. More than one only
    /// where a page begins with a key whose upper bits are the same.
    fn candidates(&self, key: Key) -> impl Iterator<Item = u64> {
        let high = keyfile::fence_of(key);
        let after = self.pages_up_to(high);
        let equal = self.fences[..after].iter().rev().take_while(|fence| **fence == high).count();
        let before = (after - equal).saturating_sub(1);
        (before..after).rev().map(|page| page as u64)
    }

    /// How many fences are at most `high`. Keys are uniform, so the answer lies near the place that the number itself
    /// points to, and nearer still to where the fence found there points: the search starts at this and widens, and
    /// touches two lines of memory, seldom more.
    fn pages_up_to(&self, high: u32) -> usize {
        let fences = &self.fences;
        let pages = |span: u32| ((u64::from(span) * fences.len() as u64) >> u32::BITS) as usize;
        let first = pages(high);
        let fence = fences.get(first).copied().unwrap_or(high);
        let guess = if high >= fence {
            first.saturating_add(pages(high - fence)).min(fences.len())
        } else {
            first.saturating_sub(pages(fence - high))
        };
        let mut reach = 3;
        loop {
            let (low, end) = (guess.saturating_sub(reach), guess.saturating_add(reach).min(fences.len()));
            let starts = low == 0 || fences[low - 1] <= high;
            let ends = end == fences.len() || fences[end] > high;
            if starts && ends {
                return low + fences[low..end].partition_point(|fence| *fence <= high);
            }
            reach *= 4;
        }
    }

    fn memory(&self) -> u64 {
        self.filter.blocks() * BLOCK as u64 + self.fences.len() as u64 * 4
    }
}

/// An open key file.
#[derive(Debug)]
pub(super) struct Run<D: Disk> {
    pub(super) disk: D,
    pub(super) path: PathBuf,
    pub(super) header: Header,
    pub(super) file: D::File,
    pub(super) messages: Section,
    pub(super) contents: Section,
}

impl<D: Disk> Run<D> {
    /// Opens the file called `name` in `dir` and checks everything but its pages.
    pub(super) fn open(disk: D, dir: &Path, name: Name) -> Result<Self, Broken> {
        let path = dir.join(name.with(Ending::Live));
        let file = disk.open(&path)?;
        let mut page = [0; PAGE];
        disk.read_at(&file, &mut page, 0)?;
        let header = Header::decode(&page).map_err(Broken::Damaged)?;
        if header.name != name {
            return Err(Broken::Damaged("the header belongs to a file of another name"));
        }
        if u128::from(disk.len(&file)?) != length(&header) {
            return Err(Broken::Damaged("the length is not what the header says"));
        }
        let contents_page = 1 + header.messages.pages::<Message>();
        let mut at = (contents_page + header.contents.pages::<Content>()) * PAGE as u64;
        let (of_messages, of_contents) = (&header.messages, &header.contents);
        let message_filter = filter(&disk, &file, &mut at, of_messages)?;
        let content_filter = filter(&disk, &file, &mut at, of_contents)?;
        let message_fences = fences(&disk, &file, &mut at, (of_messages, of_messages.pages::<Message>()))?;
        let content_fences = fences(&disk, &file, &mut at, (of_contents, of_contents.pages::<Content>()))?;
        let messages = Section {
            first_page: 1,
            count: of_messages.count,
            filter: message_filter,
            fences: message_fences,
        };
        let contents = Section {
            first_page: contents_page,
            count: of_contents.count,
            filter: content_filter,
            fences: content_fences,
        };
        Ok(Self { disk, path, header, file, messages, contents })
    }

    /// Whether there may be a message with the key of this mask; costs no disk access.
    pub(super) fn may_hold_message(&self, mask: &Mask) -> bool {
        self.messages.filter.may_hold(mask)
    }

    /// The same of a content.
    pub(super) fn may_hold_content(&self, mask: &Mask) -> bool {
        self.contents.filter.may_hold(mask)
    }

    /// Reads the message of `key`, whatever the filter says of it.
    pub(super) fn message(&self, key: Key) -> Result<Option<Message>, Broken> {
        self.find(&self.messages, key)
    }

    /// Reads the content of `key`, whatever the filter says of it.
    pub(super) fn content(&self, key: Key) -> Result<Option<Content>, Broken> {
        self.find(&self.contents, key)
    }

    fn find<R: Record>(&self, section: &Section, key: Key) -> Result<Option<R>, Broken> {
        let mut page = [0; PAGE];
        for candidate in section.candidates(key) {
            let number = section.first_page + candidate;
            self.disk.read_at(&self.file, &mut page, number * PAGE as u64)?;
            let entries = keyfile::entries::<R>(&page, number).map_err(Broken::Damaged)?;
            let found = keyfile::find(entries, key, self.header.base());
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    pub(super) fn name(&self) -> Name {
        self.header.name
    }

    /// The time of the youngest key.
    pub(super) fn newest(&self) -> Timestamp {
        self.header.newest
    }

    /// How many messages.
    pub(super) fn count(&self) -> u64 {
        self.messages.count
    }

    /// Whether there is nothing in it but its name.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.count == 0 && self.contents.count == 0
    }

    /// Bytes on disk.
    pub(super) fn size(&self) -> u64 {
        u64::try_from(length(&self.header)).unwrap_or(u64::MAX)
    }

    /// Bytes in memory.
    pub(super) fn memory(&self) -> u64 {
        self.messages.memory() + self.contents.memory()
    }
}

/// The files whose filter `passes`, the youngest first. Many filters are asked before the first file is given: their
/// lines of memory come in side by side, where one after the other each would be waited for.
pub(super) fn passing<D: Disk>(
    runs: &[Arc<Run<D>>],
    passes: impl Fn(&Run<D>) -> bool,
) -> impl Iterator<Item = &Run<D>> {
    runs.chunks(u64::BITS as usize).flat_map(move |few| {
        let asked = few.iter().enumerate();
        let mut passed = asked.fold(0_u64, |passed, (n, run)| passed | (u64::from(passes(run)) << n));
        iter::from_fn(move || {
            let run = few.get(passed.trailing_zeros() as usize)?;
            passed &= passed - 1;
            Some(run.as_ref())
        })
    })
}

/// Reads the filter that lies at `at`, which is moved behind it.
fn filter<D: Disk>(disk: &D, file: &D::File, at: &mut u64, shape: &Shape) -> Result<Filter, Broken> {
    let mut crc = 0;
    let filter = Filter::from_bytes(shape.blocks, |bytes| {
        disk.read_at(file, bytes, *at)?;
        *at += bytes.len() as u64;
        crc = crc32c::crc32c_append(crc, bytes);
        Ok::<_, Broken>(())
    })?;
    (crc == shape.filter_crc).then_some(filter).ok_or(Broken::Damaged("the check sum of a filter is wrong"))
}

/// Reads the fences that lie at `at`, which is moved behind them.
fn fences<D: Disk>(
    disk: &D,
    file: &D::File,
    at: &mut u64,
    (shape, pages): (&Shape, u64),
) -> Result<Vec<u32>, Broken> {
    let mut bytes = vec![0; usize::try_from(pages.saturating_mul(8)).unwrap_or(usize::MAX)];
    disk.read_at(file, &mut bytes, *at)?;
    *at += bytes.len() as u64;
    if crc32c::crc32c(&bytes) != shape.fences_crc {
        return Err(Broken::Damaged("the check sum of a fence is wrong"));
    }
    let (fences, _) = bytes.as_chunks::<8>();
    Ok(fences.iter().map(|fence| (u64::from_le_bytes(*fence) >> 32) as u32).collect())
}

/// The length of a file with this header, in a type that no header overflows.
fn length(header: &Header) -> u128 {
    let of =
        |pages: u64, blocks: u64| u128::from(pages) * (PAGE as u128 + 8) + u128::from(blocks) * BLOCK as u128;
    let messages = of(header.messages.pages::<Message>(), header.messages.blocks);
    PAGE as u128 + messages + of(header.contents.pages::<Content>(), header.contents.blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(fences: Vec<u32>) -> Section {
        Section { fences, ..Section::default() }
    }

    #[test]
    fn finds_the_pages_that_can_hold_a_key_wherever_the_fences_lie() {
        let even: Vec<u32> = (0..2_000).map(|n| n << 21).collect();
        let crowded: Vec<u32> = (0..2_000).map(|n| n / 3).collect();
        let late: Vec<u32> = (0..2_000).map(|n| u32::MAX - 2_000 + n).collect();
        for fences in [even, crowded, late, vec![9], vec![]] {
            let probes = fences.iter().flat_map(|f| [f.saturating_sub(1), *f, f.saturating_add(1)]);
            for high in probes.chain([0, u32::MAX]) {
                let found: Vec<u64> = section(fences.clone()).candidates(Key::from(high) << 96).collect();
                let can = |page: &usize| {
                    fences[*page] <= high && fences.get(page + 1).is_none_or(|next| *next >= high)
                };
                let expected: Vec<u64> =
                    (0..fences.len()).filter(can).rev().map(|page| page as u64).collect();
                assert_eq!(found, expected, "high {high}");
            }
        }
    }
}
