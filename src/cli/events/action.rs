//! `hookgate events replay`, `forget`, `release`, `requeue` and `drop`: one selection, as many calls as it takes, one tally.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::SelectArgs;
use crate::accept::{Action, Fate};
use crate::cli::caller::{Caller, CallerArgs};
use crate::cli::output::{self, Output};
use crate::cli::progress::Progress;
use crate::cli::stop::Stop;
use crate::exit;
use crate::operate::Choice;

/// Pause where the gateway has no room for more until the relay has published some.
const PAUSE: Duration = Duration::from_millis(500);

/// What is acted on.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 done, or nothing was selected; 1 nothing of what was selected could be acted on.")]
pub(super) struct ActionArgs {
    /// The event's number, or a range such as 5-9; the same as --sequence
    #[arg(value_name = "N|N-N", value_parser = numbers, conflicts_with = "sequence")]
    numbers: Option<String>,
    #[command(flatten)]
    select: SelectArgs,
    /// Mean every event, where nothing else is selected
    #[arg(long)]
    all: bool,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before events are lost
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    caller: CallerArgs,
}

/// What stands without an option's name is a number or a range: an id may be several events'.
fn numbers(text: &str) -> Result<String, String> {
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    let is_range = text.split_once('-').is_some_and(|(first, last)| is_number(first) && is_number(last));
    match is_number(text) || is_range {
        true => Ok(text.to_owned()),
        false => Err("a number or a range such as 5-9 is wanted; for an id of the provider say --id ID, for a message id \
                      --key MESSAGE_ID"
            .to_owned()),
    }
}

/// What all calls came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    selected: u64,
    outcomes: BTreeMap<String, u64>,
    begins: Option<String>,
}

impl Tally {
    fn add(&mut self, answer: &Value) {
        self.selected += answer["selected"].as_u64().unwrap_or_default();
        for (name, count) in answer["outcomes"].as_object().into_iter().flatten() {
            *self.outcomes.entry(name.clone()).or_default() += count.as_u64().unwrap_or_default();
        }
        self.begins = self.begins.take().or(answer["begins"].as_str().map(str::to_owned));
    }

    /// One sentence, such as `12 selected: 10 replayed, 2 not confirmed yet`.
    fn text(&self, done: &str, dry_run: bool) -> String {
        let carried_out = self.outcomes.get(done).map(|count| (done.to_owned(), *count));
        let others = self.outcomes.iter().filter(|(name, _)| *name != done);
        let others = others.map(|(name, count)| (words(name).to_owned(), *count));
        let parts: Vec<String> =
            carried_out.into_iter().chain(others).map(|(words, count)| format!("{count} {words}")).collect();
        let colon = if parts.is_empty() { "" } else { ": " };
        let dry = if dry_run { " (dry run, nothing was changed)" } else { "" };
        format!("{} selected{colon}{}{dry}", self.selected, parts.join(", "))
    }
}

/// What an outcome means.
fn words(outcome: &str) -> &str {
    match Fate::named(outcome) {
        Some(Fate::Pending) => "not confirmed yet",
        Some(Fate::Held) => "held (release them)",
        Some(Fate::Poison) => "poison (requeue them)",
        Some(Fate::Ended) => "ended already",
        Some(Fate::Gone) => "gone (removed by retention, or never there)",
        Some(Fate::Underway) => "on their way (try again)",
        Some(Fate::Unknown) => "not known to the dedup index",
        Some(Fate::NoRoom) => "left, since there is no room for more",
        Some(Fate::Done) | None => outcome,
    }
}

