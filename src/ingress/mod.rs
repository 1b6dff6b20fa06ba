//! The HTTP edge: from a socket to a [`crate::delivery::Delivery`], and from an answer to a response.
//!
//! It decides nothing about a delivery but what can be told without the secret: path, method, encoding, size,
//! time. The only room beside `admin` that knows actix.

mod body;
mod handshake;
mod peer;
mod respond;
mod server;
pub mod tls;

pub use peer::TrustedProxies;
pub use server::{Gate, Ingress, IngressSettings, Routes};
