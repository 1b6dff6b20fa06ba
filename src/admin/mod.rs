//! The listener for operators and workers: health, metrics, what is configured, notices, events, their history, dead letters, arming, reloading, samples and payloads on trial, the inbox, the console. Never on the ingress port.

mod about;
mod arm;
mod arrival;
#[cfg(any(test, feature = "fuzzing"))]
mod calls;
mod console;
mod dead;
mod drain;
mod events;
mod guard;
mod health;
mod history;
mod inbox;
mod known;
mod notices;
mod openapi;
mod order;
mod pace;
mod quarantine;
mod reload;
mod sample;
mod schema;
mod server;
mod sources;
mod tail;

#[cfg(any(test, feature = "fuzzing"))]
pub use calls::{meant_or_told, read_or_told};
pub use guard::{Guard, Tokens};
pub use health::{Check, Health, Readiness};
pub use known::{ConfigValue, ConfiguredSecret, Known, LimitFacts, Live, ProviderFacts, Shown, SourceFacts};
#[cfg(test)]
pub(crate) use openapi::described;
pub use pace::Pace;
pub use reload::{ReloadAnswer, ReloadOrder};
pub use server::{Admin, AdminParts};
