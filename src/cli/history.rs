//! `hookgate history`: what came in and what became of it, and what was refused and why, searched in the running gateway.
//!
//! Ids, types and paths come from outside: text output escapes what a terminal would obey.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::caller::{Caller, CallerArgs};
use super::events::{SelectArgs, facts, fields, number};
use super::output::{self, Output};
use super::stop::Stop;
use crate::exit;
use crate::reject::Reject;

/// Rows in one answer of the gateway, at most.
const PAGE: u64 = 1000;

/// What is searched for.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List events, newest first, also such as the journal no longer holds
    Events(EventsArgs),
    /// Show one event: when it came in, when it was handed over, what went wrong in between
    Show(ShowArgs),
    /// List refused requests, newest first, with causes where they were found
    Refusals(RefusalsArgs),
    /// Sum refused requests up: how many, since when, why, what to do
    Failures(FailuresArgs),
}

#[derive(Debug, Args)]
struct EventsArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// With all these words in the body, of sources with `capture_bodies`; one that ends in * stands for all that begin so
    #[arg(long, value_name = "WORDS")]
    text: Option<String>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(Debug, Args)]
struct PageArgs {
    /// End after so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// Go on where an earlier list ended
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The event's number, as `history events` tells it
    #[arg(value_parser = number)]
    sequence: u64,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(Debug, Args)]
