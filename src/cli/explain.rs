//! `hookgate explain`: the one cause of a refusal, in words and under a stable code, and what to do about it.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::output::Output;
use super::stop::Stop;
use super::verify::{self, Judged, VerifyArgs};
use crate::exit;
use crate::reject::Refused;

/// What is explained.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 accepted, 65 refused.

Examples:
  hookgate explain shop captured.http
  hookgate explain shop --at 2026-03-01T12:00:00Z < captured.http
  hookgate explain github --secret-env GITHUB_SECRET --headers headers.txt --body body.json
  hookgate explain acme --providers providers.d --secret-env ACME_SECRET captured.http")]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    verify: VerifyArgs,
    /// The whole request as it came: request line, headers, an empty line, body [default: stdin]
    #[arg(value_name = "CAPTURED_REQUEST", conflicts_with_all = ["request", "headers", "body"])]
    file: Option<PathBuf>,
}

/// Explains; the exit code comes back.
pub(super) fn run(args: ExplainArgs, output: Output) -> anyhow::Result<u8> {
    Ok(explain(args, output).unwrap_or_else(Stop::tell))
}

fn explain(args: ExplainArgs, output: Output) -> Result<u8, Stop> {
    let mut verify = args.verify;
    verify.capture = verify.capture.or(args.file, &verify.request);
    verify::judged(verify, true, |judged| match &judged.outcome {
        Ok(told) => {
            verify::print(output, &told.text, &told.data)?;
            Ok(exit::OK)
        }
        Err(refused) => {
            verify::print(output, &text(judged, refused), &to_json(judged, refused))?;
            Ok(exit::DATA)
        }
    })
}

fn text(judged: &Judged<'_>, refused: &Refused) -> String {
    let detail = if refused.detail.is_empty() { String::new() } else { format!(": {}", refused.detail) };
    let mut text = format!("refused: {}{detail}\n", refused.reject.row().reason);
    if let Some((first, more)) = judged.findings.split_first() {
        text.push_str(&format!(
            "  cause   {}\n  found   {}\n  do      {}\n",
            first.cause.code(),
            first.found,
            first.advice
        ));
        let also = more.iter().map(|other| format!("  also    {}: {}\n", other.cause.code(), other.found));
        also.for_each(|line| text.push_str(&line));
    }
    text
}

fn to_json(judged: &Judged<'_>, refused: &Refused) -> Value {
    let first = judged.findings.first();
    let also = judged.findings.iter().skip(1);
    json!({
        "accepted": false,
        "provider": *judged.scheme.provider,
        "scheme": judged.scheme.name,
        "reason": refused.reject.row().reason,
        "detail": refused.detail,
        "cause": first.map(|one| one.cause.code()),
        "found": first.map(|one| &one.found),
        "advice": first.map(|one| &one.advice),
        "also": also.map(|one| json!({ "cause": one.cause.code(), "found": one.found })).collect::<Vec<_>>(),
    })
}
