//! The HTTP edge: from a socket to a [`crate::delivery::Delivery`], and from an answer to a response.
//!
//! It decides nothing about a delivery but what can be told without the secret: framing, path, method, encoding,
//! size, time, address. The only room beside `admin` that knows actix.

mod asked;
mod body;
mod connection;
mod flood;
mod handshake;
mod memory;
mod peer;
mod respond;
mod server;
mod table;
pub mod tls;

pub use body::BODY_OVERHEAD;
#[cfg(any(test, feature = "fuzzing"))]
pub use connection::reads_alike;
pub use connection::{Door, Limits};
pub use peer::TrustedProxies;
pub use server::{Gate, Ingress, IngressSettings};
pub use table::{Live, Table};
