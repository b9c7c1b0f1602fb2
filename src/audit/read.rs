//! Reading segments back.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::chain::{self, HASH_MEMBER};
use super::{Chain, Digest};

/// A segment of the journal: a file named by the number of its first record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The file.
    pub path: PathBuf,
    /// The number of its first record, by its name.
    pub first: u64,
    /// True if a sync failed on it: what its end holds stands in the next segment again.
    pub failed: bool,
}

/// A line that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// The line is no record: cut, or not of this schema.
    #[error("line {line} is no whole record")]
    Unreadable {
        /// Which line, from 1.
        line: u64,
    },
    /// The number does not follow.
    #[error("line {line} has number {found} where {expected} should follow: {}", jump(*expected, *found))]
    Sequence {
        /// Which line, from 1.
        line: u64,
        /// The number that should follow.
        expected: u64,
        /// The number that stands there.
        found: u64,
    },
    /// The hash does not fit the line and the hash before it.
    #[error(
        "line {line}, record {seq}, does not fit its hash: it or the record before it was changed"
    )]
    Hash {
        /// Which line, from 1.
        line: u64,
        /// The record's number.
        seq: u64,
    },
}

fn jump(expected: u64, found: u64) -> String {
    match found.checked_sub(expected) {
        Some(missing) => format!("{missing} missing, or out of place"),
        None => "it stands twice, or out of place".to_owned(),
    }
}

/// The segments of a journal, oldest first.
///
/// # Errors
/// If the directory cannot be read.
pub fn segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let named = name.and_then(|name| {
            let whole = name.strip_suffix(".failed");
            let digits = whole.unwrap_or(name).strip_suffix(".ndjson")?;
            let first = digits.parse().ok().filter(|_| digits.len() == 20)?;
            Some((first, whole.is_some()))
        });
        if let Some((first, failed)) = named {
            segments.push(Segment {
                path,
                first,
                failed,
            });
        }
    }
    segments.sort_by_key(|segment| (segment.first, !segment.failed));
    Ok(segments)
}

/// True if the file holds no whole record, not even one that was changed: nothing in it was ever acknowledged.
pub(super) fn is_unbegun(path: &Path) -> io::Result<bool> {
    let mut next = lines(path)?;
    let mut line = Vec::new();
    while next(&mut line)? > 0 {
        if sequence(&line).is_some() && line.ends_with(b"\"}\n") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads lines with their ends; a last line without an end is a cut one.
pub(super) fn lines(
    path: &Path,
) -> io::Result<impl FnMut(&mut Vec<u8>) -> io::Result<usize> + use<>> {
    Ok(lines_of(fs::File::open(path)?))
}

/// The same of an open file, from where it stands.
pub(super) fn lines_of(file: fs::File) -> impl FnMut(&mut Vec<u8>) -> io::Result<usize> + use<> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    move |line: &mut Vec<u8>| {
        line.clear();
        reader.read_until(b'\n', line)
    }
}

/// Checks one line against the chain and moves the chain on.
pub(super) fn check(chain: &mut Chain, line: &[u8], number: u64) -> Result<(), SegmentError> {
    let unreadable = SegmentError::Unreadable { line: number };
    let (signed, hash) = split(line).ok_or(unreadable.clone())?;
    let seq = sequence(signed).ok_or(unreadable)?;
    let expected = chain.seq + 1;
    if seq != expected {
        return Err(SegmentError::Sequence {
            line: number,
            expected,
            found: seq,
        });
    }
    if chain.head != Digest::UNKNOWN && chain::hash(seq, chain.head, signed) != hash {
        return Err(SegmentError::Hash { line: number, seq });
    }
    *chain = Chain { seq, head: hash };
    Ok(())
}

/// The bytes of a line before `,"hash"`, and the hash.
fn split(line: &[u8]) -> Option<(&[u8], Digest)> {
    let line = line.strip_suffix(b"\"}\n")?;
    let (head, hash) = line.split_at_checked(line.len().checked_sub(64)?)?;
    Some((head.strip_suffix(HASH_MEMBER)?, Digest::parse(hash)?))
}

/// The number in `{"event_kind":"…","seq":N`.
pub(super) fn sequence(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"event_kind\":\"")?;
    let kind_end = memchr::memchr(b'"', rest)?;
    let rest = rest.get(kind_end..)?.strip_prefix(b"\",\"seq\":")?;
    let end = rest.iter().position(|b| !b.is_ascii_digit())?;
    std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()
}

/// The kind of a record's line.
pub(super) fn kind(line: &[u8]) -> &[u8] {
    let rest = line.strip_prefix(b"{\"event_kind\":\"").unwrap_or_default();
    memchr::memchr(b'"', rest)
        .and_then(|end| rest.get(..end))
        .unwrap_or_default()
}

/// The number of a record's line.
pub(super) fn seq(line: &[u8]) -> Option<u64> {
    let digits = member(line, b",\"seq\":")?;
    let end = digits.iter().position(|b| !b.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

/// The `event_group` of a record's line: 36 bytes.
pub(super) fn group(line: &[u8]) -> Option<[u8; 36]> {
    member(line, b",\"event_group\":\"")?
        .get(..36)?
        .try_into()
        .ok()
}

/// How many decisions were open where a segment begins, by its first line. A segment that was begun in haste does not say:
/// as many as there may be.
pub(super) fn open_decisions(line: &[u8]) -> u64 {
    match kind(line) {
        b"audit.checkpoint" => {}
        b"audit.started" => return 0,
        _ => return u64::MAX,
    }
    let digits = member(line, b",\"open_decisions\":").unwrap_or_default();
    let end = digits.iter().position(|b| !b.is_ascii_digit());
    end.and_then(|end| std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok())
        .unwrap_or(u64::MAX)
}

/// What follows a member's name in a record's line.
pub(super) fn member<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    line.get(memchr::memmem::find(line, name)? + name.len()..)
}
