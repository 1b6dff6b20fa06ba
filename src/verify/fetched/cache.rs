//! What is known of a source's key URLs, and when each may be asked again. Bounded, and without I/O: time is told it.
//!
//! A stranger can name any id and any URL that a pattern allows. So a URL whose keys are known is asked again at most
//! every [`ASK_AGAIN`], one that failed after a wait that doubles, and one that is not known only within [`Budget`];
//! what deliveries have been verified with is never put out for what they have not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::client::Standing;
use super::document::Document;
use crate::provider::{PinnedUrl, WantedKey};
use crate::reject::Reject;

/// URLs that are remembered.
pub(super) const ENTRIES_MAX: usize = 256;
/// Between two questions for an id that a known set of keys does not have, or for what is not there.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(30);
/// How long keys are fresh, whatever their server says: at least, at most, and where it does not say.
const FRESH_MIN: Duration = Duration::from_secs(300);
const FRESH_MAX: Duration = Duration::from_secs(24 * 3600);
const FRESH_UNSAID: Duration = Duration::from_secs(3600);
/// How long keys that are no longer fresh still count while their origin is away.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// After a failure.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Questions for keys that are not known: at once, and the time for one more.
pub(super) const BUDGET: u32 = 8;
pub(super) const BUDGET_REFILL: Duration = Duration::from_secs(2);

/// Ends, or changes, once a fetch has been settled.
pub(super) type Flight = watch::Receiver<()>;

/// What a fetch came to.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Keys, and how long they may be kept where their server says so.
    Keys(Arc<Document>, Option<Duration>),
    /// The server says that there are none.
    Missing,
    /// It could not be asked, or what it said could not be read.
    Failed,
}

/// What is to be done for a delivery.
#[derive(Debug)]
pub(super) enum Look {
    /// These keys are there; with `refresh`, they should be asked for meanwhile.
    Ready { document: Arc<Document>, refresh: bool },
    /// They must be asked for: see [`Cache::begin`].
    Ask,
    /// They are being asked for.
    Wait(Flight),
    /// There are none, for now.
    Refuse(Reject),
}

/// What is known of one URL.
#[derive(Debug, Default)]
struct Entry {
    document: Option<Arc<Document>>,
    /// When its keys should be asked for again, when they are no longer fresh, and when they no longer count.
    refresh_at: Duration,
    fresh_until: Duration,
    stale_until: Duration,
    /// Failures one after the other.
    failures: u32,
    /// Whether the last answer was that there is nothing.
    missing: bool,
    /// Not to be asked before.
    next: Duration,
    /// Not to be asked before for what its keys are not.
    again: Duration,
    /// Whether a delivery has been verified with one of its keys.
    proven: bool,
    used: u64,
    flight: Option<Flight>,
}

impl Entry {
    fn usable(&self, wanted: &WantedKey, now: Duration) -> Option<Arc<Document>> {
        let document = self.document.as_ref().filter(|_| now < self.stale_until)?;
        (!document.keys(wanted.id.as_deref()).is_empty()).then(|| Arc::clone(document))
    }

    /// Why there is no key, as far as is known.
    fn verdict(&self) -> Reject {
        let told = self.missing || (self.document.is_some() && self.failures == 0);
        if told { Reject::UnknownKey } else { Reject::KeyUnavailable }
    }
}

/// Questions that may be asked for keys that are not known.
#[derive(Debug)]
struct Budget {
    left: u32,
    counted: Duration,
}

impl Budget {
    fn take(&mut self, now: Duration) -> bool {
        let since = now.saturating_sub(self.counted).as_millis() / BUDGET_REFILL.as_millis();
        let more = u32::try_from(since).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(BUDGET);
            self.counted = now;
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}

/// The keys of a source.
#[derive(Debug)]
pub(super) struct Cache {
    entries: HashMap<PinnedUrl, Entry>,
    budget: Budget,
    /// Whether strangers can name URLs, so that asking costs from the budget.
    open: bool,
    uses: u64,
}

impl Cache {
    /// An empty one; `open` where deliveries say which URL.
    pub(super) fn new(open: bool) -> Self {
        let budget = Budget { left: BUDGET, counted: Duration::ZERO };
        Self { entries: HashMap::new(), budget, open, uses: 0 }
    }

