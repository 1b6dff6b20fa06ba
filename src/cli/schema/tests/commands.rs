//! Every subcommand with its arguments, made of what the parser is made of.

use clap::{Arg, Command};

use super::options::cell;
use crate::cli::args::command;

/// A part for each subcommand.
pub(super) fn commands() -> String {
    let mut out = String::new();
    let mut main = command().disable_help_subcommand(true);
    main.build();
    main.get_subcommands().for_each(|each| part(each, &mut out));
    out
}

fn part(command: &Command, out: &mut String) {
    let inner: Vec<&Command> = command.get_subcommands().collect();
    if !inner.is_empty() {
        inner.into_iter().for_each(|each| part(each, out));
        return;
    }
    let usage = command.clone().render_usage().to_string();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = usage.trim_start_matches("Usage: ").split_whitespace().collect::<Vec<_>>().join(" ");
    let name = command.get_bin_name().unwrap_or(command.get_name());
    out.push_str(&format!("### `{name}`\n{}.\n\n    {usage}\n", cell(&about)));
    let shown =
        |arg: &&Arg| !arg.is_hide_set() && !["help", "version", "output"].contains(&arg.get_id().as_str());
    let args: Vec<&Arg> = command.get_arguments().filter(shown).collect();
    if !args.is_empty() {
        out.push_str("\n| argument | meaning |\n| --- | --- |\n");
    }
    for arg in args {
        out.push_str(&format!("| `{}` | {} |\n", form(arg), cell(&meaning(arg))));
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if let Some((_, codes)) = after.split_once("Exit codes: ") {
        let codes = codes.split("\n\n").next().unwrap_or_default();
        out.push_str(&format!("\nExit codes: {}\n", cell(codes)));
    }
    out.push('\n');
}

/// `--name <VALUE>`, or `<NAME>`.
fn form(arg: &Arg) -> String {
    let values = if arg.get_action().takes_values() {
        let names = arg.get_value_names().unwrap_or_default().iter();
        names.map(|name| format!("<{name}>")).collect::<Vec<_>>().join(" ")
    } else {
        String::new()
    };
    let flags = arg.get_short().map(|short| format!("-{short}")).into_iter();
    let flags = flags.chain(arg.get_long().map(|long| format!("--{long}"))).collect::<Vec<_>>().join(", ");
    format!("{flags} {values}").trim().to_owned()
}

/// What it is for, what it may be, and what it is where it is not given.
fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values = if arg.get_action().takes_values() { arg.get_possible_values() } else { Vec::new() };
    let known: Vec<String> = values
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| {
            let help = value.get_help().map(|help| format!(" ({help})")).unwrap_or_default();
            format!("`{}`{help}", value.get_name())
        })
        .collect();
    if !known.is_empty() {
        text.push_str(&format!(": {}", known.join(", ")));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() && !arg.is_hide_default_value_set() && arg.get_action().takes_values() {
        text.push_str(&format!(" [default: {}]", defaults.join(", ")));
    }
    text
}
