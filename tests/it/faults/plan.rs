//! Which gateway reaches each named point, how, and which test kills there. A new point has no way round this table.

use hookgate::failpoint::{Point, Point as P};

/// The gateway that reaches a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Inbox, own index, segments that end all the time.
    Inbox,
    /// RabbitMQ, own index.
    Broker,
    /// RabbitMQ and claims in Redis.
    Claims,
    /// The same beside a second replica.
    Replicas,
    /// No journal: Redis and RabbitMQ.
    Confirm,
}

/// What makes it reach the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Load; at one of so many first times.
    Load(u64),
    /// Load from which one source's events stay with the gateway, so that they pin old segments.
    Pinned,
    /// SIGTERM under load.
    Stop,
    /// The first start in an empty folder.
    First,
    /// A start after a SIGKILL under load.
    Start,
    /// A start after a SIGKILL at that other point.
    After(Point),
    /// A start after a byte of a record was turned.
    Damaged,
    /// An operator's order.
    Order(&'static str),
    /// A sender that shows its secret to an armed source; `captured` kills there.
    Shown,
    /// The silence of a replica that holds claims.
    Silence,
}

/// Where and how each point is reached.
pub fn plan(point: Point) -> (Stage, Way) {
    match point {
        P::CaptureRenameBefore | P::CaptureRenameAfter => (Stage::Inbox, Way::Shown),
        P::JournalIdentitySynced | P::JournalIdentityRenamed => (Stage::Inbox, Way::First),
        P::JournalRecoverUnused
        | P::JournalRecoverCut
        | P::JournalRecoverOpened
        | P::JournalRecoverAfter
        | P::DedupOpenAfter => (Stage::Inbox, Way::Start),
        P::JournalRecoverCopied | P::JournalRecoverAside | P::JournalRecoverGap => {
            (Stage::Inbox, Way::Damaged)
        }
        P::DedupOpenReplaced => (Stage::Inbox, Way::After(P::DedupMergeAfter)),
        P::JournalCompactStaged | P::JournalCompactAfter => (Stage::Inbox, Way::Pinned),
        P::JournalPrepareCreated
        | P::JournalPrepareFilled
        | P::JournalPrepareAfter
        | P::JournalRollBefore
        | P::JournalRollAfter
        | P::JournalCutBefore
        | P::JournalCutDone
        | P::JournalCutAfter
        | P::JournalRemoveBefore
        | P::JournalRemoveDone
        | P::JournalRemoveAfter
        | P::DedupFileCreated
        | P::DedupFileWritten
        | P::DedupFileSynced
        | P::DedupFileRenamed
        | P::DedupFileAfter
        | P::DedupMergeRemoved => (Stage::Inbox, Way::Load(3)),
        P::DedupMergeAfter => (Stage::Inbox, Way::Load(1)),
        P::JournalWriteBefore
        | P::JournalSyncBefore
        | P::JournalSyncAfter
        | P::AcceptStaged
        | P::AcceptAnswerBefore
        | P::AcceptAnswerAfter
        | P::RelayLeaseBefore
        | P::RelayLeaseAfter
        | P::RelayAckBefore
        | P::RelayAckAfter
        | P::IngressAnswerDecided
        | P::IngressAnswerMade => (Stage::Inbox, Way::Load(60)),
        P::AcceptOrderStaged | P::AcceptOrderDurable => (Stage::Inbox, Way::Order("replay")),
        P::DedupForgottenSynced | P::DedupForgottenRenamed => (Stage::Inbox, Way::Order("forget")),
        P::RelayRaiseBefore | P::RelayRaiseAfter => (Stage::Broker, Way::Load(3)),
        P::RelayPublishBefore
        | P::RelayPublishAfter
        | P::RelayConfirmAfter
        | P::RelayMarkBefore
        | P::RelayMarkAfter
        | P::SinkPublishBefore
        | P::SinkPublishAfter
        | P::SinkConfirmAfter => (Stage::Broker, Way::Load(60)),
        P::StopBegun | P::StopConfirmed | P::StopSinkClosed | P::StopAfter => (Stage::Broker, Way::Stop),
        P::RedisClaimBefore | P::RedisClaimAfter | P::RedisDoneBefore | P::RedisDoneAfter => {
            (Stage::Claims, Way::Load(30))
        }
        P::RedisAliveAfter => (Stage::Claims, Way::Load(1)),
        P::RedisRenewBefore | P::RedisRenewAfter => (Stage::Claims, Way::After(P::RedisClaimAfter)),
        P::RedisTakeoverBefore | P::RedisTakeoverAfter => (Stage::Replicas, Way::Silence),
        P::RedisLeaseBefore
        | P::RedisLeaseAfter
        | P::ConfirmClaimAfter
        | P::ConfirmPublishAfter
        | P::ConfirmDoneBefore
        | P::ConfirmDoneAfter => (Stage::Confirm, Way::Load(60)),
    }
}

/// The test of `points` that kills at a point: those of one gateway are apart so that they run side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    Commit,
    Upkeep,
    StartOrOrder,
    FirstStart,
    Compaction,
    Relay,
    Stop,
    Claim,
    Confirm,
    Takeover,
    Captured,
}

pub fn test_of(point: Point) -> Test {
    match plan(point) {
        (Stage::Inbox, Way::Load(60)) => Test::Commit,
        (Stage::Inbox, Way::Load(_)) => Test::Upkeep,
        (Stage::Inbox, Way::Start | Way::After(_) | Way::Damaged | Way::Order(_)) => Test::StartOrOrder,
        (Stage::Inbox, Way::Shown) => Test::Captured,
        (Stage::Inbox, Way::First) => Test::FirstStart,
        (Stage::Inbox, Way::Pinned) => Test::Compaction,
        (Stage::Broker, Way::Stop) => Test::Stop,
        (Stage::Broker, Way::Load(_)) => Test::Relay,
        (Stage::Claims, Way::Load(_) | Way::After(_)) => Test::Claim,
        (Stage::Confirm, Way::Load(_)) => Test::Confirm,
        (Stage::Replicas, Way::Silence) => Test::Takeover,
        (stage, way) => panic!("no test kills at {point:?}: {way:?} with {stage:?}"),
    }
}
