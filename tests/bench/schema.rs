//! What a schema's verdict costs: a signed Stripe event of 1.5 KB, as the load generator sends it, through
//! `Schemas::judge`, and the same verdict by the crate over a tree of the payload.
//!
//! `cargo bench --bench schema`; the last lines say how they stand to each other, and what a payload costs that is not
//! valid, which takes both ways.
#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use criterion::{Criterion, Throughput};
use hookgate::schema::{Schemas, Verdict};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

const TYPE: &str = "payment_intent.succeeded";
const SCHEMA: &str = include_str!("../../schemas/stripe/payment_intent.succeeded.json");
const BODY_BYTES: usize = 1500;
/// Batches of each, in turn. A batch is short against the time for which a machine lets a program run undisturbed.
const BATCHES: usize = 4000;
const BATCH: usize = 32;

fn main() -> anyhow::Result<()> {
    let schemas = Schemas::load("stripe", None).map_err(|errors| anyhow!("{errors:?}"))?;
    let validator = jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .offline()
        .build(&serde_json::from_str(SCHEMA)?)
        .map_err(|error| anyhow!("{error}"))?;
    let valid = body("eur");
    let invalid = body("EUR");
    anyhow::ensure!(schemas.judge(TYPE, &valid) == Verdict::Valid, "the body is not valid");
    anyhow::ensure!(by_tree(&validator, &valid), "the body is not valid by the crate");
    anyhow::ensure!(matches!(schemas.judge(TYPE, &invalid), Verdict::Invalid(_)), "a wrong one is valid");

    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("stripe");
    group.throughput(Throughput::Bytes(valid.len() as u64));
    group
        .bench_function("Schemas::judge", |bencher| bencher.iter(|| black_box(&schemas).judge(TYPE, &valid)));
    group.bench_function("tree", |bencher| bencher.iter(|| by_tree(black_box(&validator), &valid)));
    group.finish();
    criterion.final_summary();

    let ways: [&dyn Fn() -> bool; 4] = [
        &|| black_box(&schemas).judge(TYPE, &valid) == Verdict::Valid,
        &|| by_tree(black_box(&validator), &valid),
        &|| black_box(&schemas).judge(TYPE, &invalid) == Verdict::Valid,
        &|| serde_json::from_slice::<serde::de::IgnoredAny>(black_box(&valid)).is_ok(),
    ];
    let [judge, tree, refused, pass] = side_by_side(ways);
    println!("side by side: judge {judge:.0} ns, tree {tree:.0} ns, ratio {:.2}", tree / judge);
    println!("an invalid one with its reason {refused:.0} ns; a pass for its grammar alone {pass:.0} ns");
    Ok(())
}

fn by_tree(validator: &Validator, body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|payload| validator.is_valid(&payload))
}

/// All in turn, in short batches, so that whatever else the machine does meets them alike; the medians in nanoseconds.
fn side_by_side<const N: usize>(ways: [&dyn Fn() -> bool; N]) -> [f64; N] {
    let mut times: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::with_capacity(BATCHES));
    for _ in 0..BATCHES {
        for (way, times) in ways.iter().zip(&mut times) {
            let began = Instant::now();
            for _ in 0..BATCH {
                black_box(way());
            }
            times.push(began.elapsed());
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[BATCHES / 2].as_nanos() as f64 / BATCH as f64
    })
}

fn body(currency: &str) -> Vec<u8> {
    let filled = |note: &str| {
        format!(
            r#"{{"id":"evt_3RnT0uLkdIwHu7ix0Jc9xQfA","object":"event","api_version":"2025-03-31.basil","created":1764000000,"data":{{"object":{{"id":"pi_3RnT0uLkdIwHu7ix1J2c9xQf","object":"payment_intent","amount":2000,"amount_capturable":0,"amount_details":{{"tip":{{}}}},"amount_received":2000,"application":null,"application_fee_amount":null,"automatic_payment_methods":{{"allow_redirects":"always","enabled":true}},"canceled_at":null,"cancellation_reason":null,"capture_method":"automatic_async","client_secret":"pi_3RnT0uLkdIwHu7ix1J2c9xQf_secret_d5V","confirmation_method":"automatic","created":1764000000,"currency":"{currency}","customer":null,"description":null,"last_payment_error":null,"latest_charge":"ch_3RnT0uLkdIwHu7ix1A7zM0Ww","livemode":false,"metadata":{{"order":"70419","note":"{note}"}},"next_action":null,"payment_method":"pm_1RnT0tLkdIwHu7ixQ5Xo2cVd","payment_method_types":["card","link"],"processing":null,"receipt_email":null,"setup_future_usage":null,"shipping":null,"status":"succeeded","transfer_group":null}}}},"livemode":false,"pending_webhooks":1,"request":{{"id":"req_8bT3sYq0Zl1mKc","idempotency_key":"0a0c3f0e-5f0b-4a57-9d53-5a8f5a3a7c11"}},"type":"{TYPE}"}}"#
        )
    };
    let bare = filled("").len();
    filled(&"x".repeat(BODY_BYTES.saturating_sub(bare))).into_bytes()
}
