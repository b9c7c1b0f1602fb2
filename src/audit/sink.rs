//! One directory that the journal is kept in: its active segment, and what is done when that fails.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::ranges::Ranges;
use super::reserve::{Reserve, free_bytes};
use super::retention::Retention;
use super::segment::{ActiveSegment, Tampering, WriteError};

/// The most bytes without a sync that are kept in memory, to be written again if the sync fails.
const UNSYNCED: usize = 256 * 1024;

/// When a segment is closed and the next one begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rolling {
    /// At this size, in bytes.
    pub bytes: u64,
    /// At this age.
    pub age: Duration,
}

/// What somebody has done to a segment.
#[derive(Debug)]
pub(super) struct Loss {
    pub(super) tampering: Tampering,
    /// The records that are gone by it.
    pub(super) lost: Ranges,
    /// When the segment was begun that they stood in.
    pub(super) since: SystemTime,
}

/// A directory and its active segment.
#[derive(Debug)]
pub(super) struct Sink {
    dir: PathBuf,
    segment: ActiveSegment,
    reserve: Reserve,
    /// Written since the last sync, and the number of the first record in it.
    unsynced: Vec<u8>,
    unsynced_first: u64,
    /// Why the active segment is not written any more.
    broken: Option<String>,
    /// A sync has failed on it: it must not be asked again, and what is not synced is to be written anew.
    sync_failed: bool,
    full: bool,
}

impl Sink {
    /// Goes on with a segment, which is made if it is not there.
    pub(super) fn open(path: &Path, first: u64, next: u64, reserve: u64) -> io::Result<Self> {
        let dir = super::sinks::dir_of(path).to_owned();
        let mut sink = Self {
            segment: ActiveSegment::open(path, first)?,
            reserve: Reserve::new(&dir, reserve),
            dir,
            unsynced: Vec::new(),
            unsynced_first: next,
            broken: None,
            sync_failed: false,
            full: false,
        };
        super::segment::sync_dir(&sink.dir)?;
        if !sink.reserve.take() {
            sink.full = true;
        }
        Ok(sink)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The number of the active segment's first record.
    pub(super) const fn first(&self) -> u64 {
        self.segment.first
    }

    /// True while there is no room but the reserve, which is for how calls end.
    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    /// True if nothing has been written to the active segment.
    pub(super) const fn is_new(&self) -> bool {
        self.segment.end == 0
    }

    /// True if the active segment is to be closed for its size or age.
    pub(super) fn is_due(&self, rolling: Rolling) -> bool {
        !self.is_new() && (self.segment.end >= rolling.bytes || self.segment.age() >= rolling.age)
    }

    /// Why the active segment cannot be written any more.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Appends whole records, or nothing.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), String> {
        if let Some(cause) = &self.broken {
            return Err(cause.clone());
        }
        match self.segment.append(lines) {
            Ok(()) => Ok(()),
            Err(WriteError::Full(error)) => {
                self.full = true;
                self.reserve.give();
                // What is left of the reserve may do for these.
                self.segment
                    .append(lines)
                    .map_err(|_| format!("the disk is full: {error}"))
            }
            Err(WriteError::Failed(error) | WriteError::Torn(error)) => {
                let cause = format!("a write failed: {error}");
                self.broken = Some(cause.clone());
                Err(cause)
            }
        }
    }

    /// Makes what was appended survive the loss of power. After a sync that failed nobody knows what the kernel holds: the
    /// segment is put aside and what was not known to be kept is written again, to a new one.
    pub(super) fn sync(&mut self, lines: &[u8], next: u64) -> Result<(), String> {
        let Err(error) = self.segment.sync() else {
            self.unsynced.clear();
            self.unsynced_first = next;
            return Ok(());
        };
        tracing::error!(%error, "a sync of the journal failed: the segment is put aside, and a new one begun");
        self.unsynced.extend_from_slice(lines);
        let rescued = self.rescue();
        let cause = format!("a sync failed: {error}");
        if let Err(second) = rescued {
            self.sync_failed = true;
            self.broken = Some(format!("{cause}; so did a new segment: {second}"));
            // Whoever opens the journal next must not ask it again either.
            let _ = self.segment.put_aside();
            return Err(cause);
        }
        Ok(())
    }

