//! The file system, as little of it as the gateway needs: the only file that writes to disk.
//!
//! [`Disk`] is a test seam: [`RealDisk`] in production, a failing or simulated one in tests. Journal and
//! dedup key files both stand on it, which is why it is a noun and not a part of `journal`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// What memory, places and lengths of writes past the page cache are multiples of; no device in use has larger blocks.
const BLOCK: usize = 4096;

/// What the stores ask of a file system. Every method may fail; none retries. After a failed
/// [`Disk::sync`] the state of the file's unsynced bytes is unknown and stays so.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file; reading and writing take positions, so it can be shared between threads.
    type File: Send + Sync + 'static;

    /// Makes the folder and its parents, readable by the owner alone, if missing.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// The files directly inside `dir`, in no particular order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Creates a file that must not exist yet.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// The file's length in bytes.
    fn len(&self, file: &Self::File) -> io::Result<u64>;
    /// Fills `buffer` from `offset`; an end of file before that is `UnexpectedEof`.
    fn read_at(&self, file: &Self::File, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// The same for bytes that nobody reads soon, of a file that nobody else writes or reads at that moment.
    fn write_aside(&self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(file, bytes, offset)
    }
    /// Cuts or extends (with zeroes) to `len` bytes.
    fn set_len(&self, file: &Self::File, len: u64) -> io::Result<()>;
    /// Makes data (and the length, if it changed) durable: `fdatasync`.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Makes created, renamed and removed names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Renames atomically, replacing `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Unlinks a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Takes the advisory lock on an open file until it is dropped; false where another process has it.
    /// A disk that no other process can see has nothing to do.
    fn try_lock(&self, _file: &Self::File) -> io::Result<bool> {
        Ok(true)
    }
}

/// True where an error says that the system has no more of something, be it space, quota, memory or file
/// descriptors: that ends, and is no damage.
pub fn is_full(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    lacks_space(error)
        || error.kind() == io::ErrorKind::OutOfMemory
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// Writes a file that takes another's place once it is renamed: durable, and instead of what an earlier try has left at
/// its path.
///
/// # Errors
/// Where the disk refuses; nothing but this file has changed then.
pub fn write_anew<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = disk.create(path)?;
    disk.write_at(&file, bytes, 0)?;
    disk.sync(&file)
}

/// True where removing files would help.
pub fn lacks_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Zeroes that lie in memory as [`Disk::write_aside`] wants it.
pub struct Zeroes {
    room: Vec<u8>,
    start: usize,
}

impl Zeroes {
    /// So many.
    pub fn new(len: usize) -> Self {
        let room = vec![0; len + BLOCK];
        let start = room.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { room, start }
    }

    /// The first `len` of them; fewer where there are fewer.
    pub fn first(&self, len: usize) -> &[u8] {
        let all = self.room.get(self.start..self.room.len() + self.start - BLOCK).unwrap_or_default();
        all.get(..len).unwrap_or(all)
    }
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    type File = File;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| entry.map(|e| e.path())).collect()
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Past the page cache where the file system can: a copy there would cost as much as writing the events does.
    fn write_aside(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let aligned = bytes.as_ptr().align_offset(BLOCK) == 0
            && bytes.len().is_multiple_of(BLOCK)
            && offset.is_multiple_of(BLOCK as u64);
        let flags = fcntl_getfl(file)?;
        if aligned && fcntl_setfl(file, flags | OFlags::DIRECT).is_ok() {
            let written = file.write_all_at(bytes, offset);
            fcntl_setfl(file, flags)?;
            match written {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                written => return written,
            }
        }
        self.write_at(file, bytes, offset)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn try_lock(&self, file: &File) -> io::Result<bool> {
        match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Files that are only read, whoever writes them; every change is refused. Where `base` is set, a file is a range that was
/// cut out of another at that offset, and offsets count as they did there.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnly {
    /// The offset that the first byte of each file has.
    pub base: u64,
}

fn read_only<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "this is only read"))
}

impl Disk for ReadOnly {
    type File = File;

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        read_only()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(dir)
    }

    fn create(&self, _path: &Path) -> io::Result<File> {
        read_only()
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        // To open a pipe would wait for its writer, for ever if there is none.
        match fs::metadata(path)?.is_file() {
            true => File::open(path),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no regular file")),
        }
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        RealDisk.len(file)
    }

    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let offset = offset.checked_sub(self.base).ok_or(io::ErrorKind::UnexpectedEof)?;
        file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, _file: &File, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        read_only()
    }

    fn set_len(&self, _file: &File, _len: u64) -> io::Result<()> {
        read_only()
    }

    fn sync(&self, _file: &File) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        read_only()
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        read_only()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_past_the_page_cache_is_read_back_whatever_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.create(&dir.path().join("file")).unwrap();
        RealDisk.write_at(&file, &[7; 3 * BLOCK], 0).unwrap();
        let zeroes = Zeroes::new(BLOCK);
        assert_eq!((zeroes.first(BLOCK).len(), zeroes.first(usize::MAX).len()), (BLOCK, BLOCK));
        RealDisk.write_aside(&file, zeroes.first(BLOCK), BLOCK as u64).unwrap();
        RealDisk.write_aside(&file, zeroes.first(5), 1).unwrap();
        RealDisk.sync(&file).unwrap();
        let mut read = vec![1; 3 * BLOCK];
        RealDisk.read_at(&file, &mut read, 0).unwrap();
        let zero = |at: usize| (1..6).contains(&at) || (BLOCK..2 * BLOCK).contains(&at);
        assert!(read.iter().enumerate().all(|(at, byte)| *byte == if zero(at) { 0 } else { 7 }));
        assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT), "as it was");
    }
}
