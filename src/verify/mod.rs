//! Proof that the sender knows the secret, over the exact bytes that arrived. Mints [`Verified`].
//!
//! Handshakes are answered here where a key goes into the answer, since no key leaves this room.
//! The same rules sign: [`sign()`] makes what [`Verifier`] accepts, for samples and tests.

mod algorithm;
mod beside;
mod candidates;
mod captured;
mod certificate;
mod claims;
mod content;
mod der;
mod digest;
mod ed25519;
mod fetched;
mod handshake;
mod header;
mod jwt;
mod key;
mod late;
mod private;
mod public;
mod seal;
mod sign;
mod skeleton;
mod spki;
mod token;
mod verifier;

#[cfg(test)]
mod tests;

pub use captured::CapturedKeys;
pub use certificate::{ClientChain, ClientRule, NoSubject, RuleError, Subject};
pub use fetched::{
    CheckError, Client, ClientError, ClientSettings, Document, DocumentError, Keyring, KeyringParts, Visits,
    operators_tls,
};
pub use key::{Key, KeyError};
pub use sign::{SignError, Signer, sign};
pub use verifier::{Verified, Verifier};
