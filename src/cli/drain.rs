//! `hookgate drain`: takes a running gateway out for good, and waits until nothing is left in it.

use std::io::{self, Write as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::caller::{Caller, CallerArgs};
use super::output::{self, Output};
use super::progress::Progress;
use super::stop::Stop;
use crate::clock::{Clock as _, System};
use crate::config::Ack;
use crate::exit;
use crate::journal::Archive;
use crate::notice::Kind;
use crate::units::Span;

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(250);

/// Which gateway is taken out, and for how long that is waited for.
#[derive(Debug, Args)]
#[command(after_help = "\
The gateway is not ready at once (/readyz: 503), so that balancers send elsewhere; after --grace it answers deliveries 503, \
and hands over what it keeps. It goes on running and taking nothing until it is stopped. A restart takes deliveries again.

Exit codes: 0 nothing is left (or --cancel: deliveries are taken again), 1 something is, or --status of a gateway that is \
not drained, 69 nobody answers.

Example, one replica fewer:
  kubectl exec hookgate-2 -- hookgate drain --config /etc/hookgate/hookgate.toml && kubectl scale statefulset hookgate --replicas 2")]
pub(super) struct DrainArgs {
    /// How long to wait until nothing is left; 0s only begins and tells
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    wait: Span,
    /// How long deliveries are still taken while balancers are turned away [default: 10s]
    #[arg(long, value_name = "DURATION")]
    grace: Option<Span>,
    /// Take deliveries again
    #[arg(long, conflicts_with_all = ["wait", "grace", "status"])]
    cancel: bool,
    /// Only tell how far it is
    #[arg(long, conflicts_with_all = ["wait", "grace"])]
    status: bool,
    #[command(flatten)]
    caller: CallerArgs,
}

/// Asks and waits; the exit code comes back.
pub(super) fn run(args: DrainArgs, output: Output) -> anyhow::Result<u8> {
    Ok(drain(args, output).unwrap_or_else(Stop::tell))
}

fn drain(args: DrainArgs, output: Output) -> Result<u8, Stop> {
    let local = args.caller.local();
    let caller = Caller::new(args.caller)?;
    let nobody = |stop: Stop| match local {
        Some(config) if stop.code == exit::UNAVAILABLE => without_gateway(stop, config.try_load().ok()),
        _ => stop,
    };
    if args.cancel {
        let told = caller.post("/v1/drain/cancel", &json!({})).map_err(nobody)?;
        print(&told, output, &["deliveries are taken again".to_owned()])?;
        return Ok(exit::OK);
    }
    let told = if args.status {
        caller.get("/v1/drain")
    } else {
        let order = args.grace.map_or_else(|| json!({}), |grace| json!({ "grace": grace.to_string() }));
        caller.post("/v1/drain", &order)
    };
    let mut told = told.map_err(nobody)?;
    if !args.status && args.wait.duration() > Duration::ZERO {
        told = wait(&caller, told, args.wait.duration())?;
    }
    print(&told, output, &lines(&told))?;
    Ok(if phase(&told) == "drained" { exit::OK } else { exit::FAILURE })
}

/// Waits until nothing is left, or for as long as it may; yields what was told last.
fn wait(caller: &Caller, mut told: Value, longest: Duration) -> Result<Value, Stop> {
    let clock = System::new();
    let end = clock.monotonic().saturating_add(longest);
    let mut progress = Progress::of("events ended", None).aside_of_stdout();
    eprintln!("{}", output::line(&course(&told)));
    while phase(&told) != "drained" && clock.monotonic() < end {
        thread::sleep(PAUSE);
        let now = caller.get("/v1/drain").map_err(|stop| gone(stop, &told))?;
        if now["started_at"] != told["started_at"] {
            return Err(Stop::failure("the gateway was started again, and takes deliveries: drain it anew"));
        }
        if phase(&now) == "serving" {
            return Err(Stop::failure("somebody has cancelled the drain: deliveries are taken again"));
        }
        progress.at(now["ended"].as_u64().unwrap_or(0), &format!("; {}", summary(&now["left"])));
        told = now;
    }
    Ok(told)
}

fn gone(stop: Stop, last: &Value) -> Stop {
    let why = format!("{}; when it answered last, {}", stop.why, summary(&last["left"]));
    Stop { why, ..stop }
}

/// What can be told where no gateway runs: how much its folder holds.
fn without_gateway(stop: Stop, loaded: Option<crate::config::Loaded>) -> Stop {
    let journal = loaded.map(|loaded| loaded.settings.journal).filter(|journal| journal.ack == Ack::Journal);
    let Some(dir) = journal.map(|journal| journal.dir) else { return stop };
    // All of it is read, which takes its time.
    eprintln!("{}; looking into its journal", stop.why);
    Stop { why: held_by(&dir), ..stop }
}

fn held_by(dir: &Path) -> String {
    let at = dir.display();
    if !dir.exists() {
        return format!("there is no journal at {at}");
    }
    match Archive::read(dir) {
        Ok(archive) => match archive.facts().segments.iter().map(|segment| segment.live).sum::<u64>() {
            0 => format!("if none runs: the journal at {at} holds no event that is not handed over"),
            left => format!(
                "if none runs: the journal at {at} holds {left} events that are not handed over; start the gateway \
                 and drain it, or move the folder to a machine where one runs"
            ),
        },
        Err(error) => format!("the journal at {at} cannot be read: {error}"),
    }
}

fn phase(told: &Value) -> &str {
    told["phase"].as_str().unwrap_or_default()
}

/// What is being done.
fn course(told: &Value) -> String {
    match (phase(told), told["takes_until"].as_str()) {
        ("turning_away", Some(until)) => {
            format!("not ready from now on; deliveries are taken until {until}, then answered 503")
        }
        _ => "deliveries are answered 503".to_owned(),
    }
}

/// What is left, on one line.
fn summary(left: &Value) -> String {
    let count = |name: &str| left[name].as_u64().unwrap_or(0);
    let kinds = ["pending", "unroutable", "parked", "held", "poison", "unanswered", "untold"];
    let mut said: Vec<String> = Vec::new();
    for kind in kinds.into_iter().filter(|kind| count(kind) > 0) {
        let out = Some(count("leased")).filter(|out| kind == "pending" && *out > 0);
        let out = out.map_or_else(String::new, |out| format!(" ({out} out with workers)"));
        said.push(format!("{} {kind}{out}", count(kind)));
    }
    if said.is_empty() { "nothing is left".to_owned() } else { format!("left: {}", said.join(", ")) }
}

/// How it stands, and what to do about each kind of what is left.
fn lines(told: &Value) -> Vec<String> {
    let (left, ended) = (&told["left"], told["ended"].as_u64().unwrap_or(0));
    let since = told["since"].as_str().unwrap_or("?");
    let first = match phase(told) {
        "serving" => "not draining: deliveries are taken".to_owned(),
        "drained" => {
            return vec![format!(
                "drained: nothing is left, {ended} events ended since {since}; stop this gateway"
            )];
        }
        _ => format!("not drained: {ended} events ended since {since}; {}", course(told)),
    };
    let count = |name: &str| left[name].as_u64().unwrap_or(0);
    let trouble = told["trouble"].as_str();
    let handed = trouble.map_or("to be handed over".to_owned(), |why| format!("not handed over: {why}"));
    let leased = match (left["leased"].as_u64(), count("leased")) {
        (None, _) => handed,
        (Some(_), 0) => "for workers to claim and acknowledge".to_owned(),
        (Some(_), out) => format!("for workers to claim and acknowledge; {out} are out with them"),
    };
    let kinds = [
        ("pending", leased.as_str()),
        ("unroutable", Kind::Unroutable.advice()),
        (
            "parked",
            "another replica claims them; they end once it has confirmed, or dedup.takeover_after has passed",
        ),
        ("held", Kind::Held.advice()),
        ("poison", Kind::Poison.advice()),
        ("unanswered", "their senders have no answer yet"),
        ("untold", "Redis has not been told of them; copies may go out again"),
    ];
    let of = |(kind, what): (&str, &str)| {
        let events = Some(count(kind)).filter(|events| *events > 0)?;
        let sources: Vec<String> = told["sources"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(source, left)| Some((source, left[kind].as_u64().filter(|events| *events > 0)?)))
            .map(|(source, events)| format!("{source} {events}"))
            .collect();
        let sources = if sources.is_empty() { String::new() } else { format!(" ({})", sources.join(", ")) };
        Some(format!("  {events} {kind}{sources}: {what}"))
    };
    std::iter::once(first).chain(kinds.into_iter().filter_map(of)).collect()
}

fn print(told: &Value, output: Output, lines: &[String]) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    let printed = match output {
        Output::Json => output::json(&mut out, told),
        Output::Text => lines.iter().try_for_each(|line| writeln!(out, "{}", output::line(line))),
    };
    printed.map_err(Stop::unprinted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_with_what_to_do() {
        let told = json!({
            "phase": "draining", "since": "T", "ended": 7, "takes_until": "U", "trouble": null,
            "left": { "pending": 3, "leased": 1, "held": 2, "poison": 0 },
            "sources": { "shop": { "pending": 3, "held": 0 }, "git": { "held": 2 } },
        });
        assert_eq!(summary(&told["left"]), "left: 3 pending (1 out with workers), 2 held");
        let said = lines(&told);
        assert_eq!(said[0], "not drained: 7 events ended since T; deliveries are answered 503");
        assert_eq!(
            said[1],
            "  3 pending (shop 3): for workers to claim and acknowledge; 1 are out with them"
        );
        assert!(said[2].starts_with("  2 held (git 2): see `hookgate events list --state held`"), "{said:?}");
        assert_eq!(said.len(), 3);
    }

    #[test]
    fn a_sink_that_is_away_is_the_reason_for_what_is_pending() {
        let told = json!({
            "phase": "draining", "since": "T", "ended": 0, "trouble": "rabbitmq: connecting (x)",
            "left": { "pending": 1 }, "sources": { "shop": { "pending": 1 } },
        });
        assert_eq!(lines(&told)[1], "  1 pending (shop 1): not handed over: rabbitmq: connecting (x)");
        let told = json!({ "phase": "drained", "since": "T", "ended": 9, "left": { "total": 0 } });
        assert_eq!(lines(&told), ["drained: nothing is left, 9 events ended since T; stop this gateway"]);
    }
}
