//! What a run prints: a block for people, then one line of JSON for programs.

use serde_json::json;

use crate::load::Outcome;
use crate::options::Options;

/// Prints both to standard output.
pub fn print(options: &Options, outcome: &Outcome) {
    let latency = &outcome.latency;
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    let quantile = |share: f64| micros(latency.quantile(share));
    let rate = latency.count() as f64 / outcome.seconds;
    let mode = options.rate.map_or("closed loop".to_owned(), |rate| format!("open loop at {rate}/s"));
    let statuses: Vec<String> = outcome.statuses.iter().map(|(status, n)| format!("{status}: {n}")).collect();
    println!(
        "{mode}, {} connections, {:?} events of {} bytes, {:.1} s measured",
        options.connections, options.provider, options.body_bytes, outcome.seconds
    );
    println!("  2xx per second  {rate:.0}");
    println!(
        "  latency of 2xx  p50 {:.0} µs, p90 {:.0} µs, p99 {:.0} µs, p999 {:.0} µs, max {:.0} µs",
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        quantile(0.999),
        micros(latency.max())
    );
    println!("  answers         {}", statuses.join(", "));
    println!(
        "  not answered    {} errors, {} timeouts, {} never sent; {} reconnects",
        outcome.errors, outcome.timeouts, outcome.missed, outcome.reconnects
    );
    println!("  forged accepted {}", outcome.forged_accepted);
    println!("  generator       {:.1} µs CPU per answer", outcome.cpu_micros);
    let tenth = |value: f64| (value * 10.0).round() / 10.0;
    println!(
        "{}",
        json!({
            "rps": tenth(rate),
            "p50_us": tenth(quantile(0.5)),
            "p90_us": tenth(quantile(0.9)),
            "p99_us": tenth(quantile(0.99)),
            "p999_us": tenth(quantile(0.999)),
            "max_us": tenth(micros(latency.max())),
            "seconds": outcome.seconds,
            "statuses": outcome.statuses,
            "sent": outcome.sent,
            "answered": outcome.answered,
            "accepted": outcome.accepted,
            "errors": outcome.errors,
            "timeouts": outcome.timeouts,
            "missed": outcome.missed,
            "reconnects": outcome.reconnects,
            "forged_accepted": outcome.forged_accepted,
            "cpu_us_per_answer": tenth(outcome.cpu_micros),
            "rate": options.rate,
            "connections": options.connections,
        })
    );
}
