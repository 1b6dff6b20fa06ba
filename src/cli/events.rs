//! `hookgate events`: what the running gateway's journal holds, and an operator's actions on it, over the admin listener.
//!
//! Ids and types come from outside: text output escapes what a terminal would obey. Long work goes on from call to call
//! and tells its progress on stderr.

mod action;
mod tail;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::caller::{Caller, CallerArgs};
use super::output::{self, Output};
use super::stop::Stop;
use crate::accept::Action;
use crate::exit;
use crate::operate::Choice;

/// Events in one answer of the gateway, at most.
const PAGE: u64 = 1000;

/// What is done with events.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the events that the journal holds, oldest first
    List(ListArgs),
    /// Show one event
    Show(ShowArgs),
    /// List events as they come in
    Tail(tail::TailArgs),
    /// Publish confirmed events again, marked hookgate-replay
    Replay(action::ActionArgs),
    /// Forget keys: the next delivery of such an event is a new one
    Forget(action::ActionArgs),
    /// Relay events that are held
    Release(action::ActionArgs),
    /// Relay events that are poison, and try those at once that wait (unroutable, parked)
    Requeue(action::ActionArgs),
    /// Give up events that are not confirmed: they are lost
    Drop(action::ActionArgs),
}

/// Which events.
#[derive(Clone, Debug, Args)]
pub(super) struct SelectArgs {
    /// Of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Of this event type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// With this id of the provider
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// With this message id, 64 hexadecimal digits
    #[arg(long, value_name = "MESSAGE_ID")]
    key: Option<String>,
    /// In one of these states: pending, aside, held, poison, confirmed, superseded, dropped
    #[arg(long, value_name = "STATE,…")]
    state: Option<String>,
    /// With this number, or a range such as 5-9
    #[arg(long, value_name = "N|N-N")]
    sequence: Option<String>,
    /// Received at this time or later, such as 2026-11-21T07:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Received before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl SelectArgs {
    pub(super) fn choice(self) -> Choice {
        Choice {
            source: self.source,
            event_type: self.event_type,
            id: self.id,
            key: self.key,
            state: self.state,
            sequence: self.sequence,
            since: self.since,
            until: self.until,
        }
    }
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// End after so many events
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// Go on where an earlier list ended
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    #[command(flatten)]
    caller: CallerArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The event's number, as `events list` tells it
    #[arg(value_parser = number)]
    sequence: u64,
    /// Write the body, exactly as received, to this file; - for stdout, and nothing else is printed
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    #[command(flatten)]
    caller: CallerArgs,
}

/// Reads an event's number; an id is no number, and several events may have it.
pub(super) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        "an event's number is wanted, such as 17; `hookgate events list --id ID` tells it for an id of the provider, \
         `--key MESSAGE_ID` for a message id"
            .to_owned()
    })
}

/// Runs the command; the exit code comes back.
pub(super) fn run(args: EventsArgs, output: Output) -> anyhow::Result<u8> {
    let done = match args.command {
        Command::List(args) => list(args, output),
        Command::Show(args) => show(args, output),
        Command::Tail(args) => tail::run(args, output),
        Command::Replay(args) => action::run(Action::Replay, args, output),
        Command::Forget(args) => action::run(Action::Forget, args, output),
        Command::Release(args) => action::run(Action::Release, args, output),
        Command::Requeue(args) => action::run(Action::Requeue, args, output),
        Command::Drop(args) => action::run(Action::Drop, args, output),
    };
    Ok(done.unwrap_or_else(Stop::tell))
}

fn list(args: ListArgs, output: Output) -> Result<u8, Stop> {
    let caller = Caller::new(args.caller)?;
    let choice = args.select.choice();
    let (source, choice) = (choice.source.clone(), fields(&choice));
    let (mut after, mut listed) = (args.after, 0);
    let mut out = io::stdout().lock();
    while listed < args.limit {
        let limit = PAGE.min(args.limit - listed).to_string();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&choice).append_pair("limit", &limit);
        if let Some(after) = &after {
            query.append_pair("after", after);
        }
        let mut page = caller.get(&format!("/v1/events?{}", query.finish()))?;
        let events = page["events"].as_array_mut().map(std::mem::take).unwrap_or_default();
        listed += events.len() as u64;
        events.iter().try_for_each(|event| line(&mut out, event, output)).map_err(Stop::unprinted)?;
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    out.flush().map_err(Stop::unprinted)?;
    match after {
        Some(after) => eprintln!("there may be more: --after {after}"),
        None if listed == 0 => {
            eprintln!("the journal holds no such event");
            caller.tell_of_no_source(source.as_deref());
        }
        None => {}
    }
    Ok(exit::OK)
}

