//! The requests: a provider's documented event, a fresh id and a fresh signature each time.
//!
//! Everything that does not change is rendered once; a request costs one MAC over the body and two copies.

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hookgate::clock::{Clock, System};
use sha2::Sha256;

use crate::options::{Options, Provider};

const ID_HOLE: &str = "@id@";
const ID_LEN: usize = 24;
const FILL_HOLE: &str = "@fill@";
/// How far back a duplicate may reach.
const DUPLICATES_REACH: u64 = 10_000;
const FILL: &str = "Two boxes, leave with the neighbour; the bell does not work. ";

/// The smallest classic event that Stripe's schema knows, for bodies that the usual one does not fit into.
const STRIPE_SMALL: &str = r#"{"id":"evt_@id@","object":"event","api_version":null,"created":@now@,"data":{"object":{"id":"cus_R9nZ","object":"customer","description":"@fill@"}},"livemode":false,"pending_webhooks":1,"request":null,"type":"customer.created"}"#;
const STRIPE: &str = r#"{"id":"evt_@id@","object":"event","api_version":"2025-03-31.basil","created":@now@,"data":{"object":{"id":"pi_3RnT0uLkdIwHu7ix1J2c9xQf","object":"payment_intent","amount":2000,"amount_capturable":0,"amount_details":{"tip":{}},"amount_received":2000,"application":null,"application_fee_amount":null,"automatic_payment_methods":{"allow_redirects":"always","enabled":true},"canceled_at":null,"cancellation_reason":null,"capture_method":"automatic_async","client_secret":"pi_3RnT0uLkdIwHu7ix1J2c9xQf_secret_d5V","confirmation_method":"automatic","created":@now@,"currency":"eur","customer":null,"description":null,"last_payment_error":null,"latest_charge":"ch_3RnT0uLkdIwHu7ix1A7zM0Ww","livemode":false,"metadata":{"order":"70419","note":"@fill@"},"next_action":null,"payment_method":"pm_1RnT0tLkdIwHu7ixQ5Xo2cVd","payment_method_types":["card","link"],"processing":null,"receipt_email":null,"setup_future_usage":null,"shipping":null,"status":"succeeded","transfer_group":null}},"livemode":false,"pending_webhooks":1,"request":{"id":"req_8bT3sYq0Zl1mKc","idempotency_key":"0a0c3f0e-5f0b-4a57-9d53-5a8f5a3a7c11"},"type":"payment_intent.succeeded"}"#;
const GITHUB: &str = r#"{"ref":"refs/heads/main","before":"0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c","after":"@id@0000000000000000","base_ref":null,"compare":"https://github.com/octo-org/octo-repo/compare/main","created":false,"deleted":false,"forced":false,"commits":[],"head_commit":{"id":"@id@0000000000000000","tree_id":"31b122c26a97cf9af023e9ddab94a82c6e77b0ea","distinct":true,"message":"@fill@","timestamp":"2025-07-01T10:00:00Z","url":"https://github.com/octo-org/octo-repo","author":{"name":"Mona","email":"mona@example.com"},"committer":{"name":"Mona","email":"mona@example.com"},"added":[],"modified":["README.md"],"removed":[]},"repository":{"id":35129377,"node_id":"MDEwOlJlcG9zaXRvcnkzNTEyOTM3Nw==","name":"octo-repo","full_name":"octo-org/octo-repo","private":false,"owner":{"login":"octo-org","id":6752317,"type":"Organization"},"html_url":"https://github.com/octo-org/octo-repo","default_branch":"main"},"pusher":{"name":"mona","email":"mona@example.com"},"sender":{"login":"mona","id":6752318,"type":"User","site_admin":false}}"#;
const SHOPIFY: &str = r#"{"id":820982911946154508,"admin_graphql_api_id":"gid://shopify/Order/820982911946154508","checkout_token":"@id@","created_at":"2025-07-01T10:00:00-04:00","updated_at":"2025-07-01T10:00:00-04:00","currency":"USD","current_subtotal_price":"398.00","current_total_price":"398.00","email":"jon@example.com","financial_status":"voided","fulfillment_status":null,"name":"@hash@9999","note":"@fill@","number":234,"order_number":1234,"presentment_currency":"USD","processed_at":"2025-07-01T10:00:00-04:00","subtotal_price":"388.00","taxes_included":false,"test":true,"token":"123456abcd","total_discounts":"20.00","total_price":"398.00","total_tax":"0.00","customer":{"id":115310627314723954,"email":"john@example.com","verified_email":true},"line_items":[{"id":866550311766439020,"title":"IPod Nano - 8GB","quantity":1,"price":"199.00","sku":"IPOD2008PINK","product_id":632910392,"variant_id":808950810}]}"#;

