//! Confirm mode, the way to a 2xx without a journal: claim in Redis, publish, RabbitMQ's confirm.
//!
//! `confirmer` is the front: who is let in, what becomes of those who wait at a stop. `attempt` is one event's way.
//! `untold` keeps what Redis still has to be told. Nothing here touches a disk, and nothing is retried here: whoever
//! is refused sends again, and finds the claim as the last attempt left it.

mod attempt;
mod confirmer;
mod parts;
mod untold;

#[cfg(test)]
mod tests;

pub use confirmer::{ConfirmParts, ConfirmSettings, Confirmer};