struct RefusalsArgs {
    /// Of this source; "" for paths that no source has
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// For this reason, such as signature_mismatch
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// At this time or later, such as 2026-11-21T07:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(Debug, Args)]
struct FailuresArgs {
    /// At this time or later, such as 2026-11-21T07:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME", default_value = "1d")]
    since: String,
    #[command(flatten)]
    caller: CallerArgs,
}

/// Runs the command; the exit code comes back.
pub(super) fn run(args: HistoryArgs, output: Output) -> anyhow::Result<u8> {
    let done = match args.command {
        Command::Events(args) => {
            let mut choice = fields(&args.select.choice());
            choice.extend(args.text.map(|words| ("text".to_owned(), words)));
            list(args.caller, ("events", choice), args.page, &mut |out, row| written(out, row, output, event))
        }
        Command::Show(args) => show(args, output),
        Command::Refusals(RefusalsArgs { source, reason, since, until, page, caller }) => {
            if let Some(stop) = reason.as_deref().and_then(no_reason) {
                return Ok(stop.tell());
            }
            let fields = [("source", source), ("reason", reason), ("since", since), ("until", until)];
            let set = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            let wanted = ("refusals", set.collect());
            list(caller, wanted, page, &mut |out, row| written(out, row, output, refusal))
        }
        Command::Failures(args) => failures(args, output),
    };
    Ok(done.unwrap_or_else(Stop::tell))
}

/// Where it is a code, which senders are told and which stands for several reasons.
fn no_reason(text: &str) -> Option<Stop> {
    let rows = || Reject::ALL.into_iter().map(Reject::row);
    let reasons: Vec<&str> = rows().filter(|row| row.code == text).map(|row| row.reason).collect();
    let is_code = !reasons.is_empty() && rows().all(|row| row.reason != text);
    is_code.then(|| {
        let reasons = reasons.join(", ");
        Stop::usage(format!(
            "--reason {text}: senders are told this code; the reasons that it stands for: {reasons}"
        ))
    })
}

/// Writes one row.
type Write1<'w> = &'w mut dyn FnMut(&mut dyn Write, &Value) -> io::Result<()>;

fn list(
    caller: CallerArgs,
    (what, wanted): (&str, Vec<(String, String)>),
    page: PageArgs,
    write: Write1<'_>,
) -> Result<u8, Stop> {
    let caller = Caller::new(caller)?;
    let (mut after, mut listed) = (page.after, 0);
    let mut out = io::stdout().lock();
    while listed < page.limit {
        let limit = PAGE.min(page.limit - listed).to_string();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&wanted).append_pair("limit", &limit);
        query.extend_pairs(after.iter().map(|after| ("after", after)));
        let answer = caller.get(&format!("/v1/history/{what}?{}", query.finish()))?;
        let rows = answer[what].as_array().map(Vec::as_slice).unwrap_or_default();
        listed += rows.len() as u64;
        rows.iter().try_for_each(|row| write(&mut out, row)).map_err(Stop::unprinted)?;
        after = answer["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    out.flush().map_err(Stop::unprinted)?;
    match after {
        Some(after) => eprintln!("there are more: --after {after}"),
        None if listed == 0 => {
            eprintln!("the history has none");
            let source = wanted.iter().find(|(name, _)| name == "source");
            caller.tell_of_no_source(source.map(|(_, name)| name.as_str()));
        }
        None => {}
    }
    Ok(exit::OK)
}

fn written(
    mut out: &mut dyn Write,
    row: &Value,
    form: Output,
    text: impl FnOnce(&Value) -> String,
) -> io::Result<()> {
    match form {
        Output::Json => output::json(&mut out, row),
        Output::Text => writeln!(out, "{}", text(row)),
    }
}

/// A field, with nothing in it for a terminal to obey.
fn plain(row: &Value, name: &str) -> String {
    match &row[name] {
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => output::line(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn event(row: &Value) -> String {
    let fields = ["received_at", "source", "state", "type", "event_id", "message_id"];
    let attempts = match row["attempts"].as_u64() {
        Some(2..) => format!(" ({} attempts)", plain(row, "attempts")),
        _ => String::new(),
    };
    format!("{:>8}  {}{attempts}", plain(row, "sequence"), fields.map(|name| plain(row, name)).join("  "))
}

fn refusal(row: &Value) -> String {
    let fields = ["at", "source", "status", "reason", "address", "request"];
    let mut text = fields.map(|name| plain(row, name)).join("  ");
    for (name, before) in [("path", ""), ("detail", ""), ("found", "cause: "), ("advice", "do: ")] {
        if row[name].as_str().is_some_and(|text| !text.is_empty()) {
            text.push_str(&format!("\n    {before}{}", plain(row, name)));
        }
    }
    match row["left_out"].as_u64() {
        Some(0) | None => text,
        Some(count) => format!("{text}\n    {count} more before it are not listed"),
    }
}

fn failure(row: &Value) -> String {
    let fields = ["source", "reason", "first_at", "last_at"];
    let mut text = format!("{:>6}  {}", plain(row, "count"), fields.map(|name| plain(row, name)).join("  "));
    for (name, before) in [("found", "cause: "), ("advice", "do: ")] {
        if row[name].is_string() {
            text.push_str(&format!("\n        {before}{}", plain(row, name)));
        }
    }
    text
}

fn show(args: ShowArgs, output: Output) -> Result<u8, Stop> {
    let caller = Caller::new(args.caller)?;
    let event = caller.get(&format!("/v1/history/events/{}", args.sequence))?;
    let mut out = io::stdout().lock();
    let shown = match (output, event.as_object()) {
        (Output::Text, Some(fields)) => {
            let steps = event["steps"].as_array().into_iter().flatten();
            let steps = steps.map(|step| {
                let detail = step["detail"].as_str().filter(|text| !text.is_empty()).map(output::line);
                let after = format!("+{} ms", plain(step, "after_ms"));
                let line = format!("  {after:>12}  {}  {}", plain(step, "at"), plain(step, "step"));
                detail.map_or(line.clone(), |detail| format!("{line}: {detail}"))
            });
            facts(fields)
                .chain(["steps:".to_owned()])
                .chain(steps)
                .try_for_each(|line| writeln!(out, "{line}"))
        }
        _ => output::json(&mut out, &event),
    };
    shown.map_err(Stop::unprinted)?;
    Ok(exit::OK)
}

fn failures(args: FailuresArgs, output: Output) -> Result<u8, Stop> {
    let caller = Caller::new(args.caller)?;
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("since", &args.since).finish();
    let answer = caller.get(&format!("/v1/history/failures?{query}"))?;
    let rows = answer["failures"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = io::stdout().lock();
    rows.iter().try_for_each(|row| written(&mut out, row, output, failure)).map_err(Stop::unprinted)?;
    if let Some(left_out @ 1..) = answer["left_out"].as_u64() {
        eprintln!(
            "{left_out} more are not listed: a flood has more than the log takes; hookgate_rejected_total counts all"
        );
    }
    if rows.is_empty() {
        eprintln!("nothing was refused since {}", plain(&answer, "since"));
    }
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_tells_what_to_do_and_nothing_for_a_terminal_to_obey() {
        let row = json!({"at": "2026-11-21T07:00:00.000Z", "source": "", "status": 404, "reason": "unknown_path",
            "address": "192.0.2.7", "request": "00ab", "path": "/\u{1b}[2J", "detail": "", "left_out": 3,
            "found": "another secret", "advice": "use it"});
        let text = refusal(&row);
        let expected = "2026-11-21T07:00:00.000Z  -  404  unknown_path  192.0.2.7  00ab\n    /\\u{1b}[2J\n    \
             cause: another secret\n    do: use it\n    3 more before it are not listed";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_code_is_told_from_a_reason() {
        let told = no_reason("signature_invalid").unwrap().why;
        assert!(told.contains("signature_mismatch") && told.contains("this code"), "{told}");
        assert_eq!(no_reason("signature_mismatch"), None);
        assert_eq!(no_reason("of_another_version"), None);
    }

    #[test]
    fn an_event_that_took_several_attempts_says_so() {
        let row = json!({"sequence": 7, "received_at": "t", "source": "shop", "state": null, "type": "", "event_id": "e",
            "message_id": "ab", "attempts": 3});
        assert_eq!(event(&row), "       7  t  shop  -  -  e  ab (3 attempts)");
        assert!(!event(&json!({"attempts": 1})).contains("attempts"));
    }
}
