//! Opening a journal that a crash may have left: cut the torn tail, find the decisions without completion.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::journal::JournalError;
use super::read::{self, Segment, SegmentError};
use super::verify::chain_before;
use super::{Chain, segment};

/// What was found and done when the journal was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The segment that goes on.
    pub path: PathBuf,
    /// The number of that segment's first record.
    pub first: u64,
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
    let mut segments = read::segments(dir).map_err(io(dir))?;
    // One that was made and holds no whole record yet: the one before it goes on.
    let mut dropped = 0;
    while segments.len() > 1
        && let Some(last) = segments.last()
        && read::is_unbegun(&last.path).map_err(io(&last.path))?
    {
        dropped += fs::metadata(&last.path).map_err(io(&last.path))?.len();
        fs::remove_file(&last.path).map_err(io(&last.path))?;
        segments.pop();
    }
    if let Some(last) = segments.last_mut()
        && last.failed
    {
        // The gate ended before its successor stood: what can be read of it goes on, in a file that no sync has failed on.
        let path = dir.join(segment::name(last.first));
        copy_whole(&last.path, &path).map_err(io(&path))?;
        (last.path, last.failed) = (path, false);
    }
    let Some(segment) = segments.pop() else {
        return Ok(Recovery {
            path: dir.join(segment::name(1)),
            first: 1,
            chain: Chain::START,
            cut_bytes: 0,
            open: Vec::new(),
        });
    };
    let path = segment.path.clone();
    let mut chain = chain_before(&segment).map_err(io(&path))?;
    let mut next = read::lines(&path).map_err(io(&path))?;
    let (mut line, mut number, mut whole) = (Vec::new(), 0_u64, 0_u64);
    let mut calls = Calls::default();
    let mut torn: Option<SegmentError> = None;
    let mut cut_bytes = dropped;
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
            cut_bytes += length;
            continue;
        }
        whole += length;
        if number == 1 {
            calls.before = read::open_decisions(&line);
        }
        calls.note(&line);
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
    let open = calls
        .with_earlier(segments, segment.first)
        .map_err(io(dir))?
        .into_iter()
        .map(|group| String::from_utf8_lossy(&group).into_owned())
        .collect();
    Ok(Recovery {
        path,
        first: segment.first,
        chain,
        cut_bytes,
        open,
    })
}

/// Copies a file so that it is there whole or not at all.
fn copy_whole(from: &Path, to: &Path) -> io::Result<()> {
    let dir = to.parent().unwrap_or(Path::new("."));
    let beside = dir.join(".next");
    fs::copy(from, &beside)?;
    fs::File::open(&beside)?.sync_all()?;
    fs::rename(&beside, to)?;
    segment::sync_dir(dir)
}

/// Calls without a completion.
#[derive(Default)]
struct Calls {
    /// Their decisions.
    open: BTreeSet<[u8; 36]>,
    /// Completions whose decision has not been seen.
    ended: BTreeSet<[u8; 36]>,
    /// How many were open where the segment at hand begins.
    before: u64,
}

impl Calls {
    fn note(&mut self, line: &[u8]) {
        let Some(group) = read::group(line) else {
            return;
        };
        match read::kind(line) {
            b"call.decision" if !self.ended.remove(&group) => {
                self.open.insert(group);
            }
            b"call.completion" if !self.open.remove(&group) => {
                self.ended.insert(group);
            }
            _ => {}
        }
    }

    /// Looks into earlier segments, newest first, as far as some call may still be open there.
    fn with_earlier(
        mut self,
        mut segments: Vec<Segment>,
        mut until: u64,
    ) -> io::Result<BTreeSet<[u8; 36]>> {
        while self.before > u64::try_from(self.ended.len()).unwrap_or(u64::MAX)
            && let Some(segment) = segments.pop()
        {
            // Completions stand after their decisions: those that this segment has end calls of it or before it.
            let mut earlier = Self::default();
            let mut next = read::lines(&segment.path)?;
            let (mut line, mut first) = (Vec::new(), true);
            // What a sync failed on stands again in the segment after it.
            while next(&mut line)? > 0 && read::sequence(&line).is_none_or(|seq| seq < until) {
                if std::mem::take(&mut first) {
                    earlier.before = read::open_decisions(&line);
                }
                earlier.note(&line);
            }
            for group in earlier.open {
                if !self.ended.remove(&group) {
                    self.open.insert(group);
                }
            }
            self.ended.extend(earlier.ended);
            self.before = earlier.before;
            until = segment.first;
        }
        Ok(self.open)
    }
}
