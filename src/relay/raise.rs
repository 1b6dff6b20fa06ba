//! Events that wait for their source's watermark to be durable. Other sources go on meanwhile; of this one
//! nothing newer is taken, so that order holds. Watermarks are raised ahead where that saves the wait.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::run::Loaded;
use crate::accept::Acceptor;
use crate::event::Sequence;
use crate::failpoint::{self, Point};
use crate::lanes::Lanes;

/// Events of one or more sources whose watermarks were raised together.
pub(super) struct Raised {
    pub(super) loaded: Vec<Loaded>,
    /// False where the gateway is ending.
    pub(super) durable: bool,
}

/// Watermarks that were raised, and for whom.
struct Done {
    raised: Raised,
    raises: Vec<(Arc<str>, Sequence)>,
    /// Nobody waits for it.
    ahead: bool,
}

/// What is being raised.
#[derive(Default)]
pub(super) struct Raising {
    step: u64,
    raises: FuturesUnordered<BoxFuture<'static, Done>>,
    sources: HashSet<Arc<str>>,
    /// Sources whose watermark is being raised before it is needed.
    ahead: HashSet<Arc<str>>,
    events: usize,
    bytes: u64,
}

impl Raising {
    /// Raises each watermark so far beyond what is needed.
    pub(super) fn by(step: u64) -> Self {
        Self { step, ..Self::default() }
    }

    /// Events that wait here; they take their room of the window.
    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// Bytes of theirs.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether events of this source wait here.
    pub(super) fn has(&self, source: &Arc<str>) -> bool {
        self.sources.contains(source)
    }

    /// Keeps the events beyond their source's watermark, which has to be raised; the others may go at once. Raises the
    /// watermarks of those too that will soon come to theirs.
    pub(super) fn sort(&mut self, loaded: Vec<Loaded>, lanes: &Lanes, acceptor: &Acceptor) -> Vec<Loaded> {
        let mut newest: HashMap<Arc<str>, Sequence> = HashMap::new();
        for Loaded { taken, .. } in &loaded {
            let sequence = newest.entry(Arc::clone(&taken.source)).or_default();
            *sequence = taken.entry.sequence.max(*sequence);
        }
        let (mut needed, mut soon, mut durable) = (Vec::new(), Vec::new(), HashMap::new());
        for (source, newest) in newest {
            let through = lanes.attempted_through(&source);
            let raise = (Arc::clone(&source), Sequence(newest.0.saturating_add(self.step)));
            if newest > through {
                needed.push(raise);
                durable.insert(source, through);
            } else if through.0 - newest.0 < self.step / 2 && !self.ahead.contains(&source) {
                soon.push(raise);
            }
        }
        if !soon.is_empty() {
            self.ahead.extend(soon.iter().map(|(source, _)| Arc::clone(source)));
            self.raise(soon, Vec::new(), true, acceptor);
        }
        if needed.is_empty() {
            return loaded;
        }
        let waits = |one: &Loaded| {
            durable.get(&one.taken.source).is_some_and(|through| one.taken.entry.sequence > *through)
        };
        let (waiting, ready): (Vec<_>, Vec<_>) = loaded.into_iter().partition(waits);
        self.sources.extend(durable.into_keys());
        self.events += waiting.len();
        self.bytes += bytes(&waiting);
        self.raise(needed, waiting, false, acceptor);
        ready
    }

    fn raise(
        &mut self,
        raises: Vec<(Arc<str>, Sequence)>,
        loaded: Vec<Loaded>,
        ahead: bool,
        acceptor: &Acceptor,
    ) {
        failpoint::reach(Point::RelayRaiseBefore);
        let durable = acceptor.raise(raises.clone());
        self.raises.push(Box::pin(async move {
            Done { raised: Raised { loaded, durable: durable.await.is_ok() }, raises, ahead }
        }));
    }

    /// The next events whose wait is over; none where nothing waits.
    pub(super) async fn next(&mut self, lanes: &Lanes) -> Option<Raised> {
        let Done { raised, raises, ahead } = self.raises.next().await?;
        failpoint::reach(Point::RelayRaiseAfter);
        self.events -= raised.loaded.len();
        self.bytes -= bytes(&raised.loaded);
        for (source, through) in raises {
            if ahead {
                self.ahead.remove(&source)
            } else {
                self.sources.remove(&source)
            };
            if raised.durable {
                lanes.raised(&source, through);
            }
        }
        Some(raised)
    }
}

fn bytes(loaded: &[Loaded]) -> u64 {
    loaded.iter().map(|one| one.taken.entry.bytes).sum()
}
