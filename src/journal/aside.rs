//! Files that a start of the gateway set aside: copies of damaged ranges, under names that tell where they came from. What
//! is whole in them can be read, and what is not can be told. Never writes.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::envelope;
use super::error::{IoContext, JournalError};
use super::folder;
use super::record::{ALIGN, FRAME, Kind, MOVE, Seal};
use super::segment;
use super::walk::Walk;
use crate::disk::{Disk as _, ReadOnly};
use crate::event::{Event, Sequence};

/// A record of a range that was set aside.
#[derive(Clone, Debug)]
pub struct Salvaged {
    /// Its number.
    pub sequence: Sequence,
    /// Where it lay in its segment.
    pub offset: u64,
    /// The event; its envelope is as it was written.
    pub event: Event,
    /// Whether the body is, too.
    pub body_whole: bool,
}

/// The files set aside in a folder, in order of their names.
///
/// # Errors
/// Where the folder cannot be listed.
pub(super) fn files(dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let mut files = ReadOnly::default().list(dir).context("list", dir)?;
    files.retain(|file| origin(file).is_some());
    files.sort();
    Ok(files)
}

/// The segment and the offset that a file set aside was copied from.
pub(super) fn origin(file: &Path) -> Option<(u64, u64)> {
    let (number, offset) = file.file_name()?.to_str()?.strip_suffix(".damaged")?.split_once('.')?;
    Some((number.parse().ok()?, offset.parse().ok()?))
}

/// The records of a file set aside whose envelopes are whole, in the order in which they lay. The journal's id is read
/// from the file's folder.
///
/// # Errors
/// Where the file cannot be read or its name is not one of ours.
pub fn salvage(file: &Path) -> Result<Vec<Salvaged>, JournalError> {
    let Some((number, base)) = origin(file) else {
        let name = file.display();
        let text = format!("{name} is no file set aside; they are called <segment>.<offset>.damaged");
        return Err(JournalError::Settings(text));
    };
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let numbers = segment::numbers(&ReadOnly::default(), dir)?;
    let id = folder::known_identity(&ReadOnly::default(), dir, &numbers)?;
    let disk = ReadOnly { base };
    let opened = disk.open(file).context("open", file)?;
    let end = base.saturating_add(disk.len(&opened).context("measure", file)?);
    let seal = Seal::of(&id, number);
    let mut walk = Walk::new(&disk, &opened, seal, end);
    let (mut found, mut at) = (Vec::new(), base.next_multiple_of(ALIGN));
    while at + FRAME as u64 <= end {
        let Some(frame) = walk.frame(at).context("read", file)? else {
            at += ALIGN;
            continue;
        };
        let head = walk.head(at, &frame).context("read", file)?.to_vec();
        let body = Bytes::copy_from_slice(walk.body(at, &frame).context("read", file)?);
        let body_whole = frame.body_holds(&body, seal.at(at));
        let skip = match frame.kind {
            Kind::Event => Some(0),
            Kind::Moved => Some(MOVE),
            Kind::Marks | Kind::Watermarks | Kind::Gap => None,
        };
        let event = skip.and_then(|skip| envelope::event(head.get(skip..)?, body));
        found.extend(event.map(|event| Salvaged { sequence: frame.sequence, offset: at, event, body_whole }));
        at += frame.size();
    }
    Ok(found)
}

/// The segment and the offset in it that a file set aside was copied from; none where its name is not one of ours.
pub fn aside_origin(file: &Path) -> Option<(PathBuf, u64)> {
    let (number, offset) = origin(file)?;
    Some((segment::path(file.parent()?, number), offset))
}
