//! Writes a key file from sorted entries, in one pass, and leaves it open as a [`Run`]. Runs on the
//! background thread. A file gets its final name only when all of it is on disk.

use std::io;
use std::path::{Path, PathBuf};

use super::filter::Filter;
use super::keyfile::{self, Base, Content, Ending, Header, Message, Name, PAGE, Record, Shape};
use super::run::{Broken, Run, Section};
use crate::clock::Timestamp;
use crate::disk::{Disk, is_full};
use crate::event::Sequence;
use crate::failpoint::{self, Point};

/// Bytes gathered before they are handed to the system.
const BUFFER: usize = 256 * PAGE;

/// Bytes between two syncs: what the journal syncs meanwhile never waits for a whole day of keys.
const UNSYNCED_MAX: usize = 4 << 20;

/// What a new file is to be.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) dir: PathBuf,
    pub(super) name: Name,
    /// At most the lowest sequence of the entries, at least that less `SPAN_MAX`.
    pub(super) base: Sequence,
    /// At least as many messages and contents as will come.
    pub(super) room: (u64, u64),
    /// Ids of the files that this one replaces.
    pub(super) replaced: Vec<u64>,
}

/// Writes the file of `plan` with `messages` and `contents`, both ascending by key, no key twice. Where space or
/// anything else runs out before it counts ([`is_full`]), nothing is left of it: it can be written again.
pub(super) fn write<D: Disk>(
    disk: &D,
    plan: Plan,
    messages: impl Iterator<Item = Result<Message, Broken>>,
    contents: impl Iterator<Item = Result<Content, Broken>>,
) -> Result<Run<D>, Broken> {
    let temporary = plan.dir.join(plan.name.with(Ending::Temporary));
    let made = make(disk, plan, &temporary, messages, contents);
    if matches!(&made, Err(Broken::Io(error)) if is_full(error)) {
        // Where it cannot be removed the next start does that.
        disk.remove(&temporary).unwrap_or_default();
    }
    made
}

fn make<D: Disk>(
    disk: &D,
    plan: Plan,
    temporary: &Path,
    messages: impl Iterator<Item = Result<Message, Broken>>,
    contents: impl Iterator<Item = Result<Content, Broken>>,
) -> Result<Run<D>, Broken> {
    let file = disk.create(temporary)?;
    failpoint::reach(Point::DedupFileCreated);
    let base = Base { sequence: plan.base, start: keyfile::day_start(plan.name.day) };
    let newest = Timestamp::from_millis(i64::MIN);
    let mut out = Output {
        disk,
        file: &file,
        buffer: Vec::with_capacity(BUFFER),
        at: PAGE as u64,
        unsynced: 0,
        base,
        newest,
    };
    let messages = out.section(messages, plan.room.0)?;
    let contents = out.section(contents, plan.room.1)?;
    let filter_crcs = (out.parts(messages.filter.to_bytes())?, out.parts(contents.filter.to_bytes())?);
    let fences_crcs = (out.parts(fence_bytes(&messages))?, out.parts(fence_bytes(&contents))?);
    out.flush()?;
    let header = Header {
        name: plan.name,
        newest: out.newest,
        base: plan.base,
        messages: shape(&messages, filter_crcs.0, fences_crcs.0),
        contents: shape(&contents, filter_crcs.1, fences_crcs.1),
        replaced: plan.replaced,
    };
    disk.write_at(&file, &header.encode(), 0)?;
    failpoint::reach(Point::DedupFileWritten);
    disk.sync(&file)?;
    failpoint::reach(Point::DedupFileSynced);
    let path = publish(disk, &plan.dir, temporary, plan.name)?;
    Ok(Run { disk: disk.clone(), path, header, file, messages, contents })
}

fn publish<D: Disk>(disk: &D, dir: &Path, temporary: &Path, name: Name) -> Result<PathBuf, Broken> {
    let path = dir.join(name.with(Ending::Live));
    disk.rename(temporary, &path)?;
    failpoint::reach(Point::DedupFileRenamed);
    // It counts already: a shortage here is none that another file would mend.
    disk.sync_dir(dir).map_err(io::Error::other)?;
    failpoint::reach(Point::DedupFileAfter);
    Ok(path)
}

fn shape(section: &Section, filter_crc: u32, fences_crc: u32) -> Shape {
    Shape { count: section.count, blocks: section.filter.blocks(), filter_crc, fences_crc }
}

fn fence_bytes(section: &Section) -> impl Iterator<Item = Vec<u8>> {
    let bytes = |fence: &u32| (u64::from(*fence) << 32).to_le_bytes();
    section.fences.chunks(BUFFER / 8).map(move |some| some.iter().flat_map(bytes).collect())
}

struct Output<'a, D: Disk> {
    disk: &'a D,
    file: &'a D::File,
    buffer: Vec<u8>,
    at: u64,
    unsynced: usize,
    base: Base,
    newest: Timestamp,
}

impl<D: Disk> Output<'_, D> {
    fn section<R: Record>(
        &mut self,
        records: impl Iterator<Item = Result<R, Broken>>,
        room: u64,
    ) -> Result<Section, Broken> {
        let mut section = Section {
            first_page: self.page_number(),
            filter: Filter::with_room_for(room, R::FILTER_BITS),
            ..Section::default()
        };
        let mut page = [0; PAGE];
        let mut filled = 0;
        for record in records {
            let record = record?;
            if filled == R::PER_PAGE {
                self.page(&mut page, filled)?;
                filled = 0;
            }
            if filled == 0 {
                section.fences.push(keyfile::fence_of(record.key()));
            }
            record.encode(self.base, &mut page[filled * R::STRIDE..][..R::STRIDE]);
            section.filter.add(record.key());
            section.count += 1;
            self.newest = self.newest.max(record.at());
            filled += 1;
        }
        if filled > 0 {
            self.page(&mut page, filled)?;
        }
        Ok(section)
    }

    fn page_number(&self) -> u64 {
        (self.at + self.buffer.len() as u64) / PAGE as u64
    }

    fn page(&mut self, page: &mut [u8; PAGE], filled: usize) -> Result<(), Broken> {
        keyfile::seal_page(page, filled, self.page_number());
        self.buffer.extend_from_slice(page);
        *page = [0; PAGE];
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Writes bytes that are no pages and gives their check sum.
    fn parts(&mut self, parts: impl Iterator<Item = Vec<u8>>) -> Result<u32, Broken> {
        let mut crc = 0;
        for bytes in parts {
            crc = crc32c::crc32c_append(crc, &bytes);
            self.buffer.extend_from_slice(&bytes);
            if self.buffer.len() >= BUFFER {
                self.flush()?;
            }
        }
        Ok(crc)
    }

    fn flush(&mut self) -> Result<(), Broken> {
        self.disk.write_at(self.file, &self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.unsynced += self.buffer.len();
        self.buffer.clear();
        if self.unsynced >= UNSYNCED_MAX {
            self.unsynced = 0;
            self.disk.sync(self.file)?;
        }
        Ok(())
    }
}
