//! The checker: messages as they come out, compared with the ledger. Pure; `selftest` shows that it tells.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use crate::ledger::{Hash, Notes};

/// A message that came out, as much as the comparison needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Index of its source.
    pub source: usize,
    pub message_id: Hash,
    pub digest: Hash,
    pub sequence: Option<u64>,
    /// It says that it may be a copy.
    pub marked: bool,
    /// It is one that the sender asked for (`on_duplicate = "forward"`).
    pub redelivery: bool,
    /// The broker says that it handed it out before.
    pub again: bool,
    /// Which connection of the drain it came by, counted from 0.
    pub connection: u32,
    /// When, in milliseconds of the run.
    pub at: u64,
}

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Broken {
    /// Answered 2xx, never came out.
    Lost,
    /// Other bytes came out than were sent.
    Changed,
    /// A copy without its mark.
    Unmarked,
    /// More marked copies than the crashes so far account for.
    Beyond,
    /// An event after one that was accepted later, in the same source.
    Order,
    /// A message of an event that nobody sent.
    Invented,
    /// The account of a scrape does not close.
    Account,
    /// A gateway ended by itself, or said that it panicked.
    Ended,
    /// An answer that none of these requests may get.
    Answer,
    /// Something did not come to its end.
    Stuck,
}

/// A broken promise, and the case.
#[derive(Clone, Debug)]
pub struct Violation {
    pub broken: Broken,
    pub case: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.broken, self.case)
    }
}

/// When something happened after which copies may come: a crash, or a connection that was lost.
#[derive(Clone, Copy, Debug)]
pub struct Incident {
    /// In milliseconds of the run.
    pub at: u64,
    /// How many marked copies it may lead to.
    pub copies: u32,
}

/// Time in which copies are marked for another reason: Redis is away, so nobody can tell what others have.
#[derive(Clone, Copy, Debug)]
pub struct Blind {
    pub from: u64,
    pub to: u64,
}

#[derive(Clone, Copy)]
struct Seen {
    digest: Hash,
    connection: u32,
    at: u64,
    marked: bool,
}

/// What came out so far.
#[derive(Default)]
pub struct Checker {
    seen: HashMap<Hash, Seen>,
    last: BTreeMap<usize, u64>,
    /// Sources whose order nobody promises: replicas, or messages that were returned and tried again.
    pub unordered: Vec<usize>,
    /// When marked copies came, and whether they are copies of something seen.
    marks: Vec<u64>,
    /// Copies without a mark, and the first message of their event.
    unmarked: Vec<(Message, Seen)>,
    /// Events whose one unmarked message came after a marked one.
    allowed: HashSet<Hash>,
    pub messages: u64,
    pub copies: u64,
    pub again: u64,
    pub violations: Vec<Violation>,
}

impl Checker {
    fn tell(&mut self, broken: Broken, case: String) {
        self.violations.push(Violation { broken, case });
    }

    /// A message came out.
    pub fn take(&mut self, message: &Message) {
        let name = hex::encode(message.message_id);
        if let Some(seen) = self.seen.get(&message.message_id).copied() {
            if seen.digest != message.digest {
                self.tell(Broken::Changed, format!("the copies of {name} differ"));
            }
            if message.again && seen.connection < message.connection {
                // The drain took it and the broker did not learn so: no doing of the gateway's.
                self.again += 1;
                return;
            }
            self.copies += 1;
            if !message.marked && !message.redelivery {
                self.unmarked.push((*message, seen));
            }
        } else {
            let Message { digest, connection, at, marked, .. } = *message;
            let seen = Seen { digest, connection, at, marked };
            self.seen.insert(message.message_id, seen);
        }
        self.messages += 1;
        if message.marked {
            self.marks.push(message.at);
        } else if !message.again && !message.redelivery && !self.unordered.contains(&message.source) {
            self.order(message, &name);
        }
    }

    fn order(&mut self, message: &Message, name: &str) {
        let Some(sequence) = message.sequence else { return };
        let last = self.last.entry(message.source).or_default();
        let before = std::mem::replace(last, sequence.max(*last));
        if sequence <= before {
            let case = format!("{name} of source {} has {sequence}, and came after {before}", message.source);
            self.tell(Broken::Order, case);
        }
    }

