//! Notices as signed webhooks to an endpoint of the operator's own, by the specification of Standard Webhooks
//! (<https://www.standardwebhooks.com>, version 1.0.0): a line for a pager, or another gateway.
//!
//! One after the other, each tried for a quarter of an hour; they are not kept on disk, for the board has what stands.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::cli::http::{Client, Url};
use crate::clock::{Clock, Timestamp};
use crate::config::Loaded;
use crate::metrics::{Letter as Outcome, LetterMetrics, Metrics};
use crate::notice::Change;
use crate::sample::random;
use crate::tasks;

/// Letters that wait; of more, the newest are left out.
const WAITING_MAX: usize = 256;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pauses between tries, in seconds.
const PAUSES: [u64; 5] = [1, 5, 30, 120, 600];
/// What a key may have, in bytes, by the specification.
const KEY_BYTES: RangeInclusive<usize> = 24..=64;

/// The key that letters are signed with.
pub(in crate::cli) struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// What a key is written like.
    pub(in crate::cli) const ALLOWED: &'static str =
        "whsec_ and the base64 of 24 to 64 bytes, such as `echo whsec_$(openssl rand -base64 32)` makes";

    /// Reads a key.
    pub(in crate::cli) fn read(text: &[u8]) -> Option<Self> {
        let key = Zeroizing::new(STANDARD.decode(text.strip_prefix(b"whsec_")?).ok()?);
        KEY_BYTES.contains(&key.len()).then_some(Self(key))
    }

    fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(format!("{id}.{}.", at.seconds()).as_bytes());
        mac.update(body);
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

/// An answer that another try would get again.
#[derive(Debug, thiserror::Error)]
#[error("refused with {0}")]
struct Refused(u16);

/// Where notices go; they end with it.
pub(super) struct Letters {
    waiting: mpsc::Sender<Letter>,
    metrics: LetterMetrics,
}

struct Letter {
    id: String,
    body: Arc<[u8]>,
}

struct Postman {
    letters: mpsc::Receiver<Letter>,
    url: Url,
    key: Arc<Key>,
    clock: Arc<dyn Clock>,
    metrics: LetterMetrics,
}

impl Letters {
    /// Begins, where the configuration names an endpoint; to be called within a Tokio runtime.
    ///
    /// # Errors
    /// A URL or a key that `check` refuses too.
    pub(super) fn start(
        loaded: &Loaded,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> anyhow::Result<Option<Self>> {
        let Some(url) = &loaded.settings.notices.url else { return Ok(None) };
        let Some(secret) = &loaded.secrets.notices else { bail!("notices.secret is missing") };
        let key = Key::read(secret.expose()).context("notices.secret is no key")?;
        let url = Url::parse(url.as_str()).map_err(anyhow::Error::msg)?;
        let (waiting, letters) = mpsc::channel(WAITING_MAX);
        let (clock, metrics) = (Arc::clone(clock), metrics.letters());
        let postman = Postman { letters, url, key: Arc::new(key), clock, metrics: metrics.clone() };
        drop(tasks::task(postman.run()));
        Ok(Some(Self { waiting, metrics }))
    }

    /// Tells of a change, soon.
    pub(super) fn tell(&self, change: &Change, now: Timestamp) {
        let Ok(random) = random() else { return self.metrics.count(Outcome::Dropped) };
        let letter = Letter { id: format!("msg_{}", hex::encode(random)), body: text(change, now).into() };
        if self.waiting.try_send(letter).is_err() {
            self.metrics.count(Outcome::Dropped);
            tracing::warn!("{WAITING_MAX} notices wait to be sent; this one is left out");
        }
    }
}

fn text(change: &Change, now: Timestamp) -> Vec<u8> {
    let (kind, notice) = match change {
        Change::Began(notice) => ("notice.began", notice),
        Change::Ended(notice) => ("notice.ended", notice),
    };
    json!({ "type": kind, "timestamp": now.to_string(), "data": notice.to_json() }).to_string().into_bytes()
}

impl Postman {
    async fn run(mut self) {
        let client = Arc::new(Client::within(PATIENCE));
        while let Some(letter) = self.letters.recv().await {
            let mut pauses = PAUSES.iter();
            loop {
                let Err(error) = self.carry(&client, &letter).await else {
                    self.metrics.count(Outcome::Delivered);
                    break;
                };
                let Some(pause) = pauses.next().filter(|_| !error.is::<Refused>()) else {
                    self.metrics.count(Outcome::GivenUp);
                    tracing::error!(
                        error = format!("{error:#}"),
                        "a notice could not be sent; it is given up"
                    );
                    break;
                };
                self.metrics.count(Outcome::Retried);
                tracing::warn!(
                    error = format!("{error:#}"),
                    again_in_seconds = pause,
                    "a notice could not be sent"
                );
                tokio::time::sleep(Duration::from_secs(*pause)).await;
            }
        }
    }

    /// Each try is signed anew: the time counts.
    async fn carry(&self, client: &Arc<Client>, letter: &Letter) -> anyhow::Result<()> {
        let now = self.clock.now();
        let signature = self.key.sign(&letter.id, now, &letter.body).context("the key cannot sign")?;
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("user-agent", concat!("hookgate/", env!("CARGO_PKG_VERSION")).to_owned()),
            ("webhook-id", letter.id.clone()),
            ("webhook-timestamp", now.seconds().to_string()),
            ("webhook-signature", signature),
        ];
        let (client, url, body) = (Arc::clone(client), self.url.clone(), Arc::clone(&letter.body));
        let reply = tasks::blocking(move || client.forward(&url, headers.into_iter(), &body)).await??;
        match reply.status {
            200..=299 => Ok(()),
            400..=499 if !matches!(reply.status, 408 | 429) => bail!(Refused(reply.status)),
            status => bail!("answered {status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_signed_as_the_specification_has_it() {
        // The example of the specification's own reference libraries.
        let key = Key::read(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_seconds(1_614_265_330);
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, b"{\"test\": 2432232314}");
        assert_eq!(signature.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn a_key_has_its_form_and_its_length() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        let reads = |text: &str| Key::read(text.as_bytes()).is_some();
        assert_eq!([23, 24, 64, 65].map(|bytes| reads(&of(bytes))), [false, true, true, false]);
        assert!(!reads(of(32).strip_prefix("whsec_").unwrap()) && !reads("whsec_?"));
    }
}
