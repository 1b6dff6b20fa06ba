//! The listener for operators and workers: health, metrics, events, the inbox. Never on the ingress port.

mod events;
mod guard;
mod health;
mod inbox;
mod server;

pub use guard::Guard;
pub use health::{Health, Readiness};
pub use server::{Admin, AdminParts};
