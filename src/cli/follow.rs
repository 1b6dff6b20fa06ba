//! Events of a running gateway as they come in: each is told once, over restarts of the gateway too.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::Value;

use super::caller::Caller;
use super::stop::Stop;
use crate::exit;

/// How soon a gateway is called again that has gone.
const PAUSE: Duration = Duration::from_secs(1);

/// What is done with an event; where nobody was there to do it with, it comes again.
pub(super) type Each<'e> = &'e mut dyn FnMut(&Value) -> Result<(), Stop>;

/// How one stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The gateway ended it, or there are enough events.
    Told,
    /// It took as long as one call may, or broke.
    Long,
}

/// What is known of the stream, over all connections.
pub(super) struct Follow {
    /// Path and query.
    path: String,
    /// The last number that was told.
    last: Option<String>,
    /// Events still to come.
    left: u64,
}

impl Follow {
    /// Follows what these fields of a choice select, behind the event numbered `after` if that is said, until `limit`
    /// events were told.
    pub(super) fn new(fields: Vec<(String, String)>, after: Option<u64>, limit: Option<u64>) -> Self {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let path = format!("/v1/events/tail?{}", query.extend_pairs(fields).finish());
        Self { path, last: after.map(|after| after.to_string()), left: limit.unwrap_or(u64::MAX) }
    }

    /// Tells `each` of every event, and goes on while the gateway is away.
    ///
    /// # Errors
    /// Where nobody is there to begin with, the gateway refuses, or `each` fails other than for somebody's absence.
    pub(super) fn run(&mut self, caller: &Caller, each: Each<'_>) -> Result<(), Stop> {
        let (mut begun, mut away) = (false, false);
        while self.left > 0 {
            let streamed = caller.stream(&self.path, self.last.as_deref());
            let read = streamed.and_then(|stream| {
                if away {
                    eprintln!("hookgate: the gateway is there again");
                }
                (begun, away) = (true, false);
                self.read(BufReader::new(stream), each)
            });
            match read {
                Ok(End::Long) => continue,
                Ok(End::Told) => {}
                Err(stop) if begun && stop.code == exit::UNAVAILABLE => {
                    if !away {
                        eprintln!("hookgate: {}; trying again until it is there", stop.why);
                    }
                    away = true;
                }
                Err(stop) => return Err(stop),
            }
            if self.left > 0 {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Reads a stream to its end.
    fn read(&mut self, stream: impl BufRead, each: Each<'_>) -> Result<End, Stop> {
        let (mut id, mut data) = (None, None::<String>);
        for text in stream.lines() {
            let Ok(text) = text else { return Ok(End::Long) };
            match text.split_once(": ") {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data = Some(value.to_owned()),
                _ if text.is_empty() => self.block(id.take(), data.take(), each)?,
                _ => {}
            }
            if self.left == 0 {
                break;
            }
        }
        Ok(End::Told)
    }

    /// Takes what stood between two empty lines.
    fn block(&mut self, id: Option<String>, data: Option<String>, each: Each<'_>) -> Result<(), Stop> {
        if let Some(event) = data {
            let event = serde_json::from_str(&event)
                .map_err(|error| Stop::failure(format!("not the answer of a gateway: {error}")))?;
            each(&event)?;
            self.left -= 1;
        }
        self.last = id.or(self.last.take());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_told_once_and_a_broken_one_comes_again() {
        let mut follow = Follow::new(Vec::new(), None, Some(3));
        let mut told = Vec::new();
        let mut each = |event: &Value| {
            told.push(event["sequence"].as_u64().unwrap());
            Ok(())
        };
        let first = "retry: 1000\nid: 7\n\nid: 8\nevent: event\ndata: {\"sequence\":8}\n\nid: 9\nevent: event\ndata: {\"seq";
        assert_eq!(follow.read(first.as_bytes(), &mut each), Ok(End::Told));
        assert_eq!((follow.last.as_deref(), follow.left), (Some("8"), 2));
        let second = "retry: 1000\nid: 8\n\nid: 9\ndata: {\"sequence\":9}\n\nid: 12\n\nid: 13\ndata: {\"sequence\":13}\n\nid: 14\ndata: {}\n\n";
        assert_eq!(follow.read(second.as_bytes(), &mut each), Ok(End::Told));
        assert_eq!(
            (follow.last.as_deref(), follow.left),
            (Some("13"), 0),
            "what is beyond the limit is not told"
        );
        assert_eq!(told, [8, 9, 13]);
    }

    #[test]
    fn what_nobody_was_there_for_is_told_again() {
        let mut follow = Follow::new(Vec::new(), Some(4), None);
        let stream = "id: 5\ndata: {}\n\nid: 6\ndata: {}\n\n";
        let mut calls = 0;
        let mut each = |_: &Value| {
            calls += 1;
            if calls == 2 { Err(Stop::unreachable("gone")) } else { Ok(()) }
        };
        assert_eq!(follow.read(stream.as_bytes(), &mut each).unwrap_err().code, exit::UNAVAILABLE);
        assert_eq!(follow.last.as_deref(), Some("5"));
    }
}
