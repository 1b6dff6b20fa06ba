//! What an operator does: picks an event that the journal holds and gives an order about it.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::life::Life;
use super::random::Random;
use crate::accept::{Action, Fate, Target};
use crate::clock::Timestamp;
use crate::event::Sequence;
use crate::journal::{Position, ScanBudget, State};

const ALL: ScanBudget = ScanBudget { records: usize::MAX, bytes: u64::MAX };

/// The operator, who remembers every event that was ever seen.
#[derive(Default)]
pub(super) struct Operator {
    known: BTreeMap<Sequence, Target>,
    waits: Vec<(Action, oneshot::Receiver<Vec<Fate>>)>,
}

impl Operator {
    /// Looks through the journal for what lives; none where it cannot be read.
    pub(super) fn look(&mut self, life: &Life) -> Option<Vec<(Sequence, State)>> {
        let (mut found, mut at) = (Vec::new(), Position::START);
        loop {
            let page = life.reader.scan(at, ALL).ok()?;
            for live in page.live {
                found.push((live.sequence, live.state));
                self.see(life, &live);
            }
            at = page.next;
            if page.at_end {
                return Some(found);
            }
        }
    }

    fn see(&mut self, life: &Life, live: &crate::journal::LiveRecord) {
        if self.known.contains_key(&live.sequence) {
            return;
        }
        if let Ok(Some(event)) = life.reader.read(live.sequence, live.position) {
            let target = Target {
                sequence: live.sequence,
                position: live.position,
                source: live.source.clone(),
                key: event.envelope().keys.message_id,
                received_at: live.received_at,
                bytes: live.bytes,
            };
            self.known.insert(live.sequence, target);
        }
    }

    /// An event that was seen at some time.
    pub(super) fn pick(&self, random: &mut Random) -> Option<Target> {
        let known: Vec<&Target> = self.known.values().collect();
        (!known.is_empty()).then(|| (*random.pick(&known)).clone())
    }

    /// That very event.
    pub(super) fn target(&self, sequence: Sequence) -> Option<Target> {
        self.known.get(&sequence).cloned()
    }

    /// Gives an order, to be carried out with a coming turn.
    pub(super) fn order(&mut self, life: &Life, action: Action, target: Target, now: Timestamp) {
        self.waits.push((action, life.acceptor.order(action, vec![target], now)));
    }

    /// Orders that were carried out since.
    pub(super) fn done(&mut self) -> Vec<Action> {
        let mut done = Vec::new();
        self.waits.retain_mut(|(action, wait)| match wait.try_recv() {
            Ok(fates) => {
                done.extend((fates == [Fate::Done]).then_some(*action));
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => true,
            Err(oneshot::error::TryRecvError::Closed) => false,
        });
        done
    }

    /// After a crash positions of what was never durable mean nothing.
    pub(super) fn crashed(&mut self) {
        self.waits.clear();
    }
}
