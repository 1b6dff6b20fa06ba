//! Finds what there is to tell in a situation, and remembers from one to the next what that needs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::silence::{Learnt, SilentAfter};
use crate::clock::Timestamp;
use crate::metrics::{SourceSeen, Stand};
use crate::units::lasting;

/// Percents of the room for unconfirmed events from which on it is filling, and below which it no longer is.
const FILLING: u64 = 80;
const FILLED_LESS: u64 = 70;
/// A certificate that ends sooner is told of.
pub const CERTIFICATE_ENDS_WITHIN: Duration = Duration::from_secs(14 * 24 * 3600);
/// Signed times further ahead of this clock in seconds, or further behind it, are wrong, or so is this clock. Deliveries
/// come late for good reasons, and early for none.
const AHEAD: f64 = 30.0;
const BEHIND: f64 = 150.0;
/// So many of a source in a row, over so long, that one sender's mistake is none of a clock.
const OFFSETS: u32 = 5;
const OFFSETS_OVER: Duration = Duration::from_secs(30);
/// After so long without another one, they tell nothing of now.
const OFFSETS_AGE: Duration = Duration::from_secs(3600);

/// How a gateway stands.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    /// Wall time.
    pub now: Timestamp,
    /// Monotonic time.
    pub elapsed: Duration,
    /// The sources that it has.
    pub sources: Vec<SourceNow>,
    /// The room for unconfirmed events, with a journal.
    pub room: Option<Room>,
    /// Why what events are handed over to takes none.
    pub sink_trouble: Option<String>,
    /// Redis is in use and does not answer.
    pub redis_away: bool,
    /// The end of the certificate that the public listener shows.
    pub certificate_ends: Option<Timestamp>,
    /// When the gateway began to be taken out, where it is.
    pub draining_since: Option<Timestamp>,
    /// For how long one of several secrets proves nothing before it is told of.
    pub secret_unused_after: Duration,
}

/// How a source stands.
#[derive(Clone, Debug)]
pub struct SourceNow {
    /// Its name.
    pub name: Arc<str>,
    /// What was counted of it.
    pub seen: SourceSeen,
    /// The labels of those of its secrets that an operator sets.
    pub secrets: Vec<Arc<str>>,
    /// When it counts as silent.
    pub silent_after: SilentAfter,
}

/// The room for unconfirmed events, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// What they take.
    pub taken: u64,
    /// What they may take.
    pub all: u64,
    /// There is none for another one, be it for want of disk.
    pub is_full: bool,
}

/// What a notice is about, as far as it is not all of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// A source.
    pub source: Option<Arc<str>>,
    /// One of its secrets, by label.
    pub secret: Option<Arc<str>>,
}

impl Subject {
    /// A source.
    pub fn source(source: &Arc<str>) -> Self {
        Self { source: Some(Arc::clone(source)), secret: None }
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What kind.
    pub kind: Kind,
    /// About what.
    pub subject: Subject,
    /// In a sentence.
    pub text: String,
}

/// What of a source outlives a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// How long it is quiet as a rule.
    learnt: Learnt,
    /// For how many milliseconds it had been quiet when this was written down. While no gateway runs, nobody is silent.
    quiet_ms: u64,
    /// Whether there was an event before.
    heard: bool,
}

/// Finds notices.
#[derive(Default)]
pub struct Judge {
    sources: HashMap<Arc<str>, Watched>,
    kept: BTreeMap<String, Kept>,
    is_filling: bool,
}

struct Watched {
    learnt: Learnt,
    /// Requests with proof of their sender at the last look, whatever became of them.
    proven: u64,
    /// When the last event was seen, or the first look was (monotonic).
    quiet_since: Duration,
    /// How long it had been quiet by then.
    quiet_before: Duration,
    /// An event was seen, so that the gap to the next one is known.
    heard: bool,
    /// How many events found no queue at the last look.
    unroutable: u64,
    offset: Offset,
    secrets: HashMap<Arc<str>, Use>,
}

/// A row of signed times that lie too far from this clock.
#[derive(Default)]
struct Offset {
    last: f64,
    row: u32,
    since: Duration,
    /// When the last one was seen (monotonic).
    seen: Duration,
    nearest: f64,
}

