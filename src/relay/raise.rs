//! Events that wait for their source's watermark to be durable. Other sources go on meanwhile; of this one
//! nothing newer is taken, so that order holds.

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

type Raise = BoxFuture<'static, (Raised, Vec<(Arc<str>, Sequence)>)>;

/// What is being raised.
#[derive(Default)]
pub(super) struct Raising {
    step: u64,
    raises: FuturesUnordered<Raise>,
    sources: HashSet<Arc<str>>,
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

    /// Keeps the events of sources whose watermarks have to be raised; the others may go at once.
    pub(super) fn sort(&mut self, loaded: Vec<Loaded>, lanes: &Lanes, acceptor: &Acceptor) -> Vec<Loaded> {
        let mut needed: HashMap<Arc<str>, Sequence> = HashMap::new();
        for Loaded { taken, .. } in &loaded {
            if let Some(through) = lanes.watermark_needed(taken, self.step) {
                let highest = needed.entry(Arc::clone(&taken.source)).or_default();
                *highest = through.max(*highest);
            }
        }
        if needed.is_empty() {
            return loaded;
        }
        let (waiting, ready): (Vec<_>, Vec<_>) =
            loaded.into_iter().partition(|one| needed.contains_key(&one.taken.source));
        let raises: Vec<_> = needed.into_iter().collect();
        failpoint::reach(Point::RelayRaiseBefore);
        let durable = acceptor.raise(raises.clone());
        self.sources.extend(raises.iter().map(|(source, _)| Arc::clone(source)));
        self.events += waiting.len();
        self.bytes += bytes(&waiting);
        self.raises.push(Box::pin(async move {
            (Raised { loaded: waiting, durable: durable.await.is_ok() }, raises)
        }));
        ready
    }

    /// The next events whose wait is over; none where nothing waits.
    pub(super) async fn next(&mut self, lanes: &Lanes) -> Option<Raised> {
        let (raised, raises) = self.raises.next().await?;
        failpoint::reach(Point::RelayRaiseAfter);
        self.events -= raised.loaded.len();
        self.bytes -= bytes(&raised.loaded);
        for (source, through) in raises {
            self.sources.remove(&source);
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
