//! `hookgate journal`: what a journal's folder holds, whether it is whole, its events as JSON lines, and copies of it. Reads only, beside a
//! running gateway or without one; exit code 65 where something is damaged.

mod backup;
mod export;
mod inspect;

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{self, Output};
use super::stop::Stop;
use crate::exit;
use crate::journal::{Archive, Damaged, Facts, aside_origin, salvage};

/// What is read.
#[derive(Debug, Args)]
pub(super) struct JournalArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Segments, records by source and state, watermarks
    Inspect(ReadArgs),
    /// Check every byte; exit code 65 where something is damaged or was set aside
    Verify(ReadArgs),
    /// Copy the folder, beside a running gateway too, for one that is started on the copy elsewhere
    Backup(backup::BackupArgs),
    /// Write events as JSON, one a line, their bodies in base64
    Export(export::ExportArgs),
}

#[derive(Debug, Args)]
struct ReadArgs {
    /// The journal's folder
    dir: PathBuf,
}

/// Runs the command; the exit code comes back.
pub(super) fn run(args: JournalArgs, output: Output) -> anyhow::Result<u8> {
    let done = match args.command {
        Command::Inspect(args) => inspect::run(&args.dir, output),
        Command::Verify(args) => verify(&args.dir, output),
        Command::Backup(args) => backup::run(&args, output),
        Command::Export(args) => export::run(args),
    };
    Ok(done.unwrap_or_else(Stop::tell))
}

/// Reads a folder.
fn read(dir: &Path) -> Result<Archive, Stop> {
    if !dir.exists() {
        let why = format!("{} is not there; give the folder that journal.dir names", dir.display());
        return Err(Stop::usage(why));
    }
    Archive::read(dir).map_err(|error| Stop::data(error.to_string()))
}

fn verify(dir: &Path, output: Output) -> Result<u8, Stop> {
    let archive = read(dir)?;
    let facts = archive.facts();
    let mut damages: Vec<Value> = facts.damaged.iter().map(damaged).collect();
    for file in &facts.aside {
        let found = salvage(file).map_err(|error| Stop::data(error.to_string()))?;
        let numbers: Vec<u64> = found.iter().map(|record| record.sequence.0).collect();
        let (segment, offset) = aside_origin(file).unwrap_or_default();
        damages.push(json!({
            "file": segment, "offset": offset, "what": "set aside by a start of the gateway", "copy": file,
            "readable_events": numbers,
            "means": "the gateway serves what is left; events in the range are not relayed any more",
            "do": format!(
                "read them with `hookgate journal export {}`, then move the copy out of the folder", file.display()
            ),
        }));
    }
    let records: u64 = facts.segments.iter().map(|segment| segment.records).sum();
    match output {
        Output::Json => output::json(
            &mut io::stdout(),
            &json!({
                "dir": dir, "journal": facts.id, "segments": facts.segments.len(), "records": records,
                "unsynced_bytes": facts.unsynced, "removed_meanwhile": facts.removed, "damages": damages,
            }),
        )
        .map_err(Stop::unprinted)?,
        Output::Text => {
            damages.iter().try_for_each(|damage| inspect::print(&told(damage)))?;
            inspect::print(&summary(facts, records, damages.len()))?;
        }
    }
    Ok(if damages.is_empty() { exit::OK } else { exit::DATA })
}

fn damaged(damage: &Damaged) -> Value {
    json!({
        "file": damage.file, "offset": damage.offset, "bytes": damage.bytes, "what": damage.what,
        "means": damage.means,
        "do": "keep a copy of the folder; the next start of the gateway sets the range aside, reports it and serves the rest",
    })
}

fn told(damage: &Value) -> String {
    let text = |name: &str| damage[name].as_str().unwrap_or_default();
    let bytes = damage["bytes"].as_u64().map(|bytes| format!(", {bytes} bytes")).unwrap_or_default();
    let mut lines = vec![format!("{} at {}{bytes}: {}", text("file"), damage["offset"], text("what"))];
    if let (Some(copy), Some(events)) = (damage["copy"].as_str(), damage["readable_events"].as_array()) {
        let numbers: Vec<String> = events.iter().map(Value::to_string).collect();
        let numbers = if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") };
        lines.push(format!("  copy: {copy}; events that can be read in it: {numbers}"));
    }
    lines.push(format!("  means: {}", text("means")));
    lines.push(format!("  do: {}", text("do")));
    lines.join("\n")
}

fn summary(facts: &Facts, records: u64, damages: usize) -> String {
    let mut line = format!("{} segments, {records} records", facts.segments.len());
    if facts.unsynced > 0 {
        line.push_str(&format!(
            "; {} bytes at the end are being written, or were never synced: no sender was answered for them",
            facts.unsynced
        ));
    }
    if facts.removed > 0 {
        line.push_str(&format!("; {} segments were removed by retention meanwhile", facts.removed));
    }
    format!("{line}; {damages} damages")
}
