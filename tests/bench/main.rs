//! Load generator: signs a fresh webhook for every request and measures the answers.
//!
//! `cargo run --release --example bench -- --url http://127.0.0.1:8080/in/stripe --secret whsec_…`
//! It never leaves the machine (loopback addresses only) and stands outside the product: `tests/bench/run`
//! and the durability tests use it. One thread, one epoll; see `load.rs` for the loop, `signer.rs` for what
//! is sent and `report.rs` for what is printed.
#![forbid(unsafe_code)]

mod connection;
mod histogram;
mod load;
mod options;
mod report;
mod signer;

use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> ExitCode {
    let options = options::Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &options::Options) -> anyhow::Result<()> {
    // A descriptor a connection: as many as this process may have. Where they do not suffice, opening says so.
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap_or_default();
    let signer = signer::Signer::new(options)?;
    let mut load = load::Load::new(options, signer)?;
    let outcome = load.run()?;
    if let Some(path) = &options.acked {
        load.write_acked(path)?;
    }
    report::print(options, &outcome);
    Ok(())
}
