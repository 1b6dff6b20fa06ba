//! What the local dedup index costs: memory and disk a key, probes and claims, and a start with many keys.
//!
//! `cargo run --release --example index -- keys --count 60000000` fills an index with a week of keys and measures it;
//! `cargo run --release --example index -- restart --gateway target/release/hookgate` fills journal and index of a data
//! folder and times the gateway from its start to the first 2xx. Both work on real files and stand outside the product;
//! figures are in `../index.md`.
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

#[path = "../histogram.rs"]
mod histogram;
mod keys;
mod restart;
mod timed;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures the dedup index
#[derive(Debug, Parser)]
#[command(name = "index", version)]
struct Options {
    /// Where the files go; a disk, for in memory a sync costs nothing
    #[arg(long, default_value = "target", global = true)]
    dir: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Fill an index with a week of keys; measure memory, disk, claims and probes
    Keys(keys::Options),
    /// Fill the data folder of a gateway; measure from its start to its first 2xx
    Restart(restart::Options),
}

fn main() -> ExitCode {
    let options = Options::parse();
    let dir = tempfile::Builder::new().prefix("index-bench.").tempdir_in(&options.dir);
    let done = dir.map_err(anyhow::Error::from).and_then(|dir| match &options.what {
        What::Keys(keys) => keys::run(keys, dir.path()),
        What::Restart(restart) => restart::run(restart, dir.path()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("index: {error:#}");
            ExitCode::FAILURE
        }
    }
}
