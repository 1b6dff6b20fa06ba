//! The `hookgate` binary: arguments in, exit code out.

use std::process::ExitCode;

/// Events are made by one thread and let go of by another, which costs the system's allocator a lock each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hookgate::failpoint::arm();
    ExitCode::from(hookgate::cli::main(std::env::args_os()))
}