/// A request that was rendered: which event it carries and whether its signature is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Signed {
    /// The event's number in this run; equal for duplicates.
    pub event: u64,
    /// True where the receiver has to refuse it.
    pub forged: bool,
}

/// Renders signed requests.
pub struct Signer {
    provider: Provider,
    mac: Hmac<Sha256>,
    heads: Vec<Vec<u8>>,
    body: Vec<u8>,
    id_offsets: Vec<usize>,
    seed: u32,
    events: u64,
    random: u64,
    duplicates: f64,
    forgeries: f64,
    clock: System,
    signed_at: (i64, String),
}

impl Signer {
    /// Prepares the provider's event at the size asked for.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let clock = System::new();
        let now = clock.now();
        ensure!(
            options.provider == Provider::None || !options.secret.is_empty(),
            "--secret is missing; only --provider none does without"
        );
        let (body, id_offsets) = body(options.provider, options.body_bytes, now.seconds())?;
        let head = |path: &str| head(options, path, body.len()).into_bytes();
        let heads = match options.paths {
            1 => vec![head(&options.url.path)],
            paths => (0..paths).map(|path| head(&format!("{}{path}", options.url.path))).collect(),
        };
        let seed = options.id_seed.unwrap_or((now.millis() as u32) ^ std::process::id().rotate_left(16));
        Ok(Self {
            provider: options.provider,
            mac: Hmac::new_from_slice(options.secret.as_bytes()).context("keying the MAC")?,
            heads,
            body,
            id_offsets,
            seed,
            events: 0,
            random: u64::from(seed) << 1 | 1,
            duplicates: options.dup_fraction,
            forgeries: options.bad_fraction,
            clock,
            signed_at: (now.seconds(), now.seconds().to_string()),
        })
    }

    /// Renders the next request over `out`.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Signed {
        let event = self.choose();
        let forged = self.chance(self.forgeries);
        let id = self.id(event);
        for &at in &self.id_offsets {
            self.body[at..at + ID_LEN].copy_from_slice(&id);
        }
        out.clear();
        // By the event's number, so that a duplicate goes where the event went.
        out.extend_from_slice(&self.heads[(event % self.heads.len() as u64) as usize]);
        self.sign(out, &id, forged);
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(&self.body);
        Signed { event, forged }
    }

    /// The id by which the provider names this event: in the body, or in its id header.
    pub fn name(&self, event: u64) -> String {
        let id = self.id(event);
        match self.provider {
            Provider::Stripe | Provider::None => format!("evt_{}", String::from_utf8_lossy(&id)),
            Provider::Github | Provider::Shopify => {
                String::from_utf8_lossy(&guid(&id, self.seed)).into_owned()
            }
        }
    }

    fn choose(&mut self) -> u64 {
        if self.events > 0 && self.chance(self.duplicates) {
            let reach = self.events.min(DUPLICATES_REACH);
            return self.events - 1 - self.draw() % reach;
        }
        self.events += 1;
        self.events - 1
    }

    fn sign(&mut self, out: &mut Vec<u8>, id: &[u8; ID_LEN], forged: bool) {
        if self.provider == Provider::None {
            out.extend_from_slice(b"X-Event: ");
            return out.extend_from_slice(id);
        }
        let mut mac = self.mac.clone();
        if self.provider == Provider::Stripe {
            let seconds = self.clock.now().seconds();
            if seconds != self.signed_at.0 {
                self.signed_at = (seconds, seconds.to_string());
            }
            out.extend_from_slice(b"Stripe-Signature: t=");
            out.extend_from_slice(self.signed_at.1.as_bytes());
            out.extend_from_slice(b",v1=");
            mac.update(self.signed_at.1.as_bytes());
            mac.update(b".");
        }
        mac.update(&self.body);
        let mut tag = mac.finalize().into_bytes();
        tag[17] ^= u8::from(forged);
        match self.provider {
            Provider::Stripe | Provider::None => append_hex(out, &tag),
            Provider::Github => {
                out.extend_from_slice(b"X-GitHub-Delivery: ");
                out.extend_from_slice(&guid(id, self.seed));
                out.extend_from_slice(b"\r\nX-Hub-Signature-256: sha256=");
                append_hex(out, &tag);
            }
            Provider::Shopify => append_shopify(out, &guid(id, self.seed), &tag),
        }
    }

    /// 24 hexadecimal digits, different for each event and seed and in no order.
    fn id(&self, event: u64) -> [u8; ID_LEN] {
        let mixed = (event ^ u64::from(self.seed) << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut id = [0; ID_LEN];
        write_hex(&mut id[..16], &(mixed ^ mixed >> 31).to_be_bytes());
        write_hex(&mut id[16..], &(event as u32).to_be_bytes());
        id
    }

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && ((self.draw() >> 11) as f64) < share * (1_u64 << 53) as f64
    }

    /// SplitMix64: small, fast and repeatable from the seed.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }
}

