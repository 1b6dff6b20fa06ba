//! The account as Prometheus reads it: one snapshot for all of its names, so that they add up in every scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::account::{Account, End, Stand, Standing};

type Rows = [(Arc<str>, Standing)];
type Read = fn(&Standing) -> u64;

/// Names and helps of what only rises.
const COUNTERS: [(&str, &str, Read); 6] = [
    ("requests_received", "Requests that came in.", |standing| standing.received),
    ("events_recovered", "Events found in the journal at the start, not ended.", |standing| {
        standing.recovered
    }),
    ("events_replayed", "Events published once more by an operator's command.", |standing| standing.replayed),
    ("events_confirmed", "Events that the sink or a worker answers for.", |standing| {
        standing.of(Stand::Confirmed)
    }),
    ("events_superseded", "Events of which another replica had a copy confirmed.", |standing| {
        standing.of(Stand::Superseded)
    }),
    ("events_dropped", "Events given up by an operator's command.", |standing| standing.of(Stand::Dropped)),
];

/// Names and helps of how things stand.
const GAUGES: [(&str, &str, Read); 6] = [
    ("requests_in_progress", "Requests without an outcome yet.", |standing| standing.in_progress),
    ("relay_pending", "Events to be handed over, or on their way.", |standing| standing.of(Stand::Pending)),
    ("relay_unroutable", "Events put aside since no queue is bound for them; retried slowly.", |standing| {
        standing.of(Stand::Unroutable)
    }),
    ("relay_parked", "Events put aside since another replica claims them.", |standing| {
        standing.of(Stand::Parked)
    }),
    ("relay_held", "Events held for an operator.", |standing| standing.of(Stand::Held)),
    ("relay_poison", "Events refused each time, kept and not retried.", |standing| {
        standing.of(Stand::Poison)
    }),
];

/// Renders an account.
#[derive(Debug)]
pub(super) struct Scrape(pub(super) Arc<Account>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let rows = self.0.snapshot();
        requests(&mut encoder, &rows)?;
        for (name, help, read) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (source, standing) in &rows {
                let labels = [("source", &**source)];
                ConstCounter::new(read(standing)).encode(metric.encode_family(&labels)?)?;
            }
        }
        for (name, help, read) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (source, standing) in &rows {
                let labels = [("source", &**source)];
                let value = i64::try_from(read(standing)).unwrap_or(i64::MAX);
                ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn requests(encoder: &mut DescriptorEncoder, rows: &Rows) -> Result<(), fmt::Error> {
    let help = "Requests by what they turned out to be.";
    let mut metric = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
    for (source, standing) in rows {
        for (end, outcome) in End::ALL {
            let labels = [("source", &**source), ("outcome", outcome)];
            ConstCounter::new(standing.ended(end)).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
