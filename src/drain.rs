//! A gateway taken out for good: load balancers are turned away at once and senders a little later, and what is kept is
//! handed over to the last event. It goes on running and taking nothing until it is stopped, or told to take again; a
//! restart takes again too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::accept::Taking;
use crate::clock::{Clock, Timestamp};
use crate::keeper::Keeper;
use crate::metrics::{Metrics, Stand, Standing};
use crate::tasks::Runtime;

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is none: deliveries are taken.
    Serving,
    /// Not ready, so that balancers send elsewhere; what comes all the same is still taken.
    TurningAway,
    /// Deliveries are answered 503, and what is kept is handed over.
    Draining,
    /// Nothing is left.
    Drained,
}

impl Phase {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::TurningAway => "turning_away",
            Self::Draining => "draining",
            Self::Drained => "drained",
        }
    }
}

/// What has not ended, in events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// To be handed over, or on their way.
    pub pending: u64,
    /// No queue is bound for them.
    pub unroutable: u64,
    /// Another replica claims them.
    pub parked: u64,
    /// They wait for an operator.
    pub held: u64,
    /// Refused each time.
    pub poison: u64,
    /// Without a journal: their senders have no answer yet.
    pub unanswered: u64,
    /// Without a journal: Redis has not been told what became of them.
    pub untold: u64,
}

impl Left {
    fn of(standing: &Standing) -> Self {
        let mut left = Self::default();
        for stand in Stand::ALL {
            let count = match stand {
                Stand::Pending => &mut left.pending,
                Stand::Unroutable => &mut left.unroutable,
                Stand::Parked => &mut left.parked,
                Stand::Held => &mut left.held,
                Stand::Poison => &mut left.poison,
                Stand::Confirmed | Stand::Superseded | Stand::Dropped => continue,
            };
            *count = standing.of(stand);
        }
        left
    }

    /// All of them.
    pub const fn total(&self) -> u64 {
        let Self { pending, unroutable, parked, held, poison, unanswered, untold } = *self;
        pending + unroutable + parked + held + poison + unanswered + untold
    }
}

/// A drain, as it stands.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How far it is.
    pub phase: Phase,
    /// When it began; none where there is none.
    pub began: Option<Timestamp>,
    /// Until when deliveries are taken all the same.
    pub takes_until: Option<Timestamp>,
    /// Events that ended since it began.
    pub ended: u64,
    /// What is left.
    pub left: Left,
    /// The same of each source that has some.
    pub sources: Vec<(Arc<str>, Left)>,
}

/// The way to drain a gateway; cheap to clone.
#[derive(Clone)]
pub struct Drain {
    inner: Arc<Inner>,
}

struct Inner {
    keeper: Keeper,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    runtime: Runtime,
    course: Mutex<Course>,
}

#[derive(Default)]
struct Course {
    /// Counts orders: what an earlier one has begun does nothing any more.
    order: u64,
    begun: Option<Begun>,
}

#[derive(Clone, Copy)]
struct Begun {
    at: Timestamp,
    takes_until: Timestamp,
    /// Events that had ended by then.
    ended: u64,
    /// Whether all that was offered is decided, and counted where it stands.
    settled: bool,
}

impl Drain {
    /// Of the gateway that keeps events so; to be called within the runtime that outlives it.
    pub fn new(keeper: Keeper, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let course = Mutex::default();
        Self { inner: Arc::new(Inner { keeper, metrics, clock, runtime: Runtime::current(), course }) }
    }

    /// Turns balancers away from now on, and senders after `grace`; where a drain has begun, not later than it said.
    pub fn begin(&self, grace: Duration) {
        let inner = Arc::clone(&self.inner);
        let now = inner.clock.now();
        let mut course = inner.course();
        let takes_until = now.plus(grace);
        let begun = match course.begun {
            // Whatever this order says, it would be later.
            Some(before) if before.takes_until <= takes_until || inner.keeper.taking() == Taking::Nothing => {
                return;
            }
            Some(before) => Begun { takes_until, ..before },
            None => Begun { at: now, takes_until, ended: inner.ended(), settled: false },
        };
        course.begun = Some(begun);
        course.order += 1;
        let order = course.order;
        inner.keeper.take(Taking::Last);
        drop(course);
        drop(self.inner.runtime.task(async move {
            tokio::time::sleep(grace).await;
            inner.refuse(order).await;
        }));
    }

    /// Takes deliveries again; false where no drain has begun.
    pub fn cancel(&self) -> bool {
        let mut course = self.inner.course();
        course.order += 1;
        let was = course.begun.take().is_some();
        self.inner.keeper.take(Taking::All);
        was
    }

    /// How it stands.
    pub fn seen(&self) -> Seen {
        // In this order: what is settled does not grow, whatever is counted afterwards.
        let begun = self.inner.course().begun;
        let (left, sources) = self.inner.left();
        let phase = match begun {
            None => Phase::Serving,
            Some(begun) if begun.settled && left.total() == 0 => Phase::Drained,
            Some(_) if self.inner.keeper.taking() == Taking::Last => Phase::TurningAway,
            Some(_) => Phase::Draining,
        };
        Seen {
            phase,
            began: begun.map(|begun| begun.at),
            takes_until: begun.map(|begun| begun.takes_until),
            ended: begun.map_or(0, |begun| self.inner.ended().saturating_sub(begun.ended)),
            left,
            sources,
        }
    }

    /// When it began, where there is one.
    pub fn since(&self) -> Option<Timestamp> {
        self.inner.course().begun.map(|begun| begun.at)
    }
}

impl Inner {
    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn refuse(&self, order: u64) {
        {
            let course = self.course();
            if course.order != order {
                return;
            }
            self.keeper.take(Taking::Nothing);
        }
        let settled = match &self.keeper {
            Keeper::Journal(acceptor) => acceptor.settled().await,
            Keeper::Confirm(_) => true,
        };
        let mut course = self.course();
        if course.order == order
            && let Some(begun) = &mut course.begun
        {
            begun.settled = settled;
        }
    }

    fn ended(&self) -> u64 {
        let total = self.metrics.account().total();
        Stand::ALL.into_iter().filter(|stand| stand.is_end()).map(|stand| total.of(stand)).sum()
    }

    fn left(&self) -> (Left, Vec<(Arc<str>, Left)>) {
        let (mut sum, mut sources) = (Standing::default(), Vec::new());
        for (source, standing) in self.metrics.account().snapshot() {
            sum.add(&standing);
            let left = Left::of(&standing);
            if left.total() > 0 {
                sources.push((source, left));
            }
        }
        let mut all = Left::of(&sum);
        if let Keeper::Confirm(confirmer) = &self.keeper {
            all.unanswered = confirmer.in_progress() as u64;
            all.untold = confirmer.untold() as u64;
        }
        (all, sources)
    }
}
