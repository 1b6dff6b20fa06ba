//! `hookgate top`: a running gateway at a glance, drawn anew every other second.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write};
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::caller::{Caller, CallerArgs};
use super::output::{self, Output};
use super::stop::Stop;
use crate::clock::{Clock as _, System};
use crate::exit;
use crate::units::lasting;

/// Steps of the series that are drawn: four minutes.
const STEPS: usize = 60;
/// Notices that are shown.
const NOTICES_MAX: usize = 5;
/// Heights of a curve.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// To the upper left corner, and nothing left of what stood there.
const AFRESH: &str = "\x1b[H\x1b[2J";

/// What is shown, and how often.
#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal it is drawn until it is interrupted; otherwise, or with --once, once. With --output json it prints the answer of \
GET /v1/stats, a line each time.")]
pub(super) struct TopArgs {
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Look once
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    caller: CallerArgs,
}

/// Draws; the exit code comes back.
pub(super) fn run(args: TopArgs, output: Output) -> anyhow::Result<u8> {
    Ok(top(args, output).map_or_else(Stop::tell, |()| exit::OK))
}

fn top(args: TopArgs, output: Output) -> Result<(), Stop> {
    let TopArgs { every, once, caller } = args;
    let caller = Caller::new(caller)?;
    let (mut out, mut before, clock) = (io::stdout().lock(), None, System::new());
    let drawn = out.is_terminal() && output == Output::Text;
    loop {
        let afresh = if drawn && !once { AFRESH } else { "" };
        let printed = match output {
            Output::Json => output::json(&mut out, &stats(&caller)?),
            Output::Text => match (Look::at(&caller, clock.monotonic()), &before) {
                (Ok(look), _) => {
                    let page = look.page(before.as_ref());
                    before = Some(look);
                    write!(out, "{afresh}{page}").and_then(|()| out.flush())
                }
                // A restart is when it is watched: who was there comes back.
                (Err(stop), Some(before)) if drawn && !once => {
                    let (page, why) = (before.page(None), output::line(&stop.why));
                    write!(out, "{afresh}! no answer, what follows is old: {why}\n\n{page}")
                        .and_then(|()| out.flush())
                }
                (Err(stop), _) => return Err(stop),
            },
        };
        match printed {
            // Who reads no further has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Stop::failure(format!("cannot print: {error}"))),
            Ok(()) if once || !(drawn || output == Output::Json) => return Ok(()),
            Ok(()) => thread::sleep(Duration::from_secs(every)),
        }
    }
}

fn stats(caller: &Caller) -> Result<Value, Stop> {
    caller.get(&format!("/v1/stats?steps={STEPS}"))
}

/// What the gateway told at one moment.
struct Look {
    /// When, on a clock that never goes back.
    at: Duration,
    about: Value,
    stats: Value,
    sources: Vec<Value>,
    notices: Vec<Value>,
}

impl Look {
    fn at(caller: &Caller, at: Duration) -> Result<Self, Stop> {
        let list = |path: &str, name: &str| -> Result<Vec<Value>, Stop> {
            Ok(caller.get(path)?[name].as_array().cloned().unwrap_or_default())
        };
        Ok(Self {
            at,
            about: caller.get("/v1")?,
            stats: stats(caller)?,
            sources: list("/v1/sources", "sources")?,
            notices: list("/v1/notices", "notices")?,
        })
    }

    /// All lines; rates of sources are since the look before.
    fn page(&self, before: Option<&Self>) -> String {
        let mut lines = vec![self.head(), String::new()];
        lines.extend(self.rates());
        lines.push(self.stores());
        for notice in self.notices.iter().take(NOTICES_MAX) {
            lines.push(format!("! {} (since {})", text(&notice["text"]), text(&notice["since"])));
        }
        let more = self.notices.len().saturating_sub(NOTICES_MAX);
        lines.extend((more > 0).then(|| format!("! {more} more: GET /v1/notices")));
        lines.push(String::new());
        lines.extend(self.table(before));
        lines.join("\n") + "\n"
    }

    fn head(&self) -> String {
        let [name, version, readiness, sink, ack, now] =
            ["name", "version", "readiness", "sink", "ack", "now"].map(|key| text(&self.about[key]));
        let checks = self.about["checks"].as_array().into_iter().flatten();
        let failed = checks.filter(|check| check["ok"] == false);
        let failed: Vec<String> =
            failed.map(|check| format!("{}: {}", text(&check["name"]), text(&check["detail"]))).collect();
        let why = if failed.is_empty() { String::new() } else { format!(" ({})", failed.join("; ")) };
        format!("{name} {version}  {readiness}{why}  sink {sink}, 2xx after {ack}  {now}")
    }

