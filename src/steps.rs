//! What becomes of events and requests, told as it happens to whoever keeps a history of it. Telling never waits and takes
//! no more memory than is said here: what nobody fetches in time is counted, and left out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::addresses::one_party;
use crate::audit::{self, Audit};
use crate::clock::{Clock, Timestamp};
use crate::delivery::Delivery;
use crate::event::Sequence;
use crate::reject::Refused;

/// Steps that wait to be fetched, at most.
const STEPS_MAX: usize = 1 << 15;
/// Refusals and causes that do.
const REFUSALS_MAX: usize = 1 << 10;
/// Bytes of requests for the quarantine that do, at most: in all, of one source, of one party at one source.
const QUARANTINE_BYTES_MAX: usize = 8 << 20;
const OF_A_SOURCE_MAX: usize = QUARANTINE_BYTES_MAX / 2;
const OF_A_PARTY_MAX: usize = QUARANTINE_BYTES_MAX / 8;
/// Longest text of a sink's answer, of a refusal's detail, of a path; in bytes.
const TEXT_MAX: usize = 512;

/// What happened to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was handed to the sink, or to a worker.
    Attempted,
    /// That came to nothing: how it is counted, and the other side's words. (Boxed, for it is rare and the others many.)
    Failed(Box<(&'static str, String)>),
    /// The sink has it; durable, as all that follow.
    Confirmed,
    /// Another replica's copy is done.
    Superseded,
    /// An operator gave it up.
    Dropped,
    /// The sink refuses it each time.
    Poisoned,
    /// An operator lets go what was held or poison.
    Released,
    /// An operator wants it handed over once more.
    Replayed,
    /// An operator had the gateway sign it itself; says nothing of how it stands.
    Sampled,
}

/// A step of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Of which one.
    pub sequence: Sequence,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// A request that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When.
    pub at: Timestamp,
    /// The id in the answer and in the log.
    pub request: String,
    /// The source; empty where no source has the path.
    pub source: String,
    /// Who called.
    pub address: Option<IpAddr>,
    /// The path, where no source has it.
    pub path: Option<String>,
    /// Why, by the name that metrics and log have for it.
    pub reason: &'static str,
    /// More of why.
    pub detail: String,
    /// The status of the answer.
    pub status: u16,
    /// How many were refused before it, since the last that is told of.
    pub left_out: u64,
}

/// Why a request was refused, found later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Which request.
    pub request: String,
    /// The cause's code.
    pub code: &'static str,
    /// What was found, in a sentence.
    pub found: String,
    /// What to do.
    pub advice: String,
}

/// A request that was refused and is kept whole, to be judged again when the operator has mended what was wrong.
#[derive(Clone, Debug)]
pub struct Quarantined {
    /// The id in the answer and in the log.
    pub request: String,
    /// The source.
    pub source: Arc<str>,
    /// Who called.
    pub address: Option<IpAddr>,
    /// Why it was refused.
    pub reason: &'static str,
    /// The request.
    pub delivery: Delivery,
    /// Bytes that the source's quarantine may take.
    pub bytes_max: u64,
}

/// What has been told since it was fetched last.
#[derive(Debug, Default)]
pub struct Told {
    /// In order of time, nearly.
    pub steps: Vec<Step>,
    /// Steps that were left out: how events stand is to be asked anew.
    pub steps_lost: u64,
    /// Refusals.
    pub refusals: Vec<Refusal>,
    /// Refusals that were left out.
    pub refusals_lost: u64,
    /// Causes; of refusals told before.
    pub causes: Vec<Cause>,
    /// Requests for the quarantine, and their bytes.
    pub quarantined: Vec<Quarantined>,
    taken: Taken,
    /// Requests that there was no room for.
    pub quarantined_lost: u64,
}

/// What requests for the quarantine take.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    sources: HashMap<Arc<str>, usize>,
    parties: HashMap<(Arc<str>, Option<IpAddr>), usize>,
}

