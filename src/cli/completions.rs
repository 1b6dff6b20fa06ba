//! `hookgate completions SHELL`: a completion script on stdout, made from the same definition as the parser.

use std::io::{self, Write as _};

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::stop::Stop;
use crate::exit;

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookgate completions bash > /etc/bash_completion.d/hookgate
  hookgate completions zsh > ~/.zfunc/_hookgate
  hookgate completions fish > ~/.config/fish/completions/hookgate.fish")]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script of the parser `C`; the exit code comes back.
pub(super) fn run<C: CommandFactory>(args: &CompletionsArgs) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    generate(args.shell, &mut C::command(), "hookgate", &mut script);
    let written = io::stdout().write_all(&script);
    Ok(written.map_or_else(|error| Stop::unprinted(error).tell(), |()| exit::OK))
}
