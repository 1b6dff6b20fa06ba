//! Named places where a test may kill the process: before and after each step that must survive a kill there.
//!
//! A noun: any room may [`reach`] a point. Only builds with the feature `failpoints` have them; in what users run,
//! reaching a point is no code at all. Which point kills, and at which time it is reached, is the environment's
//! `FAILPOINTS`, in the words of the crate `fail`: `journal.sync.before=16*off->return` kills at the 17th.

/// One row for each point: what has happened when it is reached, and what has not.
macro_rules! points {
    ($($(#[$about:meta])* $point:ident = $name:literal,)*) => {
        /// Where the process may be killed. The name says the room, the step, and how far that has come.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Point {
            $($(#[$about])* $point,)*
        }

        impl Point {
            /// All of them, by room.
            pub const ALL: &'static [Self] = &[$(Self::$point,)*];

            /// The name by which `FAILPOINTS` knows it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// A captured secret is synced under a name that does not count.
    CaptureRenameBefore = "capture.rename.before",
    /// It has its name, and the folder is not synced; the sender is not answered.
    CaptureRenameAfter = "capture.rename.after",
    /// The next segment's file is made, empty.
    JournalPrepareCreated = "journal.prepare.created",
    /// It is full of zeroes and synced; its name is not.
    JournalPrepareFilled = "journal.prepare.filled",
    /// Its name is synced too, and the writer does not know of it.
    JournalPrepareAfter = "journal.prepare.after",
    /// The writer turns to the next segment, which has no header yet.
    JournalRollBefore = "journal.roll.before",
    /// Header and watermarks are written there and not synced; the old segment is not cut.
    JournalRollAfter = "journal.roll.after",
    /// Records are staged, none of their bytes is written.
    JournalWriteBefore = "journal.write.before",
    /// Their bytes are written and not synced.
    JournalSyncBefore = "journal.sync.before",
    /// They are synced, and nobody has been answered.
    JournalSyncAfter = "journal.sync.after",
    /// A sealed segment still has its zeroes at the end.
    JournalCutBefore = "journal.cut.before",
    /// They are cut off, and that is not synced.
    JournalCutDone = "journal.cut.done",
    /// That is synced.
    JournalCutAfter = "journal.cut.after",
    /// Live records of the oldest segment are copied in memory.
    JournalCompactStaged = "journal.compact.staged",
    /// The copies are durable; the originals are still there.
    JournalCompactAfter = "journal.compact.after",
    /// The ledger has let go of the oldest segment, whose file is still there.
    JournalRemoveBefore = "journal.remove.before",
    /// It is unlinked, and its folder is not synced.
    JournalRemoveDone = "journal.remove.done",
    /// Its folder is synced.
    JournalRemoveAfter = "journal.remove.after",
    /// The journal's id is on disk under a name that does not count.
    JournalIdentitySynced = "journal.identity.synced",
    /// It has its name, and the folder is not synced.
    JournalIdentityRenamed = "journal.identity.renamed",
    /// A start has unlinked a segment that was never written; its folder is not synced.
    JournalRecoverUnused = "journal.recover.unused",
    /// A start has copied a damaged range aside; the copy is not synced.
    JournalRecoverCopied = "journal.recover.copied",
    /// The copy is durable; the range is not covered by a gap.
    JournalRecoverAside = "journal.recover.aside",
    /// The gap is written over the range, and not synced.
    JournalRecoverGap = "journal.recover.gap",
    /// A start has cut what lies behind the last whole record; that is not synced.
    JournalRecoverCut = "journal.recover.cut",
    /// All is read, the first segment of this run has its header, which is not synced.
    JournalRecoverOpened = "journal.recover.opened",
    /// The journal is open; nothing has been accepted.
    JournalRecoverAfter = "journal.recover.after",
    /// A key file is made under a name that does not count, empty.
    DedupFileCreated = "dedup.file.created",
    /// All of it is written, and not synced.
    DedupFileWritten = "dedup.file.written",
    /// It is synced, and has not its name.
    DedupFileSynced = "dedup.file.synced",
    /// It has its name, and the folder is not synced.
    DedupFileRenamed = "dedup.file.renamed",
    /// It is durable with its name; the index still answers from memory.
    DedupFileAfter = "dedup.file.after",
    /// A merged file is durable; the files that it replaces are still there.
    DedupMergeAfter = "dedup.merge.after",
    /// One of these is unlinked.
    DedupMergeRemoved = "dedup.merge.removed",
    /// A new list of forgotten keys is synced, and has not its name.
    DedupForgottenSynced = "dedup.forgotten.synced",
    /// It has its name, and the folder is not synced.
    DedupForgottenRenamed = "dedup.forgotten.renamed",
    /// A start has unlinked a file that a merged one replaces; the folder is not synced.
    DedupOpenReplaced = "dedup.open.replaced",
    /// The key files are open; the journal's keys are not refilled.
    DedupOpenAfter = "dedup.open.after",
    /// Events are on disk and in no claim.
    RedisClaimBefore = "redis.claim.before",
    /// They are claimed in Redis, and nothing is published.
    RedisClaimAfter = "redis.claim.after",
    /// Claims of this replica's earlier run are found, and still in its name.
    RedisRenewBefore = "redis.renew.before",
    /// They are this run's.
    RedisRenewAfter = "redis.renew.after",
    /// Another replica is silent, and its claims still stand.
    RedisTakeoverBefore = "redis.takeover.before",
    /// They are this replica's, and nothing is published.
    RedisTakeoverAfter = "redis.takeover.after",
    /// Events are confirmed, and Redis has not been told.
    RedisDoneBefore = "redis.done.before",
    /// Redis has them as done; no mark is written.
    RedisDoneAfter = "redis.done.after",
    /// Redis has been told that this replica lives, if it answers.
    RedisAliveAfter = "redis.alive.after",
    /// In confirm mode an event is in no claim.
    RedisLeaseBefore = "redis.lease.before",
    /// It is claimed with a lease, and not published.
    RedisLeaseAfter = "redis.lease.after",
    /// Keys are claimed in memory and records staged; nothing is written.
    AcceptStaged = "accept.staged",
    /// Records are durable and counted, lanes know of them; no sender is answered.
    AcceptAnswerBefore = "accept.answer.before",
    /// Senders are answered; who waits for marks and watermarks is not.
    AcceptAnswerAfter = "accept.answer.after",
    /// The marks of an operator's order are staged, none is written.
    AcceptOrderStaged = "accept.order.staged",
    /// They are durable; neither lanes nor the operator know.
    AcceptOrderDurable = "accept.order.durable",
    /// Events are read that lie beyond the durable watermark.
    RelayRaiseBefore = "relay.raise.before",
    /// The watermark is durable, and none of them is published.
    RelayRaiseAfter = "relay.raise.after",
    /// An event is ready, below the watermark and claimed where that is needed; the sink has not seen it.
    RelayPublishBefore = "relay.publish.before",
    /// The sink has it; nothing says that it was sent.
    RelayPublishAfter = "relay.publish.after",
    /// An event is confirmed; no one has been told.
    RelayConfirmAfter = "relay.confirm.after",
    /// The other replicas know where there are any; the mark is with nobody.
    RelayMarkBefore = "relay.mark.before",
    /// The mark is durable; the lane does not know.
    RelayMarkAfter = "relay.mark.after",
    /// An event of the inbox is below the durable watermark, and with no worker.
    RelayLeaseBefore = "relay.lease.before",
    /// It is leased; the worker is not answered.
    RelayLeaseAfter = "relay.lease.after",
    /// A worker has acknowledged events; the mark is with nobody.
    RelayAckBefore = "relay.ack.before",
    /// The mark is durable; the worker is not answered.
    RelayAckAfter = "relay.ack.after",
    /// The link to RabbitMQ has a message, and no frame of it is queued.
    SinkPublishBefore = "sink.publish.before",
    /// Its frames are queued or sent.
    SinkPublishAfter = "sink.publish.after",
    /// RabbitMQ has answered for messages; the relay has not been told.
    SinkConfirmAfter = "sink.confirm.after",
    /// An event has its lease, and nothing is published.
    ConfirmClaimAfter = "confirm.claim.after",
    /// The sink has taken its message in; whether it is sent is open.
    ConfirmPublishAfter = "confirm.publish.after",
    /// RabbitMQ has confirmed it; its claim is still a lease.
    ConfirmDoneBefore = "confirm.done.before",
    /// Redis has it as done; its sender is not answered.
    ConfirmDoneAfter = "confirm.done.after",
    /// A 2xx is decided, and not made.
    IngressAnswerDecided = "ingress.answer.decided",
    /// It is made; none of its bytes is written.
    IngressAnswerMade = "ingress.answer.made",
    /// A stop is ordered; all still runs.
    StopBegun = "stop.begun",
    /// Requests are answered and the relay has ended; the sink and the journal are open.
    StopConfirmed = "stop.confirmed",
    /// Only the journal is open.
    StopSinkClosed = "stop.sink.closed",
    /// All is synced and ended; the process has not.
    StopAfter = "stop.after",
}

/// Passes `point`; kills the process with SIGKILL where a test wants that.
#[inline]
pub fn reach(point: Point) {
    #[cfg(feature = "failpoints")]
    if fail::eval(point.name(), |_| ()).is_some() {
        let own = rustix::process::getpid();
        // There is no return from it, and no way to go on without it.
        while rustix::process::kill_process(own, rustix::process::Signal::KILL).is_err() {}
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = point;
}

/// Reads which points kill; once, at the start of the process.
pub fn arm() {
    #[cfg(feature = "failpoints")]
    std::mem::forget(fail::FailScenario::setup());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_point_has_a_name_of_its_own_that_fits_the_environment() {
        let names: BTreeSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
        let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'.');
        assert!(names.iter().all(|name| plain(name)), "{names:?}");
    }
}