    /// What to do for a delivery that wants this key; `asked` where its question has been answered, or took too long.
    pub(super) fn look(&mut self, wanted: &WantedKey, now: Duration, asked: bool) -> Look {
        self.uses += 1;
        let Some(entry) = self.entries.get_mut(&wanted.url) else {
            return if asked { Look::Refuse(Reject::KeyUnavailable) } else { self.spend(now) };
        };
        entry.used = self.uses;
        let usable = entry.usable(wanted, now);
        // Where their origin is known to be away, nobody waits for it again.
        let enough = asked || now < entry.fresh_until || entry.failures > 0;
        if let Some(document) = usable.clone().filter(|_| enough) {
            let idle = entry.flight.is_none() && now >= entry.next;
            return Look::Ready { document, refresh: idle && now >= entry.refresh_at };
        }
        match &entry.flight {
            Some(flight) if !asked => return Look::Wait(flight.clone()),
            None if !asked && now >= entry.next => {}
            Some(_) | None => return Look::Refuse(entry.verdict()),
        }
        match (usable.is_some(), entry.document.is_some()) {
            (true, _) => Look::Ask,
            (false, true) if now < entry.again => Look::Refuse(entry.verdict()),
            (false, true) => {
                entry.again = now + ASK_AGAIN;
                Look::Ask
            }
            (false, false) => self.spend(now),
        }
    }

    /// What to do where a key without an id did not fit: its provider may have another by now.
    pub(super) fn look_again(&mut self, wanted: &WantedKey, now: Duration) -> Option<Look> {
        let open = self.open;
        let entry = self.entries.get_mut(&wanted.url).filter(|_| wanted.id.is_none() && !open)?;
        match &entry.flight {
            Some(flight) => Some(Look::Wait(flight.clone())),
            None if now < entry.next || now < entry.again => None,
            None => {
                entry.again = now + ASK_AGAIN;
                Some(Look::Ask)
            }
        }
    }

    fn spend(&mut self, now: Duration) -> Look {
        if self.open && !self.budget.take(now) { Look::Refuse(Reject::KeyUnavailable) } else { Look::Ask }
    }

    /// Notes that a URL is being asked; `None` where that is not possible: it is being asked already, or all that are
    /// remembered are.
    pub(super) fn begin(&mut self, url: &PinnedUrl, flight: Flight) -> Option<Standing> {
        if !self.entries.contains_key(url) && self.entries.len() >= ENTRIES_MAX {
            self.put_out()?;
        }
        let used = self.uses;
        let entry = self.entries.entry(url.clone()).or_insert_with(|| Entry { used, ..Entry::default() });
        if entry.flight.is_some() {
            return None;
        }
        entry.flight = Some(flight);
        Some(if entry.proven || !self.open { Standing::Proven } else { Standing::Unproven })
    }

    /// Puts out what is worth least: nothing known, then known and not proven, then longest not used.
    fn put_out(&mut self) -> Option<()> {
        let idle = self.entries.iter().filter(|(_, entry)| entry.flight.is_none());
        let (url, _) = idle.min_by_key(|(_, entry)| (entry.proven, entry.document.is_some(), entry.used))?;
        let url = url.clone();
        self.entries.remove(&url).map(drop)
    }

    /// Notes what a fetch came to. True where keys that are known stay in use though their origin is away.
    pub(super) fn settle(&mut self, url: &PinnedUrl, outcome: Outcome, now: Duration) -> bool {
        let open = self.open;
        let Some(entry) = self.entries.get_mut(url) else { return false };
        entry.flight = None;
        match outcome {
            Outcome::Keys(document, max_age) => {
                let fresh = max_age.unwrap_or(FRESH_UNSAID).clamp(FRESH_MIN, FRESH_MAX);
                entry.document = Some(document);
                entry.refresh_at = now + fresh * 4 / 5;
                entry.fresh_until = now + fresh;
                entry.stale_until = entry.fresh_until + STALE;
                (entry.failures, entry.missing, entry.next) = (0, false, now);
            }
            // A URL that stands for one key alone, and is no more: the key was withdrawn.
            Outcome::Missing if open || entry.document.is_none() => {
                entry.document = None;
                (entry.failures, entry.missing, entry.next) = (0, true, now + ASK_AGAIN);
            }
            Outcome::Missing | Outcome::Failed => {
                let wait = BACKOFF_MIN.saturating_mul(1 << entry.failures.min(6)).min(BACKOFF_MAX);
                entry.failures = entry.failures.saturating_add(1);
                entry.next = now + wait;
            }
        }
        entry.failures > 0 && entry.document.is_some() && now < entry.stale_until
    }

