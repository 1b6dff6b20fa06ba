//! The command line: a file for each subcommand, exit codes as in [`crate::exit`]. Data on stdout, talk on stderr.
//!
//! `assemble` turns a configuration into sources, with every check that needs provider files; `gateway` is the
//! composition root, where stores, threads and listeners are put together; `supervisor` is how it tells systemd.

mod access;
mod args;
mod assemble;
mod caller;
mod captured;
mod check;
mod completions;
mod consume;
mod dead;
mod demo;
mod drain;
mod events;
mod explain;
mod fetching;
mod files;
mod follow;
mod gateway;
mod healthcheck;
mod history;
mod http;
mod init;
mod journal;
mod listen;
mod man;
mod output;
mod paths;
mod places;
mod progress;
mod providers;
mod quarantine;
mod reload;
mod schema;
mod secret;
mod send;
mod serve;
mod sign;
mod stages;
mod stop;
mod supervisor;
mod tls;
mod top;
mod traces;
mod vectors;
mod verify;

pub use args::main;
