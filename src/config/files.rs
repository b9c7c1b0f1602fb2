//! The files that a configuration was read from, and the state in which each was read.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files, each as it was just before it was read: what changes after that is a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Stamp>);

/// What tells one state of a file from another, symbolic links followed; `None` for one that is not there.
type Stamp = Option<[u64; 7]>;

impl Files {
    /// Notes a file that is about to be read; the first note counts.
    pub(super) fn note(&mut self, path: PathBuf) {
        let stamp = stamp(&path);
        self.0.entry(path).or_insert(stamp);
    }

    /// One file, as it is now.
    pub fn of(path: &Path) -> Self {
        let mut files = Self::default();
        files.note(path.to_owned());
        files
    }

    /// These and others; where both have a file, these count.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        for (path, stamp) in &others.0 {
            self.0.entry(path.clone()).or_insert(*stamp);
        }
        self
    }

    /// The same files, as they are now.
    #[must_use]
    pub fn now(&self) -> Self {
        let paths = self.0.keys();
        Self(paths.map(|path| (path.clone(), stamp(path))).collect())
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    // A file that is written in place may keep its size, and who copies it may keep its time.
    let times = [
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
    ];
    let [modified, modified_nanos, changed, changed_nanos] = times.map(i64::cast_unsigned);
    Some([
        found.dev(),
        found.ino(),
        found.size(),
        modified,
        modified_nanos,
        changed,
        changed_nanos,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_after_the_first_look_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let mut files = Files::of(&path);
        assert_eq!(files.now(), files, "it is not there, and stays so");
        fs::write(&path, "one").unwrap();
        assert_ne!(files.now(), files, "it came");
        files.note(path.clone());
        assert_ne!(files.now(), files, "the first note counts");
        let files = Files::of(&path);
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "two").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(modified).unwrap();
        assert_ne!(files.now(), files, "of the same size and time");
    }
}
