//! Leases of the inbox: who works on which event, until when, and how often it was tried.
//!
//! Pure bookkeeping: no HTTP, no journal, no clock of its own. Callers bring monotonic time and keep the
//! events. A token is a proof that its lease is the running one, so a worker that was too slow can never
//! answer for the worker that has the event after it.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::BuildHasher;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::event::Sequence;

/// Longest delay that a worker can ask for before the next try.
pub const DELAY_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What one lease is for: an event, or a part of one that is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    /// The event.
    pub sequence: Sequence,
    /// 0 for all of it, else which of its parts, from 1.
    pub part: u32,
}

impl From<Sequence> for Item {
    fn from(sequence: Sequence) -> Self {
        Self { sequence, part: 0 }
    }
}

/// Proof of one lease, handed to the worker as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token {
    item: Item,
    proof: u64,
}

impl Token {
    /// What it was given for.
    pub fn item(self) -> Item {
        self.item
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            Item { sequence, part: 0 } => write!(f, "{:x}-{:016x}", sequence.0, self.proof),
            Item { sequence, part } => write!(f, "{:x}.{part:x}-{:016x}", sequence.0, self.proof),
        }
    }
}

impl fmt::Debug for Token {
    /// A token is a right: logs get the event's number only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            Item { sequence, part: 0 } => write!(f, "Token({sequence})"),
            Item { sequence, part } => write!(f, "Token({sequence}.{part})"),
        }
    }
}

/// Text that no inbox ever handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a lease token; send back the «token» of the event as it was given")]
pub struct MalformedToken;

impl FromStr for Token {
    type Err = MalformedToken;

    fn from_str(text: &str) -> Result<Self, MalformedToken> {
        let (item, proof) = text.split_once('-').ok_or(MalformedToken)?;
        let hex = |digits: &str, most: usize| {
            let plain = (1..=most).contains(&digits.len())
                && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten().ok_or(MalformedToken)
        };
        let (sequence, part) = match item.split_once('.') {
            None => (item, 0),
            Some((sequence, part)) => (sequence, u32::try_from(hex(part, 8)?).map_err(|_| MalformedToken)?),
        };
        // Parts are numbered from 1: a token has one text.
        let item = Item { sequence: Sequence(hex(sequence, 16)?), part };
        if text.contains('.') == (part > 0) {
            Ok(Self { item, proof: hex(proof, 16)? })
        } else {
            Err(MalformedToken)
        }
    }
}

/// A lease that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What the worker must send back.
    pub token: Token,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// When the lease runs out, on the caller's monotonic clock.
    pub until: Duration,
}

/// Why no lease was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotGranted {
    /// A worker has it.
    #[error("another worker has the event")]
    Leased,
    /// As many leases run as may run; workers have to answer some first.
    #[error("{0} events are out with workers, which is the most; acknowledge some first")]
    Full(usize),
}

/// Why a token does not count: its lease ran out or was answered, or it is from an earlier run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the lease has run out or was answered before; the event may be with another worker")]
pub struct Stale;

/// What becomes of an event that was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// To be offered again, not before `not_before`, as this attempt.
    Offer {
        /// What was leased.
        item: Item,
        /// The number of the next attempt.
        attempt: u32,
        /// Monotonic time before which it is not to be offered.
        not_before: Duration,
    },
    /// Tried as often as allowed: poison, an operator has to look.
    Poison {
        /// What was leased.
        item: Item,
        /// How often it was tried.
        attempts: u32,
    },
}

struct Lease {
    proof: u64,
    attempt: u32,
    until: Duration,
}

/// The running leases, at most `most` of them.
pub struct Leases {
    running: BTreeMap<Item, Lease>,
    ends: BTreeSet<(Duration, Item)>,
    most: usize,
    max_attempts: u32,
    /// Keyed anew in each process: nobody can compute a token, and none outlives the process.
    seal: RandomState,
    granted: u64,
}

impl Leases {
    /// No leases yet; at most `most` at a time, and `max_attempts` (at least 1) for each event.
    pub fn new(most: usize, max_attempts: u32) -> Self {
        Self {
            running: BTreeMap::new(),
            ends: BTreeSet::new(),
            most,
            max_attempts: max_attempts.max(1),
            seal: RandomState::new(),
            granted: 0,
        }
    }

    /// How many leases run.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// True where no lease runs.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// How many more leases there is room for.
    pub fn room(&self) -> usize {
        self.most - self.running.len()
    }

    /// Leases that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Gives `item` to a worker until `until` on the caller's monotonic clock, as try number `attempt`.
    ///
    /// # Errors
    /// [`NotGranted`] where it is out already, or too many are.
    pub fn grant(&mut self, item: Item, until: Duration, attempt: u32) -> Result<Grant, NotGranted> {
        if self.running.contains_key(&item) {
            return Err(NotGranted::Leased);
        }
        if self.room() == 0 {
            return Err(NotGranted::Full(self.most));
        }
        self.granted += 1;
        let proof = self.seal.hash_one((item, attempt, self.granted));
        self.running.insert(item, Lease { proof, attempt, until });
        self.ends.insert((until, item));
        Ok(Grant { token: Token { item, proof }, attempt, until })
    }