struct Use {
    count: u64,
    /// When it was seen in use last, or for the first time (monotonic).
    since: Duration,
    /// It was in use.
    proves: bool,
}

impl Judge {
    /// With what was learnt by an earlier process.
    pub fn remembering(kept: BTreeMap<String, Kept>) -> Self {
        let kept = kept.into_iter().filter(|(_, kept)| kept.learnt.is_sound()).collect();
        Self { kept, ..Self::default() }
    }

    /// What an heir should know, at that monotonic time.
    pub fn keeps(&self, elapsed: Duration) -> BTreeMap<String, Kept> {
        let of = |(name, watched): (&Arc<str>, &Watched)| {
            let quiet_ms = u64::try_from(watched.quiet(elapsed).as_millis()).unwrap_or(u64::MAX);
            (name.to_string(), Kept { learnt: watched.learnt.clone(), quiet_ms, heard: watched.heard })
        };
        // What no look has come to yet is handed on as it is.
        let before = self.kept.iter().map(|(name, kept)| (name.clone(), kept.clone()));
        before.chain(self.sources.iter().map(of)).collect()
    }

    /// All that there is to tell of a situation.
    pub fn look(&mut self, situation: &Situation) -> Vec<Found> {
        let names: HashSet<&str> = situation.sources.iter().map(|source| &*source.name).collect();
        self.sources.retain(|name, _| names.contains(&**name));
        let mut found = Vec::new();
        for source in &situation.sources {
            let kept = &mut self.kept;
            let watched = self
                .sources
                .entry(Arc::clone(&source.name))
                .or_insert_with(|| Watched::new(source, kept.remove(&*source.name), situation));
            watched.look(source, situation, &mut found);
        }
        // What is left is of sources that are none any more.
        self.kept.clear();
        self.gateway(situation, &mut found);
        found
    }

    fn gateway(&mut self, situation: &Situation, found: &mut Vec<Found>) {
        let mut tell = |kind, text| found.push(Found { kind, subject: Subject::default(), text });
        let percents = situation.room.map_or(0, |room| room.taken.saturating_mul(100) / room.all.max(1));
        let is_full = situation.room.is_some_and(|room| room.is_full);
        self.is_filling = is_full || percents >= FILLING || (self.is_filling && percents >= FILLED_LESS);
        if self.is_filling {
            let end = if is_full { ", and there is none for another one" } else { "" };
            let text = format!("unconfirmed events take {percents} % of the room that they may{end}");
            tell(Kind::JournalFilling, text);
        }
        if let Some(trouble) = &situation.sink_trouble {
            tell(Kind::SinkAway, format!("events are not handed over: {trouble}"));
        }
        if situation.redis_away {
            tell(Kind::RedisAway, "Redis does not answer".to_owned());
        }
        if let Some(since) = situation.draining_since {
            tell(Kind::Draining, format!("this gateway is taken out since {since}: deliveries go elsewhere"));
        }
        match situation.certificate_ends {
            Some(ends) if ends <= situation.now => {
                tell(Kind::CertificateEnding, format!("the TLS certificate has ended, on {ends}"));
            }
            Some(ends) if ends <= situation.now.plus(CERTIFICATE_ENDS_WITHIN) => {
                tell(Kind::CertificateEnding, format!("the TLS certificate ends on {ends}"));
            }
            Some(_) | None => {}
        }
    }
}

impl Watched {
    fn new(source: &SourceNow, kept: Option<Kept>, situation: &Situation) -> Self {
        let Kept { learnt, quiet_ms, heard } = kept.unwrap_or_default();
        Self {
            learnt,
            proven: source.seen.proven(),
            quiet_since: situation.elapsed,
            quiet_before: Duration::from_millis(quiet_ms),
            heard,
            unroutable: 0,
            offset: Offset::default(),
            secrets: HashMap::new(),
        }
    }

    fn quiet(&self, elapsed: Duration) -> Duration {
        elapsed.saturating_sub(self.quiet_since).saturating_add(self.quiet_before)
    }

