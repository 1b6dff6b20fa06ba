//! `hookgate events tail`: events as they come in, each once, over restarts of the gateway too.

use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{SelectArgs, fields, line};
use crate::cli::caller::{Caller, CallerArgs};
use crate::cli::output::Output;
use crate::cli::stop::Stop;
use crate::exit;

/// How soon a gateway is called again that has gone.
const PAUSE: Duration = Duration::from_secs(1);

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
    let mut query = form_urlencoded::Serializer::new(String::new());
    let path = format!("/v1/events/tail?{}", query.extend_pairs(fields(&args.select.choice())).finish());
    let last = args.after.map(|after| after.to_string());
    let mut tail = Tail { last, left: args.limit.unwrap_or(u64::MAX), out: io::stdout().lock(), output };
    let mut away = false;
    let mut begun = false;
    while tail.left > 0 {
        match caller.stream(&path, tail.last.as_deref()) {
            Ok(stream) => {
                if away {
                    eprintln!("hookgate: the gateway is there again");
                }
                (begun, away) = (true, false);
                if tail.read(BufReader::new(stream))? == End::Long {
                    continue;
                }
            }
            Err(stop) if begun && stop.code == exit::UNAVAILABLE => {
                if !away {
                    eprintln!("hookgate: {}; trying again until it is there", stop.why);
                }
                away = true;
            }
            Err(stop) => return Err(stop),
        }
        std::thread::sleep(PAUSE);
    }
    Ok(exit::OK)
}

/// How one stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The gateway ended it, or there are enough events.
    Told,
    /// It took as long as one call may, or broke.
    Long,
}

/// What is known of the stream, over all connections.
struct Tail<W> {
    /// The last number that was told.
    last: Option<String>,
    /// Events still to come.
    left: u64,
    out: W,
    output: Output,
}

impl<W: Write> Tail<W> {
    /// Prints what comes, to the end.
    fn read(&mut self, stream: impl BufRead) -> Result<End, Stop> {
        let (mut id, mut data) = (None, None);
        for text in stream.lines() {
            let Ok(text) = text else { return Ok(End::Long) };
            match text.split_once(": ") {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data = Some(value.to_owned()),
                _ if text.is_empty() => {
                    data.take().map_or(Ok(()), |event| self.print(&event))?;
                    self.last = id.take().or(self.last.take());
                }
                _ => {}
            }
            if self.left == 0 {
                break;
            }
        }
        Ok(End::Told)
    }

    fn print(&mut self, event: &str) -> Result<(), Stop> {
        let event: Value = serde_json::from_str(event)
            .map_err(|error| Stop::failure(format!("not the answer of a gateway: {error}")))?;
        line(&mut self.out, &event, self.output).map_err(Stop::failure)?;
        self.left -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tail: &mut Tail<Vec<u8>>, stream: &str) -> End {
        tail.read(stream.as_bytes()).unwrap()
    }

    #[test]
    fn each_event_is_told_once_and_a_broken_one_comes_again() {
        let mut tail = Tail { last: None, left: 3, out: Vec::new(), output: Output::Json };
        let first = "retry: 1000\nid: 7\n\nid: 8\nevent: event\ndata: {\"sequence\":8}\n\nid: 9\nevent: event\ndata: {\"seq";
        assert_eq!(read(&mut tail, first), End::Told);
        assert_eq!((tail.last.as_deref(), tail.left), (Some("8"), 2));
        let second = "retry: 1000\nid: 8\n\nid: 9\ndata: {\"sequence\":9}\n\nid: 12\n\nid: 13\ndata: {\"sequence\":13}\n\nid: 14\ndata: {}\n\n";
        assert_eq!(read(&mut tail, second), End::Told);
        assert_eq!(
            (tail.last.as_deref(), tail.left),
            (Some("13"), 0),
            "what is beyond the limit is not told"
        );
        let told = String::from_utf8(tail.out).unwrap();
        assert_eq!(told, "{\"sequence\":8}\n{\"sequence\":9}\n{\"sequence\":13}\n");
    }
}
