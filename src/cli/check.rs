//! `hookgate check`: what `serve` would say of the configuration, and with `--connect` of its services.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use super::args::ConfigArgs;
use super::assemble::Plan;
use super::output::{self, Output};
use super::stop::Stop;
use super::{fetching, gateway};
use crate::config::{Ack, Finding, InForce, Loaded, Report, SinkKind};
use crate::exit;
use crate::sink::rabbitmq::{ExchangeFound, RabbitMq};

/// Longest wait for a service.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is checked.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Also reach Redis and RabbitMQ, where they are configured
    #[arg(long)]
    connect: bool,
    /// Also print every value in force, defaults among them, with where it was given; of a secret, where it is kept
    #[arg(long)]
    values: bool,
}

/// Checks; the exit code comes back: 78 for errors, 69 for a service that cannot be reached.
pub(super) fn run(args: CheckArgs, output: Output) -> anyhow::Result<u8> {
    let mut printed = Vec::new();
    let code = check(args, output, &mut printed)?;
    match io::stdout().write_all(&printed) {
        // The verdict is in the exit code, however little of the rest is read.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Ok(Stop::unprinted(error).tell()),
        Ok(()) | Err(_) => Ok(code),
    }
}

fn check(args: CheckArgs, output: Output, out: &mut Vec<u8>) -> anyhow::Result<u8> {
    let (loaded, plans) = match args.config.try_assemble() {
        Ok(assembled) => assembled,
        Err(report) => {
            eprintln!("{report}");
            if output == Output::Json {
                output::json(out, &json!({ "ok": false, "errors": errors_json(&report) }))?;
            }
            return Ok(exit::CONFIG);
        }
    };
    let proofs = plans.iter().flat_map(|plan| &plan.warnings);
    let warnings: Vec<String> = loaded.warnings.iter().chain(proofs).cloned().collect();
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    if output == Output::Text {
        tell_sources(&loaded, &plans, out)?;
    }
    let mut found = json!({ "ok": true, "warnings": warnings, "sources": sources_json(&loaded, &plans) });
    if args.values {
        let values = loaded.in_force().context("the configuration cannot be shown")?;
        if output == Output::Text {
            values.iter().try_for_each(|value| tell_value(value, out))?;
        }
        found["values"] = values.into_iter().map(InForce::into_json).collect();
    }
    if args.connect {
        let runtime =
            Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
        let services = runtime.block_on(connect(&loaded, &plans));
        services.iter().try_for_each(|service| service.tell(output, out))?;
        found["ok"] = services.iter().all(Service::is_ok).into();
        found["services"] = services.iter().map(Service::to_json).collect();
    }
    if output == Output::Json {
        output::json(out, &found)?;
    }
    Ok(if found["ok"] == true { exit::OK } else { exit::UNAVAILABLE })
}

/// Everything wrong, as data.
pub(super) fn errors_json(report: &Report) -> Value {
    let error = |finding: &Finding| {
        json!({
            "place": finding.place.to_string(),
            "key": finding.key.to_string(),
            "wrong": finding.wrong.to_string().trim_end_matches(';'),
            "allowed": finding.allowed,
        })
    };
    report.iter().map(error).collect()
}

/// As it would be written, where there is something to write.
fn tell_value(InForce { key, value, origin }: &InForce, out: &mut impl Write) -> io::Result<()> {
    let origin = origin.as_deref().unwrap_or("default");
    match toml::Value::try_from(value) {
        Ok(value) => writeln!(out, "{key} = {value}  # {origin}"),
        Err(_) => writeln!(out, "# {key} is not set"),
    }
}

