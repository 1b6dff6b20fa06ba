//! `hookgate journal export`: events as JSON lines, in order of sequence, their bodies in base64; from a folder, or from a
//! file that a start of the gateway set aside.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::Value;

use super::read;
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::cli::stop::Stop;
use crate::clock::{Clock, System};
use crate::event::{Event, Sequence};
use crate::exit;
use crate::journal::{Summary, salvage};
use crate::operate::{self, Choice, Selection, Status};

/// What is exported, and where to.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The journal's folder, or a file in it that was set aside (its name ends in .damaged)
    dir: PathBuf,
    /// Of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Received at this time or later, such as 2026-11-21T07:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Received before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// In one of these states: pending, held, poison, confirmed, superseded, dropped
    #[arg(long, value_name = "STATE,…")]
    state: Option<String>,
    /// The file to write, readable by its owner alone; - for stdout
    #[arg(long, value_name = "FILE", default_value = "-")]
    to: PathBuf,
}

/// Exports; the exit code comes back.
pub(super) fn run(args: ExportArgs) -> Result<u8, Stop> {
    let ExportArgs { dir, source, since, until, state, to } = args;
    let choice = Choice { source, since, until, state, ..Choice::default() };
    let selection = choice.read(System::new().now()).map_err(Stop::usage)?;
    let out: Box<dyn Write> = match to.as_os_str() == "-" {
        true => Box::new(io::stdout().lock()),
        false => {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to);
            Box::new(file.map_err(|error| Stop::failure(format!("cannot write {}: {error}", to.display())))?)
        }
    };
    let mut out = BufWriter::new(out);
    let (written, damaged) = if dir.extension().is_some_and(|ending| ending == "damaged") {
        (set_aside(&dir, &selection, &mut out)?, 0)
    } else {
        folder(&dir, &selection, &mut out)?
    };
    out.flush().map_err(Stop::unprinted)?;
    eprintln!("{written} events written");
    if damaged > 0 {
        eprintln!("{damaged} ranges are damaged; see `hookgate journal verify {}`", dir.display());
        return Ok(exit::DATA);
    }
    Ok(exit::OK)
}

fn folder(dir: &Path, selection: &Selection, out: &mut impl Write) -> Result<(u64, usize), Stop> {
    let mut archive = read(dir)?;
    let records = archive.facts().segments.iter().map(|segment| segment.records).sum();
    let (mut written, mut seen, mut progress) =
        (0, 0, Progress::of("events", Some(records)).aside_of_stdout());
    let read = archive.each::<io::Error>(&mut |kept| {
        seen += 1;
        progress.at(seen, "");
        let status = Status::of(kept.standing, || false);
        if wanted(selection, &kept.event) && selection.wants_status(status) {
            written += 1;
            output::json(out, &line(kept.sequence, &kept.event, Some(status)))?;
        }
        Ok(())
    });
    read.map_err(|error| Stop::data(error.to_string()))?.map_err(Stop::unprinted)?;
    Ok((written, archive.facts().damaged.len()))
}

fn set_aside(file: &Path, selection: &Selection, out: &mut impl Write) -> Result<u64, Stop> {
    let found = salvage(file).map_err(|error| Stop::data(error.to_string()))?;
    let mut written = 0;
    for record in found.iter().filter(|record| wanted(selection, &record.event)) {
        let mut line = line(record.sequence, &record.event, None);
        line["body_whole"] = record.body_whole.into();
        output::json(out, &line).map_err(Stop::unprinted)?;
        written += 1;
    }
    Ok(written)
}

fn wanted(selection: &Selection, event: &Event) -> bool {
    let envelope = event.envelope();
    let at = envelope.received_at;
    let summary = Summary {
        message_id: envelope.keys.message_id,
        received_at: at,
        source: &envelope.source,
        event_id: &envelope.event_id,
        event_type: &envelope.event_type,
    };
    selection.wants(&summary) && selection.within(Sequence(u64::MAX)).holds(at)
}

fn line(sequence: Sequence, event: &Event, status: Option<Status>) -> Value {
    let mut line = operate::outline(sequence, event.envelope(), status);
    line.extend(operate::details(event.envelope()));
    line.insert("body_base64".to_owned(), STANDARD.encode(event.body()).into());
    line.into()
}
