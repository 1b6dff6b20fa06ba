//! The listener for operators and workers: health, metrics, notices, events, their history, arming, reloading, the inbox. Never on the ingress port.

mod arm;
#[cfg(any(test, feature = "fuzzing"))]
mod calls;
mod events;
mod guard;
mod health;
mod history;
mod inbox;
mod notices;
mod quarantine;
mod reload;
mod server;
mod tail;

#[cfg(any(test, feature = "fuzzing"))]
pub use calls::read_or_told;
pub use guard::{Guard, Tokens};
pub use health::{Health, Readiness};
pub use reload::{ReloadAnswer, ReloadOrder};
pub use server::{Admin, AdminParts, Known, Live};