    /// The worker is done with the event.
    ///
    /// # Errors
    /// [`Stale`] where the token is not of a lease that runs at `now`; then nothing changes.
    pub fn ack(&mut self, token: Token, now: Duration) -> Result<Item, Stale> {
        self.take(token, now).map(|_| token.item)
    }

    /// The worker could not do it; to be offered again after `delay` (at most [`DELAY_MAX`]), or poison.
    ///
    /// # Errors
    /// [`Stale`], as for [`Leases::ack`].
    pub fn nack(&mut self, token: Token, delay: Duration, now: Duration) -> Result<Again, Stale> {
        let lease = self.take(token, now)?;
        Ok(self.again(token.item, lease.attempt, now.saturating_add(delay.min(DELAY_MAX))))
    }

    /// The lease never reached a worker: it is as if it had not been granted.
    ///
    /// # Errors
    /// [`Stale`], as for [`Leases::ack`].
    pub fn undo(&mut self, token: Token, now: Duration) -> Result<Item, Stale> {
        self.take(token, now).map(|_| token.item)
    }

    /// The worker needs longer: the lease runs until `until` instead.
    ///
    /// # Errors
    /// [`Stale`], as for [`Leases::ack`].
    pub fn extend(&mut self, token: Token, until: Duration, now: Duration) -> Result<(), Stale> {
        let lease = self.take(token, now)?;
        self.running.insert(token.item, Lease { until, ..lease });
        self.ends.insert((until, token.item));
        Ok(())
    }

    /// Ends every lease that has run out by `now`, earliest first, and tells what is to be done with each event.
    pub fn expire(&mut self, now: Duration) -> Vec<Again> {
        let mut over = Vec::new();
        while let Some(&(until, item)) = self.ends.first()
            && until <= now
        {
            self.ends.pop_first();
            if let Some(lease) = self.running.remove(&item) {
                over.push(self.again(item, lease.attempt, now));
            }
        }
        over
    }

    /// When the next lease runs out: the caller's next [`Leases::expire`].
    pub fn next_end(&self) -> Option<Duration> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// Ends the lease of `item`, if one runs: an operator took the event away. Its token is stale then.
    pub fn revoke(&mut self, item: Item) -> bool {
        let lease = self.running.remove(&item);
        lease.is_some_and(|lease| self.ends.remove(&(lease.until, item)))
    }

    fn take(&mut self, token: Token, now: Duration) -> Result<Lease, Stale> {
        let counts = |lease: &Lease| lease.proof == token.proof && now < lease.until;
        if !self.running.get(&token.item).is_some_and(counts) {
            return Err(Stale);
        }
        let lease = self.running.remove(&token.item).ok_or(Stale)?;
        self.ends.remove(&(lease.until, token.item));
        Ok(lease)
    }

