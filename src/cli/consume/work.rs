//! A command for each event: so many side by side, leases kept while they run, each event answered by how its
//! command ended. A first signal lets what runs finish; a second one ends it and gives the events back.

use std::io::{self, Write as _};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio::sync::watch;

use super::command::{Command, End};
use super::feed::{Feed, Taken};
use super::{Bounds, Pace};
use crate::cli::output::{self, Output};
use crate::cli::stop::Stop;
use crate::clock::{Clock, System};
use crate::exit;
use crate::units::Span;

/// What is done, and how.
pub(super) struct Work<'w> {
    /// Where events come from.
    pub feed: &'w Feed,
    /// What is run.
    pub command: Command,
    /// Commands side by side.
    pub parallel: u64,
    /// How long an event waits that is given back.
    pub retry_delay: Span,
    /// Form of the line about each event.
    pub output: Output,
}

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    /// None was asked for.
    No,
    /// What runs may finish.
    Soon,
    /// What runs is ended.
    AtOnce,
}

impl Work<'_> {
    /// Works until there is nothing left, enough was done, or `ending` says so. The exit code tells whether every
    /// command did its work.
    ///
    /// # Errors
    /// Where the first events cannot be had; later ones are asked for again.
    pub(super) async fn run(&self, bounds: Bounds, mut ending: watch::Receiver<Ending>) -> Result<u8, Stop> {
        let (halt, halted) = watch::channel(false);
        let mut running = FuturesUnordered::new();
        let (mut begun, mut all_done, mut pace) = (0, true, Pace::default());
        let mut asking = std::pin::pin!(futures_util::future::Fuse::terminated());
        loop {
            let now = *ending.borrow();
            halt.send_replace(now == Ending::AtOnce);
            let free = self.parallel.saturating_sub(running.len() as u64).min(bounds.left(begun));
            let idle = futures_util::future::FusedFuture::is_terminated(&*asking);
            let asks = idle && now == Ending::No && !pace.is_over && free > 0;
            if asks {
                use futures_util::FutureExt as _;
                let pause = pace.pause;
                let ask = async move {
                    tokio::time::sleep(pause).await;
                    self.feed.take(free, bounds.follow).await
                };
                asking.set(ask.fuse());
            } else if running.is_empty() && (idle || now != Ending::No) {
                return Ok(if all_done { exit::OK } else { exit::FAILURE });
            }
            tokio::select! {
                taken = &mut asking, if !idle || asks => {
                    let taken = pace.after(taken, bounds.follow)?;
                    begun += taken.len() as u64;
                    running.extend(taken.into_iter().map(|one| self.one(one, ending.clone(), halted.clone())));
                }
                Some(done) = running.next(), if !running.is_empty() => all_done &= done,
                changed = ending.changed(), if now != Ending::AtOnce => {
                    if changed.is_err() {
                        return Err(Stop::failure("nobody listens to signals any more"));
                    }
                }
            }
        }
    }

    /// One event, to its end; tells whether its work was done.
    async fn one(&self, taken: Taken, ending: watch::Receiver<Ending>, halt: watch::Receiver<bool>) -> bool {
        let Taken { event, right } = taken;
        let clock = System::new();
        let end = if *ending.borrow() == Ending::No {
            tokio::select! {
                end = self.command.run(&event, halt) => end,
                () = self.feed.keep(&right) => End::Halted,
            }
        } else {
            End::Halted
        };
        let took = clock.monotonic();
        let delay = if end == End::Halted { Span::seconds(0) } else { self.retry_delay };
        let answered = if end.is_done() {
            self.feed.done(vec![right]).await.map(|()| "done".to_owned())
        } else {
            self.feed.give_back(right, delay).await
        };
        let told = answered.unwrap_or_else(|stop| stop.why);
        self.tell(&event, &end, took, &told);
        end.is_done()
    }

    fn tell(&self, event: &super::event::Event, end: &End, took: Duration, told: &str) {
        let (id, attempt, millis) = (event.text("message_id"), event.attempt(), took.as_millis());
        match self.output {
            // A worker whose reader has gone still has its work to do.
            Output::Json => output::json(
                &mut io::stdout(),
                &json!({
                    "message_id": id,
                    "event_type": event.text("type"),
                    "attempt": attempt,
                    "outcome": if end.is_done() { "done" } else { "given_back" },
                    "exit_code": end.code(),
                    "ended": end.to_string(),
                    "milliseconds": u64::try_from(millis).unwrap_or(u64::MAX),
                    "detail": told,
                }),
            )
            .unwrap_or_default(),
            Output::Text => {
                let line = format!("{id} attempt {attempt}: {end} after {millis} ms; {told}");
                writeln!(io::stderr(), "{}", output::line(&line)).unwrap_or_default();
            }
        }
    }
}
