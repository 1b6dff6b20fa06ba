//! An operator's orders, carried out by the acceptance thread: so they are atomic with claims, with the marks of the
//! relay and with the removal of segments. An order is at most a page of records; whoever has more sends several.
//!
//! Everything staged before is committed first, so the ledger tells the truth about each target. Lanes learn of an
//! order only when its marks are durable, and the operator after that.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::core::Core;
use super::terms::Fault;
use crate::clock::Timestamp;
use crate::dedup::Forgot;
use crate::disk::Disk;
use crate::event::{Digest, Sequence};
use crate::failpoint::{self, Point};
use crate::journal::{Mark, Position, Standing, State};
use crate::lanes::Again;

/// What an operator may do to events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish again what has ended.
    Replay,
    /// Let the next delivery of the key be a new event.
    Forget,
    /// Relay what is held.
    Release,
    /// Relay what is poison, and at once what waits aside.
    Requeue,
    /// Give up what has not ended.
    Drop,
}

impl Action {
    /// All of them, with their names and what is said of an event that one was carried out on.
    const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Replay, "replay", "replayed"),
        (Self::Forget, "forget", "forgotten"),
        (Self::Release, "release", "released"),
        (Self::Requeue, "requeue", "requeued"),
        (Self::Drop, "drop", "dropped"),
    ];

    /// The action of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known, _)| *known == name).map(|(action, ..)| action)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(action, ..)| *action == self).map_or("", |(_, name, _)| name)
    }

    /// What is said of an event that it was carried out on.
    pub fn done(self) -> &'static str {
        Self::ALL.into_iter().find(|(action, ..)| *action == self).map_or("", |(.., done)| done)
    }
}

/// One event of an order.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its number.
    pub sequence: Sequence,
    /// Where it lies.
    pub position: Position,
    /// Its source.
    pub source: Arc<str>,
    /// Its identity.
    pub key: Digest,
    /// When its delivery came in.
    pub received_at: Timestamp,
    /// Bytes of the record.
    pub bytes: u64,
}

/// What became of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// The order is carried out.
    Done,
    /// It is pending: not confirmed yet.
    Pending,
    /// It is held: release it first.
    Held,
    /// It is poison: requeue it.
    Poison,
    /// Its life has ended.
    Ended,
    /// Retention has removed it.
    Gone,
    /// It is on its way to the sink, or with a worker.
    Underway,
    /// Its key is not in the dedup index.
    Unknown,
    /// No room for more: once some of what is pending has been relayed, or forgotten keys have aged out.
    NoRoom,
}

impl Fate {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Done, "done"),
        (Self::Pending, "pending"),
        (Self::Held, "held"),
        (Self::Poison, "poison"),
        (Self::Ended, "ended"),
        (Self::Gone, "gone"),
        (Self::Underway, "underway"),
        (Self::Unknown, "unknown"),
        (Self::NoRoom, "no_room"),
    ];

    /// The fate of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(fate, _)| fate)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(fate, _)| *fate == self).map_or("", |(_, name)| name)
    }
}

/// An order that waits for the thread.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) action: Action,
    pub(super) targets: Vec<Target>,
    pub(super) now: Timestamp,
    pub(super) reply: oneshot::Sender<Vec<Fate>>,
}

/// An order whose marks are staged.
pub(super) struct Ordered {
    action: Action,
    targets: Vec<Target>,
    /// What became of each target, and how it stood before.
    fates: Vec<(Fate, Option<Standing>)>,
    reply: oneshot::Sender<Vec<Fate>>,
}

impl<D: Disk> Core<D> {
    /// Stages the marks of all orders and commits them.
    pub(super) fn carry_out(&mut self, orders: Vec<Order>) -> Result<(), Fault> {
        for Order { action, targets, now, reply } in orders {
            let fates = match action {
                Action::Forget => self.forget(&targets, now)?,
                _ => self.stage(action, &targets),
            };
            self.ordered.push(Ordered { action, targets, fates, reply });
            failpoint::reach(Point::AcceptOrderStaged);
            self.commit()?;
        }
        Ok(())
    }

