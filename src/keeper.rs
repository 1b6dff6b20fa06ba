//! The two ways to a 2xx, one of which a gateway has: the journal's disk, or RabbitMQ's confirm.

use crate::accept::{Accepted, Acceptor, Policy, Taking};
use crate::clock::Timestamp;
use crate::confirm::Confirmer;
use crate::event::Event;
use crate::metrics::Request;
use crate::reject::{Refused, Reject};

/// Who makes an event safe before its sender is answered.
#[derive(Clone)]
pub enum Keeper {
    /// `ack = "journal"`: on disk.
    Journal(Acceptor),
    /// `ack = "confirm"`: claimed in Redis, published, confirmed by RabbitMQ.
    Confirm(Confirmer),
}

impl Keeper {
    /// Makes an event safe, or finds that it is; ends the `request` that brought it, whoever still waits.
    ///
    /// # Errors
    /// Why it is not; nothing is promised then.
    pub async fn keep(&self, event: Event, policy: Policy, request: Request) -> Result<Accepted, Refused> {
        match self {
            Self::Journal(acceptor) => {
                let answer =
                    acceptor.offer(event, policy, request)?.await.unwrap_or(Err(Reject::JournalFailed));
                Ok(answer?)
            }
            Self::Confirm(confirmer) => confirmer.keep(event, policy, request).await,
        }
    }

    /// What is taken.
    pub fn taking(&self) -> Taking {
        match self {
            Self::Journal(acceptor) => acceptor.taking(),
            Self::Confirm(confirmer) => confirmer.taking(),
        }
    }

    /// Whether senders are to go elsewhere.
    pub fn turns_away(&self) -> bool {
        self.taking() != Taking::All
    }

    /// From now on this is taken.
    pub fn take(&self, taking: Taking) {
        match self {
            Self::Journal(acceptor) => acceptor.take(taking),
            Self::Confirm(confirmer) => confirmer.take(taking),
        }
    }

    /// When the newest event came in that is safe: an honest clock shows no earlier time. Without a journal that
    /// reaches back to the start of the process.
    pub fn newest(&self) -> Timestamp {
        match self {
            Self::Journal(acceptor) => acceptor.newest(),
            Self::Confirm(confirmer) => confirmer.newest(),
        }
    }
}