    /// Distinct events that came out.
    pub fn events(&self) -> usize {
        self.seen.len()
    }

    /// How many of what was answered 2xx have not come out.
    pub fn missing(&self, notes: &Notes) -> usize {
        notes.kept.values().filter(|kept| !self.seen.contains_key(&kept.message_id)).count()
    }

    /// Nothing more comes: compares with the ledger.
    pub fn compare(&mut self, notes: &Notes) {
        let mut told = Vec::new();
        for (event, kept) in &notes.kept {
            let name = hex::encode(kept.message_id);
            match self.seen.get(&kept.message_id) {
                None => {
                    told.push((Broken::Lost, format!("event {event}, {name}, answered at {} ms", kept.at)))
                }
                Some(seen) if seen.digest != kept.digest => {
                    told.push((Broken::Changed, format!("event {event}, {name}")));
                }
                Some(_) => {}
            }
        }
        let known: HashMap<Hash, Hash> =
            notes.kept.values().map(|kept| (kept.message_id, kept.digest)).collect();
        for (id, seen) in &self.seen {
            if !notes.sent.contains_key(&seen.digest) && !known.contains_key(id) {
                told.push((Broken::Invented, hex::encode(id)));
            }
        }
        told.extend(notes.wrong.iter().map(|wrong| (Broken::Answer, wrong.clone())));
        told.into_iter().for_each(|(broken, case)| self.tell(broken, case));
    }

    /// Tells of copies without a mark, and counts those that stand for an event's one unmarked message: a mark says
    /// that another message may exist, and not which of them comes first.
    fn unmarked(&mut self) -> usize {
        let mut allowed = 0;
        for (message, seen) in std::mem::take(&mut self.unmarked) {
            if seen.marked && self.allowed.insert(message.message_id) {
                allowed += 1;
                continue;
            }
            let case = format!(
                "{} of source {} came {} at {} ms and unmarked at {} ms",
                hex::encode(message.message_id),
                message.source,
                if seen.marked { "marked" } else { "unmarked" },
                seen.at,
                message.at
            );
            self.tell(Broken::Unmarked, case);
        }
        allowed
    }

    /// Compares marked copies with what happened: at no moment may there have been more of them than the incidents
    /// before it allow. How many came after each incident and before the next.
    pub fn marked(&mut self, incidents: &[Incident], blind: &[Blind]) -> Marked {
        let (mut incidents, mut marks) = (incidents.to_vec(), std::mem::take(&mut self.marks));
        incidents.sort_by_key(|incident| incident.at);
        marks.sort_unstable();
        let all = marks.len();
        marks.retain(|at| !blind.iter().any(|blind| (blind.from..=blind.to).contains(at)));
        let unmarked = self.unmarked();
        let mut marked = Marked { blind: all - marks.len(), unmarked, ..Marked::default() };
        let mut after: Vec<_> = incidents.iter().map(|incident| (0, incident.copies)).collect();
        let mut allowed = 0_u64;
        let mut next = 0;
        for (number, at) in marks.iter().enumerate() {
            while let Some(incident) = incidents.get(next).filter(|incident| incident.at <= *at) {
                allowed += u64::from(incident.copies);
                next += 1;
            }
            after.get_mut(next.wrapping_sub(1)).into_iter().for_each(|(count, _)| *count += 1);
            if number as u64 + 1 > allowed {
                let case = format!("{} marked copies at {at} ms, {allowed} can be accounted for", number + 1);
                self.tell(Broken::Beyond, case);
                break;
            }
        }
        marked.after = after;
        marked
    }
}

/// Marked copies of a stage.
#[derive(Clone, Debug, Default)]
pub struct Marked {
    /// After each incident and before the next, and how many that incident allows.
    pub after: Vec<(u32, u32)>,
    /// While Redis was away.
    pub blind: usize,
    /// Copies without a mark of what went out marked before.
    pub unmarked: usize,
}
