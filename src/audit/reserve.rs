//! Room that is kept for what must still be written when the disk is full: how the calls under way end.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::segment::is_full;

/// A file that takes up room and holds nothing.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: bool,
}

impl Reserve {
    /// A reserve of so many bytes in a directory; none is taken yet.
    pub(super) fn new(dir: &Path, bytes: u64) -> Self {
        Self {
            path: dir.join(".reserve"),
            bytes,
            held: false,
        }
    }

    /// Its size.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the room up; true if it is held.
    pub(super) fn take(&mut self) -> bool {
        if self.bytes == 0 || self.held {
            return true;
        }
        match self.fill() {
            Ok(()) => self.held = true,
            Err(error) if is_full(&error) => {
                // A part of it would only be missing elsewhere.
                let _ = fs::remove_file(&self.path);
            }
            Err(error) => {
                tracing::warn!(%error, "no reserve can be kept on the journal's disk: it goes on without one");
                let _ = fs::remove_file(&self.path);
                self.bytes = 0;
                return true;
            }
        }
        self.held
    }

    fn fill(&self) -> io::Result<()> {
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)?;
        fallocate(&file, FallocateFlags::empty(), 0, self.bytes)?;
        Ok(())
    }

    /// Gives the room to whoever writes next.
    pub(super) fn give(&mut self) {
        self.held = false;
        let _ = fs::remove_file(&self.path);
    }
}

/// The bytes left in a directory's file system for who runs the gate.
pub(super) fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
