//! Records that were lost and could not be declared before the end: the next start does it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const NAME: &str = ".undeclared";

/// Leaves the members of an `audit.gap` for the next start; false if that cannot be written anywhere.
pub(super) fn leave(dirs: &[PathBuf], declaration: &[u8]) -> bool {
    let write = |dir: &PathBuf| {
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(dir.join(NAME))?;
        file.write_all(declaration)?;
        file.sync_all()
    };
    dirs.iter().filter(|dir| write(dir).is_ok()).count() > 0
}

/// What was left, from the first directory that has something. A file that is no declaration is passed over.
pub(super) fn find<'d>(dirs: impl Iterator<Item = &'d Path>) -> Option<Vec<u8>> {
    dirs.filter_map(|dir| fs::read(dir.join(NAME)).ok())
        .find(|text| {
            let whole = [b"{", text.get(1..).unwrap_or_default(), b"}"].concat();
            // One line of what records are made of: a file that somebody else wrote must not break the journal.
            let is_line = text.iter().all(|byte| (b' '..=b'~').contains(byte));
            is_line
                && text.starts_with(b",")
                && serde_json::from_slice::<serde_json::Value>(&whole).is_ok()
        })
}

/// It stands in the journal now.
///
/// # Errors
/// If a file cannot be removed: the next start would declare it again.
pub(super) fn clear<'d>(mut dirs: impl Iterator<Item = &'d Path>) -> io::Result<()> {
    dirs.try_for_each(|dir| match fs::remove_file(dir.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
}
