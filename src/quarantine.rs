//! Requests whose proof failed, judged again once the operator has mended a secret or a setting: by the stages that all pass, their
//! proof at the time at which they came in. What is proven goes its way, as if it came now; what is not stays where it is, and out.
//!
//! What is older than the dedup window is not handed over: a copy that came again meanwhile would not be known any more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::history::{History, HistoryError, Kept};
use crate::metrics::{Ending, Outcome};
use crate::pipeline::{Answer, Pipeline};
use crate::reject::{Refused, Reject};
use crate::source::Source;
use crate::tasks;

/// Requests that one call judges, and bytes of their bodies.
const CALL: (usize, usize) = (200, 16 << 20);
/// Of them, those that are let go at once after they were handed over.
const LET_GO: usize = 32;

const REFUSED: &str = "refused";
const NO_SOURCE: &str = "no_source";
const TOO_OLD: &str = "too_old";
const UNAVAILABLE: &str = "unavailable";

/// What a call came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Requests that were looked at.
    pub selected: u64,
    /// What they turned out to be.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Where to go on; none at the end.
    pub next: Option<i64>,
    /// Why it ended before its end, with a fault of ours that a later call may not meet.
    pub stopped: Option<String>,
}

/// Which requests, and behind which number; a dry run changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// Of this source, or of all.
    pub source: Option<String>,
    /// Behind that number.
    pub after: i64,
    /// Only count.
    pub dry_run: bool,
}

/// Judges them again; cheap to clone.
#[derive(Clone)]
pub struct Quarantine {
    history: History,
    pipeline: Pipeline,
    window: Duration,
}

impl Quarantine {
    /// Those of that history, which go that way, for as long as keys are known.
    pub fn new(history: History, pipeline: Pipeline, window: Duration) -> Self {
        Self { history, pipeline, window }
    }

    /// Judges some requests, some hundred at most.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn requeue(
        &self,
        sources: &BTreeMap<String, Arc<Source>>,
        order: Order,
    ) -> Result<Judged, HistoryError> {
        let page = self.history.quarantined(order.source, order.after, CALL).await?;
        let mut judged = Judged { next: page.next, ..Judged::default() };
        let mut done = Vec::new();
        for kept in page.kept {
            let (id, source) = (kept.id, sources.get(&kept.source));
            let outcome = match self.judge(source, kept, order.dry_run).await {
                Ok(outcome) => outcome,
                Err(refused) => {
                    judged.next = Some(id - 1);
                    judged.stopped = Some(format!("{}: {}", refused.reject.row().reason, refused.detail));
                    break;
                }
            };
            judged.selected += 1;
            *judged.outcomes.entry(outcome).or_default() += 1;
            if !matches!(outcome, REFUSED | NO_SOURCE | TOO_OLD | UNAVAILABLE) && !order.dry_run {
                done.push(id);
            }
            if done.len() >= LET_GO {
                self.let_go(&mut done, &mut judged).await;
            }
            tasks::pause().await;
        }
        self.let_go(&mut done, &mut judged).await;
        Ok(judged)
    }

    /// What has gone its way is kept no longer; where that cannot be written, it is a duplicate when it is judged again.
    async fn let_go(&self, done: &mut Vec<i64>, judged: &mut Judged) {
        let done = std::mem::take(done);
        if !done.is_empty()
            && let Err(error) = self.history.let_quarantined_go(done).await
        {
            judged.stopped.get_or_insert(error.to_string());
        }
    }

    /// What a request is; a fault of ours where nothing can be taken now.
    async fn judge(
        &self,
        source: Option<&Arc<Source>>,
        kept: Kept,
        dry_run: bool,
    ) -> Result<&'static str, Refused> {
        let Some(source) = source else { return Ok(NO_SOURCE) };
        let Kept { address, delivery, .. } = kept;
        if delivery.received_at < self.pipeline.clock().now().minus(self.window) {
            return Ok(TOO_OLD);
        }
        if !may_send(source, &address) {
            return Ok(REFUSED);
        }
        // Without a count first: what is still a forgery has been counted when it came in.
        let verified = match self.pipeline.prove(source, delivery).await {
            Err(refused) if refused.reject.row().fault => return Ok(UNAVAILABLE),
            Err(_) => return Ok(REFUSED),
            Ok(verified) if verified.unauthenticated() => return Ok(REFUSED),
            Ok(_) if dry_run => return Ok("proven"),
            Ok(verified) => verified,
        };
        let mut counted = source.metrics.begin();
        match self.pipeline.receive_late(source, verified, &mut counted).await {
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
                let waits = reject.row().fault || reject == Reject::RateLimited;
                if waits { Err(refused) } else { Ok(REFUSED) }
            }
        }
    }
}

/// Whether the source takes requests of that address, as far as is known of one that came before: a certificate that was shown
/// then is not.
fn may_send(source: &Source, address: &str) -> bool {
    let listed = |allowed: &crate::addresses::Addresses| {
        address.parse::<IpAddr>().is_ok_and(|address| allowed.contains(address))
    };
    source.client.is_none() && source.addresses.as_ref().is_none_or(listed)
}
