//! Proof that the sender knows the secret, over the exact bytes that arrived. Mints [`Verified`].
//!
//! The same rules sign: [`sign()`] makes what [`Verifier`] accepts, for samples and tests.

mod algorithm;
mod beside;
mod candidates;
mod claims;
mod content;
mod der;
mod digest;
mod ed25519;
mod header;
mod jwt;
mod key;
mod private;
mod public;
mod seal;
mod sign;
mod spki;
mod token;
mod verifier;

#[cfg(test)]
mod tests;

pub use key::{Key, KeyError};
pub use sign::{SignError, sign};
pub use verifier::{Verified, Verifier};
