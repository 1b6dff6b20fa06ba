//! The work that keeps the index small and quick, off the thread that claims: turning sealed tables into key
//! files, merging files of one day, removing those whose keys have aged out. One task at a time; what it
//! finds out is handed back to `embedded`, which alone changes the index.

use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::keyfile::{Name, SPAN_MAX};
use super::memtable::Memtable;
use super::merge;
use super::run::{Broken, Run};
use super::terms::IndexError;
use super::writer::{self, Plan};
use crate::clock::Timestamp;
use crate::disk::{Disk, is_full};
use crate::failpoint::{self, Point};
use crate::tasks;

/// As many files of one day are probed before some of them are merged.
pub(super) const RUNS_PER_DAY: usize = 8;
/// Files of more messages than this are never merged again.
const MERGED_MAX: u64 = 1 << 24;
/// As many files are merged at once at least, where the day is not over.
const MERGED_AT_LEAST: usize = 4;

/// A task for which there was no space is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// A piece of work.
pub(super) enum Task<D: Disk> {
    /// Write a table.
    Flush(Arc<Memtable>, Plan),
    /// Write one file in place of several.
    Merge(Vec<Arc<Run<D>>>, Plan),
    /// Write an empty file in place of one that has aged out, to keep what its name says.
    Empty(PathBuf, Plan),
    /// Remove files that have aged out.
    Remove(Vec<Arc<Run<D>>>),
    /// Let go of what nobody asks any more: the system takes a while to take back a file's pages, and memory.
    Release(Spent<D>),
}

/// What has been replaced and may still be open.
pub(super) struct Spent<D: Disk> {
    pub(super) tables: Vec<Arc<Memtable>>,
    pub(super) runs: Vec<Arc<Run<D>>>,
}

impl<D: Disk> Spent<D> {
    pub(super) fn nothing() -> Self {
        Self { tables: Vec::new(), runs: Vec::new() }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.tables.is_empty() && self.runs.is_empty()
    }
}

/// What came of it.
pub(super) enum Done<D: Disk> {
    Flushed(Run<D>),
    Merged(Run<D>),
    /// Something is no longer there, which changes no answer.
    Gone,
    /// A file turned out to be damaged.
    Damaged(Name, &'static str),
    /// There was no space: nothing has changed, and it can be tried again.
    Short(IndexError),
}

/// The background thread, where there is one.
pub(super) struct Worker<D: Disk> {
    disk: D,
    inline: bool,
    job: Option<JoinHandle<Result<Done<D>, IndexError>>>,
    /// What the last task lacked space for.
    shortage: Option<IndexError>,
    /// After a shortage no task is begun before this.
    retry_at: Option<Timestamp>,
}

impl<D: Disk> Worker<D> {
    pub(super) fn new(disk: D, inline: bool) -> Self {
        Self { disk, inline, job: None, shortage: None, retry_at: None }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.job.is_some()
    }

    /// Starts a task; without background it is done at once and its result returned.
    pub(super) fn start(&mut self, task: Task<D>) -> Result<Option<Done<D>>, IndexError> {
        let disk = self.disk.clone();
        if self.inline {
            return execute(&disk, task).map(|done| self.noted(done));
        }
        let job = tasks::thread("dedup-upkeep", move || execute(&disk, task));
        self.job = Some(job.map_err(|error| IndexError::Worker(error.to_string()))?);
        Ok(None)
    }

    /// The result of the task that runs, if it is over or `wait` says to wait for its end.
    pub(super) fn collect(&mut self, wait: bool) -> Result<Option<Done<D>>, IndexError> {
        let Some(job) = self.job.take_if(|job| wait || job.is_finished()) else { return Ok(None) };
        let result = job.join().unwrap_or_else(|_| Err(IndexError::Worker("it panicked".to_owned())));
        result.map(|done| self.noted(done))
    }

    fn noted(&mut self, done: Done<D>) -> Option<Done<D>> {
        let Done::Short(error) = done else { return Some(done) };
        tracing::warn!(%error, "keys stay in memory and their records in the journal until there is space");
        self.shortage = Some(error);
        None
    }

    /// What there was no space for since this was last asked.
    pub(super) fn shortage(&mut self) -> Option<IndexError> {
        self.shortage.take()
    }

    /// True where there was no space since [`Self::shortage`] was last asked.
    pub(super) fn is_short(&self) -> bool {
        self.shortage.is_some()
    }

    /// True for a while after a shortage.
    pub(super) fn rests(&mut self, wall: Timestamp) -> bool {
        if self.shortage().is_some() {
            self.retry_at = Some(wall.plus(RETRY));
        }
        // A clock that was set back must not stop the tries.
        self.retry_at = self.retry_at.filter(|at| wall < *at && *at <= wall.plus(RETRY));
        self.retry_at.is_some()
    }
}

impl<D: Disk> Drop for Worker<D> {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            drop(job.join());
        }
    }
}

