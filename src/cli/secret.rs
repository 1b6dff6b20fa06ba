//! `hookgate secret`: arms a source of the running gateway, and tells secrets apart by their fingerprints.
//!
//! No secret's text is ever printed.

use std::io::{self, Read as _, Write as _};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::args::ConfigArgs;
use super::caller::{Caller, CallerArgs};
use super::output::{self, Output};
use super::stop::Stop;
use crate::exit;
use crate::provider::secret::{SECRET_BYTES_MAX, Secret, fingerprint};
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
    /// Print fingerprints of secrets: which one a source has, as the log and `hookgate explain` name it
    ///
    /// A fingerprint is 8 digits of the SHA-256 digest of the secret's text. One at a provider and one here are the same
    /// secret if their fingerprints are.
    Fingerprint(FingerprintArgs),
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

#[derive(Debug, Args)]
struct FingerprintArgs {
    /// Sources of the configuration [default: all]
    sources: Vec<String>,
    /// Take a secret's text from stdin, not from the configuration; one newline at its end does not count
    #[arg(long, conflicts_with = "sources")]
    stdin: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the command; the exit code comes back.
pub(super) fn run(args: SecretArgs, output: Output) -> anyhow::Result<u8> {
    let done = match args.command {
        Command::Arm(args) => arm(args, output),
        Command::Fingerprint(args) if args.stdin => fingerprint_of_stdin(output),
        Command::Fingerprint(args) => fingerprints(args, output),
    };
    Ok(done.unwrap_or_else(Stop::tell))
}

fn fingerprint_of_stdin(output: Output) -> Result<u8, Stop> {
    let mut text = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    io::stdin().lock().take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(Stop::failure)?;
    if text.len() > SECRET_BYTES_MAX {
        return Err(Stop::data(format!(
            "stdin holds more than {SECRET_BYTES_MAX} bytes, which is no secret"
        )));
    }
    let line = text.strip_suffix(b"\n").unwrap_or(&text);
    let secret = line.strip_suffix(b"\r").unwrap_or(line);
    if secret.is_empty() {
        return Err(Stop::data("stdin is empty; expected a secret's text"));
    }
    let mut out = io::stdout().lock();
    match output {
        Output::Json => output::json(&mut out, &json!({ "fingerprint": fingerprint(secret) })),
        Output::Text => writeln!(out, "{}", fingerprint(secret)),
    }
    .map_err(Stop::unprinted)?;
    Ok(exit::OK)
}

fn fingerprints(args: FingerprintArgs, output: Output) -> Result<u8, Stop> {
    let loaded = args.config.load().map_err(Stop::told)?;
    let known = &loaded.secrets.sources;
    if let Some(wrong) = args.sources.iter().find(|name| !known.contains_key(*name)) {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        return Err(Stop::usage(format!("no source is called {wrong:?}; there are {}", names.join(", "))));
    }
    let wanted = |name: &str| args.sources.is_empty() || args.sources.iter().any(|wanted| wanted == name);
    let found = known.iter().filter(|(name, _)| wanted(name));
    let found = found.flat_map(|(name, secrets)| secrets.iter().map(move |secret| (name.as_str(), secret)));
    let mut out = io::stdout().lock();
    match output {
        Output::Json => {
            let shown: Vec<Value> = found.map(|(source, secret)| shown(source, secret)).collect();
            output::json(&mut out, &json!({ "secrets": shown }))
        }
        Output::Text => {
            let mut lines = found.map(|(source, secret)| {
                format!("{}  {source}  {}{}", secret.fingerprint(), secret.label(), times(secret))
            });
            lines.try_for_each(|line| writeln!(out, "{line}"))
        }
    }
    .map_err(Stop::unprinted)?;
    Ok(exit::OK)
}

fn shown(source: &str, secret: &Secret) -> Value {
    let time = |time: Option<crate::clock::Timestamp>| time.map(|time| time.to_string());
    json!({
        "source": source,
        "label": secret.label(),
        "fingerprint": secret.fingerprint(),
        "not_before": time(secret.not_before()),
        "not_after": time(secret.not_after()),
    })
}

fn times(secret: &Secret) -> String {
    let from = secret.not_before().map(|from| format!("  not before {from}")).unwrap_or_default();
    let until = secret.not_after().map(|until| format!("  not after {until}")).unwrap_or_default();
    from + &until
}

fn arm(args: ArmArgs, output: Output) -> Result<u8, Stop> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if args.source.is_empty() || !args.source.chars().all(legal) {
        return Err(Stop::usage(format!("{:?} is no name of a source", args.source)));
    }
    let caller = Caller::new(args.caller)?;
    let order = json!({ "for": args.window.to_string() });
    let armed = caller.post(&format!("/v1/sources/{}/arm", args.source), &order)?;
    let mut out = io::stdout().lock();
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
    .map_err(Stop::unprinted)?;
    Ok(exit::OK)
}
