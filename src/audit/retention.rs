//! Old segments go, whole and oldest first; the one that is appended to never.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::read;

/// How long segments are kept. Without a bound they are kept for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// The age of its last record at which a segment goes.
    pub age: Option<Duration>,
    /// What all segments may take together, in bytes.
    pub bytes: Option<u64>,
}

impl Retention {
    /// Removes what is past its time; the names of the removed.
    pub(super) fn apply(self, dir: &Path, active: u64) -> Vec<String> {
        let mut removed = Vec::new();
        if self == Self::default() {
            return removed;
        }
        let Ok(segments) = read::segments(dir) else {
            return removed;
        };
        let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        let mut total: u64 = segments.iter().map(|segment| size(&segment.path)).sum();
        for segment in segments.iter().filter(|segment| segment.first < active) {
            let age = fs::metadata(&segment.path)
                .and_then(|meta| meta.modified())
                .ok()
                .and_then(|modified| modified.elapsed().ok());
            let old = self.age.zip(age).is_some_and(|(most, age)| age > most);
            let much = self.bytes.is_some_and(|most| total > most);
            if !old && !much {
                break;
            }
            let bytes = size(&segment.path);
            // The oldest first and no further: what is left has no hole.
            if fs::remove_file(&segment.path).is_err() {
                break;
            }
            total = total.saturating_sub(bytes);
            let name = segment.path.file_name().unwrap_or_default();
            removed.push(name.to_string_lossy().into_owned());
        }
        removed
    }
}
