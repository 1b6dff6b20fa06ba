//! Figures of an index with ten million keys: run by hand, in release.
//! `cargo test --release --lib dedup::embedded::tests::measure -- --ignored --nocapture`

use super::*;
use crate::clock::{Clock, System};

const KEYS: u64 = 10_000_000;
const DAYS: u64 = 7;

fn key(n: u64, millis: i64) -> KeyEntry {
    let mut message_id = [0; 32];
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for word in message_id.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    let keys = Keys { message_id: Digest(message_id), content: None };
    KeyEntry { keys, sequence: Sequence(n), received_at: at(millis) }
}

fn rss() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn report(what: &str, mut nanos: Vec<u64>) {
    nanos.sort_unstable();
    let part = |p: f64| nanos[((nanos.len() - 1) as f64 * p) as usize];
    println!(
        "{what}: p50 {} ns, p99 {} ns, p99.9 {} ns, max {} ns",
        part(0.5),
        part(0.99),
        part(0.999),
        part(1.0)
    );
}

#[test]
#[ignore = "a measurement, in release and by hand"]
fn ten_million_keys() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(dir.path(), Duration::from_millis(DAYS * 24 * HOUR as u64 + 1));
    let clock = System::new();
    let time = |n: u64| (n * DAYS * 24 * HOUR as u64 / KEYS) as i64;
    println!("empty: RSS {} MB", rss());
    let mut index = Index::open(RealDisk, settings.clone(), at(0)).unwrap();
    let (mut claims, mut upkeep, mut peak) = (Vec::with_capacity(KEYS as usize / 16), Vec::new(), 0);
    let start = clock.monotonic();
    for n in 1..=KEYS {
        let entry = key(n, time(n));
        if n % 16 == 0 {
            let before = clock.monotonic();
            index.claim(&entry).unwrap();
            claims.push((clock.monotonic() - before).as_nanos() as u64);
        } else {
            index.claim(&entry).unwrap();
        }
        if n % 64 == 0 {
            let before = clock.monotonic();
            index.maintain(at(time(n)), Sequence(n)).unwrap();
            upkeep.push((clock.monotonic() - before).as_nanos() as u64);
            peak = peak.max(index.stats().bytes_in_memory);
        }
    }
    let elapsed = clock.monotonic() - start;
    println!("{KEYS} claims in {elapsed:.1?}; index memory at most {} MB; RSS {} MB", peak >> 20, rss());
    report("claim while filling", claims);
    report("maintain while filling", upkeep);
    index.flush(Sequence(KEYS)).unwrap();
    drop(index);

    let before = clock.monotonic();
    let mut index = Index::open(RealDisk, settings, at(time(KEYS))).unwrap();
    println!("open: {:.1?}, {:?}", clock.monotonic() - before, index.stats());
    println!("memory a key: {:.2} bytes", index.stats().bytes_in_memory as f64 / KEYS as f64);
    let mut hits = Vec::new();
    let mut misses = Vec::new();
    for n in 0..500_000 {
        let entry = key(1 + (n * 7_919) % KEYS, time(KEYS));
        let before = clock.monotonic();
        let claim = index.claim(&KeyEntry { sequence: Sequence(u64::MAX), ..entry }).unwrap();
        hits.push((clock.monotonic() - before).as_nanos() as u64);
        assert!(matches!(claim, Claim::Known { .. }));
    }
    for n in 1..=500_000 {
        let entry = key(KEYS + n, time(KEYS));
        let before = clock.monotonic();
        let claim = index.claim(&entry).unwrap();
        misses.push((clock.monotonic() - before).as_nanos() as u64);
        assert_eq!(claim, NEW);
    }
    report("probe of a known key (one read)", hits);
    report("claim of a new key", misses);
}
