//! The journal's folder: its lock and its identity. Knows nothing of records.
//!
//! `replica` holds the random id as 32 hexadecimal digits, a space and the CRC-32C of these digits as 8 more.
//! The id seeds every check in the segments; where the file is lost, the segments' headers restore it.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::error::{IoContext, JournalError};
use super::segment::{self, HEADER, Header};
use crate::disk::Disk;
use crate::failpoint::{self, Point};

/// Locks the folder for as long as the returned file lives.
pub(super) fn lock<D: Disk>(disk: &D, dir: &Path) -> Result<D::File, JournalError> {
    let path = dir.join("lock");
    let file = match disk.create(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => disk.open(&path),
        created => created,
    };
    let file = file.context("open", &path)?;
    match disk.try_lock(&file).context("lock", &path)? {
        true => Ok(file),
        false => Err(JournalError::Locked { path }),
    }
}

/// The journal's id: from its file, else from its segments, else a new one.
pub(super) fn identity<D: Disk>(disk: &D, dir: &Path, numbers: &[u64]) -> Result<[u8; 16], JournalError> {
    let path = dir.join("replica");
    if let Some(id) = stored(disk, &path)? {
        return Ok(id);
    }
    let mut id = None;
    for number in numbers {
        id = id.or(header(disk, dir, *number)?.map(|header| header.journal));
    }
    let id = match id {
        Some(id) => id,
        None => random().context("read", Path::new("/dev/urandom"))?,
    };
    let digits = hex::encode(id);
    let line = format!("{digits} {:08x}\n", crc32c::crc32c(digits.as_bytes()));
    let fresh = dir.join("replica.new");
    let file = match disk.create(&fresh) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => disk.open(&fresh),
        created => created,
    };
    let file = file.context("create", &fresh)?;
    disk.set_len(&file, 0).context("cut", &fresh)?;
    disk.write_at(&file, line.as_bytes(), 0).context("write", &fresh)?;
    disk.sync(&file).context("sync", &fresh)?;
    failpoint::reach(Point::JournalIdentitySynced);
    disk.rename(&fresh, &path).context("rename", &path)?;
    failpoint::reach(Point::JournalIdentityRenamed);
    disk.sync_dir(dir).context("sync", dir)?;
    Ok(id)
}

/// The journal's id as a bystander finds it; nothing is written.
pub(super) fn known_identity<D: Disk>(
    disk: &D,
    dir: &Path,
    numbers: &[u64],
) -> Result<[u8; 16], JournalError> {
    if let Some(id) = stored(disk, &dir.join("replica"))? {
        return Ok(id);
    }
    for number in numbers {
        if let Some(header) = header(disk, dir, *number)? {
            return Ok(header.journal);
        }
    }
    let dir = dir.display();
    Err(JournalError::Settings(format!("{dir} holds no journal: no replica file, and no whole segment")))
}

/// The header of a segment, none where it is damaged or not written.
pub(super) fn header<D: Disk>(disk: &D, dir: &Path, number: u64) -> Result<Option<Header>, JournalError> {
    let path = segment::path(dir, number);
    let file = disk.open(&path).context("open", &path)?;
    let mut bytes = [0; HEADER as usize];
    if disk.len(&file).context("measure", &path)? < HEADER {
        return Ok(None);
    }
    disk.read_at(&file, &mut bytes, 0).context("read", &path)?;
    Header::decode(&bytes).map_err(|found| JournalError::Version { path, found, known: segment::VERSION })
}

/// Refuses a folder with a segment of another format; nothing is written. To be asked before anything in the folder is put
/// right, the key files in it too: what that takes, its own version knows.
///
/// # Errors
/// The first segment of another format, or where the file system fails.
pub fn check_format<D: Disk>(disk: &D, dir: &Path) -> Result<(), JournalError> {
    match disk.list(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        _ => segment::numbers(disk, dir)?.iter().try_for_each(|number| match header(disk, dir, *number) {
            // The gateway that writes here has let it go.
            Err(JournalError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
            read => read.map(drop),
        }),
    }
}

fn stored<D: Disk>(disk: &D, path: &Path) -> Result<Option<[u8; 16]>, JournalError> {
    let file = match disk.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.context("open", path)?,
    };
    let mut line = [0; 41];
    match disk.read_at(&file, &mut line, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read.context("read", path)?,
    }
    let (digits, check) = line.split_at(32);
    let mut id = [0; 16];
    let whole = check == format!(" {:08x}", crc32c::crc32c(digits)).as_bytes();
    Ok((whole && hex::decode_to_slice(digits, &mut id).is_ok()).then_some(id))
}

fn random() -> io::Result<[u8; 16]> {
    let mut id = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut id)?;
    Ok(id)
}
