//! `hookgate serve`: runs until SIGTERM or SIGINT, or until a fault that only a new start can cure.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::args::ConfigArgs;
use super::gateway::{Again, Gateway};
use super::supervisor::Supervisor;
use super::traces::Traces;
use crate::config::{self, Ack, Loaded};
use crate::exit;
use crate::sink::rabbitmq;
use crate::telemetry::{self, LogFormat};

/// How long reads of files that are under way at the end may take.
const LEFT_TO_READS: Duration = Duration::from_secs(1);

/// Runs the gateway; the exit code comes back.
pub(super) fn run(args: ConfigArgs) -> anyhow::Result<u8> {
    let kept = keep_memory();
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let (again, supervisor) = {
        // From here on, a SIGHUP ends nothing.
        let _within = runtime.enter();
        let hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let input = args.clone().input();
        let supervisor = Supervisor::of(&input.env);
        (Again::new(input, hangups, supervisor.clone()), supervisor)
    };
    let dev = args.is_dev();
    let (loaded, plans) = match args.assemble() {
        Ok(assembled) => assembled,
        Err(code) => return Ok(code),
    };
    let loaded = Arc::new(loaded);
    let log = &loaded.settings.log;
    let format = match log.format {
        config::LogFormat::Auto => LogFormat::Auto,
        config::LogFormat::Text => LogFormat::Text,
        config::LogFormat::Json => LogFormat::Json,
    };
    telemetry::start(format, log.level.as_str(), &rabbitmq::LOG_DIRECTIVES);
    telemetry::tell_panics();
    let traces = match Traces::start(&loaded.settings.telemetry) {
        Ok(traces) => traces,
        Err(error) => {
            tracing::error!(%error, "traces cannot leave: mend the variables OTEL_*, or set telemetry.otlp = false");
            return Ok(exit::CONFIG);
        }
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "others of this user may read this process's memory, or a core of it");
    }
    let proofs = plans.iter().flat_map(|plan| &plan.warnings);
    loaded.warnings.iter().chain(proofs).for_each(|warning| tracing::warn!("{warning}"));
    let exposed = loaded.settings.ingress.exposed().filter(|_| !dev);
    exposed.iter().for_each(|warning| tracing::warn!("{warning}"));
    let ended = runtime.block_on(async {
        let gateway = Gateway::start(Arc::clone(&loaded), plans, Some(again))?;
        announce(&loaded, &gateway);
        // What is in force from here on is the gateway's.
        drop(loaded);
        until_the_end(gateway, &supervisor).await
    });
    // A read that hangs, as of a file on a server that is gone, holds up no end.
    runtime.shutdown_timeout(LEFT_TO_READS);
    traces.end();
    ended
}

/// Lets no core be dumped and no other process of this user read this one's memory, which holds secrets and bodies. Root
/// still can, as with `gcore`. A sandbox may forbid a part of it.
fn keep_memory() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}

fn announce(loaded: &Loaded, gateway: &Gateway) {
    let (ingress, admin) = (gateway.ingress(), gateway.admin());
    let sink = loaded.settings.sink.kind.name();
    let ack = match loaded.settings.journal.ack {
        Ack::Journal => "journal",
        Ack::Confirm => "confirm",
    };
    tracing::info!(%ingress, %admin, ack, sink, sources = loaded.settings.sources.len(), "ready");
    for (name, source) in &loaded.settings.sources {
        let public = loaded.settings.ingress.public_url.as_ref();
        let scheme = if loaded.settings.ingress.tls.is_some() { "https" } else { "http" };
        let base = public.map_or_else(|| format!("{scheme}://{ingress}"), |url| url.as_str().to_owned());
        tracing::info!(source = %name, provider = %source.provider, url = %format!("{base}{}", source.path.as_str()),
            "takes deliveries");
    }
}

async fn until_the_end(mut gateway: Gateway, supervisor: &Supervisor) -> anyhow::Result<u8> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let (ingress, admin) = (gateway.ingress(), gateway.admin());
    supervisor.ready(&format!("takes deliveries on {ingress}, calls of operators and workers on {admin}"));
    supervisor.watch(gateway.rounds());
    let fault = tokio::select! {
        fault = gateway.fault() => {
            supervisor.stopping("a write failed; the next start decides what is whole");
            gateway.abandon().await;
            fault
        }
        _ = terminate.recv() => stop(gateway, supervisor).await,
        _ = interrupt.recv() => stop(gateway, supervisor).await,
    };
    match fault {
        None => Ok(exit::OK),
        Some(fault) => {
            tracing::error!(error = %fault, "acceptance has ended; start again: recovery decides what is whole");
            Ok(exit::JOURNAL_POISONED)
        }
    }
}

async fn stop(gateway: Gateway, supervisor: &Supervisor) -> Option<crate::accept::Fault> {
    supervisor.stopping("open requests are finished, confirms awaited");
    tracing::info!("stopping: open requests are finished, confirms awaited");
    gateway.stop().await
}
