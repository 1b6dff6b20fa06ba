//! The way out: from the journal to a sink until it confirms, or to workers until they acknowledge.
//!
//! [`crate::lanes`] queue what is pending, one for each source; [`Relay`] pushes it to a [`crate::sink::Sink`];
//! [`Inbox`] lets workers take it. A record's life ends by a durable mark and by nothing else.

mod backoff;
mod inbox;
mod lease;
mod opened;
mod parts;
mod progress;
mod raise;
mod run;
mod settle;
mod shared;
mod step;
mod suspects;
#[cfg(test)]
mod tests;
mod told;
mod waiting;
mod yielding;

pub use inbox::{Inbox, InboxError, InboxParts, Leased, Wanted};
pub use run::{Relay, RelayParts, RelaySettings, WATERMARK_STEP};
