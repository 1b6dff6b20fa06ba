//! Which sources have a queue: told from outside while the sink runs, heard by whoever holds the connection.
//!
//! A list that is told while there is no connection waits for the next one, which declares all of it before anything
//! is published.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::health::Trouble;

/// How long one who tells waits for the broker.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sources, and which list of them that is.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    pub version: u64,
    pub sources: Vec<String>,
}

/// What came of the last list that was tried.
type Made = (u64, Result<(), String>);

/// The end that tells.
pub(super) struct Told {
    wanted: watch::Sender<Listing>,
    made: watch::Receiver<Made>,
}

/// The end that hears.
pub(super) struct Heard {
    wanted: watch::Receiver<Listing>,
    made: watch::Sender<Made>,
}

/// Both ends; these sources are known from the start.
pub(super) fn queues(sources: &[String]) -> (Told, Heard) {
    let (wanted, heard) = watch::channel(Listing { version: 0, sources: sources.to_vec() });
    let (made, told) = watch::channel((0, Ok(())));
    (Told { wanted, made: told }, Heard { wanted: heard, made })
}

impl Told {
    /// Wants these and no others; waits, a few seconds at most, until they are declared.
    ///
    /// # Errors
    /// Why they are not, or not yet.
    pub(super) async fn want(&self, sources: Vec<String>, connected: bool) -> Result<(), String> {
        let mut version = 0;
        self.wanted.send_modify(|listing| {
            *listing = Listing { version: listing.version + 1, sources };
            version = listing.version;
        });
        if !connected {
            return Err("not connected: they are declared with the next connection".to_owned());
        }
        let mut made = self.made.clone();
        match timeout(PATIENCE, made.wait_for(|(done, _)| *done >= version)).await {
            Ok(Ok(made)) => made.1.clone(),
            Ok(Err(_)) => Err("the sink ended".to_owned()),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }
}

impl Heard {
    /// Whether there is a list that nobody has taken.
    pub(super) fn has_news(&self) -> bool {
        self.wanted.has_changed().unwrap_or(false)
    }

    /// Resolves once there is one.
    pub(super) async fn news(&self) {
        // `changed` would mark the list as taken.
        let mut wanted = self.wanted.clone();
        if wanted.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The last list.
    pub(super) fn take(&mut self) -> Listing {
        self.wanted.borrow_and_update().clone()
    }

    /// A list was declared, or could not be.
    pub(super) fn made(&self, version: u64, outcome: Result<(), &Trouble>) {
        let told = |trouble: &Trouble| match trouble {
            Trouble::Passing(cause) => cause.clone(),
            Trouble::Refused { code, reason } => format!("{code} {reason}"),
        };
        drop(self.made.send_replace((version, outcome.map_err(told))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn the_last_list_is_heard_and_its_teller_told() {
        let (told, mut heard) = queues(&names(&["a"]));
        assert!(!heard.has_news());
        assert_eq!(heard.take().sources, ["a"]);
        assert!(told.want(names(&["a", "b"]), false).await.unwrap_err().contains("not connected"));
        let declaring = async {
            heard.news().await;
            assert!(heard.has_news());
            let listing = heard.take();
            assert!(!heard.has_news());
            heard.made(listing.version - 1, Ok(()));
            let refused = Trouble::Refused { code: 406, reason: "another kind".to_owned() };
            heard.made(listing.version, Err(&refused));
            listing.sources
        };
        let (outcome, sources) = tokio::join!(told.want(names(&["c"]), true), declaring);
        assert_eq!((outcome, sources), (Err("406 another kind".to_owned()), names(&["c"])));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_sink_that_has_ended() {
        let (told, heard) = queues(&[]);
        drop(heard);
        assert_eq!(told.want(Vec::new(), true).await, Err("the sink ended".to_owned()));
    }
}
