//! The local dedup index: says at once whether an event is known, before it is written to the journal.
//!
//! One thread owns it, the one that also orders the journal, so a look-up and its claim are one step and no
//! lock is needed. Keys are in a sorted table in memory until the journal has synced their events, then in
//! key files (`keyfile`) that outlive the bodies; of those only filters stay in memory. What the files do not
//! hold yet is refilled from the journal at start. It never claims a key of an event that the
//! caller then does not journal: after [`Claim::New`], append the event or end the process.
//!
//! A key lives for the window from its event's `received_at`, sometimes longer, never shorter: see
//! [`Index::observe`] for steps of the clock. Its bytes go with the file that holds it.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::filter::Mask;
use super::folder::{self, Folder};
use super::forgotten::Forgotten;
use super::keyfile::{Content, Ending, Key, Message, Name, Record, day_of, key_of};
use super::memtable::Memtable;
use super::run::{self, Broken, Run};
use super::steady::Steady;
use super::terms::{Claim, Damage, IndexError, SEALED_MAX, Settings, Stats, Twin};
use super::upkeep::{self, Done, Spent, Task, Worker};
use super::writer::Plan;
use crate::clock::Timestamp;
use crate::disk::Disk;
use crate::event::{Digest, KeyEntry, Sequence};

/// As many budgets of memory are filled before [`Index::maintain`] waits for the disk.
const BACKLOG: usize = 4;

/// The index. See the head of this file.
pub struct Index<D: Disk> {
    disk: D,
    settings: Settings,
    active: Option<Memtable>,
    sealed: VecDeque<Arc<Memtable>>,
    /// Youngest first.
    runs: Vec<Arc<Run<D>>>,
    worker: Worker<D>,
    spent: Spent<D>,
    forgotten: Forgotten,
    steady: Steady,
    aside: Vec<Name>,
    damage: Vec<Damage>,
    durable_through: Sequence,
    last: Sequence,
    next_from: Sequence,
    next_id: u64,
    stopped: bool,
}

impl<D: Disk> Index<D> {
    /// Opens the folder and reads the filters of its key files. Damaged files are set aside, see
    /// [`Index::damage`].
    ///
    /// # Errors
    /// Where the system refuses a read, a rename or a sync.
    pub fn open(disk: D, settings: Settings, now: Timestamp) -> Result<Self, IndexError> {
        let folder = Folder::open(&disk, &settings, now)?;
        let worker = Worker::new(disk.clone(), settings.inline);
        let mut steady = Steady::default();
        folder.runs.iter().filter(|run| !run.is_empty()).for_each(|run| steady.known(run.newest()));
        Ok(Self {
            disk,
            settings,
            active: None,
            sealed: VecDeque::new(),
            runs: folder.runs,
            worker,
            spent: Spent::nothing(),
            forgotten: folder.forgotten,
            steady,
            aside: folder.aside,
            damage: folder.damage,
            durable_through: folder.durable_through,
            last: folder.durable_through,
            next_from: Sequence(folder.durable_through.0.saturating_add(1)),
            next_id: folder.next_id,
            stopped: false,
        })
    }

    /// The keys of all events up to this one are in synced key files: the journal need not be read for them,
    /// and may let go of their records.
    pub fn durable_through(&self) -> Sequence {
        self.durable_through
    }

    /// The files set aside since [`Index::open`] began.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Takes in an event that the journal holds, at start, in rising order. Entries up to
    /// [`Index::durable_through`] are passed over.
    ///
    /// # Errors
    /// As for [`Index::claim`]; also where a key file cannot be written.
    pub fn refill(&mut self, entry: KeyEntry) -> Result<(), IndexError> {
        self.guarded(|index| {
            if entry.sequence <= index.durable_through {
                return Ok(());
            }
            index.rising(entry.sequence)?;
            let key = key_of(&entry.keys.message_id);
            if !index.holds(key, entry.sequence)? {
                index.take_in(key, &entry, entry.received_at)?;
            }
            index.last = entry.sequence;
            index.steady.known(entry.received_at);
            let full = index.active.as_ref().is_some_and(|table| table.bytes() >= index.settings.budget);
            if full || !index.sealed.is_empty() {
                index.write_out(entry.sequence, full)?;
            }
            Ok(())
        })
    }

    /// Looks the event up and, if it is not known, claims it under its sequence.
    ///
    /// # Errors
    /// [`IndexError::Order`] where sequences do not rise, [`IndexError::Damaged`] or [`IndexError::Io`] where
    /// a key file that may hold the key cannot be read: then nothing was claimed.
    pub fn claim(&mut self, entry: &KeyEntry) -> Result<Claim, IndexError> {
        self.guarded(|index| {
            index.rising(entry.sequence)?;
            let key = key_of(&entry.keys.message_id);
            let now = index.steady.judge(entry.received_at);
            if let Some(found) = index.live(key, now)? {
                return Ok(Claim::Known { sequence: found.sequence });
            }
            let at = index.steady.claimed(entry.received_at);
            let twin = index.take_in(key, entry, at)?;
            index.last = entry.sequence;
            Ok(Claim::New { twin })
        })
    }