impl Taken {
    /// Whether there is room, which is then taken. A party that has none yet may have one request of any length.
    fn has_room_for(&mut self, request: &Quarantined) -> bool {
        let bytes = request.bytes();
        let source = self.sources.entry(Arc::clone(&request.source)).or_default();
        let party = self.parties.entry((Arc::clone(&request.source), request.party())).or_default();
        let fits = (*party == 0 || *party + bytes <= OF_A_PARTY_MAX)
            && (*source == 0 || *source + bytes <= OF_A_SOURCE_MAX)
            && (self.all == 0 || self.all + bytes <= QUARANTINE_BYTES_MAX);
        if fits {
            (*source, *party, self.all) = (*source + bytes, *party + bytes, self.all + bytes);
        }
        fits
    }
}

struct Inner {
    clock: Arc<dyn Clock>,
    told: Mutex<Told>,
}

/// Where steps are told, and fetched; cheap to clone. The default has nobody who fetches, and forgets all of it.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<Inner>>);

impl Steps {
    /// Steps that somebody fetches.
    pub fn kept(clock: Arc<dyn Clock>) -> Self {
        Self(Some(Arc::new(Inner { clock, told: Mutex::default() })))
    }

    /// Whether anybody fetches what is told.
    pub fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// The same step of several events, at one moment.
    pub fn tell(&self, sequences: impl IntoIterator<Item = Sequence>, what: &What) {
        self.tell_each(sequences.into_iter().map(|sequence| (sequence, what.clone())));
    }

    /// Steps of events, at one moment.
    pub fn tell_each(&self, steps: impl IntoIterator<Item = (Sequence, What)>) {
        let Some(inner) = &self.0 else { return };
        let (at, mut told) = (inner.clock.now(), inner.told());
        for (sequence, what) in steps {
            if told.steps.len() < STEPS_MAX {
                told.steps.push(Step { sequence, at, what });
            } else {
                told.steps_lost += 1;
            }
        }
    }

    /// An attempt that came to nothing.
    pub fn failed(&self, sequence: Sequence, outcome: &'static str, words: &str) {
        self.tell_each(self.are_kept().then(|| (sequence, What::Failed(Box::new((outcome, cut(words)))))));
    }

    /// A refusal, at this moment.
    pub fn refused(&self, refusal: impl FnOnce(Timestamp) -> Refusal) {
        let Some(inner) = &self.0 else { return };
        let mut refusal = refusal(inner.clock.now());
        refusal.detail = cut(&refusal.detail);
        refusal.path = refusal.path.as_deref().map(cut);
        let mut told = inner.told();
        if told.refusals.len() < REFUSALS_MAX {
            told.refusals.push(refusal);
        } else {
            told.refusals_lost += 1 + refusal.left_out;
        }
    }

    /// Writes a refusal down in the audit log and, unless a flood has used up what is written, here.
    pub fn write_down(&self, audit: &Audit, refusal: audit::Refusal<'_>, refused: &Refused) {
        let Some(left_out) = audit.refused(refusal, refused) else { return };
        let row = refused.reject.row();
        self.refused(|at| Refusal {
            at,
            request: refusal.request.to_owned(),
            source: refusal.source.to_owned(),
            address: refusal.address,
            path: refusal.path.map(str::to_owned),
            reason: row.reason,
            detail: refused.detail.to_string(),
            status: row.status,
            left_out,
        });
    }

    /// An event was a sample, which came in at that time.
    pub fn sampled(&self, sequence: Sequence, at: Timestamp) {
        let Some(inner) = &self.0 else { return };
        let mut told = inner.told();
        if told.steps.len() < STEPS_MAX {
            told.steps.push(Step { sequence, at, what: What::Sampled });
        } else {
            told.steps_lost += 1;
        }
    }

    /// Why a request was refused.
    pub fn explained(&self, cause: Cause) {
        let Some(inner) = &self.0 else { return };
        let mut told = inner.told();
        if told.causes.len() < REFUSALS_MAX {
            told.causes.push(cause);
        }
    }

    /// A request for the quarantine.
    pub fn quarantined(&self, request: Quarantined) {
        let Some(inner) = &self.0 else { return };
        let mut told = inner.told();
        if told.taken.has_room_for(&request) {
            told.quarantined.push(request);
        } else {
            told.quarantined_lost += 1;
        }
    }

