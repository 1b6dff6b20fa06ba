//! A scrape, read as strictly as OpenMetrics writes it, and the account in it.

use std::collections::{BTreeMap, BTreeSet};

/// A metric family.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    /// Name without the family's, labels, value.
    pub samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// All families of one scrape.
#[derive(Debug)]
pub struct Scrape(pub BTreeMap<String, Family>);

/// The terms of what was received, and of what was kept, beside the outcomes of requests.
const STARTED: [&str; 2] = ["events_recovered", "events_replayed"];
const ENDED: [&str; 3] = ["events_confirmed", "events_superseded", "events_dropped"];
const STANDING: [&str; 5] =
    ["relay_held", "relay_pending", "relay_unroutable", "relay_parked", "relay_poison"];

impl Scrape {
    /// Reads a scrape; panics at whatever the format does not allow.
    pub fn read(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
        let (mut families, mut current) = (BTreeMap::<String, Family>::new(), String::new());
        for line in body.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", word @ ("HELP" | "TYPE" | "UNIT"), name, rest] => {
                    if name != current {
                        assert!(!families.contains_key(name), "{name} is not in one piece");
                        name.clone_into(&mut current);
                    }
                    let family = families.entry(current.clone()).or_default();
                    assert!(family.samples.is_empty(), "{line}: after samples");
                    match word {
                        "HELP" => rest.clone_into(&mut family.help),
                        "TYPE" => rest.clone_into(&mut family.kind),
                        _ => assert!(
                            name.ends_with(&format!("_{rest}")),
                            "{line}: the name ends with its unit"
                        ),
                    }
                }
                _ => {
                    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
                    let (name, labels) = split(series);
                    let end = name.strip_prefix(&current).unwrap_or_else(|| panic!("{line} in {current}"));
                    let value = value.parse().unwrap_or_else(|_| panic!("{line}: no number"));
                    families.get_mut(&current).unwrap().samples.push((end.to_owned(), labels, value));
                }
            }
        }
        let scrape = Self(families);
        scrape.0.iter().for_each(|(name, family)| family.check(name));
        scrape
    }

    fn of(&self, family: &str, wanted: &[(&str, &str)]) -> f64 {
        let family = self.0.get(&format!("hookgate_{family}")).unwrap_or_else(|| panic!("no {family}"));
        let fits = |labels: &BTreeMap<String, String>| {
            wanted.iter().all(|(key, value)| labels.get(*key).is_some_and(|found| found == value))
        };
        family.samples.iter().filter(|(_, labels, _)| fits(labels)).map(|(_, _, value)| value).sum()
    }

    /// The value of a term of the account over all sources.
    pub fn term(&self, family: &str) -> f64 {
        self.of(family, &[])
    }

    /// Requests with that outcome.
    pub fn outcome(&self, outcome: &str) -> f64 {
        self.of("requests", &[("outcome", outcome)])
    }

    /// Both equations hold, for each source and in sum.
    pub fn closes(&self) {
        let received = &self.0["hookgate_requests_received"].samples;
        let sources: BTreeSet<&str> =
            received.iter().map(|(_, labels, _)| labels["source"].as_str()).collect();
        let one = |source| vec![("source", source)];
        for labels in sources.into_iter().map(one).chain([Vec::new()]) {
            let of = |family: &&str| self.of(family, &labels);
            let ended = of(&"requests") + of(&"requests_in_progress");
            assert_eq!(of(&"requests_received"), ended, "requests of {labels:?}");
            let accepted: Vec<_> = labels.iter().copied().chain([("outcome", "accepted")]).collect();
            let kept = self.of("requests", &accepted) + STARTED.iter().map(of).sum::<f64>();
            let stands: Vec<_> = ENDED.iter().chain(&STANDING).map(|term| (*term, of(term))).collect();
            let sum: f64 = stands.iter().map(|(_, value)| value).sum();
            assert_eq!(kept, sum, "events of {labels:?}: {stands:?}");
        }
    }

    /// Nothing is on its way, in or out.
    pub fn is_at_rest(&self) -> bool {
        let moving = ["requests_in_progress", "relay_pending", "relay_unroutable", "relay_parked"];
        moving.iter().all(|family| self.term(family) == 0.0)
    }

    /// Series of counters and histograms that have counted something: their families.
    pub fn counted(&self) -> impl Iterator<Item = &str> {
        let counts = |family: &Family| ["counter", "histogram"].contains(&family.kind.as_str());
        let moved = |family: &Family| family.samples.iter().any(|(_, _, value)| *value > 0.0);
        let counted = self.0.iter().filter(move |(_, family)| counts(family) && moved(family));
        counted.map(|(name, _)| name.as_str())
    }
}

/// Name and labels of a series.
fn split(series: &str) -> (&str, BTreeMap<String, String>) {
    let Some((name, rest)) = series.split_once('{') else { return (series, BTreeMap::new()) };
    let mut rest = rest.strip_suffix('}').unwrap_or_else(|| panic!("{series}"));
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (key, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{series}"));
        let (value, left) = value.split_once('"').unwrap_or_else(|| panic!("{series}"));
        assert!(key.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{series}: label {key}");
        assert!(labels.insert(key.to_owned(), value.to_owned()).is_none(), "{series}: {key} twice");
        rest = left.strip_prefix(',').unwrap_or(left);
    }
    (name, labels)
}

impl Family {
    fn check(&self, name: &str) {
        assert!(!self.help.is_empty() && self.help.ends_with('.'), "{name}: help «{}»", self.help);
        assert!(name.starts_with("hookgate_") || name.starts_with("process_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        let ends: &[&str] = match self.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_sum", "_count", "_bucket"],
            kind => panic!("{name}: {kind}"),
        };
        let mut series = BTreeSet::new();
        for (end, labels, value) in &self.samples {
            assert!(ends.contains(&end.as_str()), "{name}{end} in a {}", self.kind);
            assert!(series.insert((end, labels)), "{name}{end}{labels:?} stands twice");
            assert!(value.is_finite() && (self.kind == "gauge" || *value >= 0.0), "{name}: {value}");
        }
        if self.kind == "histogram" {
            self.check_buckets(name);
        }
    }

    fn check_buckets(&self, name: &str) {
        let mut last: BTreeMap<BTreeMap<String, String>, (f64, f64)> = BTreeMap::new();
        for (_, labels, value) in self.samples.iter().filter(|(end, _, _)| end == "_bucket") {
            let mut labels = labels.clone();
            let bound: f64 = labels.remove("le").unwrap().parse().unwrap();
            let before = last.insert(labels, (bound, *value));
            assert!(
                before.is_none_or(|before| before.0 < bound && before.1 <= *value),
                "{name}: not cumulative"
            );
        }
        for (_, labels, value) in self.samples.iter().filter(|(end, _, _)| end == "_count") {
            assert_eq!(last.get(labels), Some(&(f64::INFINITY, *value)), "{name}: the last bucket is all");
        }
    }
}
