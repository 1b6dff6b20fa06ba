//! The sources and their events: what event number n is, in bytes, follows from the seed alone.

use crate::gateway::{Signed, github, shopify, standard_webhooks, stripe};
use crate::random::Random;

/// Whose requests a source gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The id is in the signed body.
    Stripe,
    /// The body is the identity; the id stands in an unsigned header.
    Github,
    /// The id is a signed header.
    StandardWebhooks,
    /// As with GitHub, and signed in base64.
    Shopify,
}

/// A source as it is configured and as its sender behaves.
#[derive(Debug)]
pub struct Source {
    pub name: &'static str,
    pub provider: &'static str,
    pub kind: Kind,
    /// Whether the sender tries again what was not answered 2xx.
    pub retries: bool,
}

/// All of them. One that never retries is among them, as GitHub is.
pub const SOURCES: &[Source] = &[
    Source { name: "pay", provider: "stripe", kind: Kind::Stripe, retries: true },
    Source { name: "git", provider: "github", kind: Kind::Github, retries: false },
    Source { name: "std", provider: "standard_webhooks", kind: Kind::StandardWebhooks, retries: true },
    Source { name: "shop", provider: "shopify", kind: Kind::Shopify, retries: true },
];

/// The key of the Standard Webhooks source, before base64.
pub const STANDARD_KEY: &str = "a key of twenty-four byte";

/// An event and what its sender does with it on purpose.
pub struct Event {
    /// Index in [`SOURCES`].
    pub source: usize,
    pub id: String,
    pub body: Vec<u8>,
    /// Sent once more after it was answered 2xx, so many milliseconds later.
    pub copy_after: Option<u32>,
    /// The sender leaves after the first request without reading the answer.
    pub cut: bool,
}

impl Event {
    /// Event `index` of a stage.
    pub fn of(seed: u64, stage: u32, index: u32) -> Self {
        let mut random = Random::of(&[seed, u64::from(stage), u64::from(index)]);
        let source = random.index(SOURCES.len());
        let id = format!("{stage}-{index}-{}", random.text(8));
        // Most are small, some are not.
        let size =
            if random.percent(80) { random.between(200, 2_000) } else { random.between(2_000, 20_000) };
        let copy_after = random.percent(5).then(|| random.between(50, 3_000));
        let cut = random.percent(3);
        let body = SOURCES[source].kind.body(&id, &mut random, size as usize);
        Self { source, id, body, copy_after, cut }
    }

    /// The request, signed in this second.
    pub fn signed(&self) -> Signed {
        let source = &SOURCES[self.source];
        match source.kind {
            Kind::Stripe => stripe(source.name, &self.body),
            Kind::Github => github(source.name, &self.id, "star", &self.body),
            Kind::StandardWebhooks => standard_webhooks(source.name, STANDARD_KEY, &self.id, &self.body),
            Kind::Shopify => shopify(source.name, &self.id, "app/uninstalled", &self.body),
        }
    }
}

impl Kind {
    fn body(self, id: &str, random: &mut Random, size: usize) -> Vec<u8> {
        let head = match self {
            Self::Stripe => format!(
                "{{\"id\":\"evt_{id}\",\"object\":\"event\",\"api_version\":\"2025-03-31.basil\",\"created\":1764000000,\
                 \"livemode\":false,\"pending_webhooks\":1,\"request\":{{\"id\":null,\"idempotency_key\":null}},\
                 \"type\":\"charge.captured\",\"data\":{{\"object\":{{\"id\":\"ch_1\",\"object\":\"charge\",\"note\":\""
            ),
            Self::StandardWebhooks => {
                format!("{{\"type\":\"contact.created\",\"id\":\"{id}\",\"data\":{{\"of\":{{\"note\":\"")
            }
            Self::Github | Self::Shopify => {
                format!("{{\"id\":\"{id}\",\"action\":\"created\",\"a\":{{\"b\":{{\"note\":\"")
            }
        };
        let note = random.text(size.saturating_sub(head.len()));
        format!("{head}{note}\"}}}}}}").into_bytes()
    }
}