fn execute<D: Disk>(disk: &D, task: Task<D>) -> Result<Done<D>, IndexError> {
    match task {
        Task::Flush(table, plan) => {
            let dir = plan.dir.clone();
            let (messages, contents) = (table.messages().map(Ok), table.contents().map(Ok));
            match writer::write(disk, plan, messages, contents) {
                Ok(run) => Ok(Done::Flushed(run)),
                Err(broken) => fault(&dir, broken),
            }
        }
        Task::Empty(old, plan) => {
            let dir = plan.dir.clone();
            match writer::write(disk, plan, iter::empty(), iter::empty()) {
                Ok(run) => merged(disk, run, &[old]),
                Err(broken) => fault(&dir, broken),
            }
        }
        Task::Merge(runs, plan) => merge(disk, &runs, plan),
        Task::Remove(runs) => {
            for run in runs {
                disk.remove(&run.path).map_err(IndexError::io("remove", &run.path))?;
            }
            Ok(Done::Gone)
        }
        Task::Release(spent) => {
            drop(spent);
            Ok(Done::Gone)
        }
    }
}

fn merge<D: Disk>(disk: &D, runs: &[Arc<Run<D>>], plan: Plan) -> Result<Done<D>, IndexError> {
    let all = || runs.iter().map(Arc::as_ref);
    let dir = plan.dir.clone();
    match writer::write(disk, plan, merge::messages(all()), merge::contents(all())) {
        Ok(run) => merged(disk, run, &runs.iter().map(|run| run.path.clone()).collect::<Vec<_>>()),
        Err(Broken::Damaged(reason)) => match all().find(|run| !is_whole(run)) {
            Some(bad) => Ok(Done::Damaged(bad.name(), reason)),
            None => fault(&dir, Broken::Damaged(reason)),
        },
        Err(broken) => fault(&dir, broken),
    }
}

fn is_whole<D: Disk>(run: &Run<D>) -> bool {
    let one = || std::iter::once(run);
    merge::messages(one()).all(|entry| entry.is_ok()) && merge::contents(one()).all(|entry| entry.is_ok())
}

/// Removes what `run` replaces, now that it is durable. Readers that still have a file open keep it.
fn merged<D: Disk>(disk: &D, run: Run<D>, old: &[PathBuf]) -> Result<Done<D>, IndexError> {
    failpoint::reach(Point::DedupMergeAfter);
    for path in old {
        disk.remove(path).map_err(IndexError::io("remove", path))?;
        failpoint::reach(Point::DedupMergeRemoved);
    }
    Ok(Done::Merged(run))
}

/// What a file that could not be written means: a shortage passes, all else is final.
fn fault<D: Disk>(dir: &Path, broken: Broken) -> Result<Done<D>, IndexError> {
    match broken {
        Broken::Io(error) if is_full(&error) => {
            Ok(Done::Short(IndexError::io("write a key file in", dir)(error)))
        }
        Broken::Io(error) => Err(IndexError::io("write a key file in", dir)(error)),
        Broken::Damaged(reason) => Err(IndexError::Worker(reason.to_owned())),
    }
}

/// The files to merge next: all of a day that is over, some of one that has too many.
pub(super) fn to_merge<D: Disk>(runs: &[Arc<Run<D>>], today: i64) -> Option<Vec<Arc<Run<D>>>> {
    let mut days: Vec<i64> = runs.iter().map(|run| run.name().day).collect();
    days.sort_unstable();
    days.chunk_by(|a, b| a == b).filter(|day| day.len() > 1).find_map(|day| {
        let mut small: Vec<_> =
            runs.iter().filter(|run| run.name().day == day[0] && run.count() <= MERGED_MAX).collect();
        small.sort_by_key(|run| run.count());
        let taken = take(&small, day[0] < today);
        let near = span(&small[..taken]) <= SPAN_MAX;
        (taken > 1 && near).then(|| small[..taken].iter().map(|run| Arc::clone(run)).collect())
    })
}

/// How many of one day's files, smallest first, are merged together.
fn take<D: Disk>(small: &[&Arc<Run<D>>], over: bool) -> usize {
    if !over && small.len() < RUNS_PER_DAY {
        return 0;
    }
    let mut sum = 0;
    let fits = |(n, run): &(usize, &&Arc<Run<D>>)| {
        let alike = over || *n < MERGED_AT_LEAST || run.count() <= sum;
        sum += run.count();
        alike && *n < super::keyfile::REPLACED_MAX && (*n < 2 || sum <= 2 * MERGED_MAX)
    };
    small.iter().enumerate().take_while(fits).count()
}

fn span<D: Disk>(runs: &[&Arc<Run<D>>]) -> u64 {
    let low = runs.iter().map(|run| run.header.base.0).min().unwrap_or(0);
    let high = runs.iter().map(|run| run.name().through.0).max().unwrap_or(0);
    high.saturating_sub(low)
}
