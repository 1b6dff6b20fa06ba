//! One call: looks through the letters, window by window, ends those that are done with, and renews what was looked at
//! often. It may break off anywhere: a letter is acknowledged only once the broker has confirmed it where it belongs.

use std::time::Duration;

use lapin::BasicProperties;
use tokio::time::sleep;

use super::letter::{RENEWED_AT, renewed, requeued};
use super::letters::{Found, Task, Verb, Which};
use super::reader::{Reader, Taken};
use super::writer::{Fate, Post, Writer};
use crate::clock::Clock;
use crate::sink::rabbitmq::Settings;
use crate::sink::rabbitmq::dial::Line;
use crate::sink::rabbitmq::health::Trouble;

/// Letters that one call looks at.
const LETTERS_MAX: u64 = 10_000;
/// Bytes of bodies that the broker sends for one call, give or take a window.
const BYTES_MAX: u64 = 64 << 20;
/// Letters that are published, and ended once they are confirmed, together: so many are there twice after a kill, at most.
const BATCH: usize = 64;
/// How long a call goes on with another window.
const WORK: Duration = Duration::from_secs(12);
/// How often, and with what pauses, is looked whether letters are back in their queue.
const BACK: (u32, Duration) = (40, Duration::from_millis(25));

pub(super) struct Call<'a> {
    line: &'a Line,
    settings: &'a Settings,
    clock: &'a dyn Clock,
    begun: Duration,
    reader: Reader,
    writer: Writer,
    /// Letters in the queue at the start: those put to its end meanwhile are not looked at again.
    ready: u64,
    seen: u64,
    bytes: u64,
    /// Letters that the queue has no more.
    ended: u64,
    /// From here on every letter that stays is put to the queue's end.
    renewing: bool,
    found: Found,
}

impl<'a> Call<'a> {
    /// Opens both channels; nothing is taken yet.
    pub(super) async fn open(
        line: &'a Line,
        settings: &'a Settings,
        clock: &'a dyn Clock,
    ) -> Result<Self, Trouble> {
        let (connection, step) = (line.connection(), settings.pace.step);
        let begun = clock.monotonic();
        let reader = Reader::open(connection, &settings.names().dead, step).await?;
        let ready = reader.ready().await?;
        let writer = Writer::open(connection, step).await?;
        if ready > 0 {
            writer.probe(&settings.names().dead).await?;
        }
        Ok(Self {
            line,
            settings,
            clock,
            begun,
            reader,
            writer,
            ready,
            seen: 0,
            bytes: 0,
            ended: 0,
            renewing: false,
            found: Found { ready, ..Found::default() },
        })
    }

    /// Does it.
    ///
    /// # Errors
    /// Where nothing was done before the trouble; after that it is told in what was found.
    pub(super) async fn run(mut self, which: &Which, task: Task) -> Result<Found, Trouble> {
        while self.goes_on() {
            let left = self.ready.min(LETTERS_MAX).saturating_sub(self.seen);
            let window = match self.reader.take(usize::try_from(left).unwrap_or(usize::MAX)).await {
                // Somebody else has taken the rest.
                Ok(window) if window.is_empty() => {
                    self.ready = self.seen;
                    break;
                }
                Ok(window) => window,
                Err(trouble) if self.seen == 0 => return Err(trouble),
                Err(trouble) => {
                    self.stop(trouble);
                    break;
                }
            };
            self.handle(window, which, task).await;
        }
        self.found.more |= self.seen < self.ready;
        Ok(self.close().await)
    }

    fn goes_on(&self) -> bool {
        let within = self.clock.monotonic().saturating_sub(self.begun) < WORK;
        let bounded = self.seen < LETTERS_MAX && self.bytes < BYTES_MAX && !self.reader.is_spent();
        self.seen < self.ready && bounded && within && self.found.stopped.is_none()
    }

    async fn handle(&mut self, window: Vec<Taken>, which: &Which, task: Task) {
        self.seen += window.len() as u64;
        self.bytes += window.iter().map(|one| one.body.len() as u64).sum::<u64>();
        let (chosen, mut kept): (Vec<Taken>, Vec<Taken>) =
            window.into_iter().partition(|one| which.means(&one.letter));
        self.found.selected += chosen.len() as u64;
        match task {
            Task::List { limit } => {
                let room = limit.saturating_sub(self.found.letters.len());
                self.found.more |= chosen.len() > room;
                self.found.letters.extend(chosen.iter().take(room).map(|one| one.letter.clone()));
                kept.extend(chosen);
            }
            Task::Act { verb, dry_run: true } => {
                for one in &chosen {
                    let lost = verb == Verb::Requeue && one.letter.queue.is_none();
                    self.count(if lost { "no_queue" } else { verb.done() });
                }
                kept.extend(chosen);
            }
            Task::Act { verb: Verb::Drop, .. } => self.end(&chosen, Some(Verb::Drop)).await,
            Task::Act { verb: Verb::Requeue, .. } => kept.extend(self.requeue(chosen).await),
        }
        kept.sort_unstable_by_key(|one| one.number);
        self.renew(kept).await;
    }

