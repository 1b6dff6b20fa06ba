//! `hookgate man`: the manual in roff, made from the same definition as the parser: the main page on stdout, or a
//! folder with a page for each subcommand.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::stop::Stop;
use crate::exit;

/// Where the manual goes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookgate man | man -l -
  hookgate man --dir /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// Write a page for each subcommand into this folder, which is made if it is missing
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Writes the manual of the parser `C`; the exit code comes back.
pub(super) fn run<C: CommandFactory>(args: &ManArgs) -> anyhow::Result<u8> {
    let mut command = C::command().disable_help_subcommand(true);
    command.build();
    let written = match &args.dir {
        Some(dir) => pages(dir, &command),
        None => page(&command).and_then(|page| io::stdout().write_all(&page)),
    };
    Ok(written.map_or_else(|error| Stop::unprinted(error).tell(), |()| exit::OK))
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}

/// `hookgate.1`, and `hookgate-serve.1` for `serve`, and so on down.
fn pages(dir: &Path, command: &Command) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    fs::write(dir.join(format!("{name}.1")), page(command)?)?;
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).try_for_each(|sub| pages(dir, sub))
}
