//! A week of keys in an index of its own: filled as the gateway fills it, opened again by a process of its own, and
//! probed for what it holds and for what it does not.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use hookgate::clock::Timestamp;
use hookgate::dedup::{Claim, Index, Settings};
use hookgate::disk::RealDisk;
use hookgate::event::{Digest, KeyEntry, Keys, Sequence};

use crate::timed::Timed;

const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// Noon of a day, so that the week lies in eight days' files.
const NOON: Timestamp = Timestamp::from_seconds(1_795_219_200 + 43_200);
/// Claims between two commits.
const BATCH: u64 = 64;
/// As many keys are in memory when they are written to a file.
const IN_MEMORY: u64 = 340_000;
/// Claims between two looks at what is resident.
const LOOKED: u64 = 20_000;
/// One claim in so many is timed: the others are there to fill.
const TIMED: u64 = 16;

const HEAD: &str = "| | timed | p50 | p99 | p99.9 | longest |\n| --- | --- | --- | --- | --- | --- |";

/// What to fill and how often to ask.
#[derive(Debug, Args)]
pub struct Options {
    /// Keys, evenly over seven days
    #[arg(long, default_value_t = 10_000_000)]
    count: u64,
    /// Probes of each kind
    #[arg(long, default_value_t = 500_000)]
    probes: u64,
    /// Give every event a content of its own too, as senders do whose ids are not signed
    #[arg(long)]
    contents: bool,
    /// Only open and probe the index in this folder, which an earlier run with the same numbers has filled
    #[arg(long)]
    filled: Option<PathBuf>,
}

/// Fills, opens again and probes; prints lines of tables.
pub fn run(options: &Options, dir: &Path) -> anyhow::Result<()> {
    if let Some(filled) = &options.filled {
        return ask(options, filled);
    }
    let dir = dir.join("keys");
    in_memory(options, &dir)?;
    fill(options, &dir)?;
    // What the allocator keeps after all that work is not what the index holds.
    let status = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--filled")
        .arg(dir)
        .status()?;
    anyhow::ensure!(status.success(), "the process that opens the index again ended with {status}");
    Ok(())
}

/// Opens what is filled and measures it.
fn ask(options: &Options, dir: &Path) -> anyhow::Result<()> {
    let before = rss()?;
    let began = Instant::now();
    let mut index = Index::open(RealDisk, Settings::new(dir, WEEK), at(options, options.count))?;
    let opened = began.elapsed();
    let (stats, held) = (index.stats(), rss()?.saturating_sub(before));
    let each = |bytes: u64| bytes as f64 / options.count as f64;
    println!("| | | a key |");
    println!("| --- | --- | --- |");
    println!("| resident with all keys in files | {:.1} MB | {:.2} bytes |", mega(held), each(held));
    println!(
        "| counted by the index itself | {:.1} MB | {:.2} bytes |",
        mega(stats.bytes_in_memory),
        each(stats.bytes_in_memory)
    );
    println!(
        "| on disk, {} files | {:.0} MB | {:.2} bytes |",
        stats.files,
        mega(stats.bytes_on_disk),
        each(stats.bytes_on_disk)
    );
    println!("| opened in | {:.2} s | |", opened.as_secs_f64());
    probe(options, &mut index)
}

/// What keys take that are in no file yet.
fn in_memory(options: &Options, dir: &Path) -> anyhow::Result<()> {
    let before = rss()?;
    let mut index = Index::open(RealDisk, Settings::new(dir, WEEK), NOON)?;
    for n in 1..=IN_MEMORY {
        index.claim(&KeyEntry { received_at: NOON, ..entry(options, n) })?;
    }
    let held = rss()?.saturating_sub(before);
    let each = held as f64 / IN_MEMORY as f64;
    println!("{IN_MEMORY} keys in memory alone: resident {:.1} MB, {each:.1} bytes a key\n", mega(held));
    Ok(())
}

