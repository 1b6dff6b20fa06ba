//! `hookgate reload`: has a running gateway load its configuration again, and waits for what comes of it.

use std::io::{self, Write as _};

use clap::Args;
use serde_json::{Value, json};

use super::caller::{Caller, CallerArgs};
use super::output::{self, Output};
use super::stop::Stop;
use crate::exit;

/// Which gateway reloads.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 what the files say is in force, 78 they are refused and nothing has changed, 69 nobody answers.")]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    caller: CallerArgs,
}

/// Asks; the exit code comes back.
pub(super) fn run(args: ReloadArgs, output: Output) -> anyhow::Result<u8> {
    Ok(reload(args, output).unwrap_or_else(Stop::tell))
}

fn reload(args: ReloadArgs, output: Output) -> Result<u8, Stop> {
    let (status, told) = Caller::new(args.caller)?.ask("/v1/reload", &json!({}), &[422])?;
    let mut out = io::stdout().lock();
    let printed = match output {
        Output::Json => output::json(&mut out, &told),
        Output::Text if status == 200 => writeln!(out, "{}", output::line(&summary(&told))),
        Output::Text => {
            errors(&told).iter().for_each(|line| eprintln!("{}", output::line(line)));
            Ok(())
        }
    };
    printed.map_err(Stop::unprinted)?;
    Ok(if status == 200 { exit::OK } else { exit::CONFIG })
}

/// What has changed, on one line.
fn summary(told: &Value) -> String {
    let names = |value: &Value| {
        let names: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        names.join(", ")
    };
    let (sources, secrets) = (&told["sources"], &told["secrets"]);
    let lists = [
        ("sources added", &sources["added"]),
        ("removed", &sources["removed"]),
        ("changed", &sources["changed"]),
        ("secrets added", &secrets["added"]),
        ("removed", &secrets["removed"]),
        ("replaced", &secrets["replaced"]),
        ("settings", &told["settings"]),
        ("warnings", &told["warnings"]),
    ];
    let said =
        lists.map(|(what, list)| (what, names(list))).into_iter().filter(|(_, names)| !names.is_empty());
    let said: Vec<String> = said.map(|(what, names)| format!("{what}: {names}")).collect();
    if said.is_empty() { "nothing has changed".to_owned() } else { format!("reloaded; {}", said.join("; ")) }
}

/// Everything that is wrong, a line each, and what that means.
fn errors(told: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let invalid = |error: &Value| {
        let [place, key, wrong, allowed] =
            ["place", "key", "wrong", "allowed"].map(|name| text(&error[name]));
        // A file that cannot be read has no key.
        let key = if key.is_empty() { key } else { format!("{key}: ") };
        let allowed = if allowed.is_empty() { allowed } else { format!("; allowed: {allowed}") };
        format!("{place}: {key}{wrong}{allowed}")
    };
    let found = told["errors"].as_array().into_iter().flatten();
    let mut lines: Vec<String> = found.filter(|error| error["place"].is_string()).map(invalid).collect();
    lines.push(text(&told["detail"]));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_one_line_and_what_is_wrong_a_line_each() {
        let told = json!({
            "outcome": "applied",
            "sources": { "added": ["a", "b"], "removed": [], "changed": ["c"] },
            "secrets": { "added": [], "removed": ["c/old"], "replaced": [] },
            "settings": [],
            "warnings": [],
        });
        assert_eq!(summary(&told), "reloaded; sources added: a, b; changed: c; removed: c/old");
        assert_eq!(summary(&json!({ "outcome": "unchanged" })), "nothing has changed");
        let error = json!({ "place": "x.toml:3", "key": "a.b", "wrong": "found 7", "allowed": "8" });
        let told = json!({ "detail": "1 error", "errors": [error] });
        assert_eq!(errors(&told), ["x.toml:3: a.b: found 7; allowed: 8", "1 error"]);
        let told = json!({ "detail": "restart", "errors": [{ "key": "a", "running": "1", "found": "2" }] });
        assert_eq!(errors(&told), ["restart"]);
    }
}