    /// The event's number, where it is known to a delivery received at `received_at`. Claims nothing.
    ///
    /// # Errors
    /// As for [`Index::claim`].
    pub fn known(&mut self, id: &Digest, received_at: Timestamp) -> Result<Option<Sequence>, IndexError> {
        self.guarded(|index| {
            let now = index.steady.judge(received_at);
            Ok(index.live(key_of(id), now)?.map(|found| found.sequence))
        })
    }

    /// Tells both clocks, read at one moment, before a batch of claims: a forward step of wall time then
    /// makes no key age. Steps back never do. Without this call wall time alone counts.
    pub fn observe(&mut self, wall: Timestamp, monotonic: Duration) {
        self.steady.observe(wall, monotonic, self.settings.window);
    }

    /// Moves on the work that is due, and tries again each second what there was no space for: call it after each commit and at least each minute. `synced` is the
    /// last event that the journal has synced; no key of a later one is written to a file, for a file must
    /// not know an event that a power cut unwrites. Returns at once, except where the disk has fallen so far
    /// behind that [`Settings::budget`] is exceeded four times: then it waits for one file to be written.
    ///
    /// # Errors
    /// Where background work failed or found damage.
    pub fn maintain(&mut self, now: Timestamp, synced: Sequence) -> Result<(), IndexError> {
        self.guarded(|index| {
            let (wall, now) = (now, index.steady.judge(now));
            index.collect(false)?;
            index.seal_if_due(day_of(now));
            while !index.worker.is_busy()
                && !index.worker.rests(wall)
                && let Some(task) = index.next_task(now, synced)
            {
                index.start(task)?;
            }
            if index.worker.is_busy() && index.table_bytes() > BACKLOG * index.settings.budget {
                index.collect(true)?;
            }
            Ok(())
        })
    }

    /// Has the keys in memory written by the coming calls of [`Index::maintain`], few as they may be: the
    /// journal wants to let go of their records.
    pub fn flush_soon(&mut self) {
        if self.sealed.is_empty() {
            self.seal();
        }
    }

    /// Writes all keys up to `synced` to key files and waits for it.
    ///
    /// # Errors
    /// As for [`Index::maintain`].
    pub fn flush(&mut self, synced: Sequence) -> Result<(), IndexError> {
        self.guarded(|index| {
            index.write_out(synced, true)?;
            index.worker.shortage().map_or(Ok(()), Err)
        })
    }

    /// How big the index is.
    pub fn stats(&self) -> Stats {
        let tables = self.tables().map(Memtable::count).sum::<usize>() as u64;
        Stats {
            keys: tables + self.runs.iter().map(|run| run.count()).sum::<u64>(),
            bytes_on_disk: self.runs.iter().map(|run| run.size()).sum(),
            bytes_in_memory: self.table_bytes() as u64
                + self.runs.iter().map(|run| run.memory()).sum::<u64>(),
            files: self.runs.len() as u64,
        }
    }

    /// Runs `call` unless an earlier fault was final; remembers whether this one is.
    fn guarded<T>(&mut self, call: impl FnOnce(&mut Self) -> Result<T, IndexError>) -> Result<T, IndexError> {
        if self.stopped {
            return Err(IndexError::Stopped);
        }
        let result = call(self);
        self.stopped = result.is_err();
        result
    }

    fn rising(&self, given: Sequence) -> Result<(), IndexError> {
        if given > self.last { Ok(()) } else { Err(IndexError::Order { given, last: self.last }) }
    }

    fn tables(&self) -> impl Iterator<Item = &Memtable> {
        self.active.iter().chain(self.sealed.iter().rev().map(Arc::as_ref))
    }

    fn table_bytes(&self) -> usize {
        self.tables().map(Memtable::bytes).sum()
    }

    /// The event that makes a key known at `now`.
    fn live(&mut self, key: Key, now: Timestamp) -> Result<Option<Message>, IndexError> {
        let (window, forgotten) = (self.settings.window, &self.forgotten);
        let counts = |found: &Message| found.at.plus(window) > now && !forgotten.holds(key, found.sequence);
        let found = self.message(key, counts);
        found.map_err(|(name, broken)| self.broken(name, broken))
    }

