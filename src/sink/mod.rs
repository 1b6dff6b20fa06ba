//! Where events go: one trait, [`Sink`], and a driver for each destination.
//!
//! A sink publishes what the relay hands it, in that order, and tells truly what became of each message. It
//! never retries, never reorders and never decides about duplicates: that is the relay's.

pub mod inbox;
mod publish;
pub mod rabbitmq;
pub mod stdout;

pub use publish::{Attempt, Confirmation, Confirmed, HeaderValue, Health, Message, Pending, Sink, State};
