//! Checking a journal from its first record to its last.

use std::io;
use std::path::{Path, PathBuf};

use super::read::{self, Segment, SegmentError};
use super::{Chain, Digest};

/// What a whole check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many segments there are.
    pub segments: usize,
    /// How many records hold.
    pub records: u64,
    /// Where the chain stands after the last record that holds.
    pub chain: Chain,
    /// The first line that does not hold.
    pub broken: Option<Finding>,
}

/// The first line that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In which segment.
    pub path: PathBuf,
    /// What is wrong.
    pub error: SegmentError,
}

/// Checks every line of a journal: whole, of this schema, in sequence, fitting its hash.
///
/// A journal that begins after record 1, because older segments were removed, is checked from the hash that its first
/// record repeats. Records cut off at the very end leave no trace in what is left: compare the last number and hash
/// with those published before.
///
/// # Errors
/// If the directory or a segment cannot be read.
pub fn verify(dir: &Path, mut progress: impl FnMut(u64)) -> io::Result<Summary> {
    let segments = read::segments(dir)?;
    let mut summary = Summary {
        segments: segments.len(),
        records: 0,
        chain: Chain::START,
        broken: None,
    };
    for (position, segment) in segments.iter().enumerate() {
        if position == 0 {
            summary.chain = chain_before(segment)?;
        }
        // What a sync failed on stands again in the segment after it.
        let until = segments
            .get(position + 1)
            .filter(|_| segment.failed)
            .map_or(u64::MAX, |next| next.first);
        let mut next = read::lines(&segment.path)?;
        let (mut line, mut number) = (Vec::new(), 0);
        while summary.chain.seq + 1 < until && next(&mut line)? > 0 {
            number += 1;
            if let Err(error) = read::check(&mut summary.chain, &line, number) {
                summary.broken = Some(Finding {
                    path: segment.path.clone(),
                    error,
                });
                return Ok(summary);
            }
            summary.records += 1;
            progress(summary.records);
        }
    }
    Ok(summary)
}

/// The chain as it stood before a segment: its name gives the number, its first record repeats the hash. Where that does
/// not (a segment begun in haste, after a sync or a disk failed), the first record's own hash is taken as it stands.
pub(super) fn chain_before(segment: &Segment) -> io::Result<Chain> {
    let mut line = Vec::new();
    read::lines(&segment.path)?(&mut line)?;
    let head = read::member(&line, b",\"prev_hash\":\"")
        .and_then(|rest| Digest::parse(rest.get(..64)?))
        .unwrap_or(if segment.first == 1 {
            Digest::ZERO
        } else {
            Digest::UNKNOWN
        });
    Ok(Chain {
        seq: segment.first.saturating_sub(1),
        head,
    })
}
