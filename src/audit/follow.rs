//! Reading a journal that goes on: what is there, then what has come since.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::segments;

/// A reader of a journal that remembers up to where it has read.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    /// The segment that is being read, by the number of its first record, and the bytes of it that were read.
    at: Option<(u64, u64)>,
}

impl Follower {
    /// A reader from the beginning of the journal in this directory.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            at: None,
        }
    }

    /// Gives every whole line that has come since the last time, without its end.
    ///
    /// # Errors
    /// If directory or segment cannot be read; what was given before is not given again.
    pub fn read(&mut self, mut each: impl FnMut(&str)) -> io::Result<()> {
        let mut line = String::new();
        for segment in segments(&self.dir)? {
            let (first, mut offset) = match self.at {
                Some((at, _)) if segment.first < at => continue,
                Some((at, offset)) if segment.first == at && !segment.failed => (at, offset),
                _ => (segment.first, 0),
            };
            let mut file = BufReader::new(File::open(&segment.path)?);
            file.seek(SeekFrom::Start(offset))?;
            loop {
                line.clear();
                let length = file.read_line(&mut line)?;
                // A line without its end is being written.
                let Some(whole) = line.strip_suffix('\n') else {
                    break;
                };
                each(whole);
                offset += u64::try_from(length).unwrap_or_default();
                self.at = Some((first, offset));
            }
        }
        Ok(())
    }
}
