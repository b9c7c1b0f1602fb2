//! The journal: every decision on stable storage before its deed, in a chain that shows what was changed.
//!
//! Each core collects records in an [`Outbox`] and hands over one batch per turn of its loop. One writer thread gives
//! sequence numbers and hashes, appends, syncs once for all, and wakes each core once. Opening the journal repairs what
//! a crash left: a torn last line is cut and declared, decisions without completion are closed.
//!
//! The journal is a row of segments, each closed at a size or age. Where one cannot go on (a failed write or sync, a file
//! that somebody moved, cut or removed) the next is begun at once; what was lost is a record with its exact number.

mod acknowledge;
mod backlog;
mod catch_up;
mod chain;
mod completion;
mod follow;
mod grants;
mod inbox;
mod journal;
mod json;
mod keeper;
mod lifecycle;
mod member;
mod outbox;
mod pair;
mod ranges;
mod read;
mod receipt;
mod record;
mod recovery;
mod request;
mod reserve;
mod retention;
mod segment;
mod sink;
mod sinks;
mod turned_away;
mod undeclared;
mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use chain::{Chain, Digest, SCHEMA};
pub use completion::{CompletionRecord, Origin};
pub use follow::Follower;
pub use grants::{DriftRecord, EndRecord, GrantRecord};
pub use journal::{Journal, JournalError, Recorder};
pub use lifecycle::{PolicyGate, PolicyRecord, PolicyRejection, StartRecord};
pub use member::EventId;
pub use outbox::{Outbox, OutboxTask};
pub use read::{Segment, SegmentError, segments};
pub use receipt::{JournalUnavailable, Receipt};
pub use record::{About, CallFacts, DecisionRecord, GateText, OperationText};
pub use recovery::Recovery;
pub use request::RequestFacts;
pub use retention::Retention;
pub use sink::Rolling;
pub use turned_away::{RejectionRecord, RejectionSum, ShedRecord};
pub use verify::{Finding, Summary, verify};

/// How the journal is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the segments lie.
    pub dir: PathBuf,
    /// A second place for the same segments: a record counts once it is in one of them.
    pub second_dir: Option<PathBuf>,
    /// The longest wait for the journal in `enforce`.
    pub deadline: Duration,
    /// What becomes of a call in `report` whose record cannot be written.
    pub on_failure: OnAuditFailure,
    /// Room kept for how calls end once the disk is full, in bytes; 0 for none.
    pub reserve: u64,
    /// When a segment is closed.
    pub rolling: Rolling,
    /// How long closed segments are kept.
    pub retention: Retention,
}

impl Settings {
    /// Where the journal is kept: one directory, or two.
    pub fn dirs(&self) -> impl Iterator<Item = &Path> {
        let second = self.second_dir.as_deref();
        std::iter::once(self.dir.as_path()).chain(second)
    }
}

/// When a decision counts as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guarantee {
    /// On stable storage (fdatasync): survives the loss of power.
    #[default]
    Strict,
    /// Written to the file: survives the death of the process, not of the machine.
    Durable,
    /// Nobody waits for it; what is lost is declared. For gates that watch only.
    BestEffort,
}

impl Guarantee {
    /// The word in configuration and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Durable => "durable",
            Self::BestEffort => "best_effort",
        }
    }
}

/// What becomes of a call in `report` whose record cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnAuditFailure {
    /// It is forwarded after at most 50 ms, and the loss is a record.
    #[default]
    Forward,
    /// It is refused, as in `enforce`.
    Block,
}

impl OnAuditFailure {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Block => "block",
        }
    }
}

/// The kinds of records that are written today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The verdict on a call.
    CallDecision,
    /// How a call ended.
    CallCompletion,
    /// A request that was refused below the dialect.
    CallRejected,
    /// Calls or connections were turned away for want of room.
    CallShed,
    /// A grant was learned from the token endpoint, or by asking.
    TokenCaptured,
    /// A grant is not what it was.
    GrantChanged,
    /// A token does not hold any more.
    GrantRevoked,
    /// The vendor is not as the catalogue has it.
    DriftDetected,
    /// A configuration came into force.
    PolicyLoaded,
    /// A configuration could not come into force.
    PolicyRejected,
    /// The journal was opened.
    AuditStarted,
    /// The journal was repaired.
    AuditRecovered,
    /// The journal was closed in order.
    AuditStopped,
    /// Records were lost; how many.
    AuditGap,
    /// A segment begins or ends.
    AuditCheckpoint,
}

impl EventKind {
    /// True for what is written although the disk is full: how calls ended, what became of the configuration and of the
    /// journal itself. Whoever sends broken requests must not use the room up that is kept for these.
    const fn may_use_reserve(self) -> bool {
        match self {
            Self::CallDecision
            | Self::CallCompletion
            | Self::PolicyLoaded
            | Self::PolicyRejected
            | Self::AuditStarted
            | Self::AuditRecovered
            | Self::AuditStopped
            | Self::AuditGap
            | Self::AuditCheckpoint => true,
            Self::CallRejected
            | Self::CallShed
            | Self::TokenCaptured
            | Self::GrantChanged
            | Self::GrantRevoked
            | Self::DriftDetected => false,
        }
    }

    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CallDecision => "call.decision",
            Self::CallCompletion => "call.completion",
            Self::CallRejected => "call.rejected",
            Self::CallShed => "call.shed",
            Self::TokenCaptured => "token.captured",
            Self::GrantChanged => "grant.changed",
            Self::GrantRevoked => "grant.revoked",
            Self::DriftDetected => "drift.detected",
            Self::PolicyLoaded => "policy.loaded",
            Self::PolicyRejected => "policy.rejected",
            Self::AuditStarted => "audit.started",
            Self::AuditRecovered => "audit.recovered",
            Self::AuditStopped => "audit.stopped",
            Self::AuditGap => "audit.gap",
            Self::AuditCheckpoint => "audit.checkpoint",
        }
    }
}
