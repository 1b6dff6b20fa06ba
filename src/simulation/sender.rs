//! Senders: facts that they tell, each as often as its provider would, and requests by those who have no secret.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;

use super::random::Random;
use crate::accept::Policy;
use crate::clock::Timestamp;
use crate::delivery::{Delivery, Headers};
use crate::freshness::Tolerance;
use crate::metrics::Metrics;
use crate::notice::SilentAfter;
use crate::provider::{Catalog, Definition, Scheme};
use crate::source::{OnInvalid, Source, Statuses};
use crate::telemetry::trace;
use crate::verify::{Key, Verifier, sign};

const SECRET: &[u8] = b"whsec_of_the_simulation";
const WRONG: &[u8] = b"whsec_of_somebody_else";
/// Sources: name and provider. The first signs an id, the next two do not; the last sends several events at once.
pub(super) const SOURCES: [(&str, &str); 4] =
    [("shop", "stripe"), ("git", "github"), ("mirror", "github"), ("bulk", "bulk")];
/// The provider of the last one, which is in no file.
const BULK: &str = r#"
name = "bulk"
title = "Bulk"
event = { id = "json:/id", type = "json:/type" }
batch = { each = "json:/items", id = "item:/id", type = "item:/type" }
[[schemes]]
name = "hmac"
algorithm = "hmac-sha256"
signed = ["{body}"]
signature = { from = "header:X-Signature", encoding = "hex" }
"#;

/// The place of that source.
pub(super) const BULKS: usize = 3;

static SCHEMES: LazyLock<Vec<(Arc<Scheme>, Key)>> = LazyLock::new(|| {
    let catalog = Catalog::built_in().unwrap();
    let built = |(_, provider): (&str, &str)| {
        let bulk: Definition = toml::from_str(BULK).unwrap();
        let definition = catalog.get(provider).unwrap_or(&bulk);
        let scheme = Scheme::build(definition, None, &BTreeMap::new()).unwrap();
        let key = Key::new(&scheme, "live", SECRET).unwrap();
        (Arc::new(scheme), key)
    };
    SOURCES.map(built).to_vec()
});

/// One thing that happened at a provider.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub source: usize,
    /// The provider's id; signed by the first provider alone.
    pub id: String,
    pub body: Bytes,
    /// The elements that it is handed over in; none where it goes as a whole.
    pub items: Vec<String>,
    /// Told again until somebody answers 2xx.
    pub retries: bool,
    pub answered: bool,
    /// Requests without an answer.
    pub open: usize,
    /// Repeats another fact's body under another id.
    pub twin: bool,
}

/// How a request lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    Secret,
    Body,
    Unsigned,
    Stale,
}

/// The source at `at` as it is served.
pub(super) fn source(at: usize, policy: Policy, metrics: &Metrics) -> Source {
    let (scheme, key) = &SCHEMES[at];
    let (name, _) = SOURCES[at];
    let past = scheme.timestamp.as_ref().map(|_| Duration::from_secs(300));
    Source {
        name: Arc::from(name),
        path: format!("/in/{name}"),
        body_bytes_max: 1 << 20,
        verifier: Verifier::new(Arc::clone(scheme), vec![key.clone()]),
        capture: None,
        visits: None,
        client: None,
        tolerance: Tolerance { past, future: past },
        limit: None,
        events: Vec::new(),
        split: scheme.batch.is_some(),
        schemas: None,
        on_invalid: OnInvalid::Route,
        policy,
        addresses: None,
        statuses: Statuses { accepted: 200, duplicate: 200 },
        silent_after: SilentAfter::Never,
        quarantine: None,
        mask: Default::default(),
        traceparent: trace::Sender::Link,
        capture_bodies: false,
        metrics: metrics.source(name, std::iter::once(Arc::from("live"))),
    }
}

impl Fact {
    /// Something that nobody told before.
    pub(super) fn fresh(number: usize, large: bool, random: &mut Random) -> Self {
        let source = random.index(SOURCES.len());
        let id = format!("evt_{number}");
        let fill = if large { 4_000 + random.index(20_000) } else { random.index(60) };
        let mut body = format!("{{\"id\":\"{id}\",\"type\":\"order.paid\",\"n\":{number},\"fill\":\"");
        body.extend(std::iter::repeat_n('x', fill));
        body.push('"');
        let count = if source == BULKS { random.index(8) } else { 0 };
        let items: Vec<String> =
            (1..=count).map(|n| format!("{{ \"id\":\"{id}.{n}\",\"type\":\"item.{}\" }}", n % 3)).collect();
        if source == BULKS {
            body.push_str(&format!(", \"items\" : [ {} ]", items.join(" ,\n")));
        }
        body.push('}');
        Self {
            source,
            id,
            body: body.into(),
            items,
            retries: random.chance(70),
            answered: false,
            open: 0,
            twin: false,
        }
    }

    /// Whether identity is the body's digest with an id that nobody signed.
    pub(super) fn is_unsigned(&self) -> bool {
        (1..BULKS).contains(&self.source)
    }

    fn plain(&self, now: Timestamp) -> Delivery {
        let mut headers = Headers::with_capacity(6);
        headers.push("content-type", b"application/json");
        if self.is_unsigned() {
            headers.push("x-github-event", b"push");
            headers.push("x-github-delivery", self.id.as_bytes());
        }
        Delivery {
            method: "POST".to_owned(),
            target: format!("/in/{}", SOURCES[self.source].0),
            headers,
            body: self.body.clone(),
            received_at: now,
        }
    }

    /// The request that tells it at `now`.
    pub(super) fn tell(&self, now: Timestamp) -> Delivery {
        let mut delivery = self.plain(now);
        sign(&SCHEMES[self.source].0, SECRET, &mut delivery, now).unwrap();
        delivery
    }

    /// A request about it that nobody may believe.
    pub(super) fn forge(&self, lie: Lie, now: Timestamp) -> Delivery {
        let mut delivery = self.plain(now);
        let scheme = &SCHEMES[self.source].0;
        match lie {
            Lie::Secret => sign(scheme, WRONG, &mut delivery, now).unwrap(),
            Lie::Body => {
                sign(scheme, SECRET, &mut delivery, now).unwrap();
                let mut body = delivery.body.to_vec();
                let last = body.len() - 3;
                body[last] ^= 1;
                delivery.body = body.into();
            }
            Lie::Unsigned => {}
            Lie::Stale => {
                sign(scheme, SECRET, &mut delivery, now.minus(Duration::from_secs(301))).unwrap();
            }
        }
        delivery
    }
}
