//! A connection from the moment it is accepted: who calls, how many may, and how fast and in which form.
//!
//! The HTTP library behind it sees nothing but whole heads that can be read in one way only, one request at a time,
//! and is never left waiting for a peer that does not go on. Nothing here knows sources or secrets.

#[cfg(any(test, feature = "fuzzing"))]
mod alike;
mod chunks;
mod door;
mod frame;
mod guard;
mod places;
mod proxy;
mod state;
mod timer;
mod transport;

#[cfg(any(test, feature = "fuzzing"))]
pub use alike::reads_alike;
pub use door::{Door, Limits};
pub(super) use guard::{Guarded, Rules};
pub(super) use state::State;