    fn again(&self, item: Item, attempt: u32, not_before: Duration) -> Again {
        if attempt >= self.max_attempts {
            Again::Poison { item, attempts: attempt }
        } else {
            Again::Offer { item, attempt: attempt + 1, not_before }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: Item = Item { sequence: Sequence(1), part: 0 };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_is_answered_once() {
        let mut leases = Leases::new(10, 3);
        let grant = leases.grant(ONE, at(30), 1).unwrap();
        assert_eq!((grant.attempt, grant.until, leases.len()), (1, at(30), 1));
        assert_eq!(leases.grant(ONE, at(30), 1), Err(NotGranted::Leased));
        assert_eq!(leases.ack(grant.token, at(1)), Ok(ONE));
        assert_eq!(leases.ack(grant.token, at(1)), Err(Stale));
        assert_eq!(leases.nack(grant.token, at(0), at(1)), Err(Stale));
        assert!(leases.is_empty());
        assert_eq!(leases.next_end(), None);
    }

    #[test]
    fn the_late_worker_cannot_answer_for_the_next_one() {
        let mut leases = Leases::new(10, 3);
        let late = leases.grant(ONE, at(30), 1).unwrap().token;
        assert_eq!(leases.ack(late, at(30)), Err(Stale), "run out, though nobody has noticed yet");
        assert_eq!(leases.expire(at(30)), [Again::Offer { item: ONE, attempt: 2, not_before: at(30) }]);
        let next = leases.grant(ONE, at(60), 2).unwrap().token;
        assert_eq!(leases.ack(late, at(31)), Err(Stale));
        assert_eq!(leases.nack(late, at(0), at(31)), Err(Stale));
        assert_eq!(leases.extend(late, at(99), at(31)), Err(Stale));
        assert_eq!(leases.ack(next, at(31)), Ok(ONE));
    }

    #[test]
    fn a_token_of_an_earlier_process_or_a_guess_is_stale() {
        let mut earlier = Leases::new(10, 3);
        let old = earlier.grant(ONE, at(30), 1).unwrap().token;
        let mut leases = Leases::new(10, 3);
        let running = leases.grant(ONE, at(30), 1).unwrap().token;
        assert_ne!(old, running);
        assert_eq!(leases.ack(old, at(1)), Err(Stale));
        for proof in 0..1000 {
            assert_eq!(leases.ack(Token { item: ONE, proof }, at(1)), Err(Stale));
        }
        assert_eq!(leases.ack(running, at(1)), Ok(ONE));
    }

    #[test]
    fn the_last_attempt_is_followed_by_poison() {
        let mut leases = Leases::new(10, 2);
        let first = leases.grant(ONE, at(30), 1).unwrap().token;
        assert_eq!(
            leases.nack(first, at(5), at(10)),
            Ok(Again::Offer { item: ONE, attempt: 2, not_before: at(15) })
        );
        let second = leases.grant(ONE, at(45), 2).unwrap().token;
        assert_eq!(leases.nack(second, at(5), at(20)), Ok(Again::Poison { item: ONE, attempts: 2 }));
        leases.grant(ONE, at(50), 2).unwrap();
        assert_eq!(leases.expire(at(50)), [Again::Poison { item: ONE, attempts: 2 }]);
    }

    #[test]
    fn a_delay_has_an_end() {
        let mut leases = Leases::new(1, 9);
        let token = leases.grant(ONE, at(30), 1).unwrap().token;
        let again = leases.nack(token, Duration::MAX, at(1)).unwrap();
        assert_eq!(again, Again::Offer { item: ONE, attempt: 2, not_before: at(1) + DELAY_MAX });
    }

    #[test]
    fn leases_are_bounded_and_end_in_order() {
        let mut leases = Leases::new(3, 9);
        for (sequence, until) in [(1, 30), (2, 10), (3, 20)] {
            leases.grant(Sequence(sequence).into(), at(until), 1).unwrap();
        }
        assert_eq!(leases.grant(Sequence(4).into(), at(30), 1), Err(NotGranted::Full(3)));
        assert_eq!((leases.room(), leases.next_end()), (0, Some(at(10))));
        assert!(leases.expire(at(9)).is_empty());
        let ended: Vec<_> = leases.expire(at(20)).into_iter().collect();
        let offer =
            |sequence| Again::Offer { item: Sequence(sequence).into(), attempt: 2, not_before: at(20) };
        assert_eq!(ended, [offer(2), offer(3)]);
        assert_eq!(leases.room(), 2);
    }

    #[test]
    fn extending_and_revoking_move_the_end() {
        let mut leases = Leases::new(3, 9);
        let token = leases.grant(ONE, at(10), 4).unwrap().token;
        leases.extend(token, at(100), at(5)).unwrap();
        assert!(leases.expire(at(50)).is_empty());
        assert_eq!(leases.next_end(), Some(at(100)));
        assert!(leases.revoke(ONE) && !leases.revoke(ONE));
        assert_eq!(leases.ack(token, at(50)), Err(Stale));
        assert_eq!((leases.len(), leases.next_end()), (0, None));
    }

    #[test]
    fn a_token_survives_its_text_and_nothing_else_does() {
        let mut leases = Leases::new(3, 9);
        let token = leases.grant(Sequence(u64::MAX).into(), at(10), 1).unwrap().token;
        assert_eq!(token.to_string().parse(), Ok(token));
        assert!(!format!("{token:?}").contains(&format!("{:x}", token.proof)));
        for text in
            ["", "-", "1", "1-", "-1", "1-2-3", "+1-2", "1-+2", "g-1", "1-0x2", "11111111111111111-1", "1-é"]
        {
            assert_eq!(text.parse::<Token>(), Err(MalformedToken), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_each_event_has_one_holder(steps in prop::collection::vec((0_u8..5, 0_u64..6, 1_u64..20), 1..200)) {
            let mut leases = Leases::new(4, 3);
            let mut now = 0;
            let mut tokens: Vec<Token> = Vec::new();
            let mut done: Vec<Token> = Vec::new();
            for (step, sequence, by) in steps {
                match step {
                    0 => if let Ok(grant) = leases.grant(Sequence(sequence).into(), at(now + by), 1) {
                        tokens.push(grant.token);
                    },
                    1 => if let Some(token) = tokens.pop()
                        && leases.ack(token, at(now)).is_ok() { done.push(token) },
                    2 => if let Some(token) = tokens.first()
                        && leases.nack(*token, at(by), at(now)).is_ok() { done.push(*token) },
                    3 => { now += by; leases.expire(at(now)); }
                    _ => { leases.revoke(Sequence(sequence).into()); }
                }
                prop_assert!(leases.len() <= 4);
                prop_assert_eq!(leases.running.len(), leases.ends.len());
                for token in &done {
                    prop_assert_eq!(leases.ack(*token, at(now)), Err(Stale));
                }
            }
        }
    }
}
