//! What can go wrong with the journal. An error of the single writer is final; bodies never appear in one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A fault of the journal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system failed. The writer is poisoned by it; a reader is not.
    #[error("journal: cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A record that was whole at the start cannot be read any more.
    #[error("journal: the record at {offset} of {} is damaged; a restart sets it aside and goes on", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Offset of the record.
        offset: u64,
    },
    /// A segment was written in another format.
    #[error(
        "journal: {} has format version {found}, this program reads version {known}; use the version of hookgate that wrote it",
        path.display()
    )]
    Version {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The only version that is read.
        known: u32,
    },
    /// A segment belongs to another journal or another place.
    #[error("journal: {} says that it is {found}, but {expected} was expected there; move the file away", path.display())]
    Foreign {
        /// The segment.
        path: PathBuf,
        /// What its header says.
        found: String,
        /// What the folder says.
        expected: String,
    },
    /// Another process has the journal open.
    #[error("journal: {} is locked by another process; a journal has one writer, give each its own folder", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The settings do not fit together.
    #[error("journal: {0}")]
    Settings(String),
    /// More was appended than [`room`](super::Journal::room) had allowed.
    #[error("journal: a batch of {bytes} bytes does not fit; ask for room before each append")]
    Overfull {
        /// Size of the batch.
        bytes: u64,
    },
}

impl JournalError {
    /// True where a file ended before what was to be read of it: somebody has cut it since it was measured.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof)
    }
}

/// Says what was tried on which file.
pub(super) trait IoContext<T> {
    fn context(self, operation: &'static str, path: &Path) -> Result<T, JournalError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, operation: &'static str, path: &Path) -> Result<T, JournalError> {
        self.map_err(|source| JournalError::Io { operation, path: path.to_owned(), source: Arc::new(source) })
    }
}
