//! Reading a journal that goes on: what is there, then what has come since.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::read::seq;
use super::segments;

/// A reader of a journal that remembers up to where it has read.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    /// How much of each file was read, in bytes.
    read: HashMap<PathBuf, u64>,
    /// The number of the last record that was given: what stands in a segment that was put aside, and in the next one
    /// again, is given once.
    last: u64,
}

impl Follower {
    /// A reader from the beginning of the journal in this directory.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            read: HashMap::new(),
            last: 0,
        }
    }

    /// Gives every whole line that has come since the last time, without its end.
    ///
    /// # Errors
    /// If directory or segment cannot be read; what was given before is not given again.
    pub fn read(&mut self, mut each: impl FnMut(&str)) -> io::Result<()> {
        let mut line = Vec::new();
        for segment in segments(&self.dir)? {
            let file = match File::open(&segment.path) {
                Ok(file) => file,
                // It was let go, or put aside under another name: the next look finds it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let offset = self.read.entry(segment.path).or_default();
            if *offset > file.metadata()?.len() {
                // A torn write was cut back.
                *offset = 0;
            }
            let mut file = BufReader::new(file);
            file.seek(SeekFrom::Start(*offset))?;
            loop {
                line.clear();
                let length = file.read_until(b'\n', &mut line)?;
                // A line without its end is being written.
                let Some(whole) = line.strip_suffix(b"\n") else {
                    break;
                };
                *offset += u64::try_from(length).unwrap_or_default();
                let number = seq(whole);
                if number.is_none_or(|number| number > self.last) {
                    self.last = number.unwrap_or(self.last);
                    each(&String::from_utf8_lossy(whole));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64) -> String {
        format!("{{\"event_kind\":\"call.decision\",\"seq\":{number},\"x\":\"\"}}\n")
    }

    #[test]
    fn each_record_is_given_once_whatever_becomes_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = |first: u64, end: &str| dir.path().join(format!("{first:020}.ndjson{end}"));
        let mut follower = Follower::new(dir.path());
        let mut given = Vec::new();
        let mut look = |given: &mut Vec<u64>| {
            follower
                .read(|line| given.extend(seq(line.as_bytes())))
                .unwrap();
        };
        std::fs::write(path(1, ""), record(1) + &record(2) + &record(3)[..10]).unwrap();
        look(&mut given);
        std::fs::write(path(1, ""), record(1) + &record(2) + &record(3)).unwrap();
        look(&mut given);
        // A sync failed: put aside, and what was not known to be kept stands again in the next.
        std::fs::rename(path(1, ""), path(1, ".failed")).unwrap();
        std::fs::write(path(3, ""), record(3) + &record(4)).unwrap();
        look(&mut given);
        look(&mut given);
        // So for a segment whose first sync failed.
        std::fs::rename(path(3, ""), path(3, ".failed")).unwrap();
        std::fs::write(path(3, ""), record(3) + &record(4) + &record(5)).unwrap();
        look(&mut given);
        // A torn write was cut back, and something else came.
        std::fs::write(path(3, ""), record(3)).unwrap();
        look(&mut given);
        std::fs::write(path(3, ""), record(3) + &record(6)).unwrap();
        look(&mut given);
        std::fs::remove_file(path(1, ".failed")).unwrap();
        look(&mut given);
        assert_eq!(given, [1, 2, 3, 4, 5, 6]);
    }
}
