//! Giving a directory that was left behind the records that the other one has more.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::Chain;
use super::read::{self, Segment};
use super::recovery::Recovery;

/// The most that is copied, in bytes: whoever was away for longer begins with a new segment, so that a start stays quick.
const MOST: u64 = 64 * 1024 * 1024;

/// Appends what `other` holds after the last record of `behind`, as far as it follows upon that one.
///
/// # Errors
/// If a file cannot be read or written; `behind` then holds what it held.
pub(super) fn catch_up(behind: &mut Recovery, other: &Path) -> io::Result<()> {
    let segments = missing(read::segments(other)?, behind.chain);
    let mut bytes = 0;
    for segment in &segments {
        bytes += std::fs::metadata(&segment.path)?.len();
    }
    if bytes > MOST {
        return Ok(());
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&behind.path)?;
    let whole = file.metadata()?.len();
    match copy(&segments, behind.chain, &file).and_then(|chain| file.sync_all().map(|()| chain)) {
        Ok(chain) => {
            behind.chain = chain;
            if file.metadata()?.len() == 0 {
                // Nothing follows upon what it has: an empty segment would be in the way.
                std::fs::remove_file(&behind.path)?;
            }
            Ok(())
        }
        Err(error) => {
            file.set_len(whole)?;
            Err(error)
        }
    }
}

/// The segments that hold what comes after the end of a chain.
fn missing(mut segments: Vec<Segment>, chain: Chain) -> Vec<Segment> {
    let begin = segments
        .iter()
        .rposition(|segment| segment.first <= chain.seq + 1);
    segments.split_off(begin.unwrap_or_default())
}

/// Copies the lines that follow upon the chain, up to the first that does not, and returns where the chain then stands.
fn copy(segments: &[Segment], mut chain: Chain, file: &File) -> io::Result<Chain> {
    let mut out = BufWriter::new(file);
    let mut line = Vec::new();
    for segment in segments {
        let mut next = read::lines(&segment.path)?;
        while next(&mut line)? > 0 {
            let known = read::sequence(&line).is_some_and(|seq| seq <= chain.seq);
            if !known && read::check(&mut chain, &line, 0).is_err() {
                out.flush()?;
                return Ok(chain);
            }
            if !known {
                out.write_all(&line)?;
            }
        }
    }
    out.flush()?;
    Ok(chain)
}
