//! `hookgate demo`: the main job in one command, without a file or a service: the gateway that `serve` runs, on
//! embedded defaults in a temporary folder, real payloads sent to it over HTTP, and a worker at its inbox.

mod play;
mod stage;
mod table;

use std::io::{self, IsTerminal, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use self::play::{Outcome, Player};
use self::stage::Stage;
use super::gateway::Gateway;
use super::stop::Stop;
use crate::exit;
use crate::provider::secret::Environment;
use crate::tasks;
use crate::telemetry::{self, LogFormat};

/// How the demo runs.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// End after the table; otherwise the gateway stays up until Ctrl-C
    #[arg(long)]
    exit: bool,
    /// The port for deliveries, on 127.0.0.1 [default: a free one]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    port: u16,
}

/// Where the gateway listens.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    ingress: SocketAddr,
    admin: SocketAddr,
}

/// Runs the demo; the exit code comes back: 0 only if everything came out as it must.
pub(super) fn run(args: DemoArgs) -> anyhow::Result<u8> {
    let env = Environment::of_process();
    telemetry::start(LogFormat::Text, "error", &[]);
    let stage = Stage::build(&env, args.port)?;
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let mut gateway = Gateway::start(Arc::clone(&stage.loaded), stage.plans()?, None)?;
        let addresses = Addresses { ingress: gateway.ingress(), admin: gateway.admin() };
        eprintln!(
            "A gateway at http://{}, its journal in {}.\n",
            addresses.ingress,
            stage.folder().display()
        );
        let fault = tokio::select! {
            fault = gateway.fault() => fault,
            done = perform(&stage, addresses, &env, &mut signals, args.exit) => {
                let fault = gateway.stop().await;
                return fault.map_or(done, |fault| Err(fault.into()));
            }
        };
        gateway.abandon().await;
        Err(fault.map_or_else(|| anyhow::anyhow!("the gateway ended by itself"), Into::into))
    })
}

/// Shows what there is to see, and stays until a signal where that is wanted.
async fn perform(
    stage: &Stage,
    addresses: Addresses,
    env: &Environment,
    signals: &mut Signals,
    exit: bool,
) -> anyhow::Result<u8> {
    let outcome = tokio::select! {
        outcome = played(stage, addresses) => outcome?,
        () = signals.any() => anyhow::bail!("interrupted before the demo was over"),
    };
    let colour = io::stdout().is_terminal() && env.get("NO_COLOR").is_none_or(|value| value.is_empty());
    if let Err(error) = io::stdout().write_all(table::render(&outcome, colour).as_bytes()) {
        return Ok(Stop::unprinted(error).tell());
    }
    if !exit {
        eprint!("\n{}", stage.keep(addresses)?);
        signals.any().await;
    }
    Ok(if outcome.is_good() { exit::OK } else { exit::FAILURE })
}

/// Plays on a thread of its own: the client blocks, and the gateway's runtime must not.
async fn played(stage: &Stage, addresses: Addresses) -> anyhow::Result<Outcome> {
    let player = Player::new(&stage.shown, addresses)?;
    let (done, outcome) = oneshot::channel();
    drop(tasks::thread("demo", move || drop(done.send(player.play())))?);
    outcome.await.context("the demo's thread ended early")?
}

/// What ends the demo.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        Ok(Self { interrupt, terminate })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
