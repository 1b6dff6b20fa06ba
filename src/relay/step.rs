//! What a confirmation means for its record. A pure function: branches here, effects in `run`.

use std::time::Duration;

use super::backoff;
use crate::event::Sequence;
use crate::journal::Mark;
use crate::lanes::Entry;
use crate::sink::Confirmation;
use crate::steps::Steps;

/// The broker closed the channel on this event alone, so often, before it counts as poison.
const CLOSINGS_MAX: u32 = 3;

/// What to do with a record after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Its life ends, or it is taken out of the relay, by this mark.
    Mark(Mark),
    /// The same again after this time; nothing newer of its source passes it.
    Retry(Duration),
    /// No queue is bound for it: the same again after this time; others may pass it.
    Unroutable(Duration),
}

/// Tells of an attempt that came to nothing, in the other side's words.
pub(super) fn tell(steps: &Steps, sequence: Sequence, confirmation: &Confirmation) {
    let outcome = confirmation.counted().as_str();
    match confirmation {
        Confirmation::Confirmed => {}
        Confirmation::Refused => steps.failed(sequence, outcome, ""),
        Confirmation::Returned { code, reason } | Confirmation::ChannelClosed { code, reason } => {
            steps.failed(sequence, outcome, &format!("{code} {reason}"));
        }
        Confirmation::Unknown { cause } | Confirmation::NotSent { cause } => {
            steps.failed(sequence, outcome, cause);
        }
    }
}

/// Judges an attempt. `alone` tells that nothing else was in flight beside it.
pub(super) fn judge(entry: &mut Entry, confirmation: &Confirmation, alone: bool) -> Next {
    entry.attempts = entry.attempts.saturating_add(1);
    match confirmation {
        Confirmation::Confirmed => Next::Mark(Mark::Confirmed),
        Confirmation::Returned { .. } => {
            entry.suspicions = 0;
            Next::Unroutable(backoff::slow(entry.attempts))
        }
        Confirmation::NotSent { .. } => Next::Retry(backoff::soon(entry.attempts)),
        Confirmation::Refused => {
            // What the broker answers for does not close its channel.
            entry.suspicions = 0;
            entry.attempted = true;
            Next::Retry(backoff::full(entry.attempts))
        }
        Confirmation::Unknown { .. } => {
            entry.attempted = true;
            Next::Retry(backoff::soon(entry.attempts))
        }
        Confirmation::ChannelClosed { .. } => {
            entry.attempted = true;
            entry.suspicions = entry.suspicions.saturating_add(1);
            entry.closings += u32::from(alone);
            if entry.closings >= CLOSINGS_MAX {
                Next::Mark(Mark::Poisoned)
            } else {
                Next::Retry(backoff::soon(entry.closings))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::Sequence;
    use crate::journal::Position;

    fn entry() -> Entry {
        Entry::new(Sequence(1), Position::default(), Timestamp::default(), 100)
    }

    fn closed() -> Confirmation {
        Confirmation::ChannelClosed { code: 406, reason: "too large".into() }
    }

    #[test]
    fn only_a_confirm_ends_a_record() {
        let others = [
            Confirmation::Returned { code: 312, reason: "NO_ROUTE".into() },
            Confirmation::Refused,
            Confirmation::Unknown { cause: "timeout".into() },
            Confirmation::NotSent { cause: "closed".into() },
            closed(),
        ];
        for confirmation in others {
            let next = judge(&mut entry(), &confirmation, true);
            assert!(!matches!(next, Next::Mark(_)), "{confirmation:?} gave {next:?}");
        }
        assert_eq!(judge(&mut entry(), &Confirmation::Confirmed, true), Next::Mark(Mark::Confirmed));
    }

    #[test]
    fn what_may_have_arrived_is_marked_and_what_did_not_is_not() {
        let attempted = |confirmation| {
            let mut entry = entry();
            judge(&mut entry, &confirmation, false);
            entry.attempted
        };
        assert!(attempted(Confirmation::Unknown { cause: String::new() }));
        assert!(attempted(Confirmation::Refused));
        assert!(attempted(closed()));
        assert!(!attempted(Confirmation::NotSent { cause: String::new() }));
        assert!(!attempted(Confirmation::Returned { code: 312, reason: String::new() }));
    }

    #[test]
    fn an_answer_for_it_clears_a_suspect() {
        let cleared = |confirmation| {
            let mut entry = entry();
            judge(&mut entry, &closed(), false);
            assert_eq!(entry.suspicions, 1);
            judge(&mut entry, &confirmation, true);
            entry.suspicions == 0
        };
        assert!(cleared(Confirmation::Returned { code: 312, reason: String::new() }));
        assert!(cleared(Confirmation::Refused));
        assert!(!cleared(Confirmation::Unknown { cause: String::new() }));
        assert!(!cleared(closed()));
    }

    #[test]
    fn poison_is_what_closes_the_channel_three_times_alone() {
        let mut entry = entry();
        for _ in 0..20 {
            assert!(matches!(judge(&mut entry, &closed(), false), Next::Retry(_)));
        }
        assert!(matches!(judge(&mut entry, &closed(), true), Next::Retry(_)));
        assert!(matches!(judge(&mut entry, &closed(), true), Next::Retry(_)));
        assert_eq!(judge(&mut entry, &closed(), true), Next::Mark(Mark::Poisoned));
    }
}
