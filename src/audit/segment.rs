//! The file that is appended to, and what may be done to it from outside.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::ranges::Ranges;
use super::read;

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct ActiveSegment {
    path: PathBuf,
    file: File,
    inode: u64,
    /// The number of its first record, as its name says.
    pub(super) first: u64,
    /// Its length up to the last whole record, in bytes.
    pub(super) end: u64,
    /// When it was begun.
    begun: SystemTime,
}

/// A write or sync that failed.
#[derive(Debug)]
pub(super) enum WriteError {
    /// There is no space; the file is cut back to its last whole record.
    Full(io::Error),
    /// The file is cut back to its last whole record.
    Failed(io::Error),
    /// A part of a record stands at its end and could not be cut off.
    Torn(io::Error),
}

impl WriteError {
    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::Full(error) | Self::Failed(error) | Self::Torn(error) => error,
        }
    }
}

/// What somebody else did to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tampering {
    /// It lies elsewhere now; its records are whole.
    Renamed,
    /// It has no name any more: its records are gone.
    Deleted,
    /// It is shorter than what was written.
    Truncated,
}

/// What every record begins with, and no string within one can hold.
const BEGINNING: &[u8] = b"{\"event_kind\":\"";

/// The name of a segment.
pub(super) fn name(first: u64) -> String {
    format!("{first:020}.ndjson")
}

impl ActiveSegment {
    /// Opens the segment to go on with; it is made if it is not there.
    pub(super) fn open(path: &Path, first: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        let end = file.seek(SeekFrom::End(0))?;
        let meta = file.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            inode: meta.ino(),
            file,
            first,
            end,
            begun: meta.created().unwrap_or_else(|_| SystemTime::now()),
        })
    }

    /// Makes a new segment, whose name is then on stable storage.
    pub(super) fn create(dir: &Path, first: u64) -> io::Result<Self> {
        let path = dir.join(name(first));
        let mut segment = Self::open(&path, first)?;
        if segment.end > 0 {
            // A piece of a record that could not be cut off: no record has this number yet.
            segment.put_aside()?;
            segment = Self::open(&path, first)?;
        }
        sync_dir(dir)?;
        Ok(segment)
    }

    /// Appends whole records, or nothing.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), WriteError> {
        if let Err(error) = self.file.write_all(lines) {
            return Err(match self.file.set_len(self.end) {
                Err(_) => WriteError::Torn(error),
                Ok(()) if is_full(&error) => WriteError::Full(error),
                Ok(()) => WriteError::Failed(error),
            });
        }
        self.end += u64::try_from(lines.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed().unwrap_or_default()
    }

    /// What was done to the file since it was opened.
    pub(super) fn tampering(&self) -> Option<Tampering> {
        let meta = self.file.metadata().ok()?;
        if meta.len() < self.end {
            return Some(Tampering::Truncated);
        }
        let there = match fs::metadata(&self.path) {
            Ok(there) => there.ino() == self.inode,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // A directory that was closed to all: the file is where it was, as far as anybody can tell.
            Err(_) => meta.nlink() > 0,
        };
        match (there, meta.nlink()) {
            (true, _) => None,
            (false, 0) => Some(Tampering::Deleted),
            (false, _) => Some(Tampering::Renamed),
        }
    }

    /// When it was begun.
    pub(super) const fn begun(&self) -> SystemTime {
        self.begun
    }

    /// The numbers of the whole records that are left of it. What was appended after a cut within a line stands behind the
    /// stump: a line of two beginnings is no record.
    pub(super) fn left(&self) -> Ranges {
        let mut left = Ranges::default();
        // Wherever the file lies by now: writes go to its end, whatever is read.
        let mut file = &self.file;
        let Ok(file) = file.seek(SeekFrom::Start(0)).and_then(|_| file.try_clone()) else {
            return left;
        };
        let mut next = read::lines_of(file);
        let mut line = Vec::new();
        while next(&mut line).is_ok_and(|read| read > 0) {
            let begins = memchr::memmem::find_iter(&line, BEGINNING).take(2).count();
            if let Some(seq) = read::sequence(&line)
                && begins == 1
                && line.ends_with(b"\"}\n")
            {
                left.add(seq..seq + 1);
            }
        }
        left
    }

    /// Gives the file its own name.
    pub(super) fn rename(&mut self, dir: &Path) -> io::Result<()> {
        let path = dir.join(name(self.first));
        fs::rename(&self.path, &path)?;
        self.path = path;
        sync_dir(dir)
    }

    /// Puts the file aside, as one that a sync failed on: what the kernel holds of it is not known.
    pub(super) fn put_aside(&self) -> io::Result<()> {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".failed");
        match fs::rename(&self.path, &aside) {
            // Done the last time.
            Err(error) if error.kind() == io::ErrorKind::NotFound && Path::new(&aside).exists() => {
                Ok(())
            }
            renamed => renamed,
        }
    }
}

/// True if the error means that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Makes what a directory lists survive the loss of power.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