    fn look(&mut self, source: &SourceNow, situation: &Situation, found: &mut Vec<Found>) {
        let mut tell = |kind, text| {
            found.push(Found { kind, subject: Subject::source(&source.name), text });
        };
        if let Some(text) = self.silence(source, situation.elapsed) {
            tell(Kind::SourceSilent, text);
        }
        let standing = |stand| Some(source.seen.standing.of(stand)).filter(|events| *events > 0);
        // What is tried once more while the destination is away waits with the others: it found no queue all the same.
        let before = Some(self.unroutable).filter(|events| *events > 0 && situation.sink_trouble.is_some());
        let unroutable = standing(Stand::Unroutable).max(before);
        self.unroutable = unroutable.unwrap_or(0);
        if let Some(events) = unroutable {
            tell(Kind::Unroutable, format!("{} no queue", are(events, "finds", "find")));
        }
        if let Some(events) = standing(Stand::Poison) {
            tell(Kind::Poison, format!("{} refused each time", are(events, "is", "are")));
        }
        if let Some(events) = standing(Stand::Held) {
            tell(Kind::Held, format!("{} for an operator", are(events, "waits", "wait")));
        }
        if let Some(text) = self.offset.look(source.seen.clock_offset, situation.elapsed) {
            tell(Kind::ClockOffset, text);
        }
        self.secrets(source, situation, found);
    }

    fn silence(&mut self, source: &SourceNow, elapsed: Duration) -> Option<String> {
        // Fewer are those of a secret that was taken out meanwhile.
        let proven = std::mem::replace(&mut self.proven, source.seen.proven());
        if self.proven > proven {
            if self.heard {
                self.learnt.note(self.quiet(elapsed));
            }
            (self.quiet_since, self.quiet_before, self.heard) = (elapsed, Duration::ZERO, true);
        }
        let limit = self.learnt.limit(source.silent_after)?;
        let quiet = self.quiet(elapsed);
        if quiet <= limit {
            return None;
        }
        let known = match source.silent_after {
            SilentAfter::Usual => self.learnt.usual().map_or_else(String::new, |usual| {
                format!("; as a rule it is quiet for {} at most", lasting(usual))
            }),
            SilentAfter::Time(_) | SilentAfter::Never => String::new(),
        };
        Some(format!("no event for more than {}{known}", lasting(limit)))
    }

    /// Those that proved nothing for so long, while another one of the source's did.
    fn secrets(&mut self, source: &SourceNow, situation: &Situation, found: &mut Vec<Found>) {
        let elapsed = situation.elapsed;
        self.secrets.retain(|label, _| source.secrets.contains(label));
        for (label, count) in &source.seen.secrets {
            if !source.secrets.contains(label) {
                continue;
            }
            let of = |proves| Use { count: *count, since: elapsed, proves };
            let used = self.secrets.entry(Arc::clone(label)).or_insert_with(|| of(false));
            if used.count != *count {
                *used = of(true);
            }
        }
        let proving = self.secrets.values().filter(|used| used.proves);
        let Some(newest) = proving.map(|used| used.since).max() else { return };
        let after = situation.secret_unused_after;
        for (label, used) in &self.secrets {
            if newest.saturating_sub(used.since) >= after {
                let text = format!(
                    "secret {label:?} has proven nothing for more than {}, while others have",
                    lasting(after)
                );
                let secret = Some(Arc::clone(label));
                let subject = Subject { secret, ..Subject::source(&source.name) };
                found.push(Found { kind: Kind::SecretUnused, subject, text });
            }
        }
    }
}

impl Offset {
    /// `offset` is this clock less the last signed time, in seconds.
    fn look(&mut self, offset: f64, elapsed: Duration) -> Option<String> {
        // One that stands still is no further delivery.
        if offset.to_bits() != self.last.to_bits() {
            (self.last, self.seen) = (offset, elapsed);
            if (-AHEAD..=BEHIND).contains(&offset) {
                self.row = 0;
            } else {
                self.since = if self.row == 0 { elapsed } else { self.since };
                let nearer = self.row == 0 || offset.abs() < self.nearest.abs();
                self.nearest = if nearer { offset } else { self.nearest };
                self.row = self.row.saturating_add(1);
            }
        }
        if elapsed.saturating_sub(self.seen) >= OFFSETS_AGE {
            self.row = 0;
        }
        let long = elapsed.saturating_sub(self.since) >= OFFSETS_OVER;
        (self.row >= OFFSETS && long).then(|| {
            let side = if self.nearest < 0.0 { "ahead of" } else { "behind" };
            format!("signed times lie {:.0} s or more {side} this clock", self.nearest.abs())
        })
    }
}

