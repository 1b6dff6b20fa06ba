//! The arguments, and which subcommand they go to.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::assemble::{self, Plan};
use super::files::FilesAlone;
use super::output::{self, Output};
use super::{
    check, completions, consume, dead, demo, drain, events, explain, healthcheck, history, init, journal,
    listen, man, providers, quarantine, reload, schema, secret, send, serve, sign, top, vectors, verify,
};
use crate::config::{self, Input, Loaded, Report};
use crate::exit;
use crate::provider::secret::Environment;

/// A receiving gateway for webhooks: proves who sent each request, keeps what it accepts on disk, answers within
/// milliseconds, and hands every event to RabbitMQ (or to workers) exactly as it was received.
#[derive(Debug, Parser)]
#[command(name = "hookgate", version, max_term_width = 100)]
struct Cli {
    /// How data on stdout is printed; what is only talk goes to stderr
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORM")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(ConfigArgs),
    /// Show the main job on embedded defaults: signed, forged, stale and repeated deliveries, and a worker
    Demo(demo::DemoArgs),
    /// Write a commented configuration for the providers you name
    Init(init::InitArgs),
    /// Check the configuration; the errors of all files are listed, as many at once as can be judged
    Check(check::CheckArgs),
    /// Sign a sample event as its provider would, and post it
    Send(send::SendArgs),
    /// Sign a body as its provider would: print the headers, or a curl command
    Sign(sign::SignArgs),
    /// Judge a captured request: what it is, or exactly why it is refused, with hints
    Verify(verify::VerifyArgs),
    /// Tell the cause of a refusal, from a captured request: what was found, and what to do
    Explain(explain::ExplainArgs),
    /// Take events of a source, from the inbox or RabbitMQ; print them, or run a command for each
    Consume(consume::ConsumeArgs),
    /// Hand verified events of a source on to an application under development, as they come in
    Listen(listen::ListenArgs),
    /// Watch a running gateway at a glance: rates, answer times, what waits, what is wrong, a line for each source
    Top(top::TopArgs),
    /// List, show, follow, replay, forget, release, requeue and drop events of the running gateway
    Events(events::EventsArgs),
    /// Search in what came in and what became of it, and in what was refused and why
    History(history::HistoryArgs),
    /// Judge refused requests again, which a source keeps, once their secret is mended
    Quarantine(quarantine::QuarantineArgs),
    /// List what workers rejected for good in RabbitMQ, put it back into its queue, or drop it
    Dead(dead::DeadArgs),
    /// Read or copy a journal's folder, beside a running gateway or without one; nothing in it is changed
    Journal(journal::JournalArgs),
    /// Tell secrets apart by fingerprints, or arm a source whose sender brings the secret itself
    Secret(secret::SecretArgs),
    /// Have a running gateway load its configuration again; where it is wrong, nothing changes
    Reload(reload::ReloadArgs),
    /// Take a running gateway out for good: it takes no more, and hands over what it keeps
    Drain(drain::DrainArgs),
    /// Run vector files through the code that serves
    Vectors(VectorsArgs),
    /// What is known of each provider
    Providers(providers::ProvidersArgs),
    /// Print the JSON Schema of a kind of file, for editors
    Schema(schema::SchemaArgs),
    /// Ask a running gateway whether it is ready
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual, or write a page for each subcommand
    Man(man::ManArgs),
}

/// Where the configuration is.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ConfigArgs {
    /// The configuration file [default: hookgate.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For development: secrets may be plain text in the configuration
    #[arg(long)]
    dev: bool,
    /// Override one key, such as --set ingress.listen=127.0.0.1:8080; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Args)]
struct VectorsArgs {
    /// Vector files, or folders of them
    #[arg(required_unless_present = "make")]
    paths: Vec<PathBuf>,
    /// Print vectors for a provider, made by signing its sample and failing it in every way, in place of running any
    #[arg(long, value_name = "PROVIDER[/SCHEME]", conflicts_with = "paths")]
    make: Option<String>,
    /// With --make: a setting of the scheme; may be repeated
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = pair, requires = "make")]
    settings: Vec<(String, String)>,
    /// With --make: the file to write, once all of it is there, in place of stdout
    #[arg(long, value_name = "FILE", requires = "make")]
    to: Option<PathBuf>,
    #[command(flatten)]
    files: FilesAlone,
}

