//! What must hold between values, as far as the configuration alone can tell.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::layers::Origins;
use super::path::KeyPath;
use super::report::{Report, quoted};
use super::settings::{Ack, Backend, Settings};
use super::sink::Service;
use super::source::{OnLimit, OnTwin, Source};
use super::tls;
use crate::sink::rabbitmq::{NAMES_TAKEN, is_source_name};
use crate::units::{ByteSize, Span};

/// What a record in the journal may need beside the body: heads, headers and keys.
const RECORD_EXTRA: ByteSize = ByteSize::kib(64);
/// What the journal takes as the size of a segment; a multiple of 8 besides.
const SEGMENT_MIN: ByteSize = ByteSize::kib(64);
const SEGMENT_MAX: ByteSize = ByteSize::mib(1024);
/// The fewest segments a journal can turn over with: one full, one written, one made ready, one compacted.
const SEGMENTS_MIN: u64 = 4;
/// Nobody waits longer for a key.
const FETCH_MAX: Duration = Duration::from_secs(30);
const WORKERS_MAX: u16 = 512;
/// An empty history, and room for what is let go of at once.
const HISTORY_MIN: ByteSize = ByteSize::mib(16);
/// Heads that hold what senders send, and that the HTTP library takes.
const HEAD_MIN: ByteSize = ByteSize::kib(1);
const HEAD_MAX: ByteSize = ByteSize::kib(96);

/// Keys that say something of a journal or of the relay behind it.
const WITH_A_JOURNAL: [&str; 9] = [
    "journal.dir",
    "journal.segment_bytes",
    "journal.bytes_max",
    "journal.retention",
    "history.enabled",
    "history.file",
    "history.retention",
    "history.bytes_max",
    "dedup.redis_wait",
];

/// How much can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All layers are known.
    Everything,
    /// A layer could not be read, so that what is missing may be in it.
    SingleValues,
}

/// Adds to `report` what does not hold.
pub(super) fn run(settings: &Settings, scope: Scope, report: &mut Report) {
    spans(settings, report);
    numbers(settings, report);
    tls::single(settings, report);
    for (name, source) in &settings.sources {
        name_of(name, report);
        single(name, source, report);
    }
    if scope == Scope::Everything {
        listeners(settings, report);
        tls::between(settings, report);
        stores(settings, report);
        match settings.journal.ack {
            Ack::Journal => journal(settings, report),
            Ack::Confirm => confirm(settings, report),
        }
        sources(settings, report);
        quarantines(settings, report);
        masks(settings, report);
        if settings.telemetry.otlp && !cfg!(feature = "otlp") {
            let allowed = "false: this program was built without the feature `otlp` (cargo build --release --features otlp)";
            report.error("telemetry.otlp", "true", allowed);
        }
    }
}

/// A quarantine lies in the history, as do the words of bodies.
fn quarantines(settings: &Settings, report: &mut Report) {
    if settings.journal.ack == Ack::Confirm {
        return;
    }
    let all =
        settings.sources.values().filter_map(|source| source.quarantine).map(ByteSize::bytes).sum::<u64>();
    if settings.history.enabled && all > settings.history.bytes_max.bytes() / 2 {
        let found = quoted(&settings.history.bytes_max.to_string());
        let allowed = format!("at least twice what all quarantines may take, which is {all} bytes");
        report.error("history.bytes_max", found, allowed);
    }
    if settings.history.enabled {
        return;
    }
    for (name, source) in &settings.sources {
        if source.capture_bodies {
            report.error(key_of(name).key("capture_bodies"), "true", "false, or history.enabled = true");
        }
        if let Some(bytes) = source.quarantine {
            let found = quoted(&bytes.to_string());
            report.error(key_of(name).key("quarantine"), found, "no quarantine, or history.enabled = true");
        }
    }
}

/// Without a token of its own an operator is whoever calls from this machine, and a reader is one, too.
fn masks(settings: &Settings, report: &mut Report) {
    let masks = settings.sources.values().any(|source| !source.mask.is_empty());
    if masks && settings.admin.read_token.is_some() && settings.admin.token.is_none() {
        let allowed = "a reference to a token: a source masks what admin.read_token must not see, and without admin.token \
                       whoever calls by a loopback name may do everything";
        report.missing("admin.token", allowed);
    }
}

