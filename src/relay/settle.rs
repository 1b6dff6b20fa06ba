//! What becomes of attempts: marks for what has ended, back to the lane with the rest.

use futures_util::FutureExt;
use futures_util::stream::StreamExt;
use tokio::sync::oneshot;

use super::run::{Flown, Relay};
use super::step::{self, Next};
use crate::disk::Disk;
use crate::failpoint::{self, Point};
use crate::journal::Mark;
use crate::lanes::{Back, Taken, Why};

/// Entries whose mark is being written, the mark, and whether it became durable.
pub(super) type Marked = (Vec<Taken>, Mark, bool);

impl<D: Disk> Relay<D> {
    /// Deals with one outcome and all others that are there already, so that marks share a commit.
    pub(super) async fn settle(&mut self, first: Flown) {
        let mut outcomes = vec![first];
        while let Some(Some(outcome)) = self.flight.next().now_or_never() {
            outcomes.push(outcome);
        }
        self.settle_all(outcomes).await;
    }

    pub(super) async fn settle_what_is_ready(&mut self) {
        if let Some(Some(outcome)) = self.flight.next().now_or_never() {
            self.settle(outcome).await;
        }
        while let Some(Some(marked)) = self.marking.next().now_or_never() {
            self.marked(marked);
        }
    }

    async fn settle_all(&mut self, outcomes: Vec<Flown>) {
        let alone = self.in_flight == 1;
        let now = self.parts.clock.monotonic();
        let (mut confirmed, mut poisoned, mut done) = (Vec::new(), Vec::new(), Vec::new());
        for outcome in outcomes {
            let (mut taken, id, confirmation) = match outcome {
                Flown::Whole(taken, id, confirmation) => (taken, id, confirmation),
                Flown::Part(sequence, part, confirmation) => {
                    match self.settle_part((sequence, part), &confirmation, alone) {
                        Some((taken, id, Mark::Confirmed)) => {
                            done.push(id);
                            confirmed.push(taken);
                        }
                        Some((taken, ..)) => poisoned.push(taken),
                        None => {}
                    }
                    continue;
                }
            };
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(taken.entry.bytes);
            self.suspects.remove(&taken.entry);
            step::tell(&self.parts.steps, taken.entry.sequence, &confirmation);
            match step::judge(&mut taken.entry, &confirmation, alone) {
                Next::Mark(Mark::Poisoned) => {
                    tracing::error!(source = %taken.source, sequence = %taken.entry.sequence, ?confirmation,
                        "the broker closes the channel on this event each time: it is poison, kept and not retried");
                    poisoned.push(taken);
                }
                Next::Mark(_) => {
                    failpoint::reach(Point::RelayConfirmAfter);
                    self.observe_lag(&taken);
                    done.push(id);
                    confirmed.push(taken);
                }
                Next::Retry(wait) => self.again(taken, Back::Retry(now + wait)),
                Next::Unroutable(wait) => self.again(taken, Back::Aside(now + wait, Why::Unroutable)),
            }
        }
        if let Some(claims) = self.claims.as_mut().filter(|_| !done.is_empty()) {
            claims.finish(&done).await;
        }
        self.mark(confirmed, Mark::Confirmed);
        self.mark(poisoned, Mark::Poisoned);
    }

    pub(super) fn observe_lag(&mut self, taken: &Taken) {
        let millis = self.parts.clock.now().millis_since(taken.entry.received_at).max(0);
        let metrics = &self.parts.metrics;
        let lag = self.lags.entry(taken.source.clone()).or_insert_with_key(|source| metrics.lag(source));
        lag.observe(millis as f64 / 1000.0);
    }

    fn again(&mut self, taken: Taken, back: Back) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.suspects.add(&taken.entry);
        self.parts.lanes.put_back(taken, back, self.parts.clock.monotonic());
    }

    /// Ends these by a mark; they keep their room of the window until it is durable.
    pub(super) fn mark(&mut self, ended: Vec<Taken>, mark: Mark) {
        if ended.is_empty() {
            return;
        }
        failpoint::reach(Point::RelayMarkBefore);
        let marks = ended.iter().map(|taken| (taken.entry.sequence, mark)).collect();
        let durable: oneshot::Receiver<()> = self.parts.acceptor.mark(marks);
        self.marking.push(Box::pin(async move { (ended, mark, durable.await.is_ok()) }));
    }

    pub(super) fn marked(&mut self, (ended, mark, durable): Marked) {
        self.in_flight = self.in_flight.saturating_sub(ended.len());
        let now = self.parts.clock.monotonic();
        if durable {
            failpoint::reach(Point::RelayMarkAfter);
            ended.iter().for_each(|taken| self.parts.lanes.ended(taken, mark, now));
        }
    }
}