/// The fields that are set, by name.
pub(super) fn fields(choice: &Choice) -> Vec<(String, String)> {
    let Ok(Value::Object(fields)) = serde_json::to_value(choice) else { return Vec::new() };
    let text = |(name, value): (String, Value)| Some((name, value.as_str()?.to_owned()));
    fields.into_iter().filter_map(text).collect()
}

fn line(out: &mut impl Write, event: &Value, form: Output) -> io::Result<()> {
    match form {
        Output::Json => output::json(out, event),
        Output::Text => {
            let text = |key: &str| match &event[key] {
                Value::String(text) if text.is_empty() => "-".to_owned(),
                Value::String(text) => output::line(text),
                other => other.to_string(),
            };
            let again = if event["replayed"] == true { " (replay)" } else { "" };
            writeln!(
                out,
                "{:>8}  {}  {}  {}{again}  {}  {}  {}",
                text("sequence"),
                text("received_at"),
                text("source"),
                text("state"),
                text("type"),
                text("event_id"),
                text("message_id"),
            )
        }
    }
}

fn show(args: ShowArgs, output: Output) -> Result<u8, Stop> {
    let caller = Caller::new(args.caller)?;
    let path = format!("/v1/events/{}", args.sequence);
    if let Some(file) = args.body {
        return save(&caller, &format!("{path}/body"), &file);
    }
    print(&caller.get(&path)?, output)
}

/// Writes what is at that path, exactly as it came, to a file or, for `-`, to stdout.
pub(super) fn save(caller: &Caller, path: &str, file: &Path) -> Result<u8, Stop> {
    let bytes = caller.bytes(path)?;
    let written = match file.as_os_str() == "-" {
        true => io::stdout().lock().write_all(&bytes),
        false => File::create(file).and_then(|mut file| file.write_all(&bytes)),
    };
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Stop::unprinted(error),
        _ => Stop::failure(format!("cannot write {}: {error}", file.display())),
    })?;
    Ok(exit::OK)
}

/// Prints what is known of one thing.
pub(super) fn print(known: &Value, output: Output) -> Result<u8, Stop> {
    let mut out = io::stdout().lock();
    let written = match (output, known.as_object()) {
        (Output::Text, Some(known)) => facts(known).try_for_each(|fact| writeln!(out, "{fact}")),
        _ => output::json(&mut out, known),
    };
    written.map_err(Stop::unprinted)?;
    Ok(exit::OK)
}

/// What is known of an event, a line each; the sender's headers last.
pub(super) fn facts(event: &Map<String, Value>) -> impl Iterator<Item = String> {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), output::line);
    let own = event.iter().filter(|(_, value)| !value.is_null() && !value.is_array());
    let own = own.map(move |(name, value)| format!("{name}: {}", plain(value)));
    let headers = event.get("headers").and_then(Value::as_array).into_iter().flatten();
    own.chain(headers.map(move |pair| format!("http-{}: {}", plain(&pair[0]), plain(&pair[1]))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn facts_are_what_is_there_with_a_header_on_each_line() {
        let event =
            json!({"headers": [["user-agent", "a\u{1b}"]], "invalid": null, "bytes": 3, "state": "held"});
        let told: Vec<String> = facts(event.as_object().unwrap()).collect();
        assert_eq!(told, ["bytes: 3", "state: held", "http-user-agent: a\\u{1b}"]);
    }

    #[test]
    fn a_line_shows_an_event_and_nothing_for_a_terminal_to_obey() {
        let event = json!({"sequence": 7, "received_at": "2026-11-21T07:00:00.000Z", "source": "shop", "state": "held",
            "replayed": true, "type": "a\u{1b}[2J", "event_id": "", "message_id": "ab"});
        let mut out = Vec::new();
        line(&mut out, &event, Output::Text).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "       7  2026-11-21T07:00:00.000Z  shop  held (replay)  a\\u{1b}[2J  -  ab\n");
        let mut out = Vec::new();
        line(&mut out, &event, Output::Json).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), event);
        assert!(!out.contains(&0x1b));
    }

    #[test]
    fn fields_are_those_that_are_set() {
        let choice = Choice { event_type: Some("a b".to_owned()), ..Choice::default() };
        assert_eq!(fields(&choice), [("type".to_owned(), "a b".to_owned())]);
    }
}