/// No wait and no window is nothing.
fn spans(settings: &Settings, report: &mut Report) {
    let Settings { ingress, fetch, journal, history, dedup, sink, notices, .. } = settings;
    let spans = [
        ("ingress.head_timeout", ingress.head_timeout),
        ("ingress.body_timeout", ingress.body_timeout),
        ("ingress.keep_alive", ingress.keep_alive),
        ("fetch.timeout", fetch.timeout),
        ("journal.retention", journal.retention),
        ("history.retention", history.retention),
        ("dedup.window", dedup.window),
        ("dedup.redis_wait", dedup.redis_wait),
        ("dedup.takeover_after", dedup.takeover_after),
        ("sink.confirm_timeout", sink.confirm_timeout),
        ("sink.lease", sink.lease),
        ("notices.secret_unused_after", notices.secret_unused_after),
    ];
    for (key, span) in spans {
        positive(key.into(), Some(span), report);
    }
    if fetch.timeout.duration() > FETCH_MAX {
        let allowed = format!("at most {} s", FETCH_MAX.as_secs());
        report.error("fetch.timeout", quoted(&fetch.timeout.to_string()), allowed);
    }
}

fn positive(key: KeyPath, span: Option<Span>, report: &mut Report) {
    if span.is_some_and(Span::is_zero) {
        report.error(key, "\"0s\"", "a duration above zero");
    }
}

fn numbers(settings: &Settings, report: &mut Report) {
    let workers = settings.ingress.workers;
    if workers > WORKERS_MAX {
        report.error(
            "ingress.workers",
            workers.to_string(),
            format!("a whole number from 0 to {WORKERS_MAX}"),
        );
    }
    let head = settings.ingress.head_bytes_max;
    if !(HEAD_MIN..=HEAD_MAX).contains(&head) {
        let allowed = format!("from \"{HEAD_MIN}\" to \"{HEAD_MAX}\"");
        report.error("ingress.head_bytes_max", quoted(&head.to_string()), allowed);
    }
    body_limit("ingress.body_rate_min".into(), settings.ingress.body_rate_min, report);
    body_limit("ingress.body_bytes_max".into(), settings.ingress.body_bytes_max, report);
    if settings.history.file.as_ref().is_some_and(|file| file.as_os_str().is_empty()) {
        report.error("history.file", quoted(""), "the path of a file");
    }
    if settings.history.bytes_max < HISTORY_MIN {
        let found = quoted(&settings.history.bytes_max.to_string());
        report.error("history.bytes_max", found, format!("at least \"{HISTORY_MIN}\""));
    }
    let dirs = [
        ("journal.dir", Some(&settings.journal.dir)),
        ("providers.dir", settings.providers.dir.as_ref()),
        ("schemas.dir", settings.schemas.dir.as_ref()),
    ];
    for (key, _) in dirs.into_iter().filter(|(_, dir)| dir.is_some_and(|dir| dir.as_os_str().is_empty())) {
        report.error(key, quoted(""), "the path of a folder");
    }
    let exchange = &settings.sink.exchange;
    if exchange.is_empty() || exchange.len() > 255 || exchange.starts_with("amq.") {
        let allowed = "a name of 1 to 255 bytes that does not begin with \"amq.\"";
        report.error("sink.exchange", quoted(exchange), allowed);
    }
}

fn body_limit(key: KeyPath, limit: ByteSize, report: &mut Report) {
    if limit.bytes() == 0 {
        report.error(key, "no byte at all", "a size above zero");
    }
}

fn key_of(source: &str) -> KeyPath {
    KeyPath::from("sources").key(source)
}

fn name_of(name: &str, report: &mut Report) {
    if NAMES_TAKEN.contains(&name) {
        report.error(key_of(name), quoted(name), "another name; the gateway has a queue of this one");
    } else if !is_source_name(name) {
        report.error(key_of(name), quoted(name), "a name of 1 to 64 characters: a-z, 0-9, \"-\", \"_\"");
    }
}

/// What holds for a source by itself.
fn single(name: &str, source: &Source, report: &mut Report) {
    let key = key_of(name);
    positive(key.key("tolerance").key("past"), source.tolerance.past, report);
    if let Some(limit) = source.body_bytes_max {
        body_limit(key.key("body_bytes_max"), limit, report);
    }
    if let Some(limit) = source.quarantine {
        body_limit(key.key("quarantine"), limit, report);
    }
    for (index, event) in source.events.iter().enumerate().filter(|(_, event)| event.trim().is_empty()) {
        report.error(key.key("events").index(index), quoted(event), "the name of an event type");
    }
}

