//! What design and README promise, a test for each case, named by its promise; `cases.toml` lists them all.
//!
//! A fault comes at a chosen moment, not at random: at a failpoint, behind a proxy, in a system call. Random kills
//! under load are in `crash` and in the crash harness.

mod clock;
mod disk;
mod forwarded;
mod kept;
mod shared;
mod steps;
mod table;