    /// Drops the last lines from what will be written anew: whoever gave them was told that they are not kept, and gives
    /// their numbers to others.
    pub(super) fn disown(&mut self, lines: &[u8]) {
        let left = self.unsynced.len().saturating_sub(lines.len());
        self.unsynced.truncate(left);
    }

    /// Writes what is not known to be kept to a new segment, in the place of the one that a sync failed on.
    fn rescue(&mut self) -> io::Result<()> {
        // Whole under another name before the old one goes: whenever the gate dies, the records stand somewhere.
        let (beside, first) = (self.dir.join(".next"), self.unsynced_first);
        let _ = fs::remove_file(&beside);
        let mut segment = ActiveSegment::open(&beside, first)?;
        let written = segment.append(&self.unsynced);
        if let Err(error) = written
            .map_err(WriteError::into_io)
            .and_then(|()| segment.sync())
        {
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
        self.segment.put_aside()?;
        segment.rename(&self.dir)?;
        self.segment = segment;
        self.unsynced_first += u64::try_from(lines_in(&self.unsynced)).unwrap_or_default();
        self.unsynced.clear();
        (self.broken, self.sync_failed) = (None, false);
        Ok(())
    }

    /// Keeps in mind what was appended and is not synced.
    pub(super) fn leave_unsynced(&mut self, lines: &[u8], next: u64) {
        if self.unsynced.len() + lines.len() > UNSYNCED {
            // Whoever wrote these was told that they may be lost with the machine.
            self.unsynced.clear();
            self.unsynced_first = next;
        } else {
            self.unsynced.extend_from_slice(lines);
        }
    }

    /// Begins a new segment; the directory is made anew if it is gone.
    pub(super) fn begin(&mut self, first: u64) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        // What comes is synced: what came before should not be the one that is missing.
        // One that failed once is not asked again.
        self.sync_failed =
            self.sync_failed || (!self.unsynced.is_empty() && self.segment.sync().is_err());
        if self.sync_failed {
            if self.unsynced.is_empty() {
                self.segment.put_aside()?;
            } else {
                self.rescue()?;
                if self.unsynced_first == first {
                    return Ok(());
                }
            }
        }
        self.segment = ActiveSegment::create(&self.dir, first)?;
        self.unsynced.clear();
        self.unsynced_first = first;
        (self.broken, self.sync_failed) = (None, false);
        Ok(())
    }

    /// The active segment must not be written any more; what was not synced of it is not written again.
    pub(super) fn give_up(&mut self, cause: &str) {
        self.broken = Some(cause.to_owned());
        self.unsynced.clear();
    }

    /// What was done from outside to the active segment, of which `next` is the number after the last record; nothing once
    /// it is not written any more.
    pub(super) fn tampering(&self, next: u64) -> Option<Loss> {
        let tampering = self.broken.is_none().then(|| self.segment.tampering())??;
        let whole = self.segment.first..next;
        let lost = match tampering {
            Tampering::Renamed => Ranges::default(),
            Tampering::Deleted => std::iter::once(whole).collect(),
            Tampering::Truncated => self.segment.left().lacks(whole),
        };
        Some(Loss {
            tampering,
            lost,
            since: self.segment.begun(),
        })
    }

    /// Takes the reserve up again once there is room for it and something more.
    pub(super) fn regain_room(&mut self) {
        if !self.full {
            return;
        }
        let room = free_bytes(&self.dir).unwrap_or_default();
        let wanted = self.reserve.bytes();
        if wanted == 0 || (room > wanted + wanted / 8 && self.reserve.take()) {
            self.full = false;
        }
    }

    /// Removes segments that are past their time.
    pub(super) fn retain(&self, retention: Retention) {
        for name in retention.apply(&self.dir, self.segment.first) {
            tracing::info!(
                name,
                "a segment of the journal is past its time and removed"
            );
        }
    }

    /// Bytes left on the disk.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        free_bytes(&self.dir)
    }
}

/// How many lines there are.
fn lines_in(lines: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', lines).count()
}

impl Drop for Sink {
    fn drop(&mut self) {
        // The next start takes it up again; nobody else is kept from the room meanwhile.
        self.reserve.give();
    }
}
