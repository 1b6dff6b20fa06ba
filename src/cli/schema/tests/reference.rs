//! `deploy/reference.md`: every key, refusal, notice, exit code and command, of the code.

use super::commands::commands;
use super::options::{cell, options};
use super::schemas;
use crate::exit;
use crate::notice;
use crate::reject::{Again, Reject};

const EXIT: &str = include_str!("../../../exit.rs");

/// The refusals in their order, with what their documentation says.
fn refusals() -> String {
    let schema = schemas::of::<Reject>("", "");
    let all = schema["oneOf"].as_array().unwrap();
    let mut rows = String::new();
    for (reject, described) in Reject::ALL.into_iter().zip(all) {
        assert_eq!(described["const"], format!("{reject:?}"));
        let (row, meaning) = (reject.row(), cell(described["description"].as_str().unwrap()));
        let again = match reject.again() {
            Again::After(seconds) => format!("after {seconds} s"),
            Again::AtOnce => "yes".to_owned(),
            Again::Later => "later".to_owned(),
            Again::SignedAnew => "signed anew".to_owned(),
            Again::Mended => "once mended".to_owned(),
        };
        let (reason, status, code, advice) = (row.reason, row.status, row.code, cell(reject.advice()));
        rows.push_str(&format!("| `{reason}` | {status} | `{code}` | {again} | {meaning} | {advice} |\n"));
    }
    rows
}

/// The notices, with what to do.
fn notices() -> String {
    let row = |(kind, label): (notice::Kind, &str)| format!("| `{label}` | {} |\n", cell(kind.advice()));
    notice::Kind::ALL.map(row).concat()
}

/// The exit codes, with what their documentation says.
fn exits() -> String {
    let (mut rows, mut meaning, mut codes) = (String::new(), "", Vec::new());
    for line in EXIT.lines() {
        if let Some(text) = line.strip_prefix("/// ") {
            meaning = text;
        } else if let Some((_, code)) =
            line.strip_prefix("pub const ").and_then(|rest| rest.split_once(" = "))
        {
            let code: u8 = code.trim_end_matches(';').parse().unwrap();
            rows.push_str(&format!("| {code} | {meaning} |\n"));
            codes.push(code);
        }
    }
    let known = [
        exit::OK,
        exit::FAILURE,
        exit::USAGE,
        exit::DATA,
        exit::UNAVAILABLE,
        exit::JOURNAL_POISONED,
        exit::CONFIG,
    ];
    assert_eq!(codes, known);
    rows
}

pub(super) fn reference() -> String {
    let (options, refusals, notices, exits, commands) =
        (options(), refusals(), notices(), exits(), commands());
    format!(
        "# Reference\n\n\
         Made of the code by a test, which fails where this page differs and says how it is made anew. Metrics have \
         [a page of their own](metrics.md), which a test holds against what is registered. The admin listener describes its calls \
         itself: `GET /v1/openapi.json`. What workers get is in the [README](../README.md#what-workers-get).\n\n\
         [Configuration](#configuration) · [Refusals](#refusals) · [Notices](#notices) · [Exit codes](#exit-codes) · \
         [Commands](#commands) · [Metrics](metrics.md)\n\n\
         ## Configuration\n\
         A later layer wins: defaults, `hookgate.toml`, `sources.d/*.toml` beside it, variables such as \
         `HOOKGATE__JOURNAL__DIR`, flags such as `--set journal.dir=DIR`. Files of `sources.d/` are read in the order of their names; a \
         source that stands in several files is merged key by key, of which a warning tells. [hookgate.toml](hookgate.toml) has every key in one file; \
         `hookgate check --values` tells what is in force and where it comes from. An unknown key is an error. Under «change»: \
         `reload` is taken by the running gateway, `restart` is told by a reload and wants a restart. A size is text such as \
         `\"64KiB\"`, `\"1MB\"` or a number of bytes; a duration `\"500ms\"`, `\"10s\"`, `\"1h30m\"` or `\"7d\"`.\n\n{options}\
         ## Refusals\n\
         The sender is told the status and, in a problem document, the code. The reason is in the log, in \
         `hookgate_rejected_total{{source,reason}}` and in the console, of which «Sources» is a page. «Again»: whether the same \
         delivery may go through later. To send it again is always safe: nothing of it was accepted. A 503 is a fault of ours, and \
         never the sender's.\n\n\
         | reason | status | code | again | when | what to do |\n| --- | --- | --- | --- | --- | --- |\n{refusals}\n\
         ## Notices\n\
         What is told without anybody having looked: in the log, by `hookgate_notice{{notice,source}}`, `GET /v1/notices`, the \
         console, and `notices.url`.\n\n\
         | notice | what to do |\n| --- | --- |\n{notices}\n\
         ## Exit codes\n| code | meaning |\n| --- | --- |\n{exits}\n\
         ## Commands\n\
         Each takes `--help`, and `--output json`, with which data on stdout is JSON objects, one a line; talk goes to stderr.\n\n{commands}"
    )
    .trim_end()
    .to_owned()
        + "\n"
}
