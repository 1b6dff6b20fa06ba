//! Why a delivery was refused, found by trying what would have verified: other secrets, bodies, URLs, encodings, schemes.
//!
//! For operators alone, on the command line and in the log: no finding goes into an answer over HTTP, and none holds a
//! secret or any of a body. [`Case`] is one refusal with all that is known around it; [`Explainer`] finds causes in a
//! running gateway, on one thread of its own and within a budget.

mod bodies;
mod case;
mod cause;
mod endpoint;
mod explainer;
mod form;
mod layout;
mod secrets;
mod signature;
mod signed;
mod times;
mod urls;

pub use case::Case;
pub use cause::{Cause, Finding};
pub use endpoint::{Endpoint, KnownSecret};
pub use explainer::{Explainer, Surroundings, Turn};
