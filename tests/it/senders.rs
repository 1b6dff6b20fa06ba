//! The senders: requests as Stripe, GitHub, Shopify and plain HMAC senders make them, signed here by hand.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha1::Sha1;
use sha2::Sha256;

use crate::gateway::secret;

/// A request that carries its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Signed {
    pub fn new(source: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let json = ("content-type", "application/json");
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let headers = [json].iter().chain(headers).map(own).collect();
        Self { path: format!("/in/{source}"), headers, body: body.to_vec() }
    }

    /// The same with a header set: replaced where it stands, else added.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with one more header of that name.
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// All headers, as a client takes them.
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

/// Seconds since the epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// HMAC-SHA256 over the parts.
pub fn mac(secret: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// Base64 as senders write it.
pub fn base64_of(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes from base64.
pub fn base64_decoded(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

/// A Stripe event that its schema calls valid; `id` such as `evt_1`.
pub fn stripe_event(id: &str) -> Vec<u8> {
    stripe_event_of(id, "charge.captured")
}

/// The same of a type of one's own.
pub fn stripe_event_of(id: &str, kind: &str) -> Vec<u8> {
    let event = json!({
        "id": id, "object": "event", "api_version": "2025-03-31.basil", "created": 1_764_000_000,
        "data": { "object": { "id": "ch_1", "object": "charge", "amount": 4200 } },
        "livemode": false, "pending_webhooks": 1, "request": { "id": null, "idempotency_key": null },
        "type": kind,
    });
    serde_json::to_vec_pretty(&event).unwrap()
}

/// What Stripe sends, signed in this second.
pub fn stripe(source: &str, body: &[u8]) -> Signed {
    stripe_at(source, &secret(source), now(), body)
}

/// What Stripe sends, signed with that secret at that time.
pub fn stripe_at(source: &str, secret: &str, at: i64, body: &[u8]) -> Signed {
    let time = at.to_string();
    let signature = hex::encode(mac(secret, &[time.as_bytes(), b".", body]));
    Signed::new(source, &[("Stripe-Signature", &format!("t={time},v1={signature}"))], body)
}

/// What GitHub sends: the id and the event type are not signed.
pub fn github(source: &str, delivery: &str, event: &str, body: &[u8]) -> Signed {
    let signature = format!("sha256={}", hex::encode(mac(&secret(source), &[body])));
    let headers =
        [("X-GitHub-Delivery", delivery), ("X-GitHub-Event", event), ("X-Hub-Signature-256", &signature)];
    Signed::new(source, &headers, body)
}

/// What Shopify sends: the id and the topic are not signed.
pub fn shopify(source: &str, event_id: &str, topic: &str, body: &[u8]) -> Signed {
    let signature = base64_of(&mac(&secret(source), &[body]));
    let headers = [
        ("X-Shopify-Topic", topic),
        ("X-Shopify-Shop-Domain", "shop.example"),
        ("X-Shopify-API-Version", "2025-07"),
        ("X-Shopify-Webhook-Id", event_id),
        ("X-Shopify-Event-Id", event_id),
        ("X-Shopify-Hmac-Sha256", &signature),
    ];
    Signed::new(source, &headers, body)
}

/// What Twilio sends to `source` behind `public_url`: `signed` is the text that it signs after the URL, which is
/// made of the form's fields.
pub fn twilio(source: &str, (public_url, query): (&str, &str), signed: &str, body: &[u8]) -> Signed {
    let path = format!("/in/{source}{query}");
    let mut mac = Hmac::<Sha1>::new_from_slice(secret(source).as_bytes()).unwrap();
    mac.update(format!("{public_url}{path}{signed}").as_bytes());
    let signature = base64_of(&mac.finalize().into_bytes());
    let form = "application/x-www-form-urlencoded; charset=UTF-8";
    let sent = Signed::new(source, &[("X-Twilio-Signature", &signature)], body).with("content-type", form);
    Signed { path, ..sent }
}

/// What a sender of Standard Webhooks sends, signed in this second with the bytes of `key`.
pub fn standard_webhooks(source: &str, key: &str, id: &str, body: &[u8]) -> Signed {
    let time = now().to_string();
    let signature = base64_of(&mac(key, &[id.as_bytes(), b".", time.as_bytes(), b".", body]));
    let headers =
        [("webhook-id", id), ("webhook-timestamp", &time), ("webhook-signature", &format!("v1,{signature}"))];
    Signed::new(source, &headers, body)
}

/// What a sender with a plain HMAC of the body sends (`provider = "generic"`).
pub fn generic(source: &str, body: &[u8]) -> Signed {
    let signature = hex::encode(mac(&secret(source), &[body]));
    Signed::new(source, &[("X-Signature", &signature)], body)
}