    /// Puts letters where they died; those that stay come back.
    async fn requeue(&mut self, chosen: Vec<Taken>) -> Vec<Taken> {
        let (known, mut kept): (Vec<Taken>, Vec<Taken>) =
            chosen.into_iter().partition(|one| one.letter.queue.is_some());
        kept.iter().for_each(|_| self.count("no_queue"));
        let mut known = known.into_iter();
        while self.found.stopped.is_none() {
            let batch: Vec<Taken> = known.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            let post = |one: &Taken| one.letter.queue.clone().map(|queue| (queue, requeued(&one.properties)));
            for (one, fate) in self.post(batch, post, Some(Verb::Requeue)).await {
                self.count(match fate {
                    Fate::Returned => "unroutable",
                    Fate::Refused => "refused",
                    Fate::Confirmed | Fate::Unconfirmed => "unconfirmed",
                });
                kept.push(one);
            }
        }
        kept.extend(known);
        kept
    }

    /// Puts letters that were looked at often to the queue's end, and all that follow one.
    async fn renew(&mut self, mut kept: Vec<Taken>) {
        if !self.renewing {
            let Some(first) = kept.iter().position(|one| one.offered >= RENEWED_AT) else { return };
            kept.drain(..first);
            self.renewing = true;
        }
        let dead = &self.settings.names().dead;
        let mut kept = kept.into_iter();
        // Without the channel nothing can be kept but by leaving it where it is.
        while self.found.stopped.is_none() {
            let batch: Vec<Taken> = kept.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            let post = |one: &Taken| Some((dead.clone(), renewed(&one.properties)));
            if !self.post(batch, post, None).await.is_empty() {
                let why = "letters that were looked at often cannot be kept: their queue is gone, or full";
                self.stop(Trouble::Passing(why.to_owned()));
            }
        }
    }

    /// Publishes letters and ends those that are confirmed; the others come back.
    async fn post(
        &mut self,
        letters: Vec<Taken>,
        whereto: impl Fn(&Taken) -> Option<(String, BasicProperties)>,
        verb: Option<Verb>,
    ) -> Vec<(Taken, Fate)> {
        let posts: Vec<Post<'_>> = letters
            .iter()
            .map(|one| {
                let (queue, properties) = whereto(one).unwrap_or_default();
                Post { queue, id: one.letter.id.as_deref(), properties, body: &one.body }
            })
            .collect();
        let (fates, trouble) = self.writer.post(&posts).await;
        drop(posts);
        let (there, left): (Vec<_>, Vec<_>) =
            letters.into_iter().zip(fates).partition(|(_, fate)| *fate == Fate::Confirmed);
        let there: Vec<Taken> = there.into_iter().map(|(one, _)| one).collect();
        self.end(&there, verb).await;
        if let Some(trouble) = trouble {
            self.stop(trouble);
        }
        left
    }

    /// Takes letters out of the queue that are done with, or, without a verb, lie at its end anew.
    async fn end(&mut self, letters: &[Taken], verb: Option<Verb>) {
        if letters.is_empty() {
            return;
        }
        let ended = self.reader.end(letters).await;
        if let Some(verb) = verb {
            let outcome = if ended.is_ok() { verb.done() } else { verb.undecided() };
            letters.iter().for_each(|_| self.count(outcome));
        }
        match ended {
            Ok(()) if verb.is_some() => self.ended += letters.len() as u64,
            Ok(()) => {}
            Err(trouble) => self.stop(trouble),
        }
    }

    fn count(&mut self, outcome: &'static str) {
        *self.found.outcomes.entry(outcome).or_default() += 1;
    }

    fn stop(&mut self, trouble: Trouble) {
        let why = match trouble {
            Trouble::Passing(why) => why,
            Trouble::Refused { code, reason } => format!("{code} {reason}"),
        };
        self.found.stopped.get_or_insert(why);
    }

    /// Gives back what is left, and waits until it is there: the next call would not find it otherwise.
    async fn close(self) -> Found {
        let Self { line, settings, reader, ready, ended, found, .. } = self;
        let (dead, step) = (&settings.names().dead, settings.pace.step);
        // What was done is answered for: what is left goes back with the connection, too.
        if reader.close().await.is_err() {
            return found;
        }
        let back = ready.saturating_sub(ended);
        if let Ok(again) = Reader::open(line.connection(), dead, step).await {
            for _ in 0..BACK.0 {
                match again.ready().await {
                    Ok(found) if found < back => sleep(BACK.1).await,
                    // It is only waited for: whatever is wrong shows in the next call.
                    Ok(_) | Err(_) => break,
                }
            }
        }
        found
    }
}
