//! Payload schemas: compiled at start, offline, with patterns that match in linear time.
//!
//! `store` holds them by event type and gives the verdict; the crate `jsonschema` over a tree of the payload is the
//! authority. `quick` stands before it: it says «valid» of most payloads from their bytes alone, and nothing else ever.
//! `check` tells all that is wrong, for who asks. A verdict never stops a delivery by itself: what becomes of an invalid one is the source's setting.

mod check;
mod quick;
mod store;

pub use check::{Checked, Violation};
pub use store::{SchemaError, Schemas, Verdict};
