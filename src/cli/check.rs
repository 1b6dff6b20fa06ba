//! `hookgate check`: what `serve` would say of the configuration, and with `--connect` of its services.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::runtime::Builder;

use super::args::ConfigArgs;
use super::gateway;
use crate::config::{Ack, Loaded, SinkKind};
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
}

/// Checks; the exit code comes back: 78 for errors, 69 for a service that cannot be reached.
pub(super) fn run(args: CheckArgs) -> anyhow::Result<u8> {
    let (loaded, plans) = match args.config.assemble() {
        Ok(assembled) => assembled,
        Err(code) => return Ok(code),
    };
    loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    println!("configuration ok: {} source(s)", plans.len());
    match loaded.settings.journal.ack {
        Ack::Journal => println!("  a 2xx waits for the disk: {}", loaded.settings.journal.dir.display()),
        Ack::Confirm => {
            println!("  a 2xx waits for a claim in Redis and RabbitMQ's confirm; nothing is kept on disk")
        }
    }
    for plan in &plans {
        let (scheme, path) = (plan.verifier.scheme(), &loaded.settings.sources[&plan.name].path);
        let secrets: Vec<String> = plan.verifier.secrets().map(|label| label.to_string()).collect();
        let (name, provider) = (&plan.name, &scheme.provider);
        let methods = scheme.methods.join("|");
        println!(
            "  {name}: {provider}/{}, {methods} {}, secrets: {}",
            scheme.name,
            path.as_str(),
            secrets.join(", ")
        );
    }
    if !args.connect {
        return Ok(exit::OK);
    }
    let names = plans.into_iter().map(|plan| plan.name).collect();
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    Ok(if runtime.block_on(connect(&loaded, names)) { exit::OK } else { exit::UNAVAILABLE })
}

async fn connect(loaded: &Loaded, sources: Vec<String>) -> bool {
    let redis = tell("redis", tokio::time::timeout(PATIENCE, redis(loaded)).await);
    let rabbitmq = tell("rabbitmq", tokio::time::timeout(PATIENCE, rabbitmq(loaded, sources)).await);
    redis && rabbitmq
}

type Told = Result<anyhow::Result<Option<String>>, tokio::time::error::Elapsed>;

fn tell(service: &str, outcome: Told) -> bool {
    match outcome {
        Ok(Ok(None)) => true,
        Ok(Ok(Some(found))) => {
            println!("{service} ok: {found}");
            true
        }
        Ok(Err(error)) => {
            eprintln!("{service}: {error:#}");
            false
        }
        Err(_) => {
            eprintln!("{service}: no answer within {} s", PATIENCE.as_secs());
            false
        }
    }
}

async fn redis(loaded: &Loaded) -> anyhow::Result<Option<String>> {
    let Some(claims) = gateway::redis_claims(loaded, gateway::NOBODY)? else { return Ok(None) };
    let version = claims.ping().await?;
    Ok(Some(format!("version {version}")))
}

async fn rabbitmq(loaded: &Loaded, sources: Vec<String>) -> anyhow::Result<Option<String>> {
    if loaded.settings.sink.kind != SinkKind::Rabbitmq {
        return Ok(None);
    }
    let checked = RabbitMq::check(&gateway::rabbitmq_settings(loaded, sources)?).await?;
    let server = checked.server.as_deref().unwrap_or("version unknown over TLS");
    match checked.exchange {
        ExchangeFound::Exists => Ok(Some(format!("{server}, exchange exists"))),
        ExchangeFound::WillBeDeclared => Ok(Some(format!("{server}, exchange will be declared"))),
        ExchangeFound::Missing => {
            anyhow::bail!("{server}, exchange is missing and sink.declare = false: declare it")
        }
    }
}
