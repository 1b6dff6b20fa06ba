//! The properties of what callers of the admin listener write: queries, orders, tokens. In tests and under the feature
//! `fuzzing` only.

use super::{dead, events, inbox};
use crate::accept::Action;
use crate::clock::Timestamp;

/// A query of a list, the body of an order, and a worker's tokens: read, or told what is allowed.
pub fn read_or_told(data: &[u8]) {
    let now = Timestamp::from_seconds(1_700_000_000);
    events::read_or_told(data, now, Action::Replay);
    inbox::read_back(data);
}

/// An order about dead letters: meant in one way, or told what is allowed.
pub fn meant_or_told(data: &[u8]) {
    dead::meant_or_told(data);
}
