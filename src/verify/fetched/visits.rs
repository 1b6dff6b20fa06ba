//! URLs that verified handshakes ask to be called, such as the confirmation of a subscription: called one after the
//! other, tried again for an hour, never more than a bounded number.
//!
//! They are not kept on disk: a sender whose question goes without its visit asks again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::client::{Client, FetchError, Standing};
use crate::clock::Clock;
use crate::metrics::{Visit, VisitMetrics};
use crate::provider::PinnedUrl;
use crate::tasks::Runtime;

/// Visits that wait.
const WAITING_MAX: usize = 64;
/// From the first try on.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Between two tries.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(600);

/// The visits of a gateway; cheap to clone. They end with the last of its clones.
#[derive(Clone)]
pub struct Visits {
    waiting: Arc<Waiting>,
    wake: mpsc::Sender<()>,
}

impl std::fmt::Debug for Visits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Visits(…)")
    }
}

struct Waiting {
    list: Mutex<List>,
    clock: Arc<dyn Clock>,
    metrics: VisitMetrics,
}

impl Waiting {
    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visits {
    /// Begins to call what is scheduled, with `client`.
    pub fn start(client: Client, clock: Arc<dyn Clock>, metrics: VisitMetrics, runtime: &Runtime) -> Self {
        let (wake, woken) = mpsc::channel(1);
        let waiting = Arc::new(Waiting { list: Mutex::default(), clock, metrics });
        drop(runtime.task(call(client, Arc::clone(&waiting), woken)));
        Self { waiting, wake }
    }

    /// Calls `url` for `source`, soon; one that waits already is not called twice.
    pub fn schedule(&self, source: &Arc<str>, url: PinnedUrl) {
        let (host, now) = (url.host().to_owned(), self.waiting.clock.monotonic());
        if !self.waiting.list().add(source, url, now) {
            self.waiting.metrics.count(Visit::Dropped);
            tracing::warn!(%source, host, "{WAITING_MAX} visits wait; this one is left out, its sender must ask again");
        }
        // A full channel is a waker under way.
        self.wake.try_send(()).unwrap_or_default();
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Planned {
    source: Arc<str>,
    url: PinnedUrl,
    tries: u32,
    due: Duration,
    until: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Call(Planned),
    Sleep(Duration),
    Idle,
}

/// What waits, in no order.
#[derive(Default)]
struct List(Vec<Planned>);

impl List {
    /// False where too many wait.
    fn add(&mut self, source: &Arc<str>, url: PinnedUrl, now: Duration) -> bool {
        if self.0.iter().any(|planned| planned.url == url) {
            return true;
        }
        let room = self.0.len() < WAITING_MAX;
        if room {
            let source = Arc::clone(source);
            self.0.push(Planned { source, url, tries: 0, due: now, until: now + PATIENCE });
        }
        room
    }

    fn next(&mut self, now: Duration) -> Next {
        let first = self.0.iter().enumerate().min_by_key(|(_, planned)| planned.due);
        match first.map(|(index, planned)| (index, planned.due)) {
            None => Next::Idle,
            Some((_, due)) if due > now => Next::Sleep(due - now),
            Some((index, _)) => Next::Call(self.0.swap_remove(index)),
        }
    }

    /// Puts back what failed. False where its time is over, or another took its place.
    fn again(&mut self, mut planned: Planned, now: Duration) -> bool {
        let wait = BACKOFF_MIN.saturating_mul(1 << planned.tries.min(10)).min(BACKOFF_MAX);
        planned.tries = planned.tries.saturating_add(1);
        planned.due = now + wait;
        let kept = planned.due < planned.until && self.0.len() < WAITING_MAX;
        if kept {
            self.0.push(planned);
        }
        kept
    }
}

async fn call(client: Client, waiting: Arc<Waiting>, mut woken: mpsc::Receiver<()>) {
    loop {
        let next = waiting.list().next(waiting.clock.monotonic());
        let open = match next {
            Next::Idle => woken.recv().await.is_some(),
            // An elapsed wait is no end.
            Next::Sleep(wait) => {
                tokio::time::timeout(wait, woken.recv()).await.map_or(true, |woken| woken.is_some())
            }
            Next::Call(planned) => {
                visit(&client, &waiting, planned).await;
                true
            }
        };
        if !open {
            return;
        }
    }
}

async fn visit(client: &Client, waiting: &Waiting, planned: Planned) {
    let (source, host) = (Arc::clone(&planned.source), planned.url.host().to_owned());
    let error = match client.get(&planned.url, Standing::Proven).await {
        Ok(_) | Err(FetchError::Status(200..=299)) => {
            waiting.metrics.count(Visit::Done);
            tracing::info!(%source, host, "called the URL that a handshake asked to be called");
            return;
        }
        Err(error) => error,
    };
    let retried = is_passing(&error) && waiting.list().again(planned, waiting.clock.monotonic());
    waiting.metrics.count(if retried { Visit::Retried } else { Visit::GivenUp });
    if retried {
        tracing::warn!(%source, host, %error, "a URL that a handshake asked to be called; tried again");
    } else {
        tracing::error!(%source, host, %error, "a URL that a handshake asked to be called; given up");
    }
}

/// Whether a later try may go through.
fn is_passing(error: &FetchError) -> bool {
    match error {
        FetchError::Status(status) => *status >= 500 || matches!(status, 408 | 429),
        FetchError::Missing(_) | FetchError::Private | FetchError::TooLong => false,
        FetchError::Late(_) | FetchError::Failed(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::UrlTemplate;

    fn url(number: usize) -> PinnedUrl {
        let template = UrlTemplate::parse("https://confirm.example.com/{id}").unwrap();
        template.url(Some(&number.to_string())).unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_fails_is_tried_again_for_an_hour_and_less_and_less_often() {
        let (mut list, source) = (List::default(), Arc::from("topic"));
        assert!(list.add(&source, url(1), at(0)));
        let (mut now, mut waits) = (at(0), Vec::new());
        loop {
            let Next::Call(planned) = list.next(now) else { panic!("due at {now:?}") };
            if !list.again(planned, now) {
                break;
            }
            let Next::Sleep(wait) = list.next(now) else { panic!("waits at {now:?}") };
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits[..11], [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
        assert!(now < PATIENCE && waits.len() < 16, "{waits:?}");
        assert_eq!(list.next(now), Next::Idle);
    }

    #[test]
    fn so_many_wait_and_none_twice() {
        let (mut list, source) = (List::default(), Arc::from("topic"));
        for number in 0..WAITING_MAX {
            assert!(list.add(&source, url(number), at(0)));
        }
        assert!(list.add(&source, url(0), at(0)), "it waits already");
        assert!(!list.add(&source, url(WAITING_MAX), at(0)));
        assert_eq!(list.0.len(), WAITING_MAX);
        assert!(matches!(list.next(at(0)), Next::Call(_)));
        assert!(list.add(&source, url(WAITING_MAX), at(0)));
    }

    #[test]
    fn no_later_try_mends_a_refusal() {
        for status in [400, 401, 403, 301] {
            assert!(!is_passing(&FetchError::Status(status)), "{status}");
        }
        for status in [408, 429, 500, 503] {
            assert!(is_passing(&FetchError::Status(status)), "{status}");
        }
        assert!(!is_passing(&FetchError::Missing(404)));
    }
}
