//! `hookgate events tail`: events as they come in, a line each.

use std::io;

use clap::Args;

use super::{SelectArgs, fields, line};
use crate::cli::caller::{Caller, CallerArgs};
use crate::cli::follow::Follow;
use crate::cli::output::Output;
use crate::cli::stop::Stop;
use crate::exit;

/// What is followed.
#[derive(Debug, Args)]
#[command(after_help = "\
It goes on until it is ended, also while the gateway restarts. Exit codes: 0 after --limit events; 69 nobody was there to \
begin with.")]
pub(super) struct TailArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Begin behind the event of this number [default: at --since or --sequence, else with what comes in from now on]
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<u64>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    caller: CallerArgs,
}

pub(super) fn run(args: TailArgs, output: Output) -> Result<u8, Stop> {
    let caller = Caller::new(args.caller)?;
    let choice = args.select.choice();
    caller.tell_of_no_source(choice.source.as_deref());
    let mut out = io::stdout().lock();
    let mut follow = Follow::new(fields(&choice), args.after, args.limit);
    follow.run(&caller, &mut |event| line(&mut out, event, output).map_err(Stop::unprinted))?;
    Ok(exit::OK)
}
