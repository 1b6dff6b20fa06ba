//! The account: where every delivery and every event stands, a row for each source.
//!
//! Two equations hold in every row at every moment, and so in their sum:
//!
//! - received = handshake + rejected + fault + filtered + duplicate + accepted + in progress
//! - recovered + accepted + replayed = confirmed + superseded + dropped + held + pending + unroutable + parked + poison
//!
//! since each call moves whole units from one term to another, or adds one to both sides, under one lock; a
//! scrape reads all rows under the same. It decides nothing and is never asked by those who do.
//!
//! Who calls what:
//! - the listener, for each request: [`SourceMetrics::begin`](super::SourceMetrics::begin), then
//!   [`Request::end`](super::Request::end) with what it turned out to be: a handshake is
//!   [`Ending::Handshake`](super::Ending::Handshake). A request that is dropped counts as refused.
//! - the acceptance thread, for a whole commit: [`Request::end_all`](super::Request::end_all). It owns the requests
//!   that wait for the disk, so a sender that has gone is counted right all the same.
//! - whoever has an event confirmed before its 2xx (`ack = "confirm"`): [`Request::end`](super::Request::end)
//!   with [`Ending::Confirmed`](super::Ending::Confirmed).
//! - the lanes, for all that becomes of a kept event: [`Account::shift`].
//! - an operator's command: [`Account::shift`] by way of the lanes (`dropped`, `released`), and
//!   [`Account::replayed`] for an event that is published once more.

use std::collections::HashMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a kept event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// To be relayed, or on its way.
    Pending,
    /// Put aside: no queue is bound for it.
    Unroutable,
    /// Put aside: another replica claims it.
    Parked,
    /// Waits for an operator's word.
    Held,
    /// Out of the relay: refused each time.
    Poison,
    /// Ended: the destination answers for it.
    Confirmed,
    /// Ended: another replica had a copy of it confirmed.
    Superseded,
    /// Ended: by an operator's command.
    Dropped,
}

impl Stand {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Unroutable,
        Self::Parked,
        Self::Held,
        Self::Poison,
        Self::Confirmed,
        Self::Superseded,
        Self::Dropped,
    ];

    /// Whether an event that stands so has ended.
    pub const fn is_end(self) -> bool {
        match self {
            Self::Confirmed | Self::Superseded | Self::Dropped => true,
            Self::Pending | Self::Unroutable | Self::Parked | Self::Held | Self::Poison => false,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Unroutable => "unroutable",
            Self::Parked => "parked",
            Self::Held => "held",
            Self::Poison => "poison",
            Self::Confirmed => "confirmed",
            Self::Superseded => "superseded",
            Self::Dropped => "dropped",
        }
    }
}

/// What a request turned out to be; the label `outcome` of `requests_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Handshake,
    Rejected,
    Fault,
    Filtered,
    Duplicate,
    Accepted,
}

impl End {
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Handshake, "handshake"),
        (Self::Rejected, "rejected"),
        (Self::Fault, "fault"),
        (Self::Filtered, "filtered"),
        (Self::Duplicate, "duplicate"),
        (Self::Accepted, "accepted"),
    ];
}

/// Where everything of one source stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Requests that came in.
    pub received: u64,
    /// Requests without an outcome yet.
    pub in_progress: u64,
    /// Events found in the journal at the start, their lives not ended.
    pub recovered: u64,
    /// Events that an operator has published once more.
    pub replayed: u64,
    ends: [u64; End::ALL.len()],
    stands: [u64; Stand::ALL.len()],
}

impl Standing {
    /// Events that stand so.
    pub fn of(&self, stand: Stand) -> u64 {
        self.stands[stand as usize]
    }

    /// Requests that ended so.
    pub(super) fn ended(&self, end: End) -> u64 {
        self.ends[end as usize]
    }

    /// All of it by name, as metrics and the admin listener call it.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let own = [
            ("received", self.received),
            ("in_progress", self.in_progress),
            ("recovered", self.recovered),
            ("replayed", self.replayed),
        ];
        let ends = End::ALL.map(|(end, name)| (name, self.ended(end)));
        own.into_iter().chain(ends).chain(Stand::ALL.map(|stand| (stand.name(), self.of(stand))))
    }

    /// And those of another source.
    pub fn add(&mut self, other: &Self) {
        let Self { received, in_progress, recovered, replayed, ends, stands } = *other;
        self.received += received;
        self.in_progress += in_progress;
        self.recovered += recovered;
        self.replayed += replayed;
        self.ends.iter_mut().zip(ends).for_each(|(sum, more)| *sum += more);
        self.stands.iter_mut().zip(stands).for_each(|(sum, more)| *sum += more);
    }

    /// Events that wait to be handed over: pending, unroutable or parked.
    pub fn waiting(&self) -> u64 {
        self.of(Stand::Pending) + self.of(Stand::Unroutable) + self.of(Stand::Parked)
    }

    /// How far each equation is from closing.
    #[cfg(test)]
    pub(crate) fn gaps(&self) -> (i128, i128) {
        let ended: u64 = End::ALL.iter().map(|(end, _)| self.ended(*end)).sum();
        let stands: u64 = Stand::ALL.iter().map(|stand| self.of(*stand)).sum();
        let kept = self.recovered + self.replayed + self.ended(End::Accepted);
        (
            i128::from(self.received) - i128::from(ended + self.in_progress),
            i128::from(kept) - i128::from(stands),
        )
    }

    fn shift(&mut self, from: Stand, to: Stand, most: u64) {
        let moved = self.of(from).min(most);
        self.stands[from as usize] -= moved;
        self.stands[to as usize] += moved;
    }
}

/// A source's place in the account; good for as long as that lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row(usize);

