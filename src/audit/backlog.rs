//! Records that wait in memory for a disk that is full: how calls ended, and what a gate decided that only watches.

use std::collections::HashSet;

use super::EventKind;
use super::read::group;

/// How much may wait, in bytes: some thousand calls.
const ROOM: usize = 4 * 1024 * 1024;

/// The records that wait, in their order.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    records: Vec<(EventKind, Vec<u8>)>,
    bytes: usize,
    /// The calls whose decision waits: how they end has to come after it.
    calls: HashSet<[u8; 36]>,
}

impl Backlog {
    /// True if decisions of so many bytes have room, and how their calls end after them, which is shorter.
    pub(super) const fn fits(&self, bytes: usize) -> bool {
        self.bytes + bytes <= ROOM / 2
    }

    /// Lets a record wait; false if it has no room.
    pub(super) fn push(&mut self, kind: EventKind, rest: &[u8]) -> bool {
        if self.bytes + rest.len() > ROOM {
            return false;
        }
        if kind == EventKind::CallDecision {
            self.calls.extend(group(rest));
        }
        self.bytes += rest.len();
        self.records.push((kind, rest.to_vec()));
        true
    }

    /// True if the record is the end of a call whose decision waits.
    pub(super) fn is_awaited(&self, kind: EventKind, rest: &[u8]) -> bool {
        kind == EventKind::CallCompletion
            && !self.calls.is_empty()
            && group(rest).is_some_and(|call| self.calls.contains(&call))
    }

    /// What waits, oldest first.
    pub(super) fn records(&self) -> impl Iterator<Item = (EventKind, &[u8])> {
        self.records
            .iter()
            .map(|(kind, rest)| (*kind, rest.as_slice()))
    }

    /// How many records wait.
    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.records.len()).unwrap_or(u64::MAX)
    }

    /// None of it waits any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