fn body(provider: Provider, bytes: usize, now: i64) -> anyhow::Result<(Vec<u8>, Vec<usize>)> {
    let template = match provider {
        Provider::Stripe | Provider::None => STRIPE.to_owned(),
        Provider::Github => GITHUB.to_owned(),
        Provider::Shopify => SHOPIFY.replace("@hash@", "#"),
    };
    let at =
        |template: &str| template.replace("@now@", &now.to_string()).replace(ID_HOLE, &"0".repeat(ID_LEN));
    let smallest = |template: &str| template.len() - FILL_HOLE.len();
    let mut template = at(&template);
    if matches!(provider, Provider::Stripe | Provider::None) && bytes < smallest(&template) {
        template = at(STRIPE_SMALL);
    }
    let smallest = smallest(&template);
    ensure!(bytes >= smallest, "--body-bytes {bytes} is too small: this event has at least {smallest}");
    let fill: String = FILL.chars().cycle().take(bytes - smallest).collect();
    let hole = "0".repeat(ID_LEN);
    let text = template.replace(FILL_HOLE, &fill);
    let id_offsets = text.match_indices(&hole).map(|(at, _)| at).collect();
    Ok((text.into_bytes(), id_offsets))
}

fn head(options: &Options, path: &str, length: usize) -> String {
    let (agent, extra) = match options.provider {
        Provider::Stripe | Provider::None => ("Stripe/1.0 (+https://stripe.com/docs/webhooks)", ""),
        Provider::Github => {
            ("GitHub-Hookshot/044aadd", "X-GitHub-Event: push\r\nX-GitHub-Hook-ID: 292430182\r\n")
        }
        Provider::Shopify => (
            "Shopify-Captain-Hook",
            "X-Shopify-Topic: orders/create\r\nX-Shopify-Shop-Domain: example.myshopify.com\r\n\
             X-Shopify-API-Version: 2025-07\r\n",
        ),
    };
    format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {agent}\r\nAccept: */*\r\nContent-Length: {length}\r\n\
         Content-Type: application/json; charset=utf-8\r\n{extra}",
        path, options.url.host
    )
}

fn append_shopify(out: &mut Vec<u8>, guid: &[u8; 36], tag: &[u8]) {
    out.extend_from_slice(b"X-Shopify-Webhook-Id: ");
    out.extend_from_slice(guid);
    out.extend_from_slice(b"\r\nX-Shopify-Event-Id: ");
    out.extend_from_slice(guid);
    out.extend_from_slice(b"\r\nX-Shopify-Hmac-Sha256: ");
    out.extend_from_slice(STANDARD.encode(tag).as_bytes());
}

fn guid(id: &[u8; ID_LEN], seed: u32) -> [u8; 36] {
    let mut digits = [0; 32];
    digits[..ID_LEN].copy_from_slice(id);
    write_hex(&mut digits[ID_LEN..], &seed.to_be_bytes());
    let mut guid = [b'-'; 36];
    for (to, from) in [(0..8, 0..8), (9..13, 8..12), (14..18, 12..16), (19..23, 16..20), (24..36, 20..32)] {
        guid[to].copy_from_slice(&digits[from]);
    }
    guid
}

fn append_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len() * 2, 0);
    write_hex(&mut out[start..], bytes);
}

fn write_hex(out: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}
