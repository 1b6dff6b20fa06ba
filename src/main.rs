//! The `hookgate` binary: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    hookgate::failpoint::arm();
    ExitCode::from(hookgate::cli::main(std::env::args_os()))
}
