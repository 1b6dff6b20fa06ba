//! `hookgate dead`: what workers rejected for good in RabbitMQ, by way of the running gateway: listed, put back, dropped.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::caller::{Caller, CallerArgs};
use super::output::{self, Output};
use super::stop::Stop;
use crate::exit;

/// What is done with them.
#[derive(Debug, Args)]
#[command(after_help = "\
They lie in the queue EXCHANGE.dead. The gateway looks at the first 10,000 of them, or 64 MiB. Where the sink is the inbox, see \
`hookgate events list --state poison`.")]
pub(super) struct DeadArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List dead letters: where and why each died
    List(ListArgs),
    /// Put them back into the queues where they died, marked hookgate-possible-duplicate
    Requeue(ActArgs),
    /// Give them up: they are lost
    Drop(ActArgs),
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
#[group(required = true, multiple = false)]
struct Which {
    /// Of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// With this message id; may be repeated
    #[arg(long = "id", value_name = "MESSAGE_ID")]
    ids: Option<Vec<String>>,
    /// All of them
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 done, or there was none; 1 none of them could be.")]
struct ActArgs {
    #[command(flatten)]
    which: Which,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    caller: CallerArgs,
}

/// Outcomes other than the one that was wanted, and what they mean.
const KEPT: [(&str, &str); 5] = [
    ("no_queue", "do not say where they died (kept)"),
    ("refused", "refused by a full queue (kept)"),
    ("unanswered", "without an answer (they may be gone)"),
    ("unconfirmed", "not confirmed (kept, and perhaps there twice)"),
    ("unroutable", "whose queue is gone (kept)"),
];

/// Runs the command; the exit code comes back.
pub(super) fn run(args: DeadArgs, output: Output) -> anyhow::Result<u8> {
    let done = match args.command {
        Command::List(args) => list(args, output),
        Command::Requeue(args) => act("requeue", args, output),
        Command::Drop(args) => act("drop", args, output),
    };
    Ok(done.unwrap_or_else(Stop::tell))
}

fn list(args: ListArgs, output: Output) -> Result<u8, Stop> {
    let caller = Caller::new(args.caller)?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &args.limit.to_string());
    query.extend_pairs(args.source.iter().map(|name| ("source", name)));
    let found = caller.get(&format!("/v1/dead?{}", query.finish()))?;
    let rows = found["letters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = io::stdout().lock();
    rows.iter().try_for_each(|row| line(&mut out, row, output)).map_err(Stop::unprinted)?;
    out.flush().map_err(Stop::unprinted)?;
    match (found["more"] == true, rows.is_empty()) {
        (true, _) => eprintln!("there are more, or some that were not looked at"),
        (false, true) => eprintln!("there are no such dead letters"),
        (false, false) => {}
    }
    Ok(exit::OK)
}

fn line(out: &mut impl Write, row: &Value, form: Output) -> io::Result<()> {
    match form {
        Output::Json => output::json(out, row),
        Output::Text => {
            let plain = |name: &str| match &row[name] {
                Value::Null => "-".to_owned(),
                Value::String(text) => output::line(text),
                other => other.to_string(),
            };
            let fields = ["died_at", "queue", "reason", "times", "source", "type", "bytes", "id"];
            writeln!(out, "{:>8}  {}", plain("sequence"), fields.map(plain).join("  "))
        }
    }
}

/// What all calls came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    done: u64,
    /// Letters that stay: the last call meets those of the calls before it again.
    kept: BTreeMap<String, u64>,
    stopped: Option<String>,
}

impl Tally {
    /// Counts one answer; whether there is more to be done.
    fn add(&mut self, answer: &Value) -> bool {
        let mut done = 0;
        self.kept.clear();
        for (outcome, count) in answer["outcomes"].as_object().into_iter().flatten() {
            let count = count.as_u64().unwrap_or_default();
            match KEPT.iter().any(|(kept, _)| kept == outcome) {
                true => drop(self.kept.insert(outcome.clone(), count)),
                false => done += count,
            }
        }
        self.done += done;
        self.stopped = answer["stopped"].as_str().map(str::to_owned);
        answer["more"] == true && done > 0 && self.stopped.is_none()
    }

    fn selected(&self) -> u64 {
        self.done + self.kept.values().sum::<u64>()
    }

