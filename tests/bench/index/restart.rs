//! A start of the gateway over a data folder with many keys: from the start of the program to the first 2xx, again and
//! again after a kill. Keys and records are made by the gateway's own rooms from signed deliveries, spread over six
//! days, so that only sending them is left out.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use hookgate::clock::{Clock, System, Timestamp};
use hookgate::dedup::key::EventKey;
use hookgate::dedup::{self, Index};
use hookgate::delivery::{Delivery, Headers};
use hookgate::disk::RealDisk;
use hookgate::event::{Event, KeyEntry, Sequence};
use hookgate::journal::{self, Journal, Mark, Room, Upkeep};
use hookgate::provider::{Catalog, Scheme};
use hookgate::verify::{Key, Verifier, sign};

const SECRET: &str = "whsec_bench_0123456789abcdef";
const SPAN: Duration = Duration::from_secs(6 * 86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
const BATCH: u64 = 512;
/// Event types, in turn: who searches a history by type finds a share.
const TYPES: u64 = 50;
/// A start that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// What to fill and what to start.
#[derive(Debug, Args)]
pub struct Options {
    /// The program to start
    #[arg(long, default_value = "target/release/hookgate")]
    gateway: PathBuf,
    /// Events, each with a key
    #[arg(long, default_value_t = 10_000_000)]
    count: u64,
    /// Events that no worker has acknowledged yet, of the youngest
    #[arg(long, default_value_t = 1_000)]
    pending: u64,
    /// How much the journal may keep of the others
    #[arg(long, default_value_t = 10 << 30)]
    journal_bytes: u64,
    /// Bytes of each body
    #[arg(long, default_value_t = 300)]
    body_bytes: usize,
    /// How often to start; each but the first follows a kill
    #[arg(long, default_value_t = 5)]
    starts: u32,
    /// Only fill, into this folder, which must not be there; what is filled stays
    #[arg(long, value_name = "FOLDER")]
    fill: Option<PathBuf>,
}

/// Fills the folder, then starts and kills; prints a line for each start.
pub fn run(options: &Options, dir: &Path) -> anyhow::Result<()> {
    let sender = Sender::new()?;
    if let Some(folder) = &options.fill {
        std::fs::create_dir(folder).with_context(|| format!("make {}", folder.display()))?;
        return fill(options, folder, &sender);
    }
    fill(options, dir, &sender)?;
    println!("| start | to the first 2xx | of that on a processor |\n| --- | --- | --- |");
    for n in 1..=options.starts {
        let (took, busy) = start(options, dir, &sender, n)?;
        println!("| {n} | {:.2} s | {:.2} s |", took.as_secs_f64(), busy.as_secs_f64());
    }
    Ok(())
}

/// Signs as the provider does, and proves it as the gateway does.
struct Sender {
    scheme: Arc<Scheme>,
    verifier: Verifier,
}

impl Sender {
    fn new() -> anyhow::Result<Self> {
        let catalog = Catalog::built_in().map_err(|error| anyhow!("{error:?}"))?;
        let definition = catalog.get("stripe").context("no provider file for stripe")?;
        let scheme =
            Scheme::build(definition, None, &BTreeMap::new()).map_err(|error| anyhow!("{error:?}"))?;
        let key = Key::new(&scheme, "bench", SECRET.as_bytes())?;
        let scheme = Arc::new(scheme);
        Ok(Self { verifier: Verifier::new(Arc::clone(&scheme), vec![key]), scheme })
    }

    fn delivery(&self, id: &str, kind: u64, body_bytes: usize, at: Timestamp) -> anyhow::Result<Delivery> {
        let head = format!(r#"{{"id":"evt_{id}","object":"event","type":"charge.kind_{kind}","note":""#);
        let body = format!("{head}{}\"}}", "x".repeat(body_bytes.saturating_sub(head.len() + 2)));
        let mut headers = Headers::default();
        headers.push("content-type", b"application/json");
        let (method, target) = ("POST".to_owned(), "/in/stripe".to_owned());
        let mut delivery = Delivery { method, target, headers, body: body.into(), received_at: at };
        sign(&self.scheme, SECRET.as_bytes(), &mut delivery, at)?;
        Ok(delivery)
    }

    fn event(&self, source: &Arc<str>, n: u64, body_bytes: usize, at: Timestamp) -> anyhow::Result<Event> {
        let delivery = self.delivery(&format!("{n:024}"), n % TYPES, body_bytes, at)?;
        let verified = self.verifier.verify(delivery, at).map_err(|refused| anyhow!("{refused:?}"))?;
        let key = EventKey::derive(source, &verified);
        Ok(Event::new(source, verified, key, None))
    }
}

/// Claims, appends, commits and confirms in the order in which the gateway does.
fn fill(options: &Options, dir: &Path, sender: &Sender) -> anyhow::Result<()> {
    let settings = journal::Settings {
        dir: dir.join("journal"),
        segment_bytes: 64 << 20,
        bytes_max: options.journal_bytes,
        retention: WEEK,
        upkeep: Upkeep::Thread,
    };
    let (clock, source) = (System::new(), Arc::<str>::from("stripe"));
    let now = clock.now();
    let mut index = Index::open(RealDisk, dedup::Settings::new(dir.join("journal/keys"), WEEK), now)?;
    let (mut journal, _) = Journal::open(RealDisk, settings, now, &mut |_| {})?;
    let began = Instant::now();
    for n in 1..=options.count {
        let at = now.minus(SPAN.mul_f64((options.count - n) as f64 / options.count as f64));
        let event = sender.event(&source, n, options.body_bytes, at)?;
        while journal.room(Journal::<RealDisk>::record_bytes(&event)) != Room::Open {
            ensure!(began.elapsed() < Duration::from_secs(3600), "the journal has no room for event {n}");
            journal.commit()?;
            journal.maintain(at, index.durable_through())?;
        }
        let entry =
            KeyEntry { keys: event.envelope().keys, sequence: journal.next_sequence(), received_at: at };
        index.claim(&entry)?;
        let sequence = journal.append(&event);
        if sequence.0 + options.pending <= options.count {
            journal.mark(sequence, Mark::Confirmed);
        }
        if n % BATCH == 0 || n == options.count {
            journal.commit()?;
            index.maintain(at, journal.durable_through())?;
            journal.maintain(at, index.durable_through())?;
        }
    }
    let (keys, stats) = (index.stats(), journal.stats());
    println!(
        "{} keys, {} of them in memory alone; journal of {:.1} GB, {} records pending; filled in {:.0} s\n",
        keys.keys,
        stats.durable_through.0 - index.durable_through().min(Sequence(options.count)).0,
        stats.bytes as f64 / 1e9,
        stats.live_records,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A gateway that is killed when this is dropped.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).map(drop).unwrap_or_default();
    }
}

fn start(options: &Options, dir: &Path, sender: &Sender, n: u32) -> anyhow::Result<(Duration, Duration)> {
    let (ingress, admin) = (free_port()?, free_port()?);
    let config = dir.join("hookgate.toml");
    let text = format!(
        "[ingress]\nlisten = \"{ingress}\"\npublic_url = \"http://{ingress}\"\n[admin]\nlisten = \"{admin}\"\n\
         [journal]\ndir = {:?}\nbytes_max = \"{}MiB\"\n[sink]\nkind = \"inbox\"\n[sources.stripe]\nprovider = \"stripe\"\n\
         secrets = [{{ env = \"BENCH_STRIPE_SECRET\", label = \"bench\" }}]\n",
        dir.join("journal"),
        options.journal_bytes >> 20,
    );
    std::fs::write(&config, text)?;
    let log = std::fs::File::create(dir.join("log"))?;
    let mut command = Command::new(&options.gateway);
    command.arg("serve").arg("--config").arg(&config).env("BENCH_STRIPE_SECRET", SECRET);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let began = Instant::now();
    let mut gateway =
        Gateway(command.spawn().with_context(|| format!("start {}", options.gateway.display()))?);
    loop {
        let delivery =
            sender.delivery(&format!("start{n:019}"), 0, options.body_bytes, System::new().now())?;
        if let Ok(status) = post(ingress, &delivery) {
            ensure!((200..300).contains(&status), "the first answer is {status}");
            return Ok((began.elapsed(), busy(gateway.0.id())?));
        }
        if let Some(status) = gateway.0.try_wait()? {
            let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            return Err(anyhow!("the gateway ended with {status}:\n{log}"));
        }
        ensure!(began.elapsed() < PATIENCE, "no answer within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How long the threads of a process have run so far: on a machine with other work, the rest is waiting.
fn busy(process: u32) -> anyhow::Result<Duration> {
    let mut nanos = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let told = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += told.split_whitespace().next().context("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Sends a delivery on a connection of its own; gives the status.
fn post(to: SocketAddr, delivery: &Delivery) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let signature = delivery.headers.first("stripe-signature").context("not signed")?;
    write!(
        stream,
        "POST {} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         stripe-signature: {}\r\ncontent-length: {}\r\n\r\n",
        delivery.target,
        std::str::from_utf8(signature)?,
        delivery.body.len()
    )?;
    stream.write_all(&delivery.body)?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    Ok(std::str::from_utf8(&answer)?.trim_start_matches("HTTP/1.1 ").parse()?)
}

fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
