//! `hookgate secret`: what an operator does with secrets of the running gateway, over the admin listener.

use std::io::Write as _;

use clap::{Args, Subcommand};
use serde_json::json;

use super::caller::{Caller, CallerArgs};
use super::output::{self, Output};
use super::stop::Stop;
use crate::exit;
use crate::units::Span;

/// What is done with secrets.
#[derive(Debug, Args)]
pub(super) struct SecretArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Let the next handshake of a source bring its secret; then nothing can until it is armed again
    Arm(ArmArgs),
}

#[derive(Debug, Args)]
struct ArmArgs {
    /// The source, one with a secret { captured = "FILE" }
    source: String,
    /// How long, at most 1d
    #[arg(long = "for", value_name = "SPAN", default_value = "10m")]
    window: Span,
    #[command(flatten)]
    caller: CallerArgs,
}

/// Runs the command; the exit code comes back.
pub(super) fn run(args: SecretArgs, output: Output) -> anyhow::Result<u8> {
    let Command::Arm(args) = args.command;
    Ok(arm(args, output).unwrap_or_else(Stop::tell))
}

fn arm(args: ArmArgs, output: Output) -> Result<u8, Stop> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if args.source.is_empty() || !args.source.chars().all(legal) {
        return Err(Stop::usage(format!("{:?} is no name of a source", args.source)));
    }
    let caller = Caller::new(args.caller)?;
    let order = json!({ "for": args.window.to_string() });
    let armed = caller.post(&format!("/v1/sources/{}/arm", args.source), &order)?;
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => output::json(&mut out, &armed),
        Output::Text => {
            let until = armed["armed_until"].as_str().unwrap_or_default();
            let then = match armed["first"].as_bool() {
                Some(true) => "the source has no secret yet",
                Some(false) | None => "the secret that the source has stays valid for an hour after it",
            };
            writeln!(
                out,
                "{} is armed until {}: its next handshake sets the secret; {then}",
                args.source,
                output::line(until)
            )
        }
    }
    .map_err(Stop::failure)?;
    Ok(exit::OK)
}