    /// Notes that a delivery was verified with a key of this URL.
    pub(super) fn prove(&mut self, url: &PinnedUrl) {
        if let Some(entry) = self.entries.get_mut(url) {
            entry.proven = true;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Catalog, KeyDocument, Scheme, UrlTemplate};

    const SET: &str = r#"{"keys":[
        {"kty":"OKP","crv":"Ed25519","kid":"k1","x":"6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw"}]}"#;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000_000 + seconds)
    }

    fn document() -> Arc<Document> {
        let catalog = Catalog::built_in().unwrap();
        let definition = catalog.get("discord").unwrap();
        let scheme = Scheme::build(definition, None, &Default::default()).unwrap();
        let scheme = Scheme { key_form: crate::provider::KeyForm::PublicKey, ..scheme };
        Arc::new(Document::read(&scheme, &KeyDocument::Jwks, SET.as_bytes()).unwrap())
    }

    fn wanted(id: &str) -> WantedKey {
        let url = UrlTemplate::parse("https://keys.example.com/jwks").unwrap().url(None).unwrap();
        WantedKey { url, id: Some(id.to_owned()) }
    }

    fn numbered(number: usize) -> WantedKey {
        let template = UrlTemplate::parse("https://keys.example.com/{id}").unwrap();
        WantedKey { url: template.url(Some(&number.to_string())).unwrap(), id: None }
    }

    /// Asks, and settles at once.
    fn ask(cache: &mut Cache, wanted: &WantedKey, outcome: Outcome, now: Duration) -> bool {
        assert!(matches!(cache.look(wanted, now, false), Look::Ask), "{now:?}");
        begin(cache, wanted);
        cache.settle(&wanted.url, outcome, now)
    }

    fn begin(cache: &mut Cache, wanted: &WantedKey) {
        assert!(cache.begin(&wanted.url, watch::channel(()).1).is_some());
    }

    fn refuses(cache: &mut Cache, wanted: &WantedKey, now: Duration) -> Option<Reject> {
        match cache.look(wanted, now, false) {
            Look::Refuse(reject) => Some(reject),
            _ => None,
        }
    }

    /// Whether the keys are there, and whether they are asked for meanwhile.
    fn ready(cache: &mut Cache, wanted: &WantedKey, now: Duration) -> Option<bool> {
        match cache.look(wanted, now, false) {
            Look::Ready { refresh, .. } => Some(refresh),
            _ => None,
        }
    }

    #[test]
    fn an_unknown_id_is_asked_for_every_half_minute_and_delays_no_known_one() {
        let (mut cache, keys) = (Cache::new(false), document());
        ask(&mut cache, &wanted("k1"), Outcome::Keys(Arc::clone(&keys), None), at(0));
        // The first may be a rotation; whatever follows it waits its time.
        ask(&mut cache, &wanted("x"), Outcome::Keys(Arc::clone(&keys), None), at(1));
        for second in 1..31 {
            assert_eq!(refuses(&mut cache, &wanted("y"), at(second)), Some(Reject::UnknownKey));
            assert_eq!(ready(&mut cache, &wanted("k1"), at(second)), Some(false));
        }
        assert!(matches!(cache.look(&wanted("y"), at(31), false), Look::Ask));
        begin(&mut cache, &wanted("y"));
        assert_eq!(ready(&mut cache, &wanted("k1"), at(31)), Some(false), "nobody waits who has a key");
        assert!(matches!(cache.look(&wanted("z"), at(31), false), Look::Wait(_)), "one fetch for all");
        assert!(cache.begin(&wanted("z").url, watch::channel(()).1).is_none(), "and no second");
    }

    #[test]
    fn keys_are_asked_for_before_they_end_and_stay_a_day_while_their_origin_is_away() {
        let (mut cache, keys) = (Cache::new(false), document());
        let hour = Some(Duration::from_secs(3600));
        ask(&mut cache, &wanted("k1"), Outcome::Keys(Arc::clone(&keys), hour), at(0));
        assert_eq!(ready(&mut cache, &wanted("k1"), at(2879)), Some(false));
        assert_eq!(ready(&mut cache, &wanted("k1"), at(2880)), Some(true));
        assert!(matches!(cache.look(&wanted("k1"), at(3600), false), Look::Ask), "ended: asked for first");
        begin(&mut cache, &wanted("k1"));
        assert!(cache.settle(&wanted("k1").url, Outcome::Failed, at(3605)), "stale");
        let day = 3600 + 24 * 3600;
        assert_eq!(ready(&mut cache, &wanted("k1"), at(3605)), Some(false), "at once");
        assert_eq!(ready(&mut cache, &wanted("k1"), at(3606)), Some(true), "and asked for again");
        assert_eq!(refuses(&mut cache, &wanted("k1"), at(3605)), None);
        assert_eq!(refuses(&mut cache, &wanted("x"), at(3605)), Some(Reject::KeyUnavailable), "who knows?");
        assert_eq!(ready(&mut cache, &wanted("k1"), at(day - 1)), Some(true));
        assert_eq!(ready(&mut cache, &wanted("k1"), at(day)), None, "a day, not more");
    }

    #[test]
    fn what_servers_say_of_age_counts_within_bounds() {
        for (said, fresh) in [(Some(0), 300), (Some(1_000_000), 86_400), (Some(600), 600), (None, 3600)] {
            let mut cache = Cache::new(false);
            let outcome = Outcome::Keys(document(), said.map(Duration::from_secs));
            ask(&mut cache, &wanted("k1"), outcome, at(0));
            assert!(ready(&mut cache, &wanted("k1"), at(fresh - 1)).is_some(), "{said:?}");
            assert!(ready(&mut cache, &wanted("k1"), at(fresh)).is_none(), "{said:?}");
        }
    }

    #[test]
    fn failures_wait_twice_as_long_each_time_up_to_a_minute() {
        let (mut cache, mut now) = (Cache::new(false), at(0));
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            ask(&mut cache, &wanted("k1"), Outcome::Failed, now);
            let next = now + Duration::from_secs(wait);
            let before = next - Duration::from_millis(1);
            assert_eq!(refuses(&mut cache, &wanted("k1"), before), Some(Reject::KeyUnavailable), "{wait}");
            now = next;
        }
        ask(&mut cache, &wanted("k1"), Outcome::Keys(document(), None), now);
        assert!(ready(&mut cache, &wanted("k1"), now).is_some());
    }

    #[test]
    fn strangers_urls_cost_from_a_budget_and_put_out_nothing_proven() {
        let mut cache = Cache::new(true);
        let known = numbered(0);
        ask(&mut cache, &known, Outcome::Keys(document(), None), at(0));
        cache.prove(&known.url);
        let (mut asked, mut number) = (0, 1);
        for second in 0..2_000 {
            for _ in 0..5 {
                match cache.look(&numbered(number), at(second), false) {
                    Look::Ask => {
                        asked += 1;
                        begin(&mut cache, &numbered(number));
                        cache.settle(&numbered(number).url, Outcome::Missing, at(second));
                        assert_eq!(
                            refuses(&mut cache, &numbered(number), at(second)),
                            Some(Reject::UnknownKey)
                        );
                    }
                    Look::Refuse(reject) => assert_eq!(reject, Reject::KeyUnavailable),
                    other => panic!("{other:?}"),
                }
                number += 1;
            }
            let fresh = ready(&mut cache, &known, at(second));
            assert!(fresh.is_some(), "{second}");
        }
        assert!((900..=1_010).contains(&asked), "{asked}");
        assert_eq!(cache.len(), ENTRIES_MAX);
    }

    #[test]
    fn a_key_that_was_withdrawn_is_none() {
        let mut cache = Cache::new(true);
        ask(&mut cache, &numbered(1), Outcome::Keys(document(), Some(Duration::ZERO)), at(0));
        ask(&mut cache, &numbered(1), Outcome::Missing, at(400));
        assert_eq!(refuses(&mut cache, &numbered(1), at(401)), Some(Reject::UnknownKey));
        // One URL of all keys that answers 404 is a mistake there, and no withdrawal of all.
        let mut cache = Cache::new(false);
        ask(&mut cache, &wanted("k1"), Outcome::Keys(document(), Some(Duration::ZERO)), at(0));
        assert!(ask(&mut cache, &wanted("k1"), Outcome::Missing, at(400)), "stale");
        assert!(ready(&mut cache, &wanted("k1"), at(401)).is_some());
    }
}
