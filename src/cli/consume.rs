//! `hookgate consume`: a worker. Takes events of a source, from the inbox or from its queue, and prints each, or runs
//! a command for each; what was printed or done is acknowledged, the rest comes again.

mod command;
mod event;
mod feed;
mod inbox;
mod work;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, watch};

use self::command::Command;
use self::feed::{Feed, Taken};
pub(super) use self::inbox::Inbox;
use self::work::{Ending, Work};
use super::access::{self, Role};
use super::args::ConfigArgs;
use super::http::Client;
use super::output::Output;
use super::stop::Stop;
use crate::config::SinkKind;
use crate::exit;
use crate::sink::rabbitmq::{Consumer, Settings};
use crate::tasks;
use crate::units::Span;

/// Pauses before asking again where nobody answered: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Most commands side by side.
const PARALLEL_MAX: u64 = 256;

/// What is taken, and what is done with it.
#[derive(Debug, Args)]
#[command(after_help = "\
With --exec, each event gets a process of its own: its body on stdin, and in its environment, where they are known:
  HOOKGATE_MESSAGE_ID            equal on every redelivery: the key for idempotent work
  HOOKGATE_SOURCE, _PROVIDER, _EVENT_ID, _EVENT_TYPE, _RECEIVED_AT, _SEQUENCE, _SECRET_LABEL,
  _DIGEST, _TWIN_OF, _INVALID, _ROUTING_KEY, _CONTENT_TYPE
  HOOKGATE_ATTEMPT               from 1
  HOOKGATE_POSSIBLE_DUPLICATE    true where an earlier attempt may have done the work

Exit code 0 acknowledges; anything else gives the event back: in the inbox after --retry-delay, until \
sink.max_attempts make it poison; in RabbitMQ once, then to the dead letters. The first Ctrl-C lets \
what runs finish, the second ends it.

Examples:
  hookgate consume stripe
  hookgate consume stripe --follow --exec ./handle-payment --parallel 4 --timeout 60s
  hookgate consume github --follow --exec sh -- -c 'jq -r .action'
  hookgate consume shop --from rabbitmq --url-env AMQP_URL --follow --output json")]
pub(super) struct ConsumeArgs {
    /// The source; from RabbitMQ also `invalid` or `dead`
    source: String,
    /// `inbox`, `rabbitmq`, or the URL of an admin listener [default: the configured one; without a configuration http://127.0.0.1:9090]
    #[arg(long, value_name = "WHERE")]
    from: Option<String>,
    /// End after so many events [default: when there are none left]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Wait for more when there are none left
    #[arg(long)]
    follow: bool,
    /// Events taken at once for printing
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    max: u64,
    /// How long they are this worker's; kept up while a command runs [default: the gateway's]
    #[arg(long, value_name = "DURATION")]
    lease: Option<Span>,
    /// The environment variable with the admin or worker token [default: the configured token; with --from only where --config names the file]
    #[arg(long, value_name = "NAME")]
    token_env: Option<String>,
    /// The environment variable with RabbitMQ's URL [default: the configured sink.url]
    #[arg(long, value_name = "NAME")]
    url_env: Option<String>,
    /// The exchange, after which the queue is named; with --url-env
    #[arg(long, value_name = "NAME", default_value = "webhooks")]
    exchange: String,
    /// Run this program for each event, without a shell; its arguments follow after `--`
    #[arg(long, value_name = "PROGRAM")]
    exec: Option<OsString>,
    /// Commands that run side by side
    #[arg(long, value_name = "N", default_value_t = 1, requires = "exec",
        value_parser = clap::value_parser!(u64).range(1..=PARALLEL_MAX))]
    parallel: u64,
    /// End a command that takes longer, with all its processes
    #[arg(long, value_name = "DURATION", requires = "exec")]
    timeout: Option<Span>,
    /// How long an event waits in the inbox whose command failed
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    retry_delay: Span,
    #[command(flatten)]
    config: ConfigArgs,
    /// Arguments of the program
    #[arg(last = true, requires = "exec", value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

/// Consumes; the exit code comes back.
pub(super) fn run(args: ConsumeArgs, output: Output) -> anyhow::Result<u8> {
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let code = runtime.block_on(consume(args, output));
    // A call that still waits for an event ends with the process.
    runtime.shutdown_background();
    Ok(code.unwrap_or_else(Stop::tell))
}

async fn consume(mut args: ConsumeArgs, output: Output) -> Result<u8, Stop> {
    let ending = signals()?;
    let bounds = Bounds { count: args.count, follow: args.follow };
    let command = args.exec.take().map(|program| Command {
        program,
        arguments: std::mem::take(&mut args.arguments),
        timeout: args.timeout.map(Span::duration),
        hidden: args.token_env.iter().chain(&args.url_env).cloned().collect(),
        quiet: output == Output::Json,
    });
    let (max, parallel, retry_delay) = (args.max, args.parallel, args.retry_delay);
    let feed = feed(args, if command.is_some() { parallel } else { max })?;
    let ended = match command {
        Some(command) => {
            Work { feed: &feed, command, parallel, retry_delay, output }.run(bounds, ending).await
        }
        None => print(&feed, bounds, max, (output, ending)).await.map(|()| exit::OK),
    };
    feed.close().await;
    ended
}