    fn forget(&mut self, targets: &[Target], now: Timestamp) -> Result<Vec<(Fate, Option<Standing>)>, Fault> {
        let keys: Vec<Digest> = targets.iter().map(|target| target.key).collect();
        let forgot = self.index.forget(&keys, now)?;
        let fate = |forgot: Forgot| match forgot {
            Forgot::Key(_) => Fate::Done,
            Forgot::Unknown => Fate::Unknown,
            Forgot::Full => Fate::NoRoom,
        };
        Ok(forgot.into_iter().map(|forgot| (fate(forgot), None)).collect())
    }

    fn stage(&mut self, action: Action, targets: &[Target]) -> Vec<(Fate, Option<Standing>)> {
        let (mut fates, mut bytes) = (Vec::with_capacity(targets.len()), 0);
        let ordered = self.ordered_before();
        for target in targets {
            let standing = self.journal.standing(target.sequence);
            let fate = match ordered.contains(&target.sequence) {
                true => Fate::Underway,
                false => self.judge(action, target, standing, &mut bytes),
            };
            if let (Fate::Done, Some(mark)) = (fate, mark_of(action, standing)) {
                self.mark(target.sequence, mark);
            }
            fates.push((fate, standing));
        }
        fates
    }

    /// Records with a mark of an earlier order that waits for space: the ledger does not know of it yet, and a second one
    /// would be counted twice.
    fn ordered_before(&self) -> HashSet<Sequence> {
        let marked = |ordered: &Ordered| {
            let targets = ordered.targets.iter().zip(&ordered.fates);
            let waits = |(fate, standing): &(Fate, Option<Standing>)| {
                *fate == Fate::Done && mark_of(ordered.action, *standing).is_some()
            };
            targets.filter(|(_, fate)| waits(fate)).map(|(target, _)| target.sequence).collect::<Vec<_>>()
        };
        self.ordered.iter().flat_map(marked).collect()
    }

    /// What becomes of one target; `bytes` counts what the order makes live again.
    fn judge(
        &mut self,
        action: Action,
        target: &Target,
        standing: Option<Standing>,
        bytes: &mut u64,
    ) -> Fate {
        let wrong = |state: State| match state {
            State::Pending => Fate::Pending,
            State::Held => Fate::Held,
            State::Poisoned => Fate::Poison,
        };
        match (action, standing) {
            (_, None) => Fate::Gone,
            // Its lane, which has not been told of that end, would take the new life for the old one and end it.
            (Action::Replay, Some(Standing::Ended(_)))
            | (Action::Requeue | Action::Drop, Some(Standing::Live(State::Poisoned)))
                if self.lanes.is_outstanding(&target.source, target.sequence) =>
            {
                Fate::Underway
            }
            (Action::Replay, Some(Standing::Ended(_))) => {
                if !self.journal.replay_room(*bytes + target.bytes) {
                    return Fate::NoRoom;
                }
                *bytes += target.bytes;
                Fate::Done
            }
            (_, Some(Standing::Ended(_))) => Fate::Ended,
            (Action::Release, Some(Standing::Live(State::Held)))
            | (Action::Requeue, Some(Standing::Live(State::Poisoned)))
            | (Action::Drop, Some(Standing::Live(State::Held | State::Poisoned))) => Fate::Done,
            (Action::Requeue, Some(Standing::Live(State::Pending))) => {
                match self.lanes.hurry(&target.source, target.sequence) {
                    true => Fate::Done,
                    false => Fate::Pending,
                }
            }
            (Action::Drop, Some(Standing::Live(State::Pending))) => {
                match self.lanes.withdraw(&target.source, target.sequence, target.received_at) {
                    true => Fate::Done,
                    false => Fate::Underway,
                }
            }
            (_, Some(Standing::Live(state))) => wrong(state),
        }
    }

