//! `hookgate journal backup`: a copy of the folder from which a gateway can be started elsewhere, made beside a running one.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::inspect::print;
use crate::cli::gateway::KEYS;
use crate::cli::output::{self, Output};
use crate::cli::stop::Stop;
use crate::disk::{Disk as _, ReadOnly, RealDisk};
use crate::exit;
use crate::journal::{BackedUp, JournalError, RESTORED, back_up, check_format};

/// Key files are merged now and then: so often the copy begins anew where one has gone meanwhile.
const TRIES: usize = 20;
/// What is not copied by its name: the segments are, in an order of their own; a copy is noted to be one anew.
const NOT_COPIED: [&str; 3] = ["lock", KEYS, RESTORED];

/// What is copied, and where to.
#[derive(Debug, Args)]
#[command(after_help = "\
Every event that was answered 2xx before the command began is in the copy, and what has ended by then is not relayed again. \
A gateway that starts on the copy marks all that lives in it as possible duplicates, since the one that was copied may \
have handed it over meanwhile. It is the same replica: the other must not run any more. The history is no part of it.")]
pub(super) struct BackupArgs {
    /// The journal's folder
    dir: PathBuf,
    /// The folder to make; it must not be there
    to: PathBuf,
}

/// Copies; the exit code comes back.
pub(super) fn run(args: &BackupArgs, output: Output) -> Result<u8, Stop> {
    let BackupArgs { dir, to } = args;
    if !dir.is_dir() {
        let why = format!("{} is no folder; give the one that journal.dir names", dir.display());
        return Err(Stop::usage(why));
    }
    if to.exists() {
        return Err(Stop::usage(format!(
            "{} is there; a copy is made anew, in a folder of its own",
            to.display()
        )));
    }
    // Of another format, the frames that are being written could not be told from what is not written yet.
    check_format(&ReadOnly::default(), dir).map_err(|error| match error {
        JournalError::Version { .. } => Stop::data(error.to_string()),
        _ => Stop::failure(error.to_string()),
    })?;
    let mut part = to.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    make(&part)?;
    let keys = copy_keys(&dir.join(KEYS), &part.join(KEYS))?;
    let others = copy_files(dir, &part, &|name| {
        !NOT_COPIED.contains(&name) && !name.ends_with(".segment") && !name.ends_with(".new")
    });
    others.map_err(|error| failed(dir, &error))?;
    // Behind the keys: these must tell of no event that the copy does not have.
    let BackedUp { segments, bytes } =
        back_up(dir, &part).map_err(|error| Stop::failure(error.to_string()))?;
    let named = RealDisk.rename(&part, to).and_then(|()| RealDisk.sync_dir(beside(to)));
    named.map_err(|error| failed(to, &error))?;
    match output {
        Output::Json => output::json(
            &mut io::stdout(),
            &json!({ "dir": dir, "to": to, "segments": segments, "bytes": bytes, "key_files": keys }),
        )
        .map_err(Stop::unprinted)?,
        Output::Text => print(&format!(
            "{}: {segments} segments with {bytes} bytes, {keys} key files; start a gateway on it only where the other one \
             runs no more",
            to.display()
        ))?,
    }
    Ok(exit::OK)
}

fn beside(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed(path: &Path, error: &io::Error) -> Stop {
    Stop::failure(format!("cannot copy {}: {error}", path.display()))
}

fn make(dir: &Path) -> Result<(), Stop> {
    fs::DirBuilder::new().mode(0o700).create(dir).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Stop::failure(format!(
            "{} is left of a backup that did not end, or of one under way: remove it if none is",
            dir.display()
        )),
        _ => failed(dir, &error),
    })
}

/// Copies the keys of events that were seen; all files as they were at one moment, but for new ones.
fn copy_keys(from: &Path, to: &Path) -> Result<u64, Stop> {
    for _ in 0..TRIES {
        make(to)?;
        match copy_files(from, to, &|_| true) {
            Ok(copied) => return RealDisk.sync_dir(to).map(|()| copied).map_err(|error| failed(to, &error)),
            // Merged with others meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound && from.is_dir() => {
                fs::remove_dir_all(to).map_err(|error| failed(to, &error))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(failed(from, &error)),
        }
    }
    Err(Stop::failure(format!("{}: its files change too often to be copied; try again", from.display())))
}

fn copy_files(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> io::Result<u64> {
    let mut copied = 0;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(wanted) || !entry.file_type()?.is_file() {
            continue;
        }
        let target = to.join(&name);
        fs::copy(entry.path(), &target)?;
        fs::File::open(&target)?.sync_all()?;
        copied += 1;
    }
    Ok(copied)
}
