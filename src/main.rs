//! The `hookgate` binary: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(hookgate::cli::main(std::env::args_os()))
}
