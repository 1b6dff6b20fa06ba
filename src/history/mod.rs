//! History: what has come in and what became of it, kept to search in, in a SQLite file that is filled from the journal
//! behind the ACK and never in its way. Deleted, it is made anew from what the journal still holds.
//!
//! [`Steps`](crate::steps::Steps) tell what happens, [`Filler`] writes it down together with the journal's events, `store`
//! is the file, and [`History`] searches in it. Nothing here decides anything about an event.

mod course;
mod filler;
#[cfg(any(test, feature = "fuzzing"))]
mod found;
mod names;
mod pending;
mod quarantine;
mod refusals;
mod rows;
mod schema;
mod search;
mod store;
#[cfg(test)]
mod tests;

pub use filler::{Filler, FillerParts, Terms, Texts};
#[cfg(any(test, feature = "fuzzing"))]
pub use found::finds_what_has_the_words;
pub use quarantine::{Kept, KeptPage};
pub use refusals::{Failure, RefusalPage, RefusalQuery};
pub use rows::{CourseRow, EventPast, EventRow, RefusalRow, StepRow};
pub use search::{After, EventPage, History, HistoryError, Words};
