//! What a run found, as text and as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use crate::calls::Outcomes;
use crate::check::Broken;
use crate::options::Options;
use crate::plan::{Fault, Plan};
use crate::stage::{Row, Total};
use crate::tally::ANYWHERE;

/// So many cases of each kind are shown.
const SHOWN: usize = 5;

/// The report.
pub fn text(plan: &Plan, options: &Options, total: &Total) -> String {
    let mut text = String::new();
    table(&mut text, &total.rows);
    let tally = &total.tally;
    let kills = tally.kills.lock().unwrap().clone();
    let faults = tally.faults.lock().unwrap().clone();
    let count = |out: &mut String, title: &str, list: Vec<String>| {
        if !list.is_empty() {
            writeln!(out, "\n{title}: {}", list.join(", ")).unwrap();
        }
    };
    let pairs =
        |map: &BTreeMap<&'static str, u32>| map.iter().map(|(name, n)| format!("{name} {n}")).collect();
    count(&mut text, &format!("Kills of gateways, {}", kills.values().sum::<u32>()), pairs(&kills));
    count(&mut text, "Planned there and not reached in time", pairs(&tally.unreached.lock().unwrap()));
    let others = faults.iter().map(|(name, n)| format!("{name} {n}")).collect();
    count(&mut text, &format!("Other faults, {}", faults.values().sum::<u32>()), others);
    calls(&mut text, total);
    let answers = tally.answers.lock().unwrap();
    let name = |status: &u16| if *status == 0 { "none".to_owned() } else { status.to_string() };
    let list = answers.iter().map(|(status, n)| format!("{} {n}", name(status))).collect();
    count(&mut text, "Answers", list);
    let refused = tally.refused.lock().unwrap();
    let list = refused.iter().map(|(fault, n)| format!("{fault} {n}")).collect();
    count(&mut text, "Answered 503 while such a fault lasted", list);
    writeln!(
        text,
        "\nDeliberate copies sent: {}. Leases that ran out on purpose: {}. Scrapes whose account was added up: {}. \
         Poison that was offered again: {}. Unbindings that came to nothing: {}.",
        tally.copies_sent.load(Ordering::Relaxed),
        tally.leases.load(Ordering::Relaxed),
        tally.scrapes.load(Ordering::Relaxed),
        tally.requeued.load(Ordering::Relaxed),
        tally.undone.load(Ordering::Relaxed)
    )
    .unwrap();
    let mut after: Vec<(u32, u32)> = total.rows.iter().flat_map(|row| row.marked.after.clone()).collect();
    let mut first = tally.first_2xx.lock().unwrap().clone();
    after.sort_unstable();
    first.sort_unstable();
    writeln!(
        text,
        "Marked copies between a crash or lost connection and the next, {} of these: median {}, most {} where {} are allowed.",
        after.len(),
        middle(&after).0,
        after.last().map_or(0, |most| most.0),
        after.last().map_or(0, |most| most.1)
    )
    .unwrap();
    writeln!(
        text,
        "From a gateway's start to its first 2xx: median {} ms, longest {} ms, of {}.",
        middle(&first),
        first.last().copied().unwrap_or_default(),
        first.len()
    )
    .unwrap();
    violations(&mut text, total);
    total.not_run.iter().for_each(|what| writeln!(text, "Not run: {what}").unwrap());
    missed(plan, options, total).iter().for_each(|missed| writeln!(text, "Missed: {missed}").unwrap());
    writeln!(text, "Took {} s; planned: {}.", total.took.as_secs(), plan.summary()).unwrap();
    text
}

fn middle<T: Copy + Default>(sorted: &[T]) -> T {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn table(text: &mut String, rows: &[Row]) {
    text.push_str("\n| stage | topology | sent | 2xx | messages | copies | marked | marked, Redis away | first marked, Redis away | again by RabbitMQ | violations | s |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for row in rows {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.stage,
            row.topology,
            row.sent,
            row.kept,
            row.messages,
            row.copies,
            row.marked.after.iter().map(|(marked, _)| marked).sum::<u32>(),
            row.marked.blind,
            row.marked.unmarked,
            row.again,
            row.violations,
            row.seconds
        )
        .unwrap();
    }
}

