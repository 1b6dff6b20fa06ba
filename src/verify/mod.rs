//! Proof that the sender knows the secret, over the exact bytes that arrived. Mints [`Verified`].
//!
//! The same rules sign: [`sign()`] makes what [`Verifier`] accepts, for samples and tests.

mod algorithm;
mod content;
mod digest;
mod ed25519;
mod fetched;
mod header;
mod key;
mod sign;
mod verifier;

#[cfg(test)]
mod tests;

pub use fetched::{
    CheckError, Client, ClientError, ClientSettings, Document, DocumentError, Keyring, KeyringParts, Visits,
};
pub use key::{Key, KeyError};
pub use sign::{SignError, sign};
pub use verifier::{Verified, Verifier};
