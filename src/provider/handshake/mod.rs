//! Handshakes: a provider's questions about the endpoint itself, answered without an event.
//!
//! [`HandshakeDefinition`] is their form in a provider file; [`Handshakes`] are those of a scheme, checked. A
//! handshake says what its request looks like and what is answered: fixed text, JSON, and values echoed from the
//! request. It never computes anything with a secret, so no answer holds a MAC of text that the caller chose.

mod answer;
mod check;
mod conditions;
mod definition;
mod handshakes;

#[cfg(test)]
mod tests;

pub use answer::HandshakeAnswer;
pub use definition::HandshakeDefinition;
pub use handshakes::Handshakes;