/// Reads `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as journal.dir=/tmp/journal")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl ConfigArgs {
    /// Whether the command line says anything of a configuration.
    pub(super) fn is_given(&self) -> bool {
        self.config.is_some() || !self.set.is_empty()
    }

    /// Whether this is for development.
    pub(super) fn is_dev(&self) -> bool {
        self.dev
    }

    /// The configuration in `file`, or the usual one.
    pub(super) fn of_file(file: Option<PathBuf>) -> Self {
        Self { config: file, ..Self::default() }
    }

    /// Loads the configuration; its report goes to stderr.
    ///
    /// # Errors
    /// The exit code for a configuration with errors.
    pub(super) fn load(self) -> Result<Loaded, u8> {
        self.try_load().map_err(told)
    }

    /// Loads the configuration, for callers that can do without.
    ///
    /// # Errors
    /// A report of everything that is wrong.
    pub(super) fn try_load(self) -> Result<Loaded, Report> {
        config::load(self.input())
    }

    /// Loads the configuration and plans all its sources; one report of it all goes to stderr.
    ///
    /// # Errors
    /// The exit code for a configuration with errors.
    pub(super) fn assemble(self) -> Result<(Loaded, Vec<Plan>), u8> {
        self.try_assemble().map_err(told)
    }

    /// Loads the configuration and plans all its sources, for callers that tell of errors themselves.
    ///
    /// # Errors
    /// A report of everything that is wrong.
    pub(super) fn try_assemble(self) -> Result<(Loaded, Vec<Plan>), Report> {
        config::load_with(self.input(), assemble::all)
    }

    /// What the configuration is loaded from.
    pub(super) fn input(self) -> Input {
        let env = Environment::of_process();
        Input { file: self.config, env, flags: self.set, dev: self.dev }
    }
}

/// What the parser is made of.
#[cfg(test)]
pub(super) fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

fn told(report: Report) -> u8 {
    eprintln!("{report}");
    exit::CONFIG
}

/// Runs the subcommand that `arguments` name; the exit code comes back.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return if error.use_stderr() { exit::USAGE } else { exit::OK };
        }
    };
    let output = cli.output;
    let done = match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Check(args) => check::run(args, output),
        Command::Send(args) => send::run(args, output),
        Command::Vectors(args) => vectors_run(&args, output),
        Command::Consume(args) => consume::run(args, output),
        Command::Init(args) => init::run(args, output),
        Command::Sign(args) => sign::run(args, output),
        Command::Verify(args) => verify::run(args, output),
        Command::Explain(args) => explain::run(args, output),
        Command::Providers(args) => providers::run(args, output),
        Command::Schema(args) => schema::run(args, output),
        Command::Healthcheck(args) => healthcheck::run(args, output),
        Command::Completions(args) => completions::run::<Cli>(&args),
        Command::Man(args) => man::run::<Cli>(&args),
        Command::Top(args) => top::run(args, output),
        Command::Events(args) => events::run(args, output),
        Command::History(args) => history::run(args, output),
        Command::Quarantine(args) => quarantine::run(args, output),
        Command::Dead(args) => dead::run(args, output),
        Command::Listen(args) => listen::run(args, output),
        Command::Secret(args) => secret::run(args, output),
        Command::Reload(args) => reload::run(args, output),
        Command::Drain(args) => drain::run(args, output),
        Command::Journal(args) => journal::run(args, output),
    };
    done.unwrap_or_else(|error| {
        eprintln!("hookgate: {error:#}");
        exit::FAILURE
    })
}

fn vectors_run(args: &VectorsArgs, output: Output) -> anyhow::Result<u8> {
    let catalog = match args.files.catalog() {
        Ok(catalog) => catalog,
        Err(stop) => return Ok(stop.tell()),
    };
    if let Some(make) = &args.make {
        return Ok(vectors::make::run(&catalog, make, &args.settings, args.to.as_deref()));
    }
    // Whoever closes the pipe has read enough: the verdict is in the exit code.
    let mut out = std::io::stdout().lock();
    let tally = vectors::run(&catalog, &args.paths, &mut |judged| {
        match output {
            Output::Text => writeln!(out, "{judged}"),
            Output::Json => output::json(&mut out, &judged.to_json()),
        }
        .ok();
    })?;
    match output {
        Output::Text => writeln!(out, "{}", tally.line()),
        Output::Json => output::json(&mut out, &tally.to_json()),
    }
    .ok();
    Ok(if tally.failed == 0 { exit::OK } else { exit::FAILURE })
}