fn tell_sources(loaded: &Loaded, plans: &[Plan], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "configuration ok: {} source(s)", plans.len())?;
    match loaded.settings.journal.ack {
        Ack::Journal => {
            writeln!(out, "  a 2xx waits for the disk: {}", loaded.settings.journal.dir.display())
        }
        Ack::Confirm => {
            writeln!(
                out,
                "  a 2xx waits for a claim in Redis and RabbitMQ's confirm; nothing is kept on disk"
            )
        }
    }?;
    for plan in plans {
        let (scheme, path) = (plan.verifier.scheme(), &loaded.settings.sources[&plan.name].path);
        let secrets: Vec<String> = plan.verifier.secrets().map(|label| label.to_string()).collect();
        let (name, provider) = (&plan.name, &scheme.provider);
        let methods = scheme.methods.join("|");
        writeln!(
            out,
            "  {name}: {provider}/{}, {methods} {}, secrets: {}",
            scheme.name,
            path.as_str(),
            secrets.join(", ")
        )?;
    }
    Ok(())
}

fn sources_json(loaded: &Loaded, plans: &[Plan]) -> Value {
    let source = |plan: &Plan| {
        let scheme = plan.verifier.scheme();
        let secrets: Vec<String> = plan.verifier.secrets().map(|label| label.to_string()).collect();
        json!({
            "name": plan.name,
            "provider": *scheme.provider,
            "scheme": scheme.name,
            "methods": scheme.methods,
            "path": loaded.settings.sources[&plan.name].path.as_str(),
            "secrets": secrets,
        })
    };
    plans.iter().map(source).collect()
}

/// A service that was called.
struct Service {
    name: &'static str,
    /// What it said of itself, or why it could not be reached.
    found: Result<String, String>,
}

impl Service {
    fn is_ok(&self) -> bool {
        self.found.is_ok()
    }

    fn tell(&self, output: Output, out: &mut impl Write) -> io::Result<()> {
        match (&self.found, output) {
            (Ok(found), Output::Text) => writeln!(out, "{} ok: {found}", self.name)?,
            (Ok(_), Output::Json) => {}
            (Err(error), _) => eprintln!("{}: {error}", self.name),
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let (found, error) = (self.found.as_ref().ok(), self.found.as_ref().err());
        json!({ "name": self.name, "ok": self.is_ok(), "found": found, "error": error })
    }
}

/// Calls the services that are configured.
async fn connect(loaded: &Loaded, plans: &[Plan]) -> Vec<Service> {
    let sources = plans.iter().map(|plan| plan.name.clone()).collect();
    let redis = called("redis", tokio::time::timeout(PATIENCE, redis(loaded)).await);
    let kind = loaded.settings.sink.kind.name();
    let sink = called(kind, tokio::time::timeout(PATIENCE, sink(loaded, sources)).await);
    let mut services: Vec<Service> = redis.into_iter().chain(sink).collect();
    for plan in plans {
        services.extend(called("keys", tokio::time::timeout(PATIENCE, fetching::tried(loaded, plan)).await));
    }
    services
}

type Told = Result<anyhow::Result<Option<String>>, tokio::time::error::Elapsed>;

fn called(name: &'static str, outcome: Told) -> Option<Service> {
    let found = match outcome {
        Ok(Ok(found)) => Ok(found?),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    Some(Service { name, found })
}

async fn redis(loaded: &Loaded) -> anyhow::Result<Option<String>> {
    let Some(claims) = gateway::redis_claims(loaded, gateway::NOBODY)? else { return Ok(None) };
    let version = claims.ping().await?;
    Ok(Some(format!("version {version}")))
}

async fn sink(loaded: &Loaded, sources: Vec<String>) -> anyhow::Result<Option<String>> {
    match loaded.settings.sink.kind {
        SinkKind::Rabbitmq => rabbitmq(loaded, sources).await.map(Some),
        SinkKind::Inbox | SinkKind::Stdout => Ok(None),
    }
}

async fn rabbitmq(loaded: &Loaded, sources: Vec<String>) -> anyhow::Result<String> {
    let checked = RabbitMq::check(&gateway::rabbitmq_settings(loaded, sources)?).await?;
    let server = checked.server.as_deref().unwrap_or("version unknown over TLS");
    match checked.exchange {
        ExchangeFound::Exists => Ok(format!("{server}, exchange exists")),
        ExchangeFound::WillBeDeclared => Ok(format!("{server}, exchange will be declared")),
        ExchangeFound::Missing => {
            anyhow::bail!("{server}, exchange is missing and sink.declare = false: declare it")
        }
    }
}
