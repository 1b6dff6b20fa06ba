//! What verification costs beside the MAC in it: a signed Stripe event of 1.5 KB through `Verifier::verify`, and a bare
//! HMAC of the same bytes with a key that is set up, compared in constant time with the decoded signature.
//!
//! `cargo bench --bench verify`; the last two lines say how they stand to each other. Figures are in `verify.md`.
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use hmac::{Hmac, KeyInit, Mac};
use hookgate::clock::Timestamp;
use hookgate::delivery::{Delivery, Headers};
use hookgate::provider::{Catalog, Scheme};
use hookgate::verify::{Key, Verifier, sign};
use sha2::Sha256;
use subtle::ConstantTimeEq;

const SECRET: &str = "whsec_bench_0123456789abcdef";
const NOW: Timestamp = Timestamp::from_seconds(1_764_000_000);
const BODY_BYTES: usize = 1500;
/// Batches of each, in turn. A batch is short against the time for which a machine lets a program run undisturbed.
const BATCHES: usize = 4000;
const BATCH: usize = 32;

fn main() -> anyhow::Result<()> {
    let (verifier, delivery) = source()?;
    let bare = Bare::new(&delivery)?;
    verifier.verify(delivery.clone(), NOW).map_err(|refused| anyhow!("refused: {refused:?}"))?;
    anyhow::ensure!(bare.holds(), "the bare MAC does not hold");

    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("stripe");
    group.throughput(Throughput::Bytes(delivery.body.len() as u64));
    group.bench_function("bare HMAC", |bencher| bencher.iter(|| black_box(&bare).holds()));
    group.bench_function("Verifier::verify", |bencher| {
        let clone = || delivery.clone();
        bencher.iter_batched(clone, |one| black_box(&verifier).verify(one, NOW), BatchSize::SmallInput);
    });
    group.finish();
    criterion.final_summary();
    side_by_side(&verifier, &delivery, &bare);
    Ok(())
}

/// Both in turn, in short batches, so that whatever else the machine does meets both alike; prints the medians.
fn side_by_side(verifier: &Verifier, delivery: &Delivery, bare: &Bare) {
    let (mut whole, mut least) = (Vec::with_capacity(BATCHES), Vec::with_capacity(BATCHES));
    let mut found = Vec::with_capacity(BATCH);
    for _ in 0..BATCHES {
        let deliveries: Vec<Delivery> = (0..BATCH).map(|_| delivery.clone()).collect();
        let began = Instant::now();
        for one in deliveries {
            found.push(black_box(verifier).verify(one, NOW));
        }
        whole.push(began.elapsed());
        found.clear();
        let began = Instant::now();
        for _ in 0..BATCH {
            black_box(black_box(bare).holds());
        }
        least.push(began.elapsed());
    }
    let nanos = |mut all: Vec<Duration>| {
        all.sort_unstable();
        let [median, tenth] = [BATCHES / 2, BATCHES / 10].map(|at| all[at].as_nanos() as f64 / BATCH as f64);
        (median, tenth)
    };
    let ((whole, fast_whole), (least, fast_least)) = (nanos(whole), nanos(least));
    println!("side by side: verify {whole:.0} ns, bare HMAC {least:.0} ns, ratio {:.2}", whole / least);
    let ratio = fast_whole / fast_least;
    println!("fastest tenth: verify {fast_whole:.0} ns, bare HMAC {fast_least:.0} ns, ratio {ratio:.2}");
}

/// A source with one secret, and what its sender sends, with the headers that a proxy leaves on it.
fn source() -> anyhow::Result<(Verifier, Delivery)> {
    let catalog = Catalog::built_in().map_err(|error| anyhow!("{error:?}"))?;
    let definition = catalog.get("stripe").context("no provider file for stripe")?;
    let scheme = Scheme::build(definition, None, &BTreeMap::new()).map_err(|error| anyhow!("{error:?}"))?;
    let mut headers = Headers::default();
    for (name, value) in [
        ("host", "hooks.example.com"),
        ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
        ("content-type", "application/json; charset=utf-8"),
        ("accept", "*/*; q=0.5, application/xml"),
        ("cache-control", "no-cache"),
        ("content-length", "1500"),
        ("x-forwarded-for", "3.18.12.63"),
        ("x-forwarded-proto", "https"),
    ] {
        headers.push(name, value.as_bytes());
    }
    let (method, target) = ("POST".to_owned(), "/in/stripe".to_owned());
    let mut delivery = Delivery { method, target, headers, body: body(), received_at: NOW };
    sign(&scheme, SECRET.as_bytes(), &mut delivery, NOW)?;
    let key = Key::new(&scheme, "live", SECRET.as_bytes())?;
    Ok((Verifier::new(Arc::new(scheme), vec![key]), delivery))
}

fn body() -> Bytes {
    let head = r#"{"id":"evt_1RnT0uLkdIwHu7ix0Jc9xQfA","object":"event","type":"charge.captured","note":""#;
    let filling = "x".repeat(BODY_BYTES - head.len() - 2);
    Bytes::from(format!("{head}{filling}\"}}"))
}

/// The least that proves the same.
struct Bare {
    keyed: Hmac<Sha256>,
    time: String,
    body: Bytes,
    signature: String,
}

impl Bare {
    fn new(delivery: &Delivery) -> anyhow::Result<Self> {
        let header = delivery.headers.first("stripe-signature").context("not signed")?;
        let header = std::str::from_utf8(header)?;
        let (time, signature) = header.split_once(",v1=").context("no signature")?;
        Ok(Self {
            keyed: Hmac::new_from_slice(SECRET.as_bytes())?,
            time: time.trim_start_matches("t=").to_owned(),
            body: delivery.body.clone(),
            signature: signature.to_owned(),
        })
    }

    fn holds(&self) -> bool {
        let mut mac = self.keyed.clone();
        mac.update(self.time.as_bytes());
        mac.update(b".");
        mac.update(&self.body);
        let mut told = [0_u8; 32];
        let decoded = hex::decode_to_slice(&self.signature, &mut told).is_ok();
        decoded && bool::from(mac.finalize().into_bytes().ct_eq(&told))
    }
}