/// Claims one key after the other as the acceptance thread does.
fn fill(options: &Options, dir: &Path) -> anyhow::Result<()> {
    let (mut claims, mut upkeep) = (Timed::new(), Timed::new());
    let plain = rss()?;
    let mut index = Index::open(RealDisk, Settings::new(dir, WEEK), NOON)?;
    let mut most = 0;
    let began = Instant::now();
    for n in 1..=options.count {
        let entry = entry(options, n);
        let claim = match n % TIMED {
            0 => claims.call(|| index.claim(&entry)),
            _ => index.claim(&entry),
        };
        anyhow::ensure!(
            matches!(claim?, Claim::New { twin: None }),
            "key {n} was known before it was claimed"
        );
        if n % BATCH == 0 {
            upkeep.call(|| index.maintain(at(options, n), Sequence(n)))?;
        }
        if n % LOOKED == 0 {
            most = most.max(rss()?.saturating_sub(plain));
        }
    }
    println!("{HEAD}");
    println!("| claim of a new key while filling | {claims} |");
    println!("| upkeep after a commit of {BATCH} while filling | {upkeep} |");
    let rate = options.count as f64 / began.elapsed().as_secs_f64();
    index.flush(Sequence(options.count))?;
    let most = mega(most);
    println!("\n{rate:.0} keys/s were filled; resident meanwhile at most {most:.1} MB\n");
    Ok(())
}

fn probe(options: &Options, index: &mut Index<RealDisk>) -> anyhow::Result<()> {
    let (mut hits, mut misses, mut claims) = (Timed::new(), Timed::new(), Timed::new());
    let now = at(options, options.count);
    for n in 1..=options.probes {
        let known = scattered(n) % options.count + 1;
        let found = hits.call(|| index.known(&digest(known), now))?;
        anyhow::ensure!(found == Some(Sequence(known)), "key {known} was found as {found:?}");
        let unseen = digest(options.count + options.probes + n);
        let found = misses.call(|| index.known(&unseen, now))?;
        anyhow::ensure!(found.is_none(), "a key that nobody claimed was found as {found:?}");
    }
    for n in 1..=options.probes {
        let entry = KeyEntry { received_at: now, ..entry(options, options.count + n) };
        let claim = claims.call(|| index.claim(&entry))?;
        anyhow::ensure!(claim == Claim::New { twin: None }, "a new key was answered by {claim:?}");
        if n % BATCH == 0 {
            index.maintain(now, Sequence(options.count + n))?;
        }
    }
    println!("\n{HEAD}");
    println!("| probe of an unknown key | {misses} |");
    println!("| probe of a known key | {hits} |");
    println!("| claim of a new key, all files there | {claims} |");
    Ok(())
}

fn entry(options: &Options, n: u64) -> KeyEntry {
    let content = options.contents.then(|| digest(n | 1 << 63));
    let keys = Keys { message_id: digest(n), content };
    KeyEntry { keys, sequence: Sequence(n), received_at: at(options, n) }
}

/// When event `n` comes in.
fn at(options: &Options, n: u64) -> Timestamp {
    NOON.plus(WEEK.mul_f64(n as f64 / options.count as f64) - Duration::from_millis(1).min(WEEK / 2))
}

/// As evenly spread as a SHA-256, and quicker made.
fn digest(n: u64) -> Digest {
    let mut digest = [0; 32];
    for (at, word) in digest.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&scattered(n.wrapping_mul(4).wrapping_add(at as u64)).to_le_bytes());
    }
    Digest(digest)
}

fn scattered(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Memory that the process has written to and holds; files that are mapped, as its program, aside.
fn rss() -> anyhow::Result<u64> {
    status("RssAnon:")
}

/// A line of what the system says of this process, in bytes.
fn status(line: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let value = status.lines().find_map(|text| text.strip_prefix(line)).context("no such line")?;
    Ok(value.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
