//! The command line: a file for each subcommand, exit codes as in [`crate::exit`]. Data on stdout, talk on stderr.
//!
//! `assemble` turns a configuration into sources, with every check that needs provider files; `gateway` is the
//! composition root, where stores, threads and listeners are put together.

mod access;
mod args;
mod assemble;
mod check;
mod consume;
mod demo;
mod events;
mod gateway;
mod http;
mod journal;
mod sample;
mod send;
mod serve;
mod stop;
mod tamper;
mod vectors;

pub use args::main;
