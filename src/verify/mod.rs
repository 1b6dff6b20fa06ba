//! Proof that the sender knows the secret, over the exact bytes that arrived. Mints [`Verified`].
//!
//! Handshakes are answered here where a key goes into the answer, since no key leaves this room.
//! The same rules sign: [`sign()`] makes what [`Verifier`] accepts, for samples and tests.

mod algorithm;
mod captured;
mod content;
mod digest;
mod ed25519;
mod handshake;
mod header;
mod key;
mod sign;
mod verifier;

#[cfg(test)]
mod tests;

pub use captured::CapturedKeys;
pub use key::{Key, KeyError};
pub use sign::{SignError, sign};
pub use verifier::{Verified, Verifier};
