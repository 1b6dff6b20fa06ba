//! The properties that every parser of what strangers send holds, each a function of any bytes that panics where one is
//! broken. In tests and under the feature `fuzzing` only.
//!
//! `tests/fuzz/` feeds them what a fuzzer makes up; the tests here replay the corpora that it left, on every run. They
//! see the parsers as the rest of the gateway does, through the doors of [`crate::extract`], [`crate::provider`] and
//! [`crate::verify`]. Never a parser's own test: those stand beside it.

mod bodies;
mod edges;
mod files;
mod long;
mod places;
mod short;
mod signatures;
mod targets;
mod tokens;

#[cfg(test)]
mod tests;

pub use bodies::{form, json, multipart, spelling, xml};
pub use edges::{admin, config, payload, record, request};
pub use files::{definition, document, key};
pub use long::long;
pub use places::{base64, place, template, time, url};
pub use short::short;
pub use signatures::{grammar, verify};
pub use targets::{TARGETS, Target};
pub use tokens::token;
