//! The description of all calls (OpenAPI 3.1), which the listener itself answers: `GET /v1/openapi.json`.
//!
//! Calls whose answers are types of their own describe themselves where they are. What is put together from what other
//! rooms show is described here: `calls` has the paths, `shapes` the forms, `dead` both of the dead letters; a test holds both against real answers.

mod calls;
mod dead;
mod document;
mod shapes;

pub(super) use document::document;
pub(super) use shapes::{Problem, Refused};
