//! `hookgate journal inspect`: segments, records by source and state, watermarks.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::read;
use crate::cli::output::{self, Output};
use crate::cli::stop::Stop;
use crate::exit;
use crate::journal::{Archive, Facts};
use crate::operate::Status;

/// Records and the bytes of their bodies.
type Counts = BTreeMap<(String, &'static str), (u64, u64)>;

/// Inspects; the exit code comes back.
pub(super) fn run(dir: &Path, output: Output) -> Result<u8, Stop> {
    let mut archive = read(dir)?;
    let counts = counts(&mut archive)?;
    let facts = archive.facts();
    match output {
        Output::Json => {
            output::json(&mut io::stdout(), &report(dir, facts, &counts)).map_err(Stop::unprinted)?;
        }
        Output::Text => table(dir, facts, &counts).iter().try_for_each(|line| print(line))?,
    }
    for damage in &facts.damaged {
        eprintln!(
            "{} at {}: {}; see `hookgate journal verify`",
            damage.file.display(),
            damage.offset,
            damage.what
        );
    }
    Ok(if facts.damaged.is_empty() { exit::OK } else { exit::DATA })
}

/// A line on stdout; whoever closes the pipe has read enough.
pub(super) fn print(line: &str) -> Result<(), Stop> {
    writeln!(io::stdout(), "{line}").map_err(Stop::unprinted)
}

fn counts(archive: &mut Archive) -> Result<Counts, Stop> {
    let mut counts = Counts::new();
    let read = archive.each::<Infallible>(&mut |kept| {
        let state = Status::of(kept.standing, || false).as_str();
        let count = counts.entry((kept.event.envelope().source.to_string(), state)).or_default();
        count.0 += 1;
        count.1 += kept.event.body().len() as u64;
        Ok(())
    });
    match read {
        Ok(Ok(())) => Ok(counts),
        Err(error) => Err(Stop::data(error.to_string())),
    }
}

fn report(dir: &Path, facts: &Facts, counts: &Counts) -> Value {
    let segments: Vec<Value> = facts
        .segments
        .iter()
        .map(|segment| {
            json!({
                "number": segment.number, "bytes": segment.bytes, "used_bytes": segment.used,
                "records": segment.records, "live": segment.live, "gaps": segment.gaps,
                "first_sequence": segment.numbers.map(|(first, _)| first.0),
                "last_sequence": segment.numbers.map(|(_, last)| last.0),
                "oldest": segment.times.map(|(oldest, _)| oldest.to_string()),
                "newest": segment.times.map(|(_, newest)| newest.to_string()),
            })
        })
        .collect();
    let mut sources: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
    for ((source, state), (records, bytes)) in counts {
        let counted = json!({ "records": records, "body_bytes": bytes });
        sources.entry(source).or_default().insert(state, counted);
    }
    let watermarks: BTreeMap<&str, u64> =
        facts.watermarks.iter().map(|(source, through)| (&**source, through.0)).collect();
    json!({
        "dir": dir, "journal": facts.id, "next_sequence": facts.next.0, "segments": segments,
        "sources": sources, "attempted_through": watermarks, "unsynced_bytes": facts.unsynced,
        "set_aside": facts.aside, "damages": facts.damaged.len(),
    })
}

fn table(dir: &Path, facts: &Facts, counts: &Counts) -> Vec<String> {
    let mut lines = vec![
        format!("{}: journal {}, the next event is {} or later", dir.display(), facts.id, facts.next),
        String::new(),
        format!(
            "{:>16}  {:>11}  {:>9}  {:>9}  {:<21}  {:<24}  {}",
            "segment", "bytes", "records", "live", "sequences", "oldest", "newest"
        ),
    ];
    for segment in &facts.segments {
        let numbers = segment.numbers.map_or("-".to_owned(), |(first, last)| format!("{first}-{last}"));
        let (oldest, newest) = segment
            .times
            .map_or(("-".to_owned(), "-".to_owned()), |(old, new)| (old.to_string(), new.to_string()));
        lines.push(format!(
            "{:>16}  {:>11}  {:>9}  {:>9}  {numbers:<21}  {oldest:<24}  {newest}",
            segment.number, segment.used, segment.records, segment.live
        ));
    }
    lines.push(String::new());
    lines.push(format!(
        "{:<24}  {:<12}  {:>9}  {:>14}  {}",
        "source", "state", "records", "body bytes", "attempted through"
    ));
    for ((source, state), (records, bytes)) in counts {
        let through = facts.watermarks.get(source.as_str()).map_or("-".to_owned(), ToString::to_string);
        let source = output::line(source);
        lines.push(format!("{source:<24}  {state:<12}  {records:>9}  {bytes:>14}  {through}"));
    }
    lines.extend(facts.aside.iter().map(|file| format!("set aside: {}", file.display())));
    lines
}
