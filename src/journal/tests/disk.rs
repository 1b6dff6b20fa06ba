//! A disk in memory: fails the n-th change, refuses reads, runs full, and forgets what was not synced.
//!
//! Contents are copied on write, so that a copy of the disk after a crash costs nothing. Names are durable only
//! through `sync_dir`, and after a crash the changes of names that were kept are the oldest ones.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::disk::Disk;

/// The unit that a power loss keeps or loses.
const SECTOR: usize = 512;

#[derive(Clone, Default)]
pub(super) struct Bytes {
    pub(super) seen: Arc<Vec<u8>>,
    synced: Arc<Vec<u8>>,
    /// Sectors that a failed sync lost: seen, and not written by a later sync unless they are written again.
    lost: BTreeSet<usize>,
}

impl Bytes {
    /// The sectors whose bytes are not those of the last sync.
    fn unsynced(&self) -> Vec<usize> {
        let old = |sector: usize| self.synced.chunks(SECTOR).nth(sector).unwrap_or_default();
        let sectors = self.seen.chunks(SECTOR).enumerate();
        sectors.filter(|(sector, new)| old(*sector) != *new).map(|(sector, _)| sector).collect()
    }
}

pub(super) type MemFile = Arc<Mutex<Bytes>>;

/// A change of a name that is not durable.
enum Change {
    Create(PathBuf, MemFile),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Default)]
struct Inner {
    files: BTreeMap<PathBuf, MemFile>,
    durable: BTreeMap<PathBuf, MemFile>,
    renames: Vec<Change>,
    unreadable: BTreeSet<PathBuf>,
    changes: u64,
    fail_at: Option<u64>,
    full: Option<ErrorKind>,
}

#[derive(Clone, Default)]
pub(super) struct MemDisk(Arc<Mutex<Inner>>);

impl MemDisk {
    /// Lets the n-th change from now on, and all behind it, fail. A write that fails has reached the cache.
    pub(super) fn fail_at(&self, change: Option<u64>) {
        let mut inner = self.0.lock().unwrap();
        (inner.fail_at, inner.changes) = (change, 0);
    }

    /// Failed syncs were none: the process was killed before them, and the system still has everything to write.
    pub(super) fn keep_what_a_sync_lost(&self) {
        self.0.lock().unwrap().files.values().for_each(|file| file.lock().unwrap().lost.clear());
    }

    pub(super) fn set_full(&self, full: bool) {
        self.set_short(full.then_some(ErrorKind::StorageFull));
    }

    /// What the system has no more of when a file grows.
    pub(super) fn set_short(&self, of: Option<ErrorKind>) {
        self.0.lock().unwrap().full = of;
    }

    /// Lets every read of this file fail.
    pub(super) fn set_unreadable(&self, path: &Path) {
        self.0.lock().unwrap().unreadable.insert(path.to_owned());
    }

    /// What a power loss leaves: of each file what was synced and, of the rest, the first `torn` bytes. Names
    /// that were not synced are lost.
    pub(super) fn crash(&self, torn: usize) -> Self {
        self.crash_with(0, |bytes| {
            if torn == 0 || Arc::ptr_eq(&bytes.seen, &bytes.synced) {
                return Arc::clone(&bytes.synced);
            }
            let mut kept = bytes.synced.to_vec();
            let fresh = kept.iter_mut().zip(bytes.seen.iter()).filter(|(old, new)| old != new);
            fresh.take(torn).for_each(|(old, new)| *old = *new);
            Arc::new(kept)
        })
    }

    /// A power loss that keeps any of the sectors that were not synced, and either length, as `keep` says, and
    /// the first `names` changes of names that were not synced.
    pub(super) fn crash_by(&self, names: usize, mut keep: impl FnMut() -> bool) -> Self {
        self.crash_with(names, |bytes| {
            if Arc::ptr_eq(&bytes.seen, &bytes.synced) {
                return Arc::clone(&bytes.synced);
            }
            let mut kept = bytes.synced.to_vec();
            if kept.len() != bytes.seen.len() && keep() {
                kept.resize(bytes.seen.len(), 0);
            }
            for (old, new) in kept.chunks_mut(SECTOR).zip(bytes.seen.chunks(SECTOR)) {
                let len = old.len().min(new.len());
                if old[..len] != new[..len] && keep() {
                    old[..len].copy_from_slice(&new[..len]);
                }
            }
            Arc::new(kept)
        })
    }

