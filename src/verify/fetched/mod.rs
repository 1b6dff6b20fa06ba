//! Keys that a provider publishes, fetched by `https` from where its file says: the one place of a pure stage that
//! does I/O, and only for schemes with `key.fetch`.
//!
//! - `address`: which addresses may be called. `client`: one bounded GET. `document`: keys out of what came.
//! - `cache`: what is known, and when to ask again; it does no I/O. `keyring`: both together, one fetch for all who wait.
//!   `prove`: verification with it.
//! - `visits`: URLs that a verified handshake asks to be called.

mod address;
mod cache;
mod client;
mod document;
mod keyring;
mod prove;
mod visits;

pub use client::{Client, ClientError, ClientSettings, operators_tls};
pub(super) use document::LABEL as FETCHED_LABEL;
pub use document::{Document, DocumentError};
pub use keyring::{CheckError, Keyring, KeyringParts};
pub use visits::Visits;
