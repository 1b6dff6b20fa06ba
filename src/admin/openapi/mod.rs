//! The description of all calls (OpenAPI 3.1), which the listener itself answers: `GET /v1/openapi.json`.
//!
//! Calls whose answers are types of their own describe themselves where they are. What is put together from what other
//! rooms show is described here: `calls` has the paths, `shapes` the forms, `refused` what is
//! answered otherwise, `dead` both of the dead letters; a test holds both against real answers.

mod answer;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod dead;
#[cfg(test)]
mod document;
mod refused;
#[cfg(test)]
mod shapes;

pub(super) use answer::document;
#[cfg(test)]
pub(crate) use document::described;
pub(super) use refused::{Problem, Refused};
