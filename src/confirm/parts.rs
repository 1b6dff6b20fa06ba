//! What the outcomes of a split event's parts are together: its sender gets one answer, and its claim one end.
//!
//! Pure. An event of which a part may have arrived is never said to have left nothing: the next attempt is marked.

use crate::sink::Confirmation;

/// The outcome of all parts: confirmed where all are; surely nothing where none arrived; else unknown.
pub(super) fn together(outcomes: Vec<Confirmation>) -> Confirmation {
    let arrived = outcomes.iter().any(|outcome| !left_nothing(outcome));
    let failed = outcomes.into_iter().find(|outcome| *outcome != Confirmation::Confirmed);
    match failed {
        None => Confirmation::Confirmed,
        Some(failed) if left_nothing(&failed) && arrived => Confirmation::Unknown {
            cause: match failed {
                Confirmation::Returned { code, reason } => {
                    format!("a part was returned ({code} {reason}), and others arrived")
                }
                _ => "a part could not be sent, and others may have arrived".to_owned(),
            },
        },
        Some(failed) => failed,
    }
}

/// Whether an attempt certainly left no message in any queue.
pub(super) fn left_nothing(confirmation: &Confirmation) -> bool {
    match confirmation {
        Confirmation::NotSent { .. } | Confirmation::Returned { .. } => true,
        Confirmation::Confirmed
        | Confirmation::Refused
        | Confirmation::Unknown { .. }
        | Confirmation::ChannelClosed { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returned() -> Confirmation {
        Confirmation::Returned { code: 312, reason: "NO_ROUTE".to_owned() }
    }

    #[test]
    fn only_what_certainly_left_nothing_is_said_to_have() {
        let (confirmed, sent) = (Confirmation::Confirmed, Confirmation::NotSent { cause: "away".to_owned() });
        assert_eq!(together(vec![confirmed.clone(), confirmed.clone()]), confirmed);
        assert_eq!(together(vec![returned(), sent.clone()]), returned());
        for outcomes in [
            vec![confirmed.clone(), returned()],
            vec![sent.clone(), confirmed.clone()],
            vec![Confirmation::Refused, sent],
            vec![returned(), Confirmation::Unknown { cause: "late".to_owned() }],
        ] {
            let outcome = together(outcomes);
            assert!(outcome.proof().is_none() && !left_nothing(&outcome), "{outcome:?}");
        }
    }
}
