//! `hookgate healthcheck`: asks a running gateway whether it is ready, for a container's HEALTHCHECK.
//!
//! Needs no secret: readiness is open to everybody who can reach the admin listener.

use std::io::{self, Write as _};

use clap::Args;
use serde_json::{Map, Value, json};

use super::access::{Role, admin_listener};
use super::args::ConfigArgs;
use super::http::{Client, Reply};
use super::output::{self, Output};
use super::stop::Stop;
use crate::exit;
use crate::units::Span;

/// Whom to ask.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 ready (or degraded: deliveries are kept, the broker is away), 1 not ready, 69 nobody answers.

Example, in a Dockerfile:
  HEALTHCHECK --interval=10s CMD [\"hookgate\", \"healthcheck\"]")]
pub(super) struct HealthcheckArgs {
    /// The admin listener [default: the configured one; without a configuration http://127.0.0.1:9090]
    #[arg(long, visible_alias = "from", value_name = "URL")]
    url: Option<String>,
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: Span,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Asks; the exit code comes back.
pub(super) fn run(args: HealthcheckArgs, output: Output) -> anyhow::Result<u8> {
    Ok(check(args, output).unwrap_or_else(Stop::tell))
}

fn check(args: HealthcheckArgs, output: Output) -> Result<u8, Stop> {
    let (base, _) = admin_listener(Role::Anyone, args.url.as_deref(), None, args.config)?;
    let url = if base.is_bare() { base.with_path("/readyz") } else { base };
    let reply = Client::within(args.timeout.duration())
        .get(&url, None)
        .map_err(|error| Stop::unreachable(error.to_string()))?;
    let code = match reply.status {
        200 => exit::OK,
        503 => exit::FAILURE,
        status => return Err(Stop::failure(format!("{url}: answered {status}; is that an admin listener?"))),
    };
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    let mut out = io::stdout();
    let printed = match output {
        Output::Text => write!(out, "{}", output::block(&text)),
        Output::Json => output::json(&mut out, &to_json(&reply, &text)),
    };
    printed.map_err(Stop::unprinted)?;
    Ok(code)
}

/// The verdict's word, and what each check says.
fn to_json(reply: &Reply, text: &str) -> Value {
    let mut lines = text.lines();
    let status = lines.next().unwrap_or_default();
    let checks: Map<String, Value> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, found)| (name.to_owned(), found.into()))
        .collect();
    json!({ "status": status, "ready": reply.status == 200, "http_status": reply.status, "checks": checks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_a_gateway_says_becomes_data() {
        let text =
            "degraded\njournal: ok (0 bytes unconfirmed)\nsink: FAILED (rabbitmq: connecting (x: y))\n";
        let reply = Reply { status: 200, body: text.as_bytes().to_vec(), took: Duration::ZERO };
        let expected = json!({
            "status": "degraded", "ready": true, "http_status": 200,
            "checks": {"journal": "ok (0 bytes unconfirmed)", "sink": "FAILED (rabbitmq: connecting (x: y))"},
        });
        assert_eq!(to_json(&reply, text), expected);
    }
}
