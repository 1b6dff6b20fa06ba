//! TLS at the ingress: from a socket to a stream of plain bytes, with the certificate of its client.
//!
//! It decides nothing about requests. `accept` shakes hands; `pair` reads a certificate with its key; `files` watches
//! the two in files, and `acme` gets them from an authority; `served` is what is shown, swapped while connections run;
//! `config` is what rustls is told. Whether a client's certificate suits a source is judged in `verify`.

mod accept;
mod acme;
mod asking;
mod config;
mod failure;
mod files;
mod kept;
mod open;
mod pair;
mod served;

#[cfg(test)]
mod tests;

pub use accept::{Accepted, Stream};
pub use acme::AcmeSettings;
pub use config::MinVersion;
pub use open::{CertificateFrom, Tls, TlsError, TlsSettings};
