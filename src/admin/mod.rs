//! The listener for operators and workers: health, metrics, events, arming, the inbox. Never on the ingress port.

mod arm;
mod events;
mod guard;
mod health;
mod inbox;
mod server;

pub use arm::Arming;
pub use guard::Guard;
pub use health::{Health, Readiness};
pub use server::{Admin, AdminParts};