/// The admin port is neither the public one nor open to the network without a token.
fn listeners(settings: &Settings, report: &mut Report) {
    let (ingress, admin) = (settings.ingress.listen, &settings.admin);
    if overlap(ingress, admin.listen) {
        let allowed = format!("another address than ingress.listen, {ingress}");
        report.error("admin.listen", quoted(&admin.listen.to_string()), allowed);
    }
    if settings.ingress.proxy_protocol && settings.ingress.trusted_proxies.is_empty() {
        let allowed =
            "the networks of the proxies, because with ingress.proxy_protocol nobody else may connect";
        report.missing("ingress.trusted_proxies", allowed);
    }
    if !admin.listen.ip().to_canonical().is_loopback() && admin.token.is_none() {
        let allowed = "a reference to a token, because admin.listen is not a loopback address";
        report.missing("admin.token", allowed);
    }
}

/// Whether one listener would take the other's connections. Port 0 is any free port.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let everywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (everywhere || a.ip().to_canonical() == b.ip().to_canonical())
}

/// Services that are switched on have a URL, and `confirm` has its services.
fn stores(settings: &Settings, report: &mut Report) {
    let (sink, dedup) = (&settings.sink, &settings.dedup);
    if let (Some(Service { title, variable }), None) = (sink.kind.service(), &sink.url) {
        let allowed = format!("a reference to the URL of {title}, such as {{ env = {variable:?} }}");
        report.missing("sink.url", allowed);
    }
    if dedup.backend == Backend::Redis && dedup.url.is_none() {
        report.missing("dedup.url", "a reference to the URL of Redis, such as { env = \"REDIS_URL\" }");
    }
    if settings.journal.ack == Ack::Confirm {
        let needs = [
            ("sink.kind", sink.kind.is_safe_alone(), "sink.kind = \"rabbitmq\""),
            ("dedup.backend", dedup.backend == Backend::Redis, "dedup.backend = \"redis\""),
        ];
        let lacks = |(key, holds, _): &(&str, bool, &str)| !holds && !report.tells_of(&(*key).into());
        let lacking: Vec<&str> = needs.into_iter().filter(lacks).map(|(_, _, need)| need).collect();
        if !lacking.is_empty() {
            let allowed = format!("journal; confirm needs {}", lacking.join(" and "));
            report.error("journal.ack", "\"confirm\"", allowed);
        }
    }
}

/// What needs a journal to keep an event in is not to be had without one.
fn confirm(settings: &Settings, report: &mut Report) {
    for (name, source) in &settings.sources {
        let key = key_of(name);
        if source.on_limit == Some(OnLimit::Accept) {
            let allowed = "429: journal.ack = \"confirm\" keeps nothing to relay later";
            report.error(key.key("on_limit"), quoted("accept"), allowed);
        }
        if source.on_twin == OnTwin::Hold {
            let allowed = "forward: journal.ack = \"confirm\" has nowhere to hold an event";
            report.error(key.key("on_twin"), quoted("hold"), allowed);
        }
    }
}

/// A line for each key that is set, and has no effect with what else is set.
pub(super) fn without_effect(settings: &Settings, origins: &Origins) -> Vec<String> {
    let say = |key: KeyPath, with: &str| {
        origins.is_set(&key).then(|| format!("{}: {key} has no effect with {with}", origins.place(&key)))
    };
    let of_journal: &[&str] = match settings.journal.ack {
        Ack::Journal => &[],
        Ack::Confirm => &WITH_A_JOURNAL,
    };
    let kind = settings.sink.kind;
    let with = format!("sink.kind = {:?}", kind.name());
    let of_sink = kind.keys_of_others().filter_map(|key| say(KeyPath::from("sink").key(key), &with));
    let of_journal = of_journal.iter().filter_map(|key| say((*key).into(), "journal.ack = \"confirm\""));
    let of_source = |name: &String| {
        ["quarantine", "capture_bodies"].map(|key| say(key_of(name).key(key), "journal.ack = \"confirm\""))
    };
    let confirms = settings.journal.ack == Ack::Confirm;
    let of_sources = settings.sources.keys().filter(|_| confirms).flat_map(of_source).flatten();
    of_journal.chain(of_sink).chain(of_sources).collect()
}