    /// Everything staged is durable: lanes learn of it, then the operators.
    pub(super) fn announce(&mut self) {
        for Ordered { action, targets, mut fates, reply } in std::mem::take(&mut self.ordered) {
            failpoint::reach(Point::AcceptOrderDurable);
            let mut again: BTreeMap<&Arc<str>, Again> = BTreeMap::new();
            for (target, (fate, standing)) in targets.iter().zip(&mut fates) {
                let revived = || matches!(self.journal.standing(target.sequence), Some(Standing::Live(_)));
                // Its mark may have waited for space, and its segment not.
                if action == Action::Replay && *fate == Fate::Done && !revived() {
                    *fate = Fate::Gone;
                }
                if *fate != Fate::Done || mark_of(action, *standing).is_none() {
                    continue;
                }
                if let (Action::Drop, Some(Standing::Live(was))) = (action, *standing) {
                    self.lanes.dropped(&target.source, target.sequence, was);
                    continue;
                }
                let none = Again::none(target.position);
                let counts = again.entry(&target.source).or_insert(none);
                counts.from = counts.from.min(target.position);
                match action {
                    Action::Release => counts.released += 1,
                    Action::Requeue => {
                        counts.requeued += 1;
                        counts.attempted_through = counts.attempted_through.max(target.sequence);
                    }
                    Action::Replay | Action::Forget | Action::Drop => counts.replayed += 1,
                }
            }
            again.into_iter().for_each(|(source, again)| self.lanes.again(source, again));
            reply.send(fates.into_iter().map(|(fate, _)| fate).collect()).ok();
        }
    }
}

/// The mark that an action writes on a record that stands so; none where it writes none.
fn mark_of(action: Action, standing: Option<Standing>) -> Option<Mark> {
    match (action, standing?) {
        (Action::Replay, Standing::Ended(_)) => Some(Mark::Replayed),
        (Action::Release, Standing::Live(State::Held)) => Some(Mark::Released),
        (Action::Requeue, Standing::Live(State::Poisoned)) => Some(Mark::Released),
        (Action::Drop, Standing::Live(_)) => Some(Mark::Dropped),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::dedup::{self, Index};
    use crate::disk::RealDisk;
    use crate::event::{Envelope, Event, Keys};
    use crate::journal::{Journal, Settings, Upkeep};
    use crate::lanes::Lanes;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const SHOP: &str = "shop";

    fn event() -> Event {
        let envelope = Envelope {
            source: SHOP.into(),
            provider: "stripe".into(),
            keys: Keys { message_id: Digest([1; 32]), content: None },
            event_id: "evt_1".to_owned(),
            event_type: "charge.captured".to_owned(),
            received_at: NOW,
            secret: "live".into(),
            content_type: "application/json".to_owned(),
            headers: Vec::new(),
            source_authenticated: false,
            unauthenticated: false,
            invalid: None,
            twin_of: None,
            held: false,
            redelivery: false,
        };
        Event::restore(envelope, Bytes::from_static(b"{}"))
    }

    /// A core whose one event is poison, and that event as a target.
    fn poisoned(dir: &std::path::Path) -> (Core<RealDisk>, Target) {
        let settings = Settings {
            dir: dir.join("journal"),
            segment_bytes: 1 << 20,
            bytes_max: 64 << 20,
            retention: Duration::from_secs(3600),
            upkeep: Upkeep::Inline,
        };
        let (mut journal, _) = Journal::open(RealDisk, settings, NOW, &mut |_| {}).unwrap();
        let keys = dedup::Settings::new(dir.join("keys"), Duration::from_secs(3600));
        let index = Index::open(RealDisk, keys, NOW).unwrap();
        journal.append(&event());
        let appended = journal.commit().unwrap().appended.remove(0);
        journal.mark(appended.sequence, Mark::Poisoned);
        journal.commit().unwrap();
        let target = Target {
            sequence: appended.sequence,
            position: appended.position,
            source: SHOP.into(),
            key: Digest([1; 32]),
            received_at: NOW,
            bytes: appended.bytes,
        };
        (Core::new(journal, index, Arc::new(Lanes::new())), target)
    }

    #[test]
    fn an_order_on_a_record_whose_mark_still_waits_for_space_is_underway() {
        let dir = tempfile::tempdir().unwrap();
        let (mut core, target) = poisoned(dir.path());
        let fates = core.stage(Action::Requeue, std::slice::from_ref(&target));
        assert_eq!(fates[0].0, Fate::Done);
        let (reply, mut answer) = oneshot::channel();
        core.ordered.push(Ordered { action: Action::Requeue, targets: vec![target.clone()], fates, reply });
        for action in [Action::Requeue, Action::Drop] {
            let again = core.stage(action, std::slice::from_ref(&target));
            assert_eq!(again[0].0, Fate::Underway, "{action:?}: the mark is staged, and on no disk");
        }
        core.commit().unwrap();
        assert_eq!(answer.try_recv().unwrap(), [Fate::Done], "once");
        assert_eq!(core.stage(Action::Requeue, &[target])[0].0, Fate::Pending, "it is no poison any more");
    }
}
