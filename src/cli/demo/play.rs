//! The play: for each provider, deliveries over HTTP and what must become of them, then a worker at the inbox.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::Addresses;
use super::stage::Shown;
use crate::cli::consume::Inbox;
use crate::cli::http::{Client, Reply, Url};
use crate::cli::stop::Stop;
use crate::clock::{Clock, System};
use crate::sample::{Break, Sample, Wanted, random};
use crate::verify::Signer;

/// How often, and how far apart, a worker looks for an event that was just accepted.
const LOOKS: (u32, Duration) = (100, Duration::from_millis(10));
/// Most events that a worker takes: more than there may be.
const CLAIM_MAX: u64 = 100;
/// What the metrics call refusals, by source and exact reason.
const REJECTED: &str = "hookgate_rejected_total{";

/// A delivery and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The provider's title.
    pub provider: String,
    /// What was sent.
    pub delivery: &'static str,
    /// Status, and milliseconds until the answer was there; `None` where nothing could be sent.
    pub answer: Option<(u16, String)>,
    /// What happened.
    pub what: String,
    /// Whether that is what must happen.
    pub good: bool,
}

/// An event in a worker's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// The provider's title.
    pub provider: String,
    /// The event's identity.
    pub message_id: String,
    /// Length of its body.
    pub bytes: usize,
    /// Whether these are the bytes that were sent.
    pub same: bool,
    /// What happened.
    pub what: String,
    /// Whether that is what must happen.
    pub good: bool,
}

/// Everything that happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Deliveries, in order.
    pub rows: Vec<Row>,
    /// Events taken, in order.
    pub taken: Vec<Taken>,
}

impl Outcome {
    /// Whether everything came out as it must.
    pub(super) fn is_good(&self) -> bool {
        !self.rows.is_empty()
            && self.rows.iter().all(|row| row.good)
            && self.taken.iter().all(|taken| taken.good)
    }
}

/// Who sends and who works.
pub(super) struct Player {
    shown: Arc<[Shown]>,
    client: Client,
    ingress: Url,
    admin: Url,
}

impl Player {
    pub(super) fn new(shown: &Arc<[Shown]>, addresses: Addresses) -> anyhow::Result<Self> {
        let Addresses { ingress, admin } = addresses;
        let url = |address: SocketAddr| Url::parse(&format!("http://{address}/")).map_err(anyhow::Error::msg);
        Ok(Self {
            shown: Arc::clone(shown),
            client: Client::new(),
            ingress: url(ingress)?,
            admin: url(admin)?,
        })
    }

    /// Plays; errors only where the gateway cannot be spoken to.
    pub(super) fn play(&self) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::default();
        for source in self.shown.iter() {
            let sample =
                Sample::new(&source.definition, &source.scheme, Wanted::default(), System::new().now())?;
            let scene = Scene { player: self, source, sample };
            scene.deliveries(&mut outcome)?;
            outcome.taken.push(scene.work()?);
        }
        Ok(outcome)
    }
}

fn error(stop: Stop) -> anyhow::Error {
    anyhow::anyhow!(stop.why)
}

/// One provider's part.
struct Scene<'p> {
    player: &'p Player,
    source: &'p Shown,
    sample: Sample<'p>,
}

