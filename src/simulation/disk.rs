//! A disk with a page cache: power losses that keep any of the unsynced sectors and names, one call that fails, a sync
//! that fails and forgets, no space.
//!
//! What a process has written is `seen` by every process until the power goes; `platter` is what survives. A sync
//! that fails drops what it was to write, as Linux does: the pages count as clean, they are still read from the cache,
//! and the next sync succeeds without them.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::random::Random;
use crate::disk::Disk;

/// The unit that a power loss keeps or loses.
const SECTOR: usize = 512;

/// Makes it so long, with zeroes: by copying, which is quick where nothing is optimized.
fn set_len(bytes: &mut Vec<u8>, len: usize) {
    const ZEROES: [u8; 4096] = [0; 4096];
    bytes.truncate(len);
    while bytes.len() < len {
        bytes.extend_from_slice(&ZEROES[..ZEROES.len().min(len - bytes.len())]);
    }
}

/// A file.
#[derive(Clone, Default)]
pub(super) struct Pages {
    seen: Vec<u8>,
    platter: Vec<u8>,
    /// Sectors that the cache still owes the platter.
    dirty: Vec<Range<usize>>,
}

impl Pages {
    fn touch(&mut self, from: usize, to: usize) {
        let sectors = from / SECTOR..to.div_ceil(SECTOR);
        match self.dirty.last_mut() {
            Some(last) if last.end >= sectors.start && last.start <= sectors.start => {
                last.end = last.end.max(sectors.end);
            }
            _ => self.dirty.push(sectors),
        }
    }

    fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.seen.len() == self.platter.len()
    }

    /// Brings dirty sectors to the platter that `keep` says, and the length if it says so; what is kept and lost.
    fn settle(&mut self, mut keep: impl FnMut() -> bool) -> (bool, bool) {
        let (mut kept, mut lost) = (false, false);
        if self.seen.len() != self.platter.len() {
            let length = keep();
            (kept, lost) = (length, !length);
            if length {
                set_len(&mut self.platter, self.seen.len());
            }
        }
        for sectors in std::mem::take(&mut self.dirty) {
            for sector in sectors {
                let from = (sector * SECTOR).min(self.platter.len()).min(self.seen.len());
                let to = (from + SECTOR).min(self.platter.len()).min(self.seen.len());
                if keep() {
                    kept = true;
                    self.platter[from..to].copy_from_slice(&self.seen[from..to]);
                } else {
                    lost = true;
                }
            }
        }
        (kept, lost)
    }

    fn sync(&mut self) {
        set_len(&mut self.platter, self.seen.len());
        for sectors in self.dirty.drain(..) {
            let end = (sectors.end * SECTOR).min(self.seen.len());
            let from = (sectors.start * SECTOR).min(end);
            self.platter[from..end].copy_from_slice(&self.seen[from..end]);
        }
    }
}

pub(super) type SimFile = Arc<Mutex<Pages>>;

#[derive(Clone)]
enum Change {
    Create(PathBuf, SimFile),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Change {
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Create(path, _) | Self::Rename(path, _) | Self::Remove(path) => path.parent(),
        }
    }

    /// Where what it needs is there.
    fn apply(&self, names: &mut BTreeMap<PathBuf, SimFile>) {
        match self {
            Self::Create(path, file) => drop(names.insert(path.clone(), Arc::clone(file))),
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove(path) => drop(names.remove(path)),
        }
    }
}

/// What a call is to come to.
enum Fate {
    Done,
    /// It fails, and calls after it do not.
    Fails,
    /// The power goes while it is under way.
    Dark,
}

#[derive(Default)]
struct Inner {
    names: BTreeMap<PathBuf, SimFile>,
    durable: BTreeMap<PathBuf, SimFile>,
    changes: Vec<Change>,
    random: Option<Random>,
    calls: u64,
    dark_at: Option<u64>,
    fail_at: Option<u64>,
    reads: u64,
    read_fail_at: Option<u64>,
    full: bool,
    dark: bool,
    told: Told,
}

/// What has happened to it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub failed: u64,
    pub failed_reads: u64,
    pub failed_syncs: u64,
    pub refused_for_space: u64,
    pub removed_segments: u64,
    pub removed_keys: u64,
    pub torn: u64,
}

