//! The quick look: «valid» said of a payload in one pass over its bytes, without a tree.
//!
//! A tree of a payload costs six times what its signature does, and nearly every payload is valid. So a schema is
//! compiled a second time here: `read` takes its keywords, `shape` makes of them one table for each place that a payload
//! can have, `walk` goes through the bytes with these. The answer is «valid» or «not sure», never «invalid»: whatever is
//! not decided here without any doubt is the crate's to decide, and so is every schema with a keyword that `read` does
//! not know. Stands below `store`; knows nothing of events and sources.

mod check;
mod program;
mod read;
mod shape;
#[cfg(test)]
mod tests;
mod walk;

pub(super) use program::Quick;