#[derive(Debug, Default)]
struct Rows {
    by_name: HashMap<Arc<str>, Row>,
    rows: Vec<(Arc<str>, Standing)>,
    /// When a delivery of each was verified last, in milliseconds since the epoch; 0 before one was.
    last_proven: HashMap<Arc<str>, Arc<AtomicI64>>,
}

/// The account of all sources. The row of requests to unknown paths has the empty name.
#[derive(Debug, Default)]
pub struct Account {
    rows: Mutex<Rows>,
}

impl Account {
    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, row: Row, change: impl FnOnce(&mut Standing)) {
        if let Some((_, standing)) = self.lock().rows.get_mut(row.0) {
            change(standing);
        }
    }

    /// The row of a source, opened at the first call.
    pub fn row(&self, source: &str) -> Row {
        let mut rows = self.lock();
        if let Some(row) = rows.by_name.get(source) {
            return *row;
        }
        let (name, row) = (Arc::<str>::from(source), Row(rows.rows.len()));
        rows.by_name.insert(Arc::clone(&name), row);
        rows.rows.push((name, Standing::default()));
        row
    }

    /// When a delivery of a source was verified last: the same for all its handles, whatever a reload has changed of it.
    pub(super) fn last_proven(&self, source: &str) -> Arc<AtomicI64> {
        Arc::clone(self.lock().last_proven.entry(source.into()).or_default())
    }

    /// A request has come in.
    pub(super) fn begin(&self, row: Row) {
        self.change(row, |standing| {
            standing.received += 1;
            standing.in_progress += 1;
        });
    }

    /// Requests have ended so, all at one moment; an accepted one's event stands where it is said.
    pub(super) fn end(&self, ends: impl Iterator<Item = (Row, End, Option<Stand>)>) {
        let mut rows = self.lock();
        for (row, end, stand) in ends {
            let Some((_, standing)) = rows.rows.get_mut(row.0) else { continue };
            standing.in_progress -= 1;
            standing.ends[end as usize] += 1;
            if let Some(stand) = stand {
                standing.stands[stand as usize] += 1;
            }
        }
    }

    /// Events of an earlier process were found in the journal.
    pub fn recovered(&self, row: Row, stand: Stand, events: u64) {
        self.change(row, |standing| {
            standing.recovered += events;
            standing.stands[stand as usize] += events;
        });
    }

    /// Events go out once more by an operator's command: each is pending again, whatever its first life came to.
    pub fn replayed(&self, row: Row, events: u64) {
        self.change(row, |standing| {
            standing.replayed += events;
            standing.stands[Stand::Pending as usize] += events;
        });
    }

    /// Moves events from where they stand; fewer than `events` where fewer stand there.
    pub fn shift(&self, row: Row, from: Stand, to: Stand, events: u64) {
        self.change(row, |standing| standing.shift(from, to, events));
    }

    /// All rows at one moment, in the order they were opened in.
    pub fn snapshot(&self) -> Vec<(Arc<str>, Standing)> {
        self.lock().rows.clone()
    }

    /// All rows added up, at one moment.
    pub fn total(&self) -> Standing {
        let mut total = Standing::default();
        self.lock().rows.iter().for_each(|(_, standing)| total.add(standing));
        total
    }

    /// One row.
    pub fn standing(&self, row: Row) -> Standing {
        self.lock().rows.get(row.0).map_or_else(Standing::default, |(_, standing)| *standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enums_index_their_counts() {
        for (index, stand) in Stand::ALL.into_iter().enumerate() {
            assert_eq!(stand as usize, index);
        }
        let last = (Stand::Dropped as usize + 1, End::Accepted as usize + 1);
        assert_eq!((Stand::ALL.len(), End::ALL.len()), last, "the last variants end the lists");
        for (index, (end, _)) in End::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, index);
        }
    }

    #[test]
    fn every_snapshot_closes_while_threads_move_units() {
        let account = &Account::default();
        let rows = ["shop", "git"].map(|source| account.row(source));
        account.recovered(rows[0], Stand::Pending, 7);
        account.recovered(rows[1], Stand::Held, 2);
        let requests = |row: Row| {
            (0..5_000_usize).for_each(|turn| {
                account.begin(row);
                let (end, _) = End::ALL[turn % 6];
                account.end(std::iter::once((row, end, (turn % 6 == 5).then_some(Stand::Pending))));
            });
        };
        let events = |row: Row| {
            (0..5_000_usize).for_each(|turn| {
                account.shift(row, Stand::ALL[turn % 5], Stand::ALL[(turn + 1) % 8], 3);
                account.replayed(row, u64::from(turn % 100 == 0));
            });
        };
        std::thread::scope(|scope| {
            for row in rows {
                scope.spawn(move || requests(row));
                scope.spawn(move || events(row));
            }
            for (source, standing) in (0..2_000).flat_map(|_| account.snapshot()) {
                assert_eq!(standing.gaps(), (0, 0), "{source}: {standing:?}");
            }
        });
        let total = account.total();
        assert_eq!((total.received, total.gaps()), (10_000, (0, 0)));
        let counts: HashMap<_, _> = total.counts().collect();
        assert_eq!((counts.len(), counts["received"], counts["recovered"]), (18, 10_000, 9));
    }

    #[test]
    fn a_row_is_found_again_and_one_source_touches_no_other() {
        let account = Account::default();
        let (shop, git) = (account.row("shop"), account.row("git"));
        assert_eq!(account.row("shop"), shop);
        account.begin(shop);
        account.shift(shop, Stand::Pending, Stand::Confirmed, 5);
        assert_eq!(account.standing(git), Standing::default());
        assert_eq!(account.standing(shop).of(Stand::Confirmed), 0, "what is not there does not move");
    }
}
