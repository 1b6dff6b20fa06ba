//! Requests whose proof failed, judged again once the operator has mended a secret or a setting: by the stages that all pass, at
//! the time at which they came in. What is proven goes its way; what is not stays where it is, and out.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::history::{History, HistoryError, Kept};
use crate::metrics::{Ending, Outcome};
use crate::pipeline::{Answer, Pipeline};
use crate::reject::{Refused, Reject};
use crate::source::Source;

/// Requests that one call judges, and bytes of their bodies.
const CALL: (usize, usize) = (1_000, 64 << 20);

/// Why a call ended early; what it did until then is done.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The file cannot be read or written.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A fault of ours, which a later call may not meet.
    #[error("{}: {}", .0.reject.row().reason, .0.detail)]
    Fault(Refused),
}

/// What a call came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Requests that were looked at.
    pub selected: u64,
    /// What they turned out to be.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Where to go on; none at the end.
    pub next: Option<i64>,
}

/// Judges them again.
#[derive(Clone)]
pub struct Quarantine {
    history: History,
    pipeline: Pipeline,
}

impl Quarantine {
    /// Those of that history, which go that way.
    pub fn new(history: History, pipeline: Pipeline) -> Self {
        Self { history, pipeline }
    }

    /// Judges the requests of one source or of all behind `after`, up to a thousand. All that `judged` then has is done, also
    /// where this ends with an error; a dry run changes nothing.
    ///
    /// # Errors
    /// Where the file cannot be read or written, or a fault of ours is in the way.
    pub async fn requeue(
        &self,
        sources: &BTreeMap<String, Arc<Source>>,
        (of, after): (Option<String>, i64),
        dry_run: bool,
        judged: &mut Judged,
    ) -> Result<(), QuarantineError> {
        let page = self.history.quarantined(of, after, CALL).await?;
        let (mut done, mut fault) = (Vec::new(), None);
        for kept in page.kept {
            let id = kept.id;
            let outcome = match self.judge(sources.get(&kept.source), kept, dry_run).await {
                Ok(outcome) => outcome,
                Err(refused) => {
                    fault = Some(refused);
                    break;
                }
            };
            judged.selected += 1;
            *judged.outcomes.entry(outcome).or_default() += 1;
            if !matches!(outcome, REFUSED | NO_SOURCE) {
                done.push(id);
            }
        }
        if !dry_run && !done.is_empty() {
            self.history.let_quarantined_go(done).await?;
        }
        judged.next = page.next;
        fault.map_or(Ok(()), |refused| Err(QuarantineError::Fault(refused)))
    }

    /// What a request is; a fault of ours where nobody can say.
    async fn judge(
        &self,
        source: Option<&Arc<Source>>,
        kept: Kept,
        dry_run: bool,
    ) -> Result<&'static str, Refused> {
        let Some(source) = source else { return Ok(NO_SOURCE) };
        let delivery = kept.delivery;
        // Without a count first: what is still a forgery has been counted when it came in.
        match self.pipeline.prove(source, delivery.clone()).await {
            Err(refused) if refused.reject.row().fault => return Err(refused),
            Err(_) => return Ok(REFUSED),
            Ok(_) if dry_run => return Ok("proven"),
            Ok(_) => {}
        }
        let mut counted = source.metrics.begin();
        match self.pipeline.receive_again(source, delivery, &mut counted).await {
            Ok(Answer::Kept { accepted, .. }) => Ok(match accepted.outcome {
                Outcome::New | Outcome::Twin => "accepted",
                Outcome::Held => "held",
                Outcome::Duplicate => "duplicate",
            }),
            Ok(Answer::Filtered) => {
                counted.end(Ending::Filtered);
                Ok("filtered")
            }
            Ok(Answer::Handshake(_)) => {
                counted.end(Ending::Handshake);
                Ok("handshake")
            }
            Err(refused) => {
                let reject = refused.reject;
                counted.end(Ending::Refused(reject));
                if reject.row().fault || reject == Reject::RateLimited { Err(refused) } else { Ok(REFUSED) }
            }
        }
    }
}

const REFUSED: &str = "refused";
const NO_SOURCE: &str = "no_source";