/// A segment holds the longest event, the journal holds the segments.
fn journal(settings: &Settings, report: &mut Report) {
    let segment = settings.journal.segment_bytes;
    let known = |key: &str, report: &Report| !report.tells_of(&key.into());
    let global = (KeyPath::from("ingress.body_bytes_max"), settings.ingress.body_bytes_max);
    let own = settings.sources.iter().filter_map(|(name, source)| {
        source.body_bytes_max.map(|limit| (key_of(name).key("body_bytes_max"), limit))
    });
    let (key, longest) = own.fold(global, |most, next| if next.1 > most.1 { next } else { most });
    match segment_for(longest) {
        Some(needed) if needed <= segment || !known("journal.segment_bytes", report) => {}
        Some(needed) => {
            let allowed = format!("at least {needed}: {key}, {longest}, and {RECORD_EXTRA} in 7/8 of it");
            report.error("journal.segment_bytes", quoted(&segment.to_string()), allowed);
        }
        None => report.error(&key, quoted(&longest.to_string()), format!("less than {}", ByteSize::MAX)),
    }
    let fits = (SEGMENT_MIN..=SEGMENT_MAX).contains(&segment) && segment.bytes().is_multiple_of(8);
    if known("journal.segment_bytes", report) && !fits {
        let allowed = format!("{SEGMENT_MIN} to {SEGMENT_MAX}, a multiple of 8 bytes");
        report.error("journal.segment_bytes", quoted(&segment.to_string()), allowed);
    }
    let (total, needed) = (settings.journal.bytes_max, segment.checked_mul(SEGMENTS_MIN));
    let both = known("journal.segment_bytes", report) && known("journal.bytes_max", report);
    if both && needed.is_none_or(|needed| total < needed) {
        let least = needed.unwrap_or(ByteSize::MAX);
        let allowed = format!("at least {least}: {SEGMENTS_MIN} segments of {segment}");
        report.error("journal.bytes_max", quoted(&total.to_string()), allowed);
    }
}

/// The smallest segment, in whole KiB, that takes a body of this length with what belongs to it: a record may be
/// 7/8 of a segment.
fn segment_for(longest: ByteSize) -> Option<ByteSize> {
    let record = longest.checked_add(RECORD_EXTRA)?;
    let kib = record.checked_mul(8)?.bytes().div_ceil(7 << 10);
    ByteSize::new(kib.checked_mul(1 << 10)?)
}

/// There is a source, each has a provider, and no two share a path.
fn sources(settings: &Settings, report: &mut Report) {
    let sources = KeyPath::from("sources");
    if settings.sources.is_empty() {
        report.missing(&sources, "at least one table [sources.<name>] with a provider, in ./hookgate.toml or the file of --config; `hookgate init PROVIDER` writes one");
    }
    let mut paths: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, source) in &settings.sources {
        if source.provider.is_empty() {
            report.missing(key_of(name).key("provider"), "the name of a provider");
        }
        let key = key_of(name).key("path");
        if let Some(first) = paths.get(source.path.as_str()) {
            let allowed = format!("a path of its own; sources.{first} has this one");
            report.error(key, quoted(source.path.as_str()), allowed);
        } else {
            paths.insert(source.path.as_str(), name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Input, load};

    #[test]
    fn listeners_overlap_by_port_and_address() {
        let overlaps = |a: &str, b: &str| overlap(a.parse().unwrap(), b.parse().unwrap());
        assert!(overlaps("0.0.0.0:80", "127.0.0.1:80"));
        assert!(overlaps("127.0.0.1:80", "[::]:80"));
        assert!(overlaps("127.0.0.1:80", "[::ffff:127.0.0.1]:80"));
        assert!(!overlaps("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!overlaps("0.0.0.0:80", "0.0.0.0:81"));
        assert!(!overlaps("127.0.0.1:0", "127.0.0.1:0"));
    }

    /// Every duration that has a default, whoever adds one.
    #[test]
    fn no_duration_may_be_zero() {
        let load = |key: &str, value: &str| {
            let flags = [("sources.a.provider", "stripe"), (key, value)];
            let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            load(Input { file: None, env: std::iter::empty::<(&str, &str)>().collect(), flags, dev: false })
        };
        let all = load("sink.kind", "inbox").unwrap().in_force().unwrap();
        let is_span =
            |value: &serde_json::Value| value.as_str().is_some_and(|text| text.parse::<Span>().is_ok());
        let spans: Vec<String> =
            all.into_iter().filter(|one| is_span(&one.value)).map(|one| one.key).collect();
        assert!(spans.len() >= 12, "{spans:?}");
        for key in spans {
            let told =
                load(&key, "0s").map(|_| "nothing".to_owned()).unwrap_or_else(|report| report.to_string());
            let wanted = format!("{key}: found \"0s\"; allowed: a duration above zero");
            assert!(told.contains(&wanted), "`spans` passes {key} over: {told}");
        }
    }
}