impl Scene<'_> {
    fn deliveries(&self, outcome: &mut Outcome) -> anyhow::Result<()> {
        let own = self.source.secret.as_bytes();
        let other = hex::encode(random()?);
        outcome.rows.push(self.accepted("signed as the provider signs", "accepted")?);
        outcome.rows.push(self.accepted("the same event again", "duplicate")?);
        outcome.rows.push(self.refused("forged: another secret", other.as_bytes(), None)?);
        outcome.rows.push(self.refused("one byte of the body changed", own, Some(Break::Body))?);
        outcome.rows.push(if self.source.scheme.timestamp.is_some() {
            self.refused("signed a day ago", own, Some(Break::Time))?
        } else {
            self.row("signed a day ago", None, "the scheme has no time".to_owned(), true)
        });
        Ok(())
    }

    fn accepted(&self, delivery: &'static str, wanted: &str) -> anyhow::Result<Row> {
        let reply = self.deliver(self.source.secret.as_bytes(), None)?;
        let outcome = reply.text("outcome").unwrap_or_default();
        let good = reply.status == 200 && outcome == wanted;
        let what = match outcome.as_str() {
            "accepted" => "accepted, on disk before the answer".to_owned(),
            "duplicate" => "duplicate recognised".to_owned(),
            other => format!("not {wanted}: {other:?}"),
        };
        Ok(self.row(delivery, Some(&reply), what, good))
    }

    fn refused(&self, delivery: &'static str, secret: &[u8], broken: Option<Break>) -> anyhow::Result<Row> {
        let before = self.reasons()?;
        let reply = self.deliver(secret, broken)?;
        let after = self.reasons()?;
        let mut counted = after.iter().filter(|(reason, count)| before.get(*reason).unwrap_or(&0.0) < count);
        let reason = counted.next().map_or("no reason counted", |(reason, _)| reason);
        let wanted = if broken == Some(Break::Time) { "stale" } else { "signature_mismatch" };
        let good = reply.status == 401 && reason == wanted;
        Ok(self.row(delivery, Some(&reply), format!("refused: {reason}"), good))
    }

    fn deliver(&self, secret: &[u8], broken: Option<Break>) -> anyhow::Result<Reply> {
        let target = format!("/in/{}", self.source.definition.name);
        let delivery = self.sample.sign(&target, Signer::new(secret), System::new().now(), broken)?;
        Ok(self.player.client.deliver(&self.player.ingress, &delivery)?)
    }

    /// Refusals of this source so far, by exact reason; senders are told less.
    fn reasons(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let reply = self.player.client.get(&self.player.admin.with_path("/metrics"), None)?;
        Ok(refusals(&String::from_utf8_lossy(&reply.body), &self.source.definition.name))
    }

    fn row(&self, delivery: &'static str, reply: Option<&Reply>, what: String, good: bool) -> Row {
        let provider = self.source.definition.title.clone();
        Row { provider, delivery, answer: reply.map(|reply| (reply.status, reply.millis())), what, good }
    }

    /// A worker takes what is there, compares, and acknowledges.
    fn work(&self) -> anyhow::Result<Taken> {
        let inbox = Inbox {
            client: Client::new(),
            base: self.player.admin.clone(),
            source: self.source.definition.name.clone(),
            token: None,
        };
        let mut events = Vec::new();
        for _ in 0..LOOKS.0 {
            events = inbox.claim(CLAIM_MAX, None, None).map_err(error)?;
            if !events.is_empty() {
                break;
            }
            std::thread::sleep(LOOKS.1);
        }
        let tokens: Vec<_> = events.iter().filter_map(|event| event.get("token").cloned()).collect();
        inbox.ack(&tokens).map_err(error)?;
        let left = inbox.claim(CLAIM_MAX, None, None).map_err(error)?.len();
        let Some(event) = events.first() else { anyhow::bail!("{}: no event in the inbox", inbox.source) };
        let text = |key: &str| event.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        let digest = event.get("headers").and_then(|headers| headers.get("hookgate-digest"));
        let sent = self.sample.body();
        let same = text("body").as_bytes() == sent.as_ref()
            && digest.and_then(|digest| digest.as_str()) == Some(&hex::encode(Sha256::digest(sent)));
        let what = match (events.len(), left) {
            (1, 0) => "acknowledged; nothing left".to_owned(),
            (taken, left) => format!("{taken} events taken, {left} left after that"),
        };
        Ok(Taken {
            provider: self.source.definition.title.clone(),
            message_id: text("message_id").to_owned(),
            bytes: text("body").len(),
            same,
            good: same && events.len() == 1 && left == 0,
            what,
        })
    }
}

/// The counts of refusals of `source` in a scrape.
fn refusals(scrape: &str, source: &str) -> BTreeMap<String, f64> {
    let own = format!("source=\"{source}\"");
    let line = |line: &str| {
        let (labels, value) = line.strip_prefix(REJECTED)?.split_once("} ")?;
        let mut labels = labels.split(',');
        let reason = labels.clone().find_map(|label| label.strip_prefix("reason=\"")?.strip_suffix('"'))?;
        labels.any(|label| label == own).then_some(())?;
        Some((reason.to_owned(), value.split(' ').next()?.parse().ok()?))
    };
    scrape.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_out_of_a_scrape() {
        let scrape = "# TYPE hookgate_rejected counter\n\
            hookgate_rejected_total{source=\"a\",reason=\"stale\"} 2\n\
            hookgate_rejected_total{source=\"b\",reason=\"stale\"} 7\n\
            hookgate_rejected_total{reason=\"signature_mismatch\",source=\"a\"} 1\n\
            hookgate_requests_total{source=\"a\",outcome=\"rejected\"} 3\n# EOF\n";
        let found = refusals(scrape, "a");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [("signature_mismatch".to_owned(), 1.0), ("stale".to_owned(), 2.0)]
        );
    }
}