    /// Everything told since the last time.
    pub fn fetch(&self) -> Told {
        self.0.as_ref().map_or_else(Told::default, |inner| std::mem::take(&mut *inner.told()))
    }
}

impl Quarantined {
    /// Who sent it, as far as addresses tell: one party may call from many of IPv6.
    pub fn party(&self) -> Option<IpAddr> {
        self.address.map(one_party)
    }

    /// About what it takes.
    pub fn bytes(&self) -> usize {
        let Delivery { method, target, headers, body, .. } = &self.delivery;
        let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        method.len() + target.len() + headers + body.len() + 256
    }
}

impl Inner {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As much of a text as is told.
fn cut(text: &str) -> String {
    let end = (0..=TEXT_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Manual;

    fn steps() -> Steps {
        Steps::kept(Arc::new(Manual::at(Timestamp::from_seconds(1_800_000_000))))
    }

    #[test]
    fn what_is_told_is_fetched_once_and_what_has_no_room_is_counted() {
        let steps = steps();
        steps.tell((1..=STEPS_MAX as u64 + 3).map(Sequence), &What::Confirmed);
        let told = steps.fetch();
        assert_eq!((told.steps.len(), told.steps_lost), (STEPS_MAX, 3));
        assert_eq!(told.steps[0].at, Timestamp::from_seconds(1_800_000_000));
        let told = steps.fetch();
        assert_eq!((told.steps.len(), told.steps_lost), (0, 0));
    }

    #[test]
    fn a_flood_of_refusals_is_counted_with_what_was_left_out_before() {
        let steps = steps();
        let refusal = |at| Refusal {
            at,
            request: String::new(),
            source: String::new(),
            address: None,
            path: None,
            reason: "",
            detail: "é".repeat(TEXT_MAX),
            status: 401,
            left_out: 9,
        };
        (0..REFUSALS_MAX + 2).for_each(|_| steps.refused(refusal));
        let told = steps.fetch();
        assert_eq!((told.refusals.len(), told.refusals_lost), (REFUSALS_MAX, 20));
        assert_eq!(told.refusals[0].detail.len(), TEXT_MAX);
    }

    #[test]
    fn who_floods_takes_no_more_than_a_share_of_what_waits_for_the_quarantine() {
        let steps = steps();
        let request = |source: &str, address: [u16; 8], body: usize| Quarantined {
            request: String::new(),
            source: source.into(),
            address: Some(IpAddr::from(address)),
            reason: "signature_mismatch",
            delivery: Delivery {
                method: "POST".to_owned(),
                target: "/in/shop".to_owned(),
                headers: Default::default(),
                body: vec![0; body].into(),
                received_at: Timestamp::from_seconds(1),
            },
            bytes_max: 1 << 30,
        };
        // From as many addresses of one network as it likes.
        (0..4_000).for_each(|n| steps.quarantined(request("shop", [0x2001, 0xdb8, 0, 0, 0, 0, 0, n], 1_000)));
        steps.quarantined(request("shop", [0x2001, 0xdb8, 0, 1, 0, 0, 0, 1], 1_000));
        steps.quarantined(request("git", [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 3 << 20));
        let told = steps.fetch();
        let of = |source: &str| told.quarantined.iter().filter(|one| *one.source == *source).count();
        assert!((700..1_000).contains(&of("shop")), "{}", of("shop"));
        assert_eq!((of("git"), told.quarantined_lost), (1, 4_001 - of("shop") as u64));
        assert_eq!(
            told.quarantined[of("shop") - 1].party(),
            Some(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, 0]))
        );
        steps.quarantined(request("shop", [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 1_000));
        assert_eq!(steps.fetch().quarantined.len(), 1, "what was fetched takes nothing");
    }

    #[test]
    fn with_nobody_who_fetches_nothing_is_kept() {
        let steps = Steps::default();
        steps.tell([Sequence(1)], &What::Attempted);
        steps.failed(Sequence(1), "refused", "no");
        assert!(steps.fetch().steps.is_empty() && !steps.are_kept());
    }
}
