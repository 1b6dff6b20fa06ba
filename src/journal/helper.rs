//! Slow file work beside the writer: filling the next segment, cutting sealed ones, unlinking old ones, in order.
//! Never touches bytes that a commit writes.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::error::{IoContext, JournalError};
use super::segment::{self, Pace};
use crate::disk::Disk;
use crate::failpoint::{self, Point};
use crate::tasks;

/// Jobs that may wait; the writer waits beyond that.
const QUEUE: usize = 64;

/// Who does the slow file work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upkeep {
    /// A thread of its own.
    #[default]
    Thread,
    /// The caller, at once: the order of all file operations is then determined.
    Inline,
}

/// One piece of work.
pub(super) enum Job<D: Disk> {
    Prepare { number: u64, bytes: u64 },
    Cut { file: Arc<D::File>, number: u64, len: u64 },
    Remove { number: u64 },
}

/// What came of it; only these two are reported.
pub(super) enum Done<D: Disk> {
    Prepared(u64, Result<D::File, JournalError>),
    Failed(JournalError),
}

/// The worker's side.
struct Worker<D: Disk> {
    disk: D,
    dir: PathBuf,
    pace: Arc<Pace>,
}

impl<D: Disk> Worker<D> {
    fn run(&self, job: Job<D>) -> Option<Done<D>> {
        match job {
            Job::Prepare { number, bytes } => {
                let made = segment::prepare(&self.disk, &self.dir, number, bytes, &self.pace);
                Some(Done::Prepared(number, made.context("prepare", &segment::path(&self.dir, number))))
            }
            Job::Cut { file, number, len } => {
                failpoint::reach(Point::JournalCutBefore);
                let cut = self.disk.set_len(&file, len);
                failpoint::reach(Point::JournalCutDone);
                let cut = cut.and_then(|()| self.disk.sync(&file));
                failpoint::reach(Point::JournalCutAfter);
                cut.context("cut", &segment::path(&self.dir, number)).err().map(Done::Failed)
            }
            Job::Remove { number } => self.remove(number).err().map(Done::Failed),
        }
    }

    /// Unlinks durably before the next job, so that segments leave strictly oldest first.
    fn remove(&self, number: u64) -> Result<(), JournalError> {
        let path = segment::path(&self.dir, number);
        failpoint::reach(Point::JournalRemoveBefore);
        self.disk.remove(&path).context("remove", &path)?;
        failpoint::reach(Point::JournalRemoveDone);
        self.disk.sync_dir(&self.dir).context("sync", &self.dir)?;
        failpoint::reach(Point::JournalRemoveAfter);
        Ok(())
    }
}

/// The writer's side.
pub(super) enum Helper<D: Disk> {
    Inline { worker: Box<dyn Fn(Job<D>) -> Option<Done<D>> + Send>, done: VecDeque<Done<D>> },
    Thread { jobs: Option<SyncSender<Job<D>>>, done: Receiver<Done<D>>, thread: Option<JoinHandle<()>> },
}

impl<D: Disk> Helper<D> {
    /// Starts what does the work; `pace` tells it when it may pause while it fills a segment.
    pub(super) fn start(disk: D, dir: PathBuf, upkeep: Upkeep, pace: Arc<Pace>) -> io::Result<Self> {
        let worker = Worker { disk, dir, pace };
        if upkeep == Upkeep::Inline {
            let worker = Box::new(move |job| worker.run(job));
            return Ok(Self::Inline { worker, done: VecDeque::new() });
        }
        let (jobs, inbox) = sync_channel(QUEUE);
        // One preparation at a time and one failure at most: the worker never waits for the writer.
        let (report, done) = sync_channel(4);
        let thread = tasks::thread("journal-upkeep", move || {
            for job in inbox {
                let outcome = worker.run(job);
                let last = matches!(outcome, Some(Done::Failed(_)));
                let gone = outcome.is_some_and(|outcome| report.send(outcome).is_err());
                if last || gone {
                    break;
                }
            }
        })?;
        Ok(Self::Thread { jobs: Some(jobs), done, thread: Some(thread) })
    }

    /// Hands a job over; after a failure, which is reported, jobs are ignored.
    pub(super) fn submit(&mut self, job: Job<D>) {
        match self {
            Self::Inline { worker, done } => done.extend(worker(job)),
            Self::Thread { jobs, .. } => {
                if jobs.as_ref().is_some_and(|sender| sender.send(job).is_err()) {
                    *jobs = None;
                }
            }
        }
    }

    /// The next outcome, waiting for it at most `wait`.
    pub(super) fn outcome(&mut self, wait: Duration) -> Option<Done<D>> {
        match self {
            Self::Inline { done, .. } => done.pop_front(),
            Self::Thread { done, .. } if wait.is_zero() => done.try_recv().ok(),
            Self::Thread { done, .. } => done.recv_timeout(wait).ok(),
        }
    }
}

impl<D: Disk> Drop for Helper<D> {
    fn drop(&mut self) {
        if let Self::Thread { jobs, thread, .. } = self {
            *jobs = None;
            // A panic in the worker has been printed by its own thread.
            drop(thread.take().map(JoinHandle::join));
        }
    }
}