/// Acts; the exit code comes back: 1 where events were selected and none could be acted on.
pub(super) fn run(action: Action, args: ActionArgs, output: Output) -> Result<u8, Stop> {
    let (name, done) = (action.name(), action.done());
    let mut choice = args.select.choice();
    choice.sequence = choice.sequence.or(args.numbers);
    if choice == Choice::default() && !args.all {
        return Err(Stop::usage(format!(
            "events {name} needs a selection, such as --source shop --since 2h; to mean every event, say --all"
        )));
    }
    let caller = Caller::new(args.caller)?;
    let source = choice.source.clone();
    let work = Work { caller: &caller, action, selection: json!(choice), all: args.all };
    if action == Action::Drop && !args.yes && !args.dry_run {
        ask(&work.all(true)?)?;
    }
    let tally = work.all(args.dry_run)?;
    if let Some(begins) = &tally.begins {
        eprintln!("the journal begins at {begins}: retention has removed what came in before");
    }
    let mut out = io::stdout();
    let printed = match output {
        Output::Text => writeln!(out, "{}", tally.text(done, args.dry_run)),
        Output::Json => output::json(
            &mut out,
            &json!({
                "action": name, "dry_run": args.dry_run, "selected": tally.selected,
                "outcomes": tally.outcomes, "begins": tally.begins,
            }),
        ),
    };
    printed.map_err(Stop::unprinted)?;
    if tally.selected == 0 {
        caller.tell_of_no_source(source.as_deref());
    }
    let idle = tally.selected > 0 && tally.outcomes.get(done).is_none_or(|count| *count == 0);
    Ok(if idle && !args.dry_run { exit::FAILURE } else { exit::OK })
}

/// Events that will be lost are counted before the question.
fn ask(would: &Tally) -> Result<(), Stop> {
    let count = would.outcomes.get(Action::Drop.done()).copied().unwrap_or_default();
    if !io::stdin().is_terminal() {
        let why =
            format!("events drop would lose {count} events for good; nobody can be asked here, so say --yes");
        return Err(Stop::usage(why));
    }
    eprint!("{count} events will be lost for good. Type {count} to go on: ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Stop::failure)?;
    match answer.trim() == count.to_string() {
        true => Ok(()),
        false => Err(Stop::failure("nothing was dropped")),
    }
}

/// One action on one selection.
struct Work<'c> {
    caller: &'c Caller,
    action: Action,
    selection: Value,
    all: bool,
}

impl Work<'_> {
    /// Calls until nothing is left.
    fn all(&self, dry_run: bool) -> Result<Tally, Stop> {
        let (mut tally, mut after) = (Tally::default(), Value::Null);
        let mut progress = Progress::of("events", None);
        loop {
            let body =
                json!({ "selection": self.selection, "all": self.all, "dry_run": dry_run, "after": after });
            let mut answer =
                self.caller.post(&format!("/v1/events/{}", self.action.name()), &body).map_err(|stop| {
                    let so_far = tally.text("", dry_run);
                    Stop { why: format!("{}; before that: {so_far}", stop.why), ..stop }
                })?;
            tally.add(&answer);
            after = answer["next"].take();
            if after.is_null() {
                return Ok(tally);
            }
            let waits = answer["wait"] == true;
            let why = if waits { ", waiting until the relay has published some" } else { "" };
            progress.at(tally.selected, why);
            if waits {
                std::thread::sleep(PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_may_be_named_by_its_number_alone() {
        assert_eq!(numbers("17"), Ok("17".to_owned()));
        assert_eq!(numbers("5-9"), Ok("5-9".to_owned()));
        for wrong in ["evt_1", "5-", "-9", "", "1.5"] {
            assert!(numbers(wrong).unwrap_err().contains("--id ID"), "{wrong}");
        }
        assert!(crate::cli::events::number("evt_1").unwrap_err().contains("events list --id ID"));
    }

    #[test]
    fn a_tally_adds_up_and_is_told_in_one_sentence() {
        let mut tally = Tally::default();
        tally.add(&json!({"selected": 8, "outcomes": {"replayed": 8}, "begins": null}));
        tally.add(&json!({"selected": 4, "outcomes": {"replayed": 2, "pending": 2}, "begins": null}));
        assert_eq!(tally.text("replayed", false), "12 selected: 10 replayed, 2 not confirmed yet");
        assert_eq!(Tally::default().text("dropped", true), "0 selected (dry run, nothing was changed)");
    }
}
