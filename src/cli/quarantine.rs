//! `hookgate quarantine`: requests whose proof failed, in the running gateway: listed, judged again, dropped.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::caller::{Caller, CallerArgs};
use super::events::{print, save};
use super::output::{self, Output};
use super::progress::Progress;
use super::stop::Stop;
use crate::exit;

/// What is done with them.
#[derive(Debug, Args)]
#[command(after_help = "\
A source keeps such requests where its configuration has `quarantine = \"16MiB\"` or so. Its secrets and settings are those of \
now; the time by which a signature is stale is that at which the request came in. What is older than dedup.window stays where it is.")]
pub(super) struct QuarantineArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List refused requests that are kept, oldest first
    List(ListArgs),
    /// Show one, or write its body
    Show(ShowArgs),
    /// Judge them again: what is proven now goes its way, what is not stays refused
    Requeue(RequeueArgs),
    /// Let them go
    Drop(DropArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// End after so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The number in the list
    id: u64,
    /// Write the body, exactly as received, to this file; - for stdout, and nothing else is printed
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(Debug, Args)]
struct Which {
    /// Of this source
    #[arg(long, value_name = "NAME", required_unless_present = "all")]
    source: Option<String>,
    /// Of every source
    #[arg(long, conflicts_with = "source")]
    all: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 done, or none was kept; 1 none of them is proven.")]
struct RequeueArgs {
    #[command(flatten)]
    which: Which,
    /// Judge each again, as it always is: no request is handed over without a proof
    #[arg(long)]
    reverify: bool,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(Debug, Args)]
struct DropArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    caller: CallerArgs,
}

/// Outcomes after which a request stays where it is, and what they mean.
const KEPT: [(&str, &str); 4] = [
    ("refused", "still refused"),
    ("no_source", "of a source that is gone"),
    ("too_old", "older than dedup.window"),
    ("unavailable", "not to be judged now"),
];

/// Runs the command; the exit code comes back.
pub(super) fn run(args: QuarantineArgs, output: Output) -> anyhow::Result<u8> {
    let done = match args.command {
        Command::List(args) => list(args, output),
        Command::Show(args) => show(args, output),
        Command::Requeue(args) => requeue(args, output),
        Command::Drop(args) => drop_all(args, output),
    };
    Ok(done.unwrap_or_else(Stop::tell))
}

fn list(args: ListArgs, output: Output) -> Result<u8, Stop> {
    const PAGE: u64 = 1000;
    let caller = Caller::new(args.caller)?;
    let (mut after, mut listed) = (None, 0);
    let mut out = io::stdout().lock();
    while listed < args.limit {
        let limit = PAGE.min(args.limit - listed).to_string();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit).extend_pairs(args.source.iter().map(|name| ("source", name)));
        query.extend_pairs(after.iter().map(|after: &String| ("after", after)));
        let page = caller.get(&format!("/v1/quarantine?{}", query.finish()))?;
        let rows = page["requests"].as_array().map(Vec::as_slice).unwrap_or_default();
        listed += rows.len() as u64;
        rows.iter().try_for_each(|row| line(&mut out, row, output)).map_err(Stop::unprinted)?;
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    if listed == 0 {
        eprintln!("the quarantine is empty");
    }
    out.flush().map_err(Stop::unprinted)?;
    Ok(exit::OK)
}

fn line(out: &mut impl Write, row: &Value, form: Output) -> io::Result<()> {
    match form {
        Output::Json => output::json(out, row),
        Output::Text => {
            let plain = |name: &str| row[name].as_str().map_or_else(|| row[name].to_string(), output::line);
            let fields = ["at", "source", "reason", "address", "bytes", "request"].map(plain).join("  ");
            writeln!(out, "{:>8}  {fields}", plain("id"))
        }
    }
}

fn show(args: ShowArgs, output: Output) -> Result<u8, Stop> {
    let caller = Caller::new(args.caller)?;
    let path = format!("/v1/quarantine/{}", args.id);
    if let Some(file) = args.body {
        return save(&caller, &format!("{path}/body"), &file);
    }
    print(&caller.get(&path)?, output)
}

fn requeue(args: RequeueArgs, output: Output) -> Result<u8, Stop> {
    if !args.reverify && !args.dry_run {
        return Err(Stop::usage("each is judged again before it is handed over: say --reverify".to_owned()));
    }
    let caller = Caller::new(args.caller)?;
    let (mut selected, mut outcomes, mut after) = (0, BTreeMap::<String, u64>::new(), Value::Null);
    let mut progress = Progress::of("requests", None);
    let stopped = loop {
        let order = json!({ "source": args.which.source, "all": args.which.all, "dry_run": args.dry_run, "after": after });
        let answer = caller.post("/v1/quarantine/requeue", &order)?;
        selected += answer["selected"].as_u64().unwrap_or_default();
        for (outcome, count) in answer["outcomes"].as_object().into_iter().flatten() {
            *outcomes.entry(outcome.clone()).or_default() += count.as_u64().unwrap_or_default();
        }
        after = answer["next"].clone();
        let stopped = answer["stopped"].as_str().map(str::to_owned);
        if after.is_null() || stopped.is_some() {
            break stopped;
        }
        progress.at(selected, "");
    };
    drop(progress);
    let mut out = io::stdout();
    let printed = match output {
        Output::Json => {
            let told = json!({ "dry_run": args.dry_run, "selected": selected, "outcomes": outcomes, "stopped": stopped });
            output::json(&mut out, &told)
        }
        Output::Text => writeln!(out, "{}", tally(selected, &outcomes, args.dry_run)),
    };
    printed.map_err(Stop::unprinted)?;
    if let Some(stopped) = stopped {
        return Err(Stop::failure(format!("it ended early, call again: {}", output::line(&stopped))));
    }
    let out =
        KEPT.iter().map(|(outcome, _)| outcome).filter_map(|outcome| outcomes.get(*outcome)).sum::<u64>();
    Ok(if selected > 0 && out == selected { exit::FAILURE } else { exit::OK })
}

/// One sentence, such as `12 judged: 10 accepted, 2 refused`.
fn tally(selected: u64, outcomes: &BTreeMap<String, u64>, dry_run: bool) -> String {
    let words = |outcome: &str| {
        let known = KEPT.iter().find(|(known, _)| *known == outcome);
        known.map_or(outcome.to_owned(), |(_, words)| format!("{words} (kept)"))
    };
    let parts: Vec<String> =
        outcomes.iter().map(|(outcome, count)| format!("{count} {}", words(outcome))).collect();
    let colon = if parts.is_empty() { "" } else { ": " };
    let dry = if dry_run { " (dry run, nothing was changed)" } else { "" };
    format!("{selected} judged{colon}{}{dry}", parts.join(", "))
}

fn drop_all(args: DropArgs, output: Output) -> Result<u8, Stop> {
    let caller = Caller::new(args.caller)?;
    let order = json!({ "source": args.which.source, "all": args.which.all });
    let answer = caller.post("/v1/quarantine/drop", &order)?;
    let mut out = io::stdout();
    let printed = match output {
        Output::Json => output::json(&mut out, &answer),
        Output::Text => writeln!(out, "{} dropped", answer["dropped"]),
    };
    printed.map_err(Stop::unprinted)?;
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_a_sentence() {
        let outcomes = [("accepted".to_owned(), 10), ("refused".to_owned(), 2)].into();
        assert_eq!(tally(12, &outcomes, false), "12 judged: 10 accepted, 2 still refused (kept)");
        assert_eq!(tally(0, &BTreeMap::new(), true), "0 judged (dry run, nothing was changed)");
    }
}