fn are(events: u64, one: &str, many: &str) -> String {
    if events == 1 { format!("1 event {one}") } else { format!("{events} events {many}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Ending, Metrics, Outcome, SourceMetrics};
    use crate::reject::Reject;

    /// A gateway with a source, at a time of its own.
    struct Bench {
        judge: Judge,
        metrics: SourceMetrics,
        situation: Situation,
        silent_after: SilentAfter,
        labels: Vec<Arc<str>>,
    }

    impl Bench {
        fn new(labels: &[&str]) -> Self {
            let labels: Vec<Arc<str>> =
                labels.iter().chain(&["live"]).map(|label| Arc::from(*label)).collect();
            Self {
                judge: Judge::default(),
                metrics: Metrics::new().source("shop", labels.clone().into_iter()),
                situation: Situation {
                    now: Timestamp::from_seconds(1_800_000_000),
                    secret_unused_after: Duration::from_secs(24 * 3600),
                    ..Situation::default()
                },
                silent_after: SilentAfter::Usual,
                labels,
            }
        }

        fn pass(&mut self, seconds: u64) {
            let time = Duration::from_secs(seconds);
            self.situation.elapsed += time;
            self.situation.now = self.situation.now.plus(time);
        }

        fn event(&self) {
            self.metrics.verified("live", Timestamp::default());
            self.metrics.begin().end(Ending::Kept(Outcome::New));
        }

        fn look(&mut self) -> Vec<Found> {
            self.situation.sources = vec![SourceNow {
                name: "shop".into(),
                seen: self.metrics.seen(),
                secrets: self.labels.clone(),
                silent_after: self.silent_after,
            }];
            self.judge.look(&self.situation)
        }

        fn kinds(&mut self) -> Vec<Kind> {
            self.look().iter().map(|found| found.kind).collect()
        }

        /// An event every minute, for so many of them.
        fn minutes(&mut self, minutes: u32) {
            for _ in 0..minutes {
                self.pass(60);
                self.event();
                assert_eq!(self.kinds(), []);
            }
        }

        /// Another process of the same gateway, after a pause.
        fn restarted(self, seconds: u64) -> Self {
            let kept = self.judge.keeps(self.situation.elapsed);
            let text = serde_json::to_string(&kept).unwrap();
            let judge = Judge::remembering(serde_json::from_str(&text).unwrap());
            let mut next = Self::new(&[]);
            next.situation.now = self.situation.now.plus(Duration::from_secs(seconds));
            Self { judge, ..next }
        }
    }

    #[test]
    fn a_source_is_silent_once_it_is_quiet_for_far_longer_than_usual_and_until_its_next_event() {
        let mut bench = Bench::new(&[]);
        bench.minutes(1500);
        bench.pass(9 * 60);
        assert_eq!(bench.kinds(), []);
        bench.pass(2 * 60);
        let found = bench.look();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].kind, found[0].subject.source.as_deref()), (Kind::SourceSilent, Some("shop")));
        assert_eq!(found[0].text, "no event for more than 10 min; as a rule it is quiet for 64 s at most");
        bench.event();
        assert_eq!(bench.kinds(), []);
    }

    #[test]
    fn what_is_proven_is_a_sign_of_life_whatever_becomes_of_it_and_nothing_else_is() {
        let mut bench = Bench::new(&[]);
        bench.silent_after = SilentAfter::Time(Duration::from_secs(60));
        assert_eq!(bench.kinds(), []);
        for ending in [Ending::Duplicate, Ending::Filtered, Ending::Refused(Reject::JournalFull)] {
            bench.pass(61);
            assert_eq!(bench.kinds(), [Kind::SourceSilent]);
            bench.metrics.verified("live", Timestamp::default());
            bench.metrics.begin().end(ending);
            assert_eq!(bench.kinds(), []);
        }
        bench.pass(61);
        bench.metrics.begin().end(Ending::Refused(Reject::SignatureMismatch));
        bench.metrics.begin().end(Ending::Handshake);
        assert_eq!(bench.kinds(), [Kind::SourceSilent], "anybody can send these");
        bench.silent_after = SilentAfter::Never;
        assert_eq!(bench.kinds(), []);
    }

    #[test]
    fn what_was_learnt_and_the_silence_itself_outlive_a_restart() {
        let mut bench = Bench::new(&[]);
        bench.minutes(1500);
        bench.pass(5 * 60);
        assert_eq!(bench.kinds(), []);
        let mut next = bench.restarted(3600);
        assert_eq!(next.kinds(), [], "nobody was silent while there was no gateway");
        next.pass(4 * 60);
        assert_eq!(next.kinds(), [], "nine minutes");
        next.pass(2 * 60);
        assert_eq!(next.kinds(), [Kind::SourceSilent]);
        let mut third = next.restarted(1);
        assert_eq!(third.kinds(), [Kind::SourceSilent], "a restart is no event");
        third.event();
        assert_eq!(third.kinds(), []);
        let mut other = Bench::new(&[]);
        other.judge = Judge::remembering(third.judge.keeps(third.situation.elapsed));
        let text = |judge: &Judge, elapsed| serde_json::to_string(&judge.keeps(elapsed)).unwrap();
        let (heir, own) = (text(&other.judge, Duration::MAX), text(&third.judge, third.situation.elapsed));
        assert_eq!(heir, own, "one that ends before its first look forgets nothing");
        third.pass(11 * 60);
        assert_eq!(third.kinds(), [Kind::SourceSilent], "one long gap is not usual");
    }

    #[test]
    fn nights_are_learnt_though_the_gateway_is_started_anew_in_each() {
        let mut bench = Bench::new(&[]);
        for night in 0..10 {
            for _ in 0..600 {
                bench.pass(60);
                bench.event();
                drop(bench.look());
            }
            bench.pass(7 * 3600);
            drop(bench.look());
            bench = bench.restarted(30);
            drop(bench.look());
            bench.pass(7 * 3600);
            assert_eq!(bench.kinds(), [], "night {night}");
        }
    }

    #[test]
    fn where_events_stand_is_told_with_their_number() {
        let metrics = Metrics::new();
        let source = metrics.source("shop", std::iter::empty());
        let (account, row) = (metrics.account(), metrics.account().row("shop"));
        account.recovered(row, Stand::Unroutable, 1);
        account.recovered(row, Stand::Poison, 2);
        account.recovered(row, Stand::Held, 3);
        account.recovered(row, Stand::Pending, 4);
        let mut bench = Bench { metrics: source, ..Bench::new(&[]) };
        let told: Vec<_> = bench.look().into_iter().map(|found| (found.kind, found.text)).collect();
        let text = |kind, text: &str| (kind, text.to_owned());
        assert_eq!(
            told,
            [
                text(Kind::Unroutable, "1 event finds no queue"),
                text(Kind::Poison, "2 events are refused each time"),
                text(Kind::Held, "3 events wait for an operator"),
            ]
        );
    }

    #[test]
    fn room_that_is_nearly_taken_is_told_of_until_some_is_free_again() {
        let mut bench = Bench::new(&[]);
        let mut with = |taken| {
            bench.situation.room = Some(Room { taken, all: 1000, is_full: false });
            bench.kinds()
        };
        assert_eq!([with(799), with(800), with(1000)].map(|kinds| kinds.len()), [0, 1, 1]);
        assert_eq!([with(750), with(700), with(699), with(750)].map(|kinds| kinds.len()), [1, 1, 0, 0]);
        bench.situation.room = Some(Room { taken: u64::MAX, all: 0, is_full: false });
        assert_eq!(bench.kinds(), [Kind::JournalFilling], "nothing overflows");
        bench.situation.room = Some(Room { taken: 0, all: 1000, is_full: true });
        let text = bench.look().remove(0).text;
        assert!(text.contains("0 %") && text.ends_with("none for another one"), "the disk is full: {text}");
    }

    #[test]
    fn services_that_are_away_and_a_certificate_near_its_end_are_told_of() {
        let mut bench = Bench::new(&[]);
        let now = bench.situation.now;
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        bench.situation.sink_trouble = Some("rabbitmq: connecting (refused)".to_owned());
        bench.situation.redis_away = true;
        bench.situation.certificate_ends = Some(now.plus(days(14)));
        let found = bench.look();
        let kinds: Vec<_> = found.iter().map(|found| found.kind).collect();
        assert_eq!(kinds, [Kind::SinkAway, Kind::RedisAway, Kind::CertificateEnding]);
        assert!(found[0].text.contains("connecting (refused)"), "{found:?}");
        assert!(found.iter().all(|found| found.subject == Subject::default()));
        bench.situation =
            Situation { certificate_ends: Some(now.plus(days(15))), now, ..Situation::default() };
        assert_eq!(bench.kinds(), []);
        bench.situation.certificate_ends = Some(now.minus(days(1)));
        assert!(bench.look()[0].text.contains("has ended"));
    }

    #[test]
    fn a_row_of_signed_times_far_from_this_clock_is_told_of_and_a_single_one_is_not() {
        let mut bench = Bench::new(&[]);
        let deliver = |bench: &mut Bench, behind: i64| {
            bench.pass(10);
            bench.metrics.signed(behind);
            bench.look()
        };
        for behind in [-40_000, -41_000, 1_000, -42_000, 200_000, 149_000] {
            assert_eq!(deliver(&mut bench, behind), [], "one in between is right");
        }
        for behind in [-50_000, -40_000, -60_000, -70_000] {
            assert_eq!(deliver(&mut bench, behind), []);
        }
        let found = deliver(&mut bench, -80_000);
        assert_eq!(found[0].kind, Kind::ClockOffset);
        assert_eq!(found[0].text, "signed times lie 40 s or more ahead of this clock");
        bench.pass(3590);
        assert_eq!(bench.kinds(), [Kind::ClockOffset], "until one is right");
        assert_eq!(deliver(&mut bench, 0), []);
        (0..5).for_each(|n| drop(deliver(&mut bench, -90_000 - n)));
        assert_eq!(bench.kinds(), [Kind::ClockOffset]);
        bench.pass(3600);
        assert_eq!(bench.kinds(), [], "or none has come for an hour");
        let late: Vec<_> = (0..5).map(|n| deliver(&mut bench, 200_000 + n)).collect();
        assert!(late[4][0].text.contains("200 s or more behind"), "{late:?}");
    }

    #[test]
    fn a_secret_that_proves_nothing_while_another_does_is_told_of() {
        let mut bench = Bench::new(&["old", "new", "fetched"]);
        bench.labels.truncate(2);
        bench.silent_after = SilentAfter::Never;
        assert_eq!(bench.kinds(), []);
        for hour in 0..30 {
            bench.pass(3600);
            bench.metrics.verified("new", Timestamp::default());
            bench.metrics.verified("fetched", Timestamp::default());
            if hour < 3 {
                bench.metrics.verified("old", Timestamp::default());
            }
            let (found, due) = (bench.look(), hour >= 26);
            assert_eq!(found.len(), usize::from(due), "hour {hour}: {found:?}");
            if let Some(found) = found.first() {
                assert_eq!((found.kind, found.subject.secret.as_deref()), (Kind::SecretUnused, Some("old")));
                assert!(found.text.contains("\"old\"") && found.text.contains("24 h"), "{found:?}");
            }
        }
        bench.metrics.verified("old", Timestamp::default());
        assert_eq!(bench.kinds(), [], "in use after all");
        bench.pass(48 * 3600);
        assert_eq!(bench.kinds(), [], "where nothing comes, no secret is worse than another");
        bench.labels.remove(0);
        bench.metrics.verified("new", Timestamp::default());
        assert_eq!(bench.kinds(), [], "removed");
        bench.pass(48 * 3600);
        bench.labels.push("fetched".into());
        assert_eq!(bench.kinds(), [], "a further one has proven nothing yet, and accuses nobody");
    }
}
