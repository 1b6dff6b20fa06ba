//! Claims, appends and commits: what the acceptance thread does with the work it is given.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::orders::Ordered;
use super::queue::{Offer, Reply, Work};
use super::terms::{Accepted, Fault, Policy, Proof, Stores, TWINS_MAX};
use crate::clock::Timestamp;
use crate::dedup::{Claim, Index};
use crate::disk::Disk;
use crate::event::{Event, KeyEntry, Sequence};
use crate::failpoint::{self, Point};
use crate::journal::{Journal, Mark, Room};
use crate::lanes::Lanes;
use crate::metrics::{Ending, Outcome, Request};
use crate::reject::Reject;
use crate::steps::{Steps, What};

/// The size of event that health asks room for.
const ROOM_PROBE: u64 = 64 << 10;

/// What was decided about an offer before the commit.
enum Decision {
    /// Staged under this number.
    Staged(Sequence, Outcome),
    /// Known under this number.
    Known(Sequence),
    /// Not kept.
    Refused(Reject),
}

impl Decision {
    /// How its request is counted; `failed` where the commit did not hold.
    fn ending(&self, failed: Option<Reject>) -> Ending {
        match (failed, self) {
            (Some(reject), _) => Ending::Refused(reject),
            (None, Self::Refused(reject)) => Ending::Refused(*reject),
            (None, Self::Staged(_, outcome)) => Ending::Kept(*outcome),
            (None, Self::Known(_)) => Ending::Duplicate,
        }
    }
}

/// Claims, appends and commits; single-threaded, deterministic, without a clock of its own.
pub struct Core<D: Disk> {
    pub(super) journal: Journal<D>,
    pub(super) index: Index<D>,
    pub(super) lanes: Arc<Lanes>,
    /// Decided, to be answered after the next commit.
    decided: Vec<(Reply, Decision, Request)>,
    /// To be told once every staged mark and watermark is durable.
    waiters: Vec<oneshot::Sender<()>>,
    /// Carried out, to be answered then.
    pub(super) ordered: Vec<Ordered>,
    /// Where marks are told once they are durable, and those that are not yet.
    steps: Steps,
    marked: Vec<(Sequence, Mark)>,
}

impl<D: Disk> Core<D> {
    /// A journal and the index over its keys; what is appended goes to `lanes` once it is durable.
    pub fn new(journal: Journal<D>, index: Index<D>, lanes: Arc<Lanes>) -> Self {
        Self {
            journal,
            index,
            lanes,
            decided: Vec::new(),
            waiters: Vec::new(),
            ordered: Vec::new(),
            steps: Steps::default(),
            marked: Vec::new(),
        }
    }

    /// Tells there of every mark that has become durable.
    pub fn telling(self, steps: Steps) -> Self {
        Self { steps, ..self }
    }

    /// One group commit (more, where a segment ends within it): decides every offer, syncs, then answers.
    /// Returns when the newest of the kept deliveries came in.
    ///
    /// # Errors
    /// A fault that is final, after everybody who waits has been told.
    pub fn step(&mut self, work: Work) -> Result<Option<Timestamp>, Fault> {
        work.marks.into_iter().for_each(|(sequence, mark)| self.mark(sequence, mark));
        work.raises.iter().for_each(|(source, through)| self.journal.raise(source, *through));
        self.waiters.extend(work.waiters);
        let (mut newest, mut fault) = (None, None);
        for Offer { event, policy, reply, request } in work.offers {
            let received_at = event.envelope().received_at;
            let decision = self.decide(event, policy).unwrap_or_else(|error| {
                fault.get_or_insert(error);
                Decision::Refused(Reject::JournalFailed)
            });
            if matches!(decision, Decision::Staged(..)) {
                newest = newest.max(Some(received_at));
            }
            self.decided.push((reply, decision, request));
        }
        failpoint::reach(Point::AcceptStaged);
        self.commit()?;
        if fault.is_none() {
            self.carry_out(work.orders)?;
        }
        fault.map_or(Ok(newest), Err)
    }

    /// Makes durable what is staged, and answers for it.
    pub(super) fn commit(&mut self) -> Result<(), Fault> {
        let committed = self.journal.commit();
        let decided = mem::take(&mut self.decided);
        let (mut answers, mut counted) =
            (Vec::with_capacity(decided.len()), Vec::with_capacity(decided.len()));
        for (reply, decision, request) in decided {
            let kept = committed.as_ref().map_err(|_| Reject::JournalFailed);
            let answer = kept.and_then(|_| self.answer(&decision));
            counted.push((request, decision.ending(answer.err())));
            answers.push((reply, answer));
        }
        // An event is counted before anybody can end it, and in the inbox before its sender has the answer.
        Request::end_all(counted);
        if let Ok(committed) = &committed {
            self.lanes.push(&committed.appended);
        }
        failpoint::reach(Point::AcceptAnswerBefore);
        Reply::send_all(answers.into_iter());
        failpoint::reach(Point::AcceptAnswerAfter);
        if committed?.deferred == 0 {
            let marked = mem::take(&mut self.marked).into_iter();
            self.steps.tell_each(marked.map(|(sequence, mark)| (sequence, what(mark))));
            mem::take(&mut self.waiters).into_iter().for_each(|waiter| {
                waiter.send(()).ok();
            });
            self.announce();
        }
        Ok(())
    }

