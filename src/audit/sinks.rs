//! Where the journal is kept: in one directory, or in two of which one is enough.
//!
//! With one, the writer's own thread appends and syncs. With two each has a thread of its own, so that a disk that hangs
//! holds up nobody as long as the other one keeps what it is given.

use std::io;
use std::path::Path;

use super::pair::Pair;
use super::retention::Retention;
use super::sink::{Loss, Rolling, Sink};

/// One directory, or two.
pub(super) enum Sinks {
    One(Box<Sink>),
    Two(Pair),
}

impl Sinks {
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::One(sink) => sink.is_full(),
            Self::Two(pair) => pair.is_full(),
        }
    }

    pub(super) fn is_new(&self) -> bool {
        match self {
            Self::One(sink) => sink.is_new(),
            Self::Two(pair) => pair.is_new(),
        }
    }

    pub(super) fn is_due(&self, rolling: Rolling) -> bool {
        match self {
            Self::One(sink) => sink.is_due(rolling),
            Self::Two(pair) => pair.is_due(rolling),
        }
    }

    /// True if the segment cannot be written any more.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Self::One(sink) => sink.broken().is_some(),
            // Each side begins a new one by itself.
            Self::Two(_) => false,
        }
    }

    /// Appends whole records, `first` to just before `next`, or nothing. With two directories they are kept as `sync` says
    /// once this returns.
    pub(super) fn append(
        &mut self,
        lines: &[u8],
        first: u64,
        next: u64,
        sync: bool,
    ) -> Result<(), String> {
        match self {
            Self::One(sink) => sink.append(lines),
            Self::Two(pair) => pair.append(lines, first, next, sync),
        }
    }

    /// Makes what was appended survive the loss of power, or keeps in mind that it may not.
    pub(super) fn settle(&mut self, lines: &[u8], next: u64, sync: bool) -> Result<(), String> {
        match self {
            Self::One(sink) if sync => sink.sync(lines, next),
            Self::One(sink) => {
                sink.leave_unsynced(lines, next);
                Ok(())
            }
            Self::Two(_) => Ok(()),
        }
    }

    /// Begins a new segment.
    pub(super) fn begin(&mut self, first: u64, retention: Retention) -> io::Result<()> {
        match self {
            Self::One(sink) => {
                sink.begin(first)?;
                sink.retain(retention);
            }
            Self::Two(pair) => pair.begin(),
        }
        Ok(())
    }

    /// What was done from outside to what is written, of which `next` is the number after the last record. With two
    /// directories what is gone from one and stands in the other is not lost.
    pub(super) fn tampering(&mut self, next: u64) -> Option<Loss> {
        match self {
            Self::One(sink) => sink.tampering(next),
            Self::Two(pair) => pair.loss(),
        }
    }

    /// Makes sure that what was done from outside until now is known. With one directory it is whenever somebody asks.
    pub(super) fn look_now(&mut self) {
        if let Self::Two(pair) = self {
            pair.look_now();
        }
    }

    /// Nothing more is appended: what is under way is finished, and what was done from outside until then is known.
    pub(super) fn finish(&mut self) {
        if let Self::Two(pair) = self {
            pair.finish();
        }
    }

    /// The active segment is not written any more.
    pub(super) fn give_up(&mut self, cause: &str) {
        if let Self::One(sink) = self {
            sink.give_up(cause);
        }
    }

    /// Looks after what has nothing to write.
    pub(super) fn watch(&mut self) {
        if let Self::Two(pair) = self {
            pair.watch();
        }
    }

    pub(super) fn regain_room(&mut self) {
        if let Self::One(sink) = self {
            sink.regain_room();
        }
    }

    /// Bytes left where there are fewest.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        match self {
            Self::One(sink) => sink.free_bytes(),
            Self::Two(pair) => pair.free_bytes(),
        }
    }
}

/// The directory of a segment's path.
pub(super) fn dir_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}
