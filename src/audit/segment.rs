//! The file that is appended to, and what may be done to it from outside.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

/// The name of a segment.
pub(super) fn name(first: u64) -> String {
    format!("{first:020}.ndjson")
}

impl ActiveSegment {
    /// Opens the segment to go on with; it is made if it is not there.
    pub(super) fn open(path: &Path, first: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
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
        let there = fs::metadata(&self.path).is_ok_and(|there| there.ino() == self.inode);
        match (there, meta.nlink()) {
            (true, _) => None,
            (false, 0) => Some(Tampering::Deleted),
            (false, _) => Some(Tampering::Renamed),
        }
    }

    /// How many whole lines are left of it.
    pub(super) fn lines_left(&self) -> u64 {
        let Ok(file) = File::open(&self.path) else {
            return 0;
        };
        let mut reader = BufReader::new(file);
        let (mut line, mut lines) = (Vec::new(), 0);
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            lines += u64::from(line.ends_with(b"\"}\n"));
            line.clear();
        }
        lines
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