    /// The youngest entry of a key that one may `want`.
    fn message(&self, key: Key, want: impl Fn(&Message) -> bool) -> Result<Option<Message>, (Name, Broken)> {
        let found = self.tables().filter_map(|table| table.message(key)).find(&want);
        if found.is_some() {
            return Ok(found);
        }
        let mask = Mask::of(key);
        for run in run::passing(&self.runs, |run| run.may_hold_message(&mask)) {
            let found = run.message(key).map_err(|broken| (run.name(), broken))?.filter(&want);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Whether a whole file holds this very event, which happens only where another one is refilled.
    fn holds(&mut self, key: Key, sequence: Sequence) -> Result<bool, IndexError> {
        if self.runs.first().is_none_or(|run| run.name().through < sequence) {
            return Ok(false);
        }
        let found = self.message(key, |found| found.sequence == sequence);
        found.map(|found| found.is_some()).map_err(|(name, broken)| self.broken(name, broken))
    }

    /// What is known of a content at `now`.
    fn content(&self, key: Key, now: Timestamp) -> Result<Option<Content>, (Name, Broken)> {
        let wanted = |found: &Content| found.at.plus(self.settings.window) > now;
        let found = self.tables().filter_map(|table| table.content(key)).find(wanted);
        if found.is_some() {
            return Ok(found);
        }
        let (mask, mut newest) = (Mask::of(key), None);
        // A file merged from ones around another answers for younger events than that one, yet may count fewer twins.
        for run in run::passing(&self.runs, |run| run.may_hold_content(&mask)) {
            let found = run.content(key).map_err(|broken| (run.name(), broken))?.filter(wanted);
            newest = found.map(|found| newest.map_or(found, |newest| found.joined(newest))).or(newest);
        }
        Ok(newest)
    }

    /// Inserts an event that is not known, its key to live from `at`, and counts it where its content is.
    fn take_in(&mut self, key: Key, entry: &KeyEntry, at: Timestamp) -> Result<Option<Twin>, IndexError> {
        let content = entry.keys.content.as_ref().map(key_of);
        let known = match content {
            Some(content) => self
                .content(content, self.steady.judge(at))
                .map_err(|(name, broken)| self.broken(name, broken))?,
            None => None,
        };
        let first = entry.keys.message_id;
        let twin = known
            .filter(|known| known.first != first)
            .map(|known| Content { twins: known.twins.saturating_add(1), ..known });
        let table = self.table_for(entry.sequence, at)?;
        table.insert(Message { key, sequence: entry.sequence, at });
        match (content, known, twin) {
            (_, _, Some(twin)) => table.insert_content(twin),
            (Some(key), None, _) => table.insert_content(Content { key, first, at, twins: 0 }),
            _ => {}
        }
        Ok(twin.map(|twin| Twin { first: twin.first, nth: twin.twins }))
    }

    /// The table in which an event fits; the one before it is sealed. While one waits to be written, an event
    /// of an earlier day is lifted into this one's: a clock that swings makes no queue of tables.
    fn table_for(&mut self, sequence: Sequence, at: Timestamp) -> Result<&mut Memtable, IndexError> {
        let lift = !self.sealed.is_empty();
        if self.active.as_ref().is_some_and(|table| !table.fits(sequence, at, lift)) {
            if self.sealed.len() >= SEALED_MAX {
                return Err(IndexError::Clock);
            }
            self.seal();
        }
        let from = self.next_from;
        Ok(self.active.get_or_insert_with(|| Memtable::new(at, from, sequence)))
    }

    fn seal(&mut self) {
        if let Some(table) = self.active.take() {
            self.next_from = Sequence(table.through().0.saturating_add(1));
            self.sealed.push_back(Arc::new(table));
        }
    }

    fn seal_if_due(&mut self, today: i64) {
        let budget = self.settings.budget;
        let due = |table: &Memtable| table.bytes() >= budget || table.day() < today;
        if self.sealed.is_empty() && self.active.as_ref().is_some_and(due) {
            self.seal();
        }
    }

    /// Seals the active table where `all`, and waits until every table up to `synced` is in a file, or for one of
    /// them there is no space.
    fn write_out(&mut self, synced: Sequence, all: bool) -> Result<(), IndexError> {
        if all && self.active.as_ref().is_some_and(|table| table.through() <= synced) {
            self.seal();
        }
        self.collect(true)?;
        while !self.worker.is_short()
            && let Some(task) = self.flush_task(synced)
        {
            self.start(task)?;
            self.collect(true)?;
        }
        Ok(())
    }

    fn start(&mut self, task: Task<D>) -> Result<(), IndexError> {
        let done = self.worker.start(task)?;
        self.apply(done)
    }

    fn collect(&mut self, wait: bool) -> Result<(), IndexError> {
        let done = self.worker.collect(wait)?;
        self.apply(done)
    }

    fn next_task(&mut self, now: Timestamp, synced: Sequence) -> Option<Task<D>> {
        let flush = self.flush_task(synced);
        if flush.is_some() {
            return flush;
        }
        if !self.spent.is_nothing() {
            return Some(Task::Release(mem::replace(&mut self.spent, Spent::nothing())));
        }
        let expired = self.expire_task(now);
        if expired.is_some() {
            return expired;
        }
        let runs = upkeep::to_merge(&self.runs, day_of(now))?;
        let plan = self.plan(&runs)?;
        Some(Task::Merge(runs, plan))
    }

    fn flush_task(&mut self, synced: Sequence) -> Option<Task<D>> {
        let table = Arc::clone(self.sealed.front().filter(|table| table.through() <= synced)?);
        let (day, from, through) = (table.day(), table.from(), table.through());
        let plan = Plan {
            dir: self.settings.dir.clone(),
            name: Name { id: self.take_id(), day, from, through },
            base: table.base(),
            room: (table.count() as u64, table.content_count() as u64),
            replaced: Vec::new(),
        };
        Some(Task::Flush(table, plan))
    }

    /// Files of which every key has aged out go, by the time of the oldest event in memory: should that be
    /// refilled, it must find the contents that it found at first. The one that answers for the youngest events leaves an empty
    /// one behind, so that the next start knows through where the journal need not be read.
    fn expire_task(&mut self, now: Timestamp) -> Option<Task<D>> {
        let window = self.settings.window;
        let now = self.tables().map(Memtable::oldest).fold(now, Timestamp::min);
        let aged = |run: &Arc<Run<D>>| run.newest().plus(window) <= now;
        let top = self.runs.first().filter(|run| aged(run) && !run.is_empty()).map(Arc::clone);
        if let Some(top) = top {
            let mut plan = self.plan(std::slice::from_ref(&top))?;
            plan.room = (0, 0);
            return Some(Task::Empty(top.path.clone(), plan));
        }
        let old: Vec<_> = self.runs.extract_if(1.min(self.runs.len()).., |run| aged(run)).collect();
        (!old.is_empty()).then_some(Task::Remove(old))
    }

    /// The plan of one file in place of `runs`.
    fn plan(&mut self, runs: &[Arc<Run<D>>]) -> Option<Plan> {
        let names = || runs.iter().map(|run| run.name());
        let name = Name {
            id: self.take_id(),
            day: names().next()?.day,
            from: names().map(|name| name.from).min()?,
            through: names().map(|name| name.through).max()?,
        };
        Some(Plan {
            dir: self.settings.dir.clone(),
            name,
            base: runs.iter().map(|run| run.header.base).min()?,
            room: (
                runs.iter().map(|run| run.messages.count).sum(),
                runs.iter().map(|run| run.contents.count).sum(),
            ),
            replaced: names().map(|name| name.id).collect(),
        })
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn apply(&mut self, done: Option<Done<D>>) -> Result<(), IndexError> {
        match done {
            None | Some(Done::Gone | Done::Short(_)) => Ok(()),
            Some(Done::Flushed(run)) => {
                let through = run.name().through;
                self.spent.tables.extend(self.sealed.pop_front());
                self.add(run);
                self.durable_through = through;
                self.refilled(through)
            }
            Some(Done::Merged(run)) => {
                let replaced = |old: &mut Arc<Run<D>>| run.header.replaced.contains(&old.name().id);
                self.spent.runs.extend(self.runs.extract_if(.., replaced));
                self.add(run);
                Ok(())
            }
            Some(Done::Damaged(name, reason)) => Err(self.broken(name, Broken::Damaged(reason))),
        }
    }

    fn add(&mut self, run: Run<D>) {
        self.runs.push(Arc::new(run));
        self.runs.sort_by_key(|run| std::cmp::Reverse((run.name().through, run.name().id)));
    }

    /// Damaged files need no refilling once everything up to their last event is in whole ones.
    fn refilled(&mut self, through: Sequence) -> Result<(), IndexError> {
        for name in self.aside.extract_if(.., |name| name.through <= through) {
            folder::rename(&self.disk, &self.settings.dir, name, (Ending::Damaged, Ending::Refilled))?;
        }
        Ok(())
    }

    /// Turns what went wrong with a key file into an error; a damaged one is set aside first, so that the
    /// next start knows of it.
    fn broken(&mut self, name: Name, broken: Broken) -> IndexError {
        let path = self.settings.dir.join(name.with(Ending::Live));
        match broken {
            Broken::Io(error) => IndexError::io("read", &path)(error),
            Broken::Damaged(reason) => {
                self.runs.retain(|run| run.name() != name);
                match folder::set_aside(&self.disk, &self.settings.dir, name, reason) {
                    Ok(damage) => IndexError::Damaged(damage),
                    Err(error) => error,
                }
            }
        }
    }
}

mod forget;
#[cfg(test)]
mod tests;
