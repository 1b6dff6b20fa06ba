//! The command line of the harness.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What `--help` prints.
pub const HELP: &str = "\
tests/crash/run [--events N] [--kills N] [--seed N] [--long] [OPTION…]

Sends signed events to gateways that are killed, cut off and starved meanwhile, and compares what was answered 2xx
with what came out of RabbitMQ and the inbox. Exit code 0: no promise broken; 1: one was, or a target was missed.
What this machine cannot lend (strace, libfaketime, mounts) is listed as «Not run» and fails nothing.

  --events N         events to send over all stages (20000)
  --kills N          SIGKILLs of gateways, half of them at named failpoints (20)
  --broker-kills N   SIGKILLs of RabbitMQ (a tenth of the kills, at least 1)
  --redis-kills N    SIGKILLs of Redis (a tenth of the kills, at least 1)
  --network N        faults of the links between sender, gateway, RabbitMQ and Redis (half of the kills)
  --others N         pauses, alarms, lost bindings, deleted queues, full queues (a fifth of the kills)
  --calls N          starts at which a system call on files fails later on (three tenths of the kills, at least 2)
  --disks N          times in which the journal's disk is full (a tenth of the kills, at least 2)
  --clocks N         steps of a gateway's clock and back (three tenths of the kills, at least 2)
  --rate N           new events a second (500)
  --senders N        connections of the sender (12)
  --seed N           repeat a run with the same other options: same faults, same events in the
                     same order by each sender
  --stage N          only that stage of the plan, counted from 0
  --trace            tell each fault and kill as it happens, in milliseconds of the stage
  --report FILE      write the result as Markdown too
  --long             1000000 events at 1000/s, 440 gateway kills, 30 + 30 of RabbitMQ and Redis, 200 network faults,
                     60 failing calls, 14 small disks, 42 steps of a clock (release build; about 30 minutes)
  --self-test        only the tests of the checker
";

/// What the program is to do.
pub enum Command {
    Help,
    SelfTest,
    Run(Options),
}

/// What a run is made of; with the seed, all of it.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub events: u32,
    pub kills: u32,
    pub broker_kills: u32,
    pub redis_kills: u32,
    pub network: u32,
    pub others: u32,
    pub calls: u32,
    pub disks: u32,
    pub clocks: u32,
    /// New events a second, over all senders.
    pub rate: u32,
    pub senders: u32,
    /// Only this stage.
    pub stage: Option<u32>,
    pub report: Option<PathBuf>,
    /// Tells what happens.
    pub trace: bool,
    /// As typed, for the report.
    pub line: String,
}

/// How often a run says how far it is.
pub const PROGRESS: Duration = Duration::from_secs(30);

/// Reads the arguments; what is wrong, in words.
pub fn read(arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let words: Vec<String> = arguments.collect();
    let has = |word: &str| words.iter().any(|known| known == word);
    if has("--help") || has("-h") {
        return Ok(Command::Help);
    }
    if has("--self-test") {
        return Ok(Command::SelfTest);
    }
    let long = has("--long");
    let (mut named, mut report) = (std::collections::BTreeMap::<String, u64>::new(), None);
    let mut rest = words.iter().filter(|word| !["--long", "--trace"].contains(&word.as_str()));
    while let Some(word) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("«{word}» needs a value"))?;
        match word.as_str() {
            "--report" => report = Some(PathBuf::from(value)),
            "--events" | "--kills" | "--broker-kills" | "--redis-kills" | "--network" | "--others"
            | "--calls" | "--disks" | "--clocks" | "--rate" | "--senders" | "--seed" | "--stage" => {
                let number = value.parse().map_err(|_| format!("{word} is a number, not «{value}»"))?;
                named.insert(word.clone(), number);
            }
            _ => return Err(format!("there is no «{word}»")),
        }
    }
    let of = |name: &str, short: u32, large: u32| match named.get(name) {
        Some(number) => u32::try_from(*number).map_err(|_| format!("{name} is too large")),
        None => Ok(if long { large } else { short }),
    };
    let kills = of("--kills", 20, 440)?;
    let options = Options {
        seed: named.get("--seed").copied().unwrap_or_else(fresh_seed),
        events: of("--events", 20_000, 1_000_000)?,
        kills,
        broker_kills: of("--broker-kills", (kills / 10).max(1), 30)?,
        redis_kills: of("--redis-kills", (kills / 10).max(1), 30)?,
        network: of("--network", kills / 2, 200)?,
        others: of("--others", kills / 5, 60)?,
        calls: of("--calls", (kills * 3 / 10).max(2), 60)?,
        disks: of("--disks", (kills / 10).max(2), 14)?,
        clocks: of("--clocks", (kills * 3 / 10).max(2), 42)?,
        rate: of("--rate", 500, 1_000)?.max(1),
        senders: of("--senders", 12, 16)?.clamp(1, 64),
        stage: named.contains_key("--stage").then(|| of("--stage", 0, 0)).transpose()?,
        report,
        trace: has("--trace"),
        line: words.join(" "),
    };
    if options.events < 400 {
        return Err("--events is at least 400".to_owned());
    }
    Ok(Command::Run(options))
}

/// Small enough to be typed.
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::from(since.subsec_nanos()) % 1_000_000
}