    fn rates(&self) -> Vec<String> {
        let steps: Vec<&Value> = self.stats["series"].as_array().into_iter().flatten().collect();
        let rate = |step: &Value, name: &str| number(&step[name]) / number(&step["seconds"]).max(0.001);
        let row = |title: &str, name: &'static str| {
            let rates: Vec<f64> = steps.iter().map(|step| rate(step, name)).collect();
            let (last, most) =
                (rates.last().copied().unwrap_or(0.0), rates.iter().copied().fold(0.0, f64::max));
            format!("{title:<12}{:>10}/s  {}  at most {}/s", short(last), curve(&rates), short(most))
        };
        let last = steps.last().copied().unwrap_or(&Value::Null);
        let ms = |name: &str| last[name].as_f64().map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
        vec![
            row("received", "received"),
            row("accepted", "accepted"),
            row("rejected", "rejected"),
            row("handed over", "confirmed"),
            format!("{:<12}p50 {}, p99 {}", "answered in", ms("p50_ms"), ms("p99_ms")),
        ]
    }

    fn stores(&self) -> String {
        let (stats, totals) = (&self.stats, &self.stats["totals"]);
        let waiting = waiting(totals);
        let oldest = Duration::from_secs_f64(number(&stats["oldest_pending_seconds"]).clamp(0.0, 1e9));
        let since =
            if waiting > 0.0 { format!(", the oldest for {}", lasting(oldest)) } else { String::new() };
        let journal = match &stats["journal"] {
            Value::Null => String::new(),
            journal => format!(
                "  journal {}, {} of {} unconfirmed",
                size(&journal["bytes"]),
                size(&journal["unconfirmed_bytes"]),
                size(&journal["bytes_max"])
            ),
        };
        let aside = ["held", "poison"].map(|name| format!(", {name} {}", short(number(&totals[name]))));
        let memory = size(&stats["process"]["resident_bytes"]);
        format!("{:<12}{}{since}{}{journal}  memory {memory}", "waiting", short(waiting), aside.concat())
    }

    fn table(&self, before: Option<&Self>) -> Vec<String> {
        const HEAD: [&str; 8] = [
            "SOURCE",
            "PROVIDER",
            "RECEIVED/S",
            "ACCEPTED",
            "DUPLICATE",
            "REJECTED",
            "WAITING",
            "LAST EVENT",
        ];
        let seconds = before.map(|before| self.at.saturating_sub(before.at).as_secs_f64().max(0.1));
        let earlier: BTreeMap<&str, f64> = before
            .into_iter()
            .flat_map(|before| &before.sources)
            .filter_map(|source| Some((source["name"].as_str()?, number(&source["counts"]["received"]))))
            .collect();
        let row = |source: &Value| {
            let counts = &source["counts"];
            let count = |name: &str| short(number(&counts[name]));
            let rate = source["name"].as_str().and_then(|name| {
                Some((number(&counts["received"]) - earlier.get(name)?).max(0.0) / seconds?)
            });
            let last = if source["last_event_at"].is_null() {
                "-".to_owned()
            } else {
                text(&source["last_event_at"])
            };
            [
                text(&source["name"]),
                text(&source["provider"]),
                rate.map_or("-".to_owned(), short),
                count("accepted"),
                count("duplicate"),
                count("rejected"),
                short(waiting(counts)),
                last,
            ]
        };
        let rows: Vec<[String; 8]> =
            [HEAD.map(str::to_owned)].into_iter().chain(self.sources.iter().map(row)).collect();
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: [usize; 8] = std::array::from_fn(width);
        let line = |row: &[String; 8]| {
            let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
                if (2..7).contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        rows.iter().map(line).collect()
    }
}

/// Events that are to be handed over, those aside among them.
fn waiting(counts: &Value) -> f64 {
    ["pending", "unroutable", "parked"].map(|name| number(&counts[name])).iter().sum()
}