fn feed(args: ConsumeArgs, prefetch: u64) -> Result<Feed, Stop> {
    if args.from.as_deref() == Some("rabbitmq") {
        let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX);
        let source = args.source.clone();
        return Ok(Feed::Queue(Box::new(Mutex::new(Consumer::new(broker(args)?, &source, prefetch)))));
    }
    let from = args.from.as_deref().filter(|from| *from != "inbox");
    let (base, token) = access::admin_listener(Role::Worker, from, args.token_env.as_deref(), args.config)?;
    let inbox = Inbox { client: Client::new(), base, source: args.source, token };
    Ok(Feed::Inbox(Arc::new(inbox), args.lease))
}

/// The broker: by the command line alone, or as it is configured.
fn broker(args: ConsumeArgs) -> Result<Settings, Stop> {
    let settings = |url: &[u8], exchange: &str| {
        let url = std::str::from_utf8(url).map_err(|_| Stop::usage("RabbitMQ's URL is not text"))?;
        Settings::new(url, exchange, Vec::new()).map_err(|error| Stop::usage(error.to_string()))
    };
    if let Some(name) = &args.url_env {
        return settings(&access::variable("--url-env", name)?, &args.exchange);
    }
    let loaded = args.config.load().map_err(|code| Stop {
        code,
        why: "or consume without a configuration: --url-env NAME, --exchange NAME".to_owned(),
    })?;
    let url = match loaded.settings.sink.kind {
        SinkKind::Rabbitmq => loaded.secrets.sink_url.as_ref(),
        SinkKind::Inbox | SinkKind::Stdout => None,
    };
    let Some(url) = url else {
        return Err(Stop::usage("no sink.url is configured; set it, or give --url-env NAME"));
    };
    settings(url.expose(), &loaded.settings.sink.exchange)
}

/// Follows SIGINT and SIGTERM.
fn signals() -> Result<watch::Receiver<Ending>, Stop> {
    let listen =
        |kind| signal(kind).map_err(|error| Stop::failure(format!("cannot listen for signals: {error}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let (ending, followed) = watch::channel(Ending::No);
    drop(tasks::task(async move {
        for next in [Ending::Soon, Ending::AtOnce] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            ending.send_replace(next);
        }
        std::future::pending::<()>().await;
    }));
    Ok(followed)
}

/// When enough was taken.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    count: Option<u64>,
    follow: bool,
}

impl Bounds {
    fn left(self, taken: u64) -> u64 {
        self.count.map_or(u64::MAX, |count| count.saturating_sub(taken))
    }
}

/// When to ask again.
#[derive(Debug, Default)]
struct Pace {
    /// How long to wait first.
    pause: Duration,
    /// Whether there is nothing left to ask for.
    is_over: bool,
    answered: bool,
}

impl Pace {
    /// What was taken. Nobody there is an end the first time, and a pause once somebody was.
    fn after(&mut self, taken: Result<Vec<Taken>, Stop>, follow: bool) -> Result<Vec<Taken>, Stop> {
        match taken {
            Ok(taken) => {
                (self.answered, self.pause) = (true, Duration::ZERO);
                self.is_over = taken.is_empty() && !follow;
                Ok(taken)
            }
            Err(stop) if stop.code == exit::UNAVAILABLE && follow && self.answered => {
                self.pause = (self.pause * 2).clamp(PAUSE.0, PAUSE.1);
                eprintln!("hookgate: {}; trying again", stop.why);
                Ok(Vec::new())
            }
            Err(stop) => Err(stop),
        }
    }
}

/// Prints events and acknowledges what was printed.
async fn print(
    feed: &Feed,
    bounds: Bounds,
    max: u64,
    (output, mut ending): (Output, watch::Receiver<Ending>),
) -> Result<(), Stop> {
    let (mut printed, mut pace) = (0, Pace::default());
    while bounds.left(printed) > 0 && !pace.is_over {
        let ask = async {
            tokio::time::sleep(pace.pause).await;
            feed.take(max.min(bounds.left(printed)), bounds.follow).await
        };
        let taken = tokio::select! {
            taken = ask => pace.after(taken, bounds.follow)?,
            _ = ending.changed() => return Ok(()),
        };
        printed += taken.len() as u64;
        let (events, rights): (Vec<_>, Vec<_>) = taken.into_iter().map(|one| (one.event, one.right)).unzip();
        let mut out = io::stdout().lock();
        events
            .into_iter()
            .try_for_each(|event| event.print(&mut out, output))
            .and_then(|()| out.flush())
            .map_err(|error| {
                Stop::failure(format!("cannot print, so nothing of this is acknowledged: {error}"))
            })?;
        drop(out);
        feed.done(rights).await?;
    }
    if printed == 0 {
        eprintln!("nothing waits here");
    }
    Ok(())
}