    /// Stages a mark.
    pub(super) fn mark(&mut self, sequence: Sequence, mark: Mark) {
        self.journal.mark(sequence, mark);
        if self.steps.are_kept() {
            self.marked.push((sequence, mark));
        }
    }

    fn answer(&self, decision: &Decision) -> Result<Accepted, Reject> {
        let (sequence, outcome) = match *decision {
            Decision::Staged(sequence, outcome) => (sequence, outcome),
            Decision::Known(sequence) => (sequence, Outcome::Duplicate),
            Decision::Refused(reject) => return Err(reject),
        };
        let receipt = self.journal.receipt(sequence).ok_or(Reject::JournalFailed)?;
        Ok(Accepted { proof: Proof::Kept(receipt), outcome })
    }

    /// Why an event cannot be appended, if so; where the segment ends, what is staged is committed first.
    fn shortage(&mut self, event: &Event) -> Result<Option<Reject>, Fault> {
        let bytes = Journal::<D>::record_bytes(event);
        let mut room = self.journal.room(bytes);
        if room == Room::Commit {
            self.commit()?;
            room = self.journal.room(bytes);
        }
        Ok(match room {
            Room::Open => None,
            Room::Commit | Room::Full(_) => Some(Reject::JournalFull),
            Room::TooLarge => Some(Reject::BodyTooLarge),
        })
    }

    fn decide(&mut self, mut event: Event, policy: Policy) -> Result<Decision, Fault> {
        let (keys, received_at) = (event.envelope().keys, event.envelope().received_at);
        let refusal = self.shortage(&event)?.or(policy.refuse_unknown);
        if let Some(reject) = refusal {
            let known = self.index.known(&keys.message_id, received_at)?;
            return Ok(known.map_or(Decision::Refused(reject), Decision::Known));
        }
        let entry = KeyEntry { keys, sequence: self.journal.next_sequence(), received_at };
        let outcome = match self.index.claim(&entry)? {
            Claim::Known { sequence } if !policy.forward_duplicates => return Ok(Decision::Known(sequence)),
            Claim::Known { .. } => {
                event.set_redelivery();
                Outcome::Duplicate
            }
            Claim::New { twin: None } => Outcome::New,
            Claim::New { twin: Some(twin) } => {
                let held = policy.hold_twins || twin.nth > TWINS_MAX;
                event.set_twin(twin.first, held);
                if held { Outcome::Held } else { Outcome::Twin }
            }
        };
        Ok(Decision::Staged(self.journal.append(&event), outcome))
    }

    /// Tells the index both clocks, read at one moment, before a step: what came in after a step of wall time is then
    /// judged by a clock that did not step.
    pub fn observe(&mut self, wall: Timestamp, monotonic: Duration) {
        self.index.observe(wall, monotonic);
    }

    /// Looks after segments and key files; cheap when there is nothing to do. `wall` and `monotonic` are read
    /// at one moment.
    ///
    /// # Errors
    /// A fault that is final.
    pub fn maintain(&mut self, wall: Timestamp, monotonic: Duration) -> Result<(), Fault> {
        self.observe(wall, monotonic);
        if self.journal.waits_for_keys(wall, self.index.durable_through()) {
            self.index.flush_soon();
        }
        self.index.maintain(wall, self.journal.durable_through())?;
        self.journal.maintain(wall, self.index.durable_through())?;
        Ok(())
    }

    /// How the stores stand.
    pub(super) fn stores(&mut self) -> Stores {
        let (journal, index) = (self.journal.stats(), self.index.stats());
        Stores {
            journal_bytes: journal.bytes,
            unconfirmed_bytes: journal.live_bytes,
            quota_bytes: self.journal.quota(),
            dedup_keys: index.keys,
            full: matches!(self.journal.room(ROOM_PROBE), Room::Full(_)),
            ..Stores::default()
        }
    }
}

fn what(mark: Mark) -> What {
    match mark {
        Mark::Confirmed => What::Confirmed,
        Mark::Superseded => What::Superseded,
        Mark::Dropped => What::Dropped,
        Mark::Poisoned => What::Poisoned,
        Mark::Released => What::Released,
        Mark::Replayed => What::Replayed,
    }
}