    /// One sentence, such as `12 selected: 10 requeued, 2 whose queue is gone (kept)`.
    fn text(&self, done: &str, dry_run: bool) -> String {
        let mut parts: Vec<String> =
            (self.done > 0).then(|| format!("{} {done}", self.done)).into_iter().collect();
        let words = |outcome: &str| {
            let known = KEPT.iter().find(|(known, _)| *known == outcome);
            known.map_or_else(|| outcome.to_owned(), |(_, words)| (*words).to_owned())
        };
        parts.extend(self.kept.iter().map(|(outcome, count)| format!("{count} {}", words(outcome))));
        let colon = if parts.is_empty() { "" } else { ": " };
        let dry = if dry_run { " (dry run, nothing was changed)" } else { "" };
        format!("{} selected{colon}{}{dry}", self.selected(), parts.join(", "))
    }
}

fn act(verb: &str, args: ActArgs, output: Output) -> Result<u8, Stop> {
    let (path, done) = match verb {
        "drop" => ("/v1/dead/drop", "dropped"),
        _ => ("/v1/dead/requeue", "requeued"),
    };
    let ActArgs { which: Which { source, ids, all }, dry_run, caller } = args;
    let caller = Caller::new(caller)?;
    let order = match (source, ids) {
        (Some(source), _) => json!({ "source": source, "dry_run": dry_run }),
        (None, Some(ids)) => json!({ "ids": ids, "dry_run": dry_run }),
        (None, None) => json!({ "all": all, "dry_run": dry_run }),
    };
    let (mut tally, mut ready) = (Tally::default(), None);
    let more = loop {
        let answer = caller.post(path, &order).map_err(|stop| match tally.done {
            0 => stop,
            _ => Stop { why: format!("{}; before that: {}", stop.why, tally.text(done, dry_run)), ..stop },
        })?;
        // Workers that still reject give back what was put back: what has come since is another call's.
        let ready = *ready.get_or_insert(answer["ready"].as_u64().unwrap_or(u64::MAX));
        if !tally.add(&answer) || dry_run || tally.done >= ready {
            break answer["more"] == true;
        }
        eprintln!("{} {done} so far", tally.done);
    };
    let mut out = io::stdout();
    let printed = match output {
        Output::Json => {
            let mut outcomes = tally.kept.clone();
            if tally.done > 0 {
                outcomes.insert(done.to_owned(), tally.done);
            }
            let told = json!({
                "dry_run": dry_run, "selected": tally.selected(), "outcomes": outcomes, "more": more,
                "stopped": tally.stopped,
            });
            output::json(&mut out, &told)
        }
        Output::Text => writeln!(out, "{}", tally.text(done, dry_run)),
    };
    printed.map_err(Stop::unprinted)?;
    if let Some(stopped) = tally.stopped {
        return Err(Stop::failure(format!("it ended early, call again: {}", output::line(&stopped))));
    }
    if more {
        eprintln!("there are more: some came since, or were not looked at");
    }
    Ok(if tally.selected() > 0 && tally.done == 0 { exit::FAILURE } else { exit::OK })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_met_again_and_counted_once() {
        let mut tally = Tally::default();
        let answer = |done: u64, gone: u64, more: bool| json!({"outcomes": {"requeued": done, "unroutable": gone}, "more": more, "stopped": null});
        assert!(tally.add(&answer(5, 1, true)));
        assert!(!tally.add(&answer(0, 2, true)), "no call gets further than the one before");
        assert!(!tally.add(&answer(3, 2, false)));
        assert_eq!(tally.text("requeued", false), "10 selected: 8 requeued, 2 whose queue is gone (kept)");
        assert_eq!(Tally::default().text("dropped", true), "0 selected (dry run, nothing was changed)");
    }

    #[test]
    fn a_line_shows_a_letter_and_nothing_for_a_terminal_to_obey() {
        let letter = json!({"id": "ab", "source": null, "type": "a\u{1b}[2J", "queue": "q", "reason": "rejected",
            "died_at": "2026-11-21T07:00:00.000Z", "times": 1, "bytes": 3, "sequence": 7});
        let mut out = Vec::new();
        line(&mut out, &letter, Output::Text).unwrap();
        let text = String::from_utf8(out).unwrap();
        let expected = "       7  2026-11-21T07:00:00.000Z  q  rejected  1  -  a\\u{1b}[2J  3  ab\n";
        assert_eq!(text, expected);
    }
}