#[derive(Clone)]
pub(super) struct SimDisk(Arc<Mutex<Inner>>);

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl SimDisk {
    pub(super) fn new(random: Random) -> Self {
        Self(Arc::new(Mutex::new(Inner { random: Some(random), ..Inner::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// The power goes at the n-th change from here on.
    pub(super) fn dark_in(&self, calls: u64) {
        let mut inner = self.lock();
        inner.dark_at = Some(inner.calls + calls);
    }

    /// The n-th change from here on fails, and no other.
    pub(super) fn fail_in(&self, calls: u64) {
        let mut inner = self.lock();
        inner.fail_at = Some(inner.calls + calls);
    }

    /// The n-th read from here on fails, and no other.
    pub(super) fn fail_read_in(&self, reads: u64) {
        let mut inner = self.lock();
        inner.read_fail_at = Some(inner.reads + reads);
    }

    pub(super) fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Nothing fails from here on.
    pub(super) fn heal(&self) {
        let mut inner = self.lock();
        (inner.dark_at, inner.fail_at, inner.read_fail_at, inner.full) = (None, None, None, false);
    }

    pub(super) fn is_dark(&self) -> bool {
        self.lock().dark
    }

    /// Changes made so far.
    pub(super) fn calls(&self) -> u64 {
        self.lock().calls
    }

    pub(super) fn told(&self) -> Told {
        self.lock().told
    }

    /// What a power loss leaves, where `keep` of a hundred unsynced sectors and names are kept.
    pub(super) fn after_power_loss(&self, keep: u64) -> Self {
        let mut inner = self.lock();
        let mut random = inner.random.clone().unwrap();
        random.next();
        let mut names = inner.durable.clone();
        for change in &inner.changes {
            if random.chance(keep) {
                change.apply(&mut names);
            }
        }
        let mut torn = false;
        let mut copy = |file: &SimFile| {
            let mut pages = file.lock().unwrap().clone();
            let (kept, lost) = pages.settle(|| random.chance(keep));
            torn |= kept && lost;
            pages.seen.clone_from(&pages.platter);
            Arc::new(Mutex::new(pages))
        };
        let names: BTreeMap<_, _> = names.iter().map(|(path, file)| (path.clone(), copy(file))).collect();
        inner.told.torn += u64::from(torn);
        let left = Inner {
            durable: names.clone(),
            names,
            random: Some(random),
            told: inner.told,
            full: inner.full,
            ..Inner::default()
        };
        Self(Arc::new(Mutex::new(left)))
    }

    fn fate(&self) -> io::Result<Fate> {
        let mut inner = self.lock();
        if inner.dark {
            return Err(broken());
        }
        inner.calls += 1;
        if inner.dark_at.is_some_and(|at| inner.calls >= at) {
            inner.dark = true;
            return Ok(Fate::Dark);
        }
        if inner.fail_at == Some(inner.calls) {
            inner.told.failed += 1;
            return Ok(Fate::Fails);
        }
        Ok(Fate::Done)
    }

    /// A change of a name: none where the call fails, not durable in any case.
    fn rename_or(&self, change: impl FnOnce(&mut Inner) -> io::Result<Change>) -> io::Result<()> {
        let fate = self.fate()?;
        if matches!(fate, Fate::Fails) {
            return Err(broken());
        }
        let mut inner = self.lock();
        let change = change(&mut inner)?;
        change.apply(&mut inner.names);
        inner.changes.push(change);
        if matches!(fate, Fate::Dark) { Err(broken()) } else { Ok(()) }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.lock().names.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        if self.lock().names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file: SimFile = Arc::new(Mutex::new(Pages::default()));
        let made = Change::Create(path.to_owned(), Arc::clone(&file));
        self.rename_or(|_| Ok(made)).map(|()| file)
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        self.lock().names.get(path).cloned().ok_or(ErrorKind::NotFound.into())
    }

    fn len(&self, file: &SimFile) -> io::Result<u64> {
        Ok(file.lock().unwrap().seen.len() as u64)
    }

    fn read_at(&self, file: &SimFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut inner = self.lock();
        inner.reads += 1;
        if inner.dark || inner.read_fail_at == Some(inner.reads) {
            inner.told.failed_reads += 1;
            return Err(broken());
        }
        drop(inner);
        let file = file.lock().unwrap();
        let range = offset as usize..offset as usize + buffer.len();
        buffer.copy_from_slice(file.seen.get(range).ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, file: &SimFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fate = self.fate()?;
        let mut file = file.lock().unwrap();
        let (pages, offset) = (&mut *file, offset as usize);
        let mut inner = self.lock();
        if offset + bytes.len() > pages.seen.len() && inner.full {
            inner.told.refused_for_space += 1;
            return Err(ErrorKind::StorageFull.into());
        }
        let len = match (&fate, &mut inner.random) {
            (Fate::Fails, Some(random)) => random.index(bytes.len() + 1),
            _ => bytes.len(),
        };
        drop(inner);
        let end = offset + len;
        if end > pages.seen.len() {
            set_len(&mut pages.seen, end);
        }
        pages.seen[offset..end].copy_from_slice(&bytes[..len]);
        pages.touch(offset, end);
        if matches!(fate, Fate::Done) { Ok(()) } else { Err(broken()) }
    }

    fn set_len(&self, file: &SimFile, len: u64) -> io::Result<()> {
        if !matches!(self.fate()?, Fate::Done) {
            return Err(broken());
        }
        let mut file = file.lock().unwrap();
        let (old, len) = (file.seen.len(), len as usize);
        set_len(&mut file.seen, len);
        file.touch(old.min(len), old.max(len));
        Ok(())
    }

    fn sync(&self, file: &SimFile) -> io::Result<()> {
        let fate = self.fate()?;
        let mut file = file.lock().unwrap();
        match fate {
            Fate::Done => {
                file.sync();
                return Ok(());
            }
            Fate::Fails => {
                let mut inner = self.lock();
                inner.told.failed_syncs += u64::from(!file.is_clean());
                let random = inner.random.as_mut().unwrap();
                let some = *random.pick(&[0, 0, 50]);
                file.settle(|| random.chance(some));
            }
            Fate::Dark => {}
        }
        Err(broken())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if !matches!(self.fate()?, Fate::Done) {
            return Err(broken());
        }
        let inner = &mut *self.lock();
        let (now, later) = std::mem::take(&mut inner.changes).into_iter().partition(|c| c.dir() == Some(dir));
        inner.changes = later;
        let now: Vec<Change> = now;
        now.iter().for_each(|change| change.apply(&mut inner.durable));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_or(|inner| match inner.names.contains_key(from) {
            true => Ok(Change::Rename(from.to_owned(), to.to_owned())),
            false => Err(ErrorKind::NotFound.into()),
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.rename_or(|inner| {
            let segment = path.extension().is_some_and(|end| end == "segment");
            inner.told.removed_segments += u64::from(segment);
            inner.told.removed_keys += u64::from(!segment);
            match inner.names.contains_key(path) {
                true => Ok(Change::Remove(path.to_owned())),
                false => Err(ErrorKind::NotFound.into()),
            }
        })
    }
}