    fn crash_with(&self, names: usize, mut content: impl FnMut(&Bytes) -> Arc<Vec<u8>>) -> Self {
        let inner = self.0.lock().unwrap();
        let mut kept = inner.durable.clone();
        for change in inner.renames.iter().take(names) {
            match change {
                Change::Create(path, file) => drop(kept.insert(path.clone(), Arc::clone(file))),
                Change::Rename(from, to) => {
                    let file = kept.remove(from).unwrap();
                    kept.insert(to.clone(), file);
                }
                Change::Remove(path) => drop(kept.remove(path)),
            }
        }
        let mut copy = |file: &MemFile| {
            let seen = content(&file.lock().unwrap());
            Arc::new(Mutex::new(Bytes { synced: Arc::clone(&seen), seen, ..Bytes::default() }))
        };
        let files: BTreeMap<_, _> = kept.iter().map(|(path, file)| (path.clone(), copy(file))).collect();
        Self(Arc::new(Mutex::new(Inner { durable: files.clone(), files, ..Inner::default() })))
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().unwrap().files.keys().cloned().collect()
    }

    pub(super) fn content(&self, path: &Path) -> Arc<Vec<u8>> {
        Arc::clone(&self.open(path).unwrap().lock().unwrap().seen)
    }

    pub(super) fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.open(path).unwrap();
        let mut bytes = file.lock().unwrap();
        change(Arc::make_mut(&mut bytes.seen));
        bytes.synced = Arc::clone(&bytes.seen);
    }

    fn change(&self) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.changes += 1;
        match inner.fail_at {
            Some(at) if inner.changes >= at => Err(io::Error::other("injected")),
            _ => Ok(()),
        }
    }
}

impl Disk for MemDisk {
    type File = MemFile;

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.paths())
    }

    fn create(&self, path: &Path) -> io::Result<MemFile> {
        self.change()?;
        let mut inner = self.0.lock().unwrap();
        if inner.files.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = MemFile::default();
        inner.files.insert(path.to_owned(), Arc::clone(&file));
        inner.renames.push(Change::Create(path.to_owned(), Arc::clone(&file)));
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<MemFile> {
        self.0.lock().unwrap().files.get(path).cloned().ok_or(ErrorKind::NotFound.into())
    }

    fn len(&self, file: &MemFile) -> io::Result<u64> {
        Ok(file.lock().unwrap().seen.len() as u64)
    }

    fn read_at(&self, file: &MemFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let inner = self.0.lock().unwrap();
        if inner.unreadable.iter().any(|path| inner.files.get(path).is_some_and(|bad| Arc::ptr_eq(bad, file)))
        {
            return Err(io::Error::from_raw_os_error(5));
        }
        let file = file.lock().unwrap();
        let range = offset as usize..offset as usize + buffer.len();
        buffer.copy_from_slice(file.seen.get(range).ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, file: &MemFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        let outcome = self.change();
        let mut file = file.lock().unwrap();
        let end = offset as usize + bytes.len();
        if end > file.seen.len()
            && let Some(kind) = self.0.lock().unwrap().full
        {
            return Err(kind.into());
        }
        let seen = Arc::make_mut(&mut file.seen);
        if end > seen.len() {
            seen.resize(end, 0);
        }
        seen[offset as usize..end].copy_from_slice(bytes);
        file.lost.retain(|sector| (sector + 1) * SECTOR <= offset as usize || sector * SECTOR >= end);
        outcome
    }

    fn set_len(&self, file: &MemFile, len: u64) -> io::Result<()> {
        self.change()?;
        Arc::make_mut(&mut file.lock().unwrap().seen).resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self, file: &MemFile) -> io::Result<()> {
        let outcome = self.change();
        let mut file = file.lock().unwrap();
        if outcome.is_err() {
            let fresh = file.unsynced();
            file.lost.extend(fresh);
            return outcome;
        }
        let mut synced = Arc::clone(&file.seen);
        for sector in &file.lost {
            let old = file.synced.get(sector * SECTOR..).unwrap_or_default();
            let new = Arc::make_mut(&mut synced).get_mut(sector * SECTOR..).unwrap_or_default();
            let len = new.len().min(SECTOR);
            (0..len).for_each(|at| new[at] = old.get(at).copied().unwrap_or(0));
        }
        file.synced = synced;
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.change()?;
        let mut inner = self.0.lock().unwrap();
        inner.durable = inner.files.clone();
        inner.renames.clear();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        let mut inner = self.0.lock().unwrap();
        let file = inner.files.remove(from).ok_or(ErrorKind::NotFound)?;
        inner.files.insert(to.to_owned(), file);
        inner.renames.push(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        let mut inner = self.0.lock().unwrap();
        inner.files.remove(path).ok_or(ErrorKind::NotFound)?;
        inner.renames.push(Change::Remove(path.to_owned()));
        Ok(())
    }
}
