//! `deploy/metrics.md`, held against what is registered: names, kinds, labels, and the values of labels that are closed sets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::way_in::Ending;
use super::{KeyFetch, Metrics, Visit};
use crate::clock::Timestamp;

/// Labels whose values come from the configuration.
const NAMES: [&str; 3] = ["source", "secret", "sink"];
/// Closed sets whose values stand elsewhere: refusals and causes in the reference; notices are held by their own room's test.
const ELSEWHERE: [(&str, &str); 4] = [
    ("hookgate_rejected_total", "reason"),
    ("hookgate_reject_causes_total", "cause"),
    ("hookgate_notice", "notice"),
    ("hookgate_build_info", "version"),
];

/// What the table says of a metric, or a scrape shows of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
    /// Of closed sets; in the table the words between backticks.
    values: BTreeSet<String>,
}

type Families = BTreeMap<String, Family>;

/// By name: of counters with `_total`.
fn in_the_table() -> Families {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.trim_end_matches(" |").splitn(3, " | ");
        let name = cells.next()?.trim_end_matches('`').trim_end_matches('}');
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        let kind = cells.next()?.to_owned();
        let labels: BTreeSet<String> =
            labels.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect();
        let mut values = BTreeSet::new();
        if labels.iter().any(|label| is_closed(name, label)) {
            let quoted = cells.next()?.split('`').skip(1).step_by(2).map(str::to_owned);
            values = quoted.filter(|word| !labels.contains(word)).collect();
        }
        Some((name.to_owned(), Family { kind, labels, values }))
    };
    include_str!("../../deploy/metrics.md").lines().filter_map(row).collect()
}

fn is_closed(name: &str, label: &str) -> bool {
    !NAMES.contains(&label) && !ELSEWHERE.contains(&(name, label))
}

/// The families of a scrape, by the same names.
fn in_a_scrape(text: &str) -> Families {
    let mut found: Vec<(String, Family)> = Vec::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let end = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            found.push((format!("{name}{end}"), Family { kind: kind.to_owned(), ..Family::default() }));
        } else if let Some((name, family)) = found.last_mut().filter(|_| !line.starts_with('#')) {
            let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            for (label, value) in
                labels.iter().flat_map(|(all, _)| all.split(',')).filter_map(|one| one.split_once('='))
            {
                if label != "le" {
                    family.labels.insert(label.to_owned());
                }
                if label != "le" && is_closed(name, label) {
                    family.values.insert(value.trim_matches('"').to_owned());
                }
            }
        }
    }
    found.into_iter().collect()
}

/// Metrics of which each family has a member, as it shows in a scrape only then; of closed sets each.
fn with_members() -> Metrics {
    let mut metrics = Metrics::new();
    metrics.confirm();
    metrics.source("shop", ["live".into()].into_iter()).begin().end(Ending::Filtered);
    metrics.relay("rabbitmq").lag("shop").observe(0.1);
    metrics.explained("shop", "unknown");
    metrics.set_oldest("shop", Duration::ZERO);
    metrics.key_fetches("shop").count(KeyFetch::Fetched);
    metrics.visits().count(Visit::Done);
    metrics.notices().set("held", "shop", 1);
    metrics.notices().set_silent("shop", false);
    metrics.letters();
    for from in ["files", "acme"] {
        metrics.tls().set_end(from, Timestamp::from_seconds(1));
    }
    metrics
}

#[test]
fn the_table_for_operators_says_what_is_registered_and_nothing_else() {
    let text = with_members().encode();
    let (found, told) = (in_a_scrape(&text), in_the_table());
    for (name, family) in &found {
        assert_eq!(Some(family), told.get(name), "{name}: found in a scrape, and in deploy/metrics.md");
        let help = format!("# HELP {} ", name.trim_end_matches("_total").trim_end_matches("_info"));
        assert!(text.contains(&help), "{name} has no help");
    }
    let gone: Vec<_> = told.keys().filter(|name| !found.contains_key(*name)).collect();
    assert!(gone.is_empty(), "deploy/metrics.md has what no scrape shows: {gone:?}");
}

/// A family without a member shows in no scrape, so the table above could miss it. The registry tells its descriptors to
/// nobody but `Debug`.
#[test]
fn every_family_that_is_registered_has_a_member_in_this_test() {
    let metrics = with_members();
    let (registry, scrape) = (format!("{:?}", metrics.registry), in_a_scrape(&metrics.encode()));
    let shown: BTreeSet<&str> =
        scrape.keys().map(|name| name.trim_end_matches("_total").trim_end_matches("_info")).collect();
    let (mut prefix, mut seen) = ("", 0);
    for piece in registry.split("Some(Prefix(\"").skip(1) {
        prefix = piece.split('"').next().unwrap_or(prefix);
        for descriptor in piece.split("Descriptor { name: \"").skip(1) {
            let name = descriptor.split('"').next().unwrap_or_default();
            let unit = descriptor.split("unit: ").nth(1).unwrap_or_default();
            let unit = if unit.starts_with("Some(Seconds") {
                "_seconds"
            } else if unit.starts_with("Some(Bytes") {
                "_bytes"
            } else {
                ""
            };
            let name = format!("{prefix}_{name}{unit}");
            assert!(shown.contains(&*name), "{name} is registered; give it a member in `with_members`");
            seen += 1;
        }
    }
    // The account is a collector, with names of its own that every scrape shows.
    assert!(seen > 30, "only {seen} descriptors were found in {registry}");
}
