//! The file of a captured secret: what it holds, read at start and replaced whole at each capture.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::disk::{self, Disk};
use crate::failpoint::{self, Point};

/// How long the secret before the last one stays valid.
const ROLL: Duration = Duration::from_secs(3600);
/// Longest file: two secrets, each byte of which JSON may write with six.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// What the name ends with until all is written.
const UNDONE: &str = "undone";

/// Why the file cannot be used; never with any of its text.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is there and cannot be read.
    #[error("file {} cannot be read: {}", .0.display(), .1)]
    Unreadable(PathBuf, io::Error),
    /// It holds something else.
    #[error("file {} is not what a capture writes (line {}, column {})", .0.display(), .1, .2)]
    Foreign(PathBuf, usize, usize),
    /// What it holds is not in the form that the scheme wants.
    #[error("file {} holds a secret that cannot be used: {}", .0.display(), .1)]
    Unusable(PathBuf, crate::verify::KeyError),
}

/// A captured secret, and the one before it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub secret: Text,
    pub captured_at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Former>,
}

/// The secret before the last one.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Former {
    pub secret: Text,
    /// It no longer counts from then on.
    pub until: Moment,
}

/// A secret's text, wiped when dropped.
#[derive(Clone)]
pub(super) struct Text(pub Zeroizing<String>);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// A time as RFC 3339 writes it.
#[derive(Clone, Copy)]
pub(super) struct Moment(pub Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl Kept {
    /// What is kept once `secret` came at `now` after `before`.
    pub(super) fn after(before: Option<&Self>, secret: &str, now: Timestamp) -> Self {
        let previous = match before {
            Some(same) if *same.secret.0 == secret => same.previous.clone(),
            Some(other) => Some(Former { secret: other.secret.clone(), until: Moment(now.plus(ROLL)) }),
            None => None,
        };
        Self { secret: Text(Zeroizing::new(secret.to_owned())), captured_at: Moment(now), previous }
    }
}

/// What the file holds; nothing where there is none.
///
/// # Errors
/// [`FileError`].
pub(super) fn read(path: &Path) -> Result<Option<Kept>, FileError> {
    let unreadable = |error| FileError::Unreadable(path.to_owned(), error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut text = Zeroizing::new(Vec::with_capacity(4096));
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(unreadable)?;
    let foreign =
        |error: serde_json::Error| FileError::Foreign(path.to_owned(), error.line(), error.column());
    serde_json::from_slice(&text).map(Some).map_err(foreign)
}

/// Puts `kept` in the file's place, readable by the owner alone; when this returns, it is there for good.
///
/// # Errors
/// Where the disk refuses; then what was there before is there still, or `kept` is.
pub(super) fn write<D: Disk>(disk: &D, path: &Path, kept: &Kept) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut undone = path.as_os_str().to_owned();
    undone.push(".");
    undone.push(UNDONE);
    let undone = PathBuf::from(undone);
    disk.create_dir(folder)?;
    let text = Zeroizing::new(serde_json::to_vec_pretty(kept)?);
    disk::write_anew(disk, &undone, &text)?;
    failpoint::reach(Point::CaptureRenameBefore);
    disk.rename(&undone, path)?;
    failpoint::reach(Point::CaptureRenameAfter);
    disk.sync_dir(folder)
}
