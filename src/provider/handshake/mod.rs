//! Handshakes: a provider's questions about the endpoint itself, answered without an event.
//!
//! [`HandshakeDefinition`] is their form in a provider file; [`Handshakes`] are those of a scheme, checked. A
//! handshake says what its request looks like and what is answered: fixed text, JSON, values echoed from the
//! request, and values computed from them. It holds no key: a MAC is made by who lends a [`Mint`], and one that
//! anybody may ask for is over texts of one shape alone, in which no delivery is believed. What accepted events are
//! answered with, an [`EventAnswer`], is written and checked likewise.

mod answer;
mod check;
mod computed;
mod conditions;
mod definition;
mod handshakes;
mod keys;
mod pattern;

#[cfg(test)]
mod tests;

pub use answer::{Captured, EventAnswer, HandshakeAnswer};
pub(super) use check::event_answer;
pub use computed::{Made, Mint};
pub use definition::{AnswerDefinition, Expected, HandshakeDefinition, Scalar};
pub use handshakes::Handshakes;
