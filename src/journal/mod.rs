//! Journal: kept once acknowledged. A log of segment files with one writer, who mints receipts, and any number
//! of readers; an `Archive` reads a folder as a bystander. Never interprets a body, never retries a failed write.

mod archive;
mod aside;
mod backup;
mod batch;
#[cfg(any(test, feature = "fuzzing"))]
mod bytes;
mod commit;
mod envelope;
mod error;
mod folder;
mod helper;
mod ledger;
mod maintain;
mod parts;
mod reader;
mod record;
mod recover;
mod repair;
mod room;
mod segment;
mod survey;
mod walk;

#[cfg(test)]
mod tests;

pub use archive::{Archive, Damaged, Facts, Kept, SegmentFacts};
pub use aside::{Salvaged, aside_origin, salvage};
pub use backup::{BackedUp, RESTORED, back_up, is_restored, note_taken_in};
#[cfg(any(test, feature = "fuzzing"))]
pub use bytes::read_back;
pub use commit::{Appended, Commit, Journal, Receipt, Settings, Stats};
pub use envelope::Summary;
pub use error::JournalError;
pub use folder::check_format;
pub use helper::Upkeep;
pub use ledger::{Standing, State};
pub use reader::{LiveRecord, Reader, Scan, ScanBudget};
pub use record::Mark;
pub use recover::{DamageReport, LiveCounts, Recovery, Tally};
pub use room::{Room, Shortage};
pub use segment::Position;
pub use survey::{Found, Survey, Within};
