//! Notices: what an operator should know of without having looked.
//!
//! [`Kind`] lists them, with what to do; [`Judge`] finds them in a [`Situation`], for which it learns how long each source is
//! quiet as a rule (`silence`); [`Board`] says which of them begin and end. Whoever runs the gateway gathers situations and
//! tells of what the board says. Nothing here decides anything about an event.

mod board;
mod judge;
mod kind;
mod silence;

pub use board::{Board, Change, Notice};
pub use judge::{CERTIFICATE_ENDS_WITHIN, Found, Judge, Kept, Room, Situation, SourceNow, Subject};
pub use kind::Kind;
pub use silence::SilentAfter;
