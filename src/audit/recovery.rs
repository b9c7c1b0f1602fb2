//! Opening a journal that a crash may have left: cut the torn tail, find the decisions without completion.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Chain;
use super::read::{self, SegmentError};
use super::verify::chain_before;
use super::writer::JournalError;

/// What was found and done when the journal was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The segment that goes on.
    pub path: PathBuf,
    /// Where the chain stands.
    pub chain: Chain,
    /// Bytes cut from the tail: a record that was being written when the gate died.
    pub cut_bytes: u64,
    /// The event groups of decisions without completion.
    pub open: Vec<String>,
}

/// Finds the segment to go on with and cuts its torn tail.
///
/// Only a tail that holds no whole record is cut: a line that does not hold before others that do is no crash.
pub(super) fn recover(dir: &Path) -> Result<Recovery, JournalError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| JournalError::Io { path, source }
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io(dir))?;
    let Some(segment) = read::segments(dir).map_err(io(dir))?.pop() else {
        let path = dir.join(format!("{:020}.ndjson", 1));
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(io(&path))?;
        return Ok(Recovery {
            path,
            chain: Chain::START,
            cut_bytes: 0,
            open: Vec::new(),
        });
    };
    let path = segment.path.clone();
    let mut chain = chain_before(&segment).map_err(io(&path))?;
    let mut next = read::lines(&path).map_err(io(&path))?;
    let (mut line, mut number, mut whole) = (Vec::new(), 0_u64, 0_u64);
    let mut open = BTreeSet::new();
    let mut torn: Option<SegmentError> = None;
    let mut cut_bytes = 0_u64;
    while next(&mut line).map_err(io(&path))? > 0 {
        number += 1;
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if let Some(error) = &torn {
            if read::sequence(&line).is_some() && line.ends_with(b"\"}\n") {
                return Err(JournalError::Segment {
                    path,
                    source: error.clone(),
                });
            }
            cut_bytes += length;
            continue;
        }
        if let Err(error) = read::check(&mut chain, &line, number) {
            // Records are printable: NUL bytes are a page that was never stored.
            if !matches!(error, SegmentError::Unreadable { .. }) && !line.contains(&0) {
                return Err(JournalError::Segment {
                    path,
                    source: error,
                });
            }
            torn = Some(error);
            cut_bytes = length;
            continue;
        }
        whole += length;
        match read::kind(&line) {
            b"call.decision" => open.extend(read::group(&line)),
            b"call.completion" => {
                if let Some(group) = read::group(&line) {
                    open.remove(&group);
                }
            }
            _ => {}
        }
    }
    if torn.is_some() {
        let file = OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(io(&path))?;
        file.set_len(whole)
            .and_then(|()| file.sync_all())
            .map_err(io(&path))?;
    }
    let open = open
        .into_iter()
        .map(|group| String::from_utf8_lossy(&group).into_owned())
        .collect();
    Ok(Recovery {
        path,
        chain,
        cut_bytes,
        open,
    })
}
