//! A connection's deadline, cheap to move: the runtime's timer is armed anew only when it would ring too late.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::clock::Clock;

/// Longest time between two looks at the deadline, within which a crowd of connections is noticed.
const TICK: Duration = Duration::from_secs(5);
/// What is left of every wait while connections are short.
const HURRIED: Duration = Duration::from_secs(1);

/// A deadline that is asked for whenever its connection waits.
pub struct Timer {
    clock: Arc<dyn Clock>,
    sleep: Pin<Box<Sleep>>,
    /// When the sleep ends, on the monotonic clock.
    rings: Duration,
    /// When the wait began and how long it may last.
    wait: Option<(Duration, Duration)>,
}

impl Timer {
    /// A wait of `span`, from now on.
    pub fn new(clock: Arc<dyn Clock>, span: Duration) -> Self {
        let now = clock.monotonic();
        let first = span.min(TICK);
        Self { clock, sleep: Box::pin(sleep(first)), rings: now + first, wait: Some((now, span)) }
    }

    /// A wait of `span` begins.
    pub fn start(&mut self, span: Duration) {
        self.wait = Some((self.clock.monotonic(), span));
    }

    /// A wait of `span` begins, unless there is one.
    pub fn start_once(&mut self, span: Duration) {
        if self.wait.is_none() {
            self.start(span);
        }
    }

    /// There is no deadline.
    pub fn stop(&mut self) {
        self.wait = None;
    }

    /// Whether the wait has lasted too long; the task is woken when that may have changed.
    pub fn is_over(&mut self, cx: &mut Context<'_>, hurry: bool) -> bool {
        loop {
            let now = self.clock.monotonic();
            let mut next = now + TICK;
            if let Some((since, span)) = self.wait {
                let due = since + if hurry { span.min(HURRIED) } else { span };
                if now >= due {
                    return true;
                }
                next = next.min(due);
            }
            if self.rings > next {
                self.sleep.set(sleep(next - now));
                self.rings = next;
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.rings = Duration::MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::System;
    use std::future::poll_fn;
    use std::task::Poll;

    async fn over(timer: &mut Timer, hurry: bool) {
        poll_fn(|cx| if timer.is_over(cx, hurry) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
    }

    #[test]
    fn it_rings_when_the_wait_is_over_however_often_it_was_moved() {
        run(async {
            let clock: Arc<dyn Clock> = Arc::new(System::new());
            let began = clock.monotonic();
            let mut timer = Timer::new(Arc::clone(&clock), Duration::from_secs(60));
            timer.start(Duration::from_secs(3600));
            timer.stop();
            timer.start(Duration::from_millis(30));
            over(&mut timer, false).await;
            let took = clock.monotonic() - began;
            assert!((Duration::from_millis(30)..Duration::from_secs(2)).contains(&took), "{took:?}");
        });
    }

    #[test]
    fn a_long_wait_is_cut_when_connections_are_short() {
        run(async {
            let clock: Arc<dyn Clock> = Arc::new(System::new());
            let began = clock.monotonic();
            let mut timer = Timer::new(Arc::clone(&clock), Duration::from_secs(75));
            over(&mut timer, true).await;
            let took = clock.monotonic() - began;
            assert!((HURRIED..Duration::from_secs(3)).contains(&took), "{took:?}");
        });
    }
}
