//! Client certificates: whose a source wants, and whether a connection's is one of them.
//!
//! The handshake has proved that the client holds the key (`ingress::tls`); here is judged what the certificate says,
//! for each source by its own authorities. Nothing is read, fetched or kept but the last chain that passed.

mod rule;
mod subject;

pub use rule::{ClientChain, ClientRule, RuleError};
pub use subject::{NoSubject, Subject};