/// What the gateway wrote, without what a terminal would obey.
fn text(value: &Value) -> String {
    output::line(value.as_str().unwrap_or_default())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

/// A number in few characters.
fn short(number: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "G"), (1e6, "M"), (1e4, "k")];
    match UNITS.into_iter().find(|(unit, _)| number >= *unit) {
        Some((_, "k")) => format!("{:.1}k", number / 1e3),
        Some((unit, name)) => format!("{:.1}{name}", number / unit),
        None if number.fract() == 0.0 || number >= 100.0 => format!("{number:.0}"),
        None => format!("{number:.1}"),
    }
}

fn size(bytes: &Value) -> String {
    const UNITS: [(f64, &str); 3] = [(1073741824.0, "GiB"), (1048576.0, "MiB"), (1024.0, "KiB")];
    let bytes = number(bytes);
    match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes / unit),
        None => format!("{bytes:.0} B"),
    }
}

/// A block for each, as high as its share of the highest.
fn curve(rates: &[f64]) -> String {
    let most = rates.iter().copied().fold(0.0, f64::max);
    let height = |rate: &f64| {
        let share = if most > 0.0 { rate / most } else { 0.0 };
        let at = (share * (HEIGHTS.len() - 1) as f64).round() as usize;
        HEIGHTS.get(at).copied().unwrap_or(' ')
    };
    rates.iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn look(at: Duration, received: u64) -> Look {
        let step = |received: u64| json!({ "seconds": 4.0, "received": received, "accepted": received, "rejected": 0, "confirmed": 8, "p50_ms": 1.25, "p99_ms": 7.0 });
        Look {
            at,
            about: json!({ "name": "hookgate", "version": "0.1.0", "readiness": "degraded", "sink": "rabbitmq", "ack": "journal",
                "now": "2026-11-23T07:00:00.000Z", "checks": [{ "name": "journal", "ok": true, "detail": "" },
                { "name": "sink", "ok": false, "detail": "connecting\u{1b}[2J" }] }),
            stats: json!({ "series": [step(0), step(20), step(40_000)], "oldest_pending_seconds": 61.5,
                "totals": { "pending": 12, "unroutable": 1, "parked": 0, "held": 2, "poison": 0 },
                "journal": { "bytes": 134217728, "unconfirmed_bytes": 2048, "bytes_max": 10737418240_u64 },
                "process": { "resident_bytes": 47185920 } }),
            sources: vec![json!({ "name": "shop", "provider": "stripe", "last_event_at": null,
                "counts": { "received": received, "accepted": 1_234_567, "duplicate": 0, "rejected": 3, "pending": 12, "unroutable": 1 } })],
            notices: vec![json!({ "text": "RabbitMQ is away", "since": "2026-11-23T06:59:00.000Z" })],
        }
    }

    #[test]
    fn a_page_tells_how_it_goes_what_waits_and_what_is_wrong() {
        let seconds = Duration::from_secs;
        let (before, now) = (look(seconds(7), 1_000), look(seconds(9), 1_500));
        assert_eq!(
            now.page(Some(&before)),
            "hookgate 0.1.0  degraded (sink: connecting\\u{1b}[2J)  sink rabbitmq, 2xx after journal  2026-11-23T07:00:00.000Z\n\
             \n\
             received         10.0k/s  ▁▁█  at most 10.0k/s\n\
             accepted         10.0k/s  ▁▁█  at most 10.0k/s\n\
             rejected             0/s  ▁▁▁  at most 0/s\n\
             handed over          2/s  ███  at most 2/s\n\
             answered in p50 1.2 ms, p99 7.0 ms\n\
             waiting     13, the oldest for 61 s, held 2, poison 0  journal 128.0 MiB, 2.0 KiB of 10.0 GiB unconfirmed  memory 45.0 MiB\n\
             ! RabbitMQ is away (since 2026-11-23T06:59:00.000Z)\n\
             \n\
             SOURCE  PROVIDER  RECEIVED/S  ACCEPTED  DUPLICATE  REJECTED  WAITING  LAST EVENT\n\
             shop    stripe           250      1.2M          0         3       13  -\n"
        );
        assert!(now.page(None).contains("shop    stripe             -"), "no rate without a look before");
    }

    #[test]
    fn numbers_are_short() {
        for (number, written) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (99.95, "100.0"),
            (150.4, "150"),
            (9_999.0, "9999"),
            (10_000.0, "10.0k"),
            (3.2e9, "3.2G"),
        ] {
            assert_eq!(short(number), written);
        }
        assert_eq!(size(&json!(1023)), "1023 B");
    }
}