/// Failing calls by call and error.
fn calls(text: &mut String, total: &Total) {
    let calls = total.tally.calls.lock().unwrap();
    if calls.is_empty() {
        return;
    }
    text.push_str(
        "\n| failing call | starts | ended by it | did not start | went on, killed | not reached, killed |\n",
    );
    text.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for (call, of) in calls.iter() {
        let Outcomes { ended, refused, went_on, unreached } = of;
        writeln!(text, "| {call} | {} | {ended} | {refused} | {went_on} | {unreached} |", of.all()).unwrap();
    }
}

fn violations(text: &mut String, total: &Total) {
    let mut kinds: BTreeMap<Broken, Vec<String>> = BTreeMap::new();
    for (stage, violation) in &total.violations {
        kinds.entry(violation.broken).or_default().push(format!("stage {stage}, {violation}"));
    }
    for (kind, cases) in &kinds {
        writeln!(text, "\n{kind:?}: {}", cases.len()).unwrap();
        cases.iter().take(SHOWN).for_each(|case| writeln!(text, "  {case}").unwrap());
    }
    let of = |kind: Broken| kinds.get(&kind).map_or(0, Vec::len);
    writeln!(
        text,
        "\nLost {}, changed {}, unmarked copies {}, beyond the bound {}, out of order {}, other {}.",
        of(Broken::Lost),
        of(Broken::Changed),
        of(Broken::Unmarked),
        of(Broken::Beyond),
        of(Broken::Order),
        of(Broken::Invented)
            + of(Broken::Account)
            + of(Broken::Ended)
            + of(Broken::Answer)
            + of(Broken::Stuck)
    )
    .unwrap();
}

/// Targets of the options that were not met. A single stage has none.
pub fn missed(plan: &Plan, options: &Options, total: &Total) -> Vec<String> {
    if options.stage.is_some() {
        return Vec::new();
    }
    let tally = &total.tally;
    let sent: usize = total.rows.iter().map(|row| row.sent).sum();
    let kills: u32 = tally.kills.lock().unwrap().values().sum();
    let faults = tally.faults.lock().unwrap().clone();
    let of = |name: &str| faults.get(name).copied().unwrap_or_default();
    let targets = [
        ("events", options.events, sent as u32),
        ("kills of gateways", options.kills, kills),
        ("kills of RabbitMQ", options.broker_kills, of("kill Broker")),
        ("kills of Redis", options.redis_kills, of("kill Redis")),
        ("failing calls", plan.calls() as u32, tally.calls.lock().unwrap().values().map(Outcomes::all).sum()),
        ("small disks", plan.count(|fault| *fault == Fault::Disk) as u32, of("Disk")),
        (
            "steps of a clock",
            plan.count(|fault| matches!(fault, Fault::Clock(_))) as u32,
            of("clock back") + of("clock ahead"),
        ),
        ("network faults", options.network, tally.network.load(Ordering::Relaxed)),
    ];
    let missed = targets.iter().filter(|(_, wanted, found)| found < wanted);
    missed.map(|(name, wanted, found)| format!("{name}: {found} of {wanted}")).collect()
}

/// Writes the report as Markdown, with the versions of what took part.
pub fn write(path: &Path, plan: &Plan, options: &Options, total: &Total) {
    let first = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        text.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
    };
    let kills = total.tally.kills.lock().unwrap().clone();
    let points = kills.keys().filter(|name| **name != ANYWHERE).count();
    let verdict = if total.violations.is_empty() { "no promise broken" } else { "PROMISES BROKEN" };
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let text = format!(
        "# A run of the crash harness\n\n\
         `tests/crash/run {}`, seed {}: **{verdict}**. {points} of {} failpoints killed.\n\n\
         hookgate {} ({profile} build), {}, RabbitMQ {}, {}, Linux {}, {} processors.\n{}",
        options.line,
        plan.seed,
        hookgate::failpoint::Point::ALL.len(),
        env!("CARGO_PKG_VERSION"),
        first("rustc", &["--version"]),
        first("dpkg-query", &["-W", "-f", "${Version}", "rabbitmq-server"]),
        first("redis-server", &["--version"]),
        first("uname", &["-r"]),
        std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        self::text(plan, options, total)
    );
    fs::write(path, text).unwrap_or_else(|error| eprintln!("crash: {}: {error}", path.display()));
}
