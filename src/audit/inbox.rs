//! The queue between the cores and the writer.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::EventKind;
use super::outbox::{BatchState, Shared, lock};

/// Records on their way from a core to the writer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    records: Vec<(EventKind, usize)>,
    /// True if a decision among them must be on stable storage.
    pub(super) sync: bool,
    /// Set if somebody waits.
    pub(super) state: Option<Arc<BatchState>>,
    pub(super) outbox: Option<Arc<Shared>>,
    /// Records that found no room.
    pub(super) lost: u64,
    /// Set by the writer: its decisions are not written, for there is no room.
    pub(super) refused: bool,
}

impl Batch {
    pub(super) fn push(&mut self, kind: EventKind, write: impl FnOnce(&mut Vec<u8>)) {
        // A panic while a record was written leaves a part of it: that part is no record.
        self.bytes
            .truncate(self.records.last().map_or(0, |(_, end)| *end));
        write(&mut self.bytes);
        self.records.push((kind, self.bytes.len()));
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.records.is_empty() && self.lost == 0
    }

    /// True if a record of this kind is in it.
    pub(super) fn holds(&self, kind: EventKind) -> bool {
        self.records.iter().any(|(known, _)| *known == kind)
    }

    /// The records, in the order in which they were appended.
    pub(super) fn records(&self) -> impl ExactSizeIterator<Item = (EventKind, &[u8])> {
        let mut start = 0;
        self.records.iter().map(move |(kind, end)| {
            let rest = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            (*kind, rest)
        })
    }
}

/// The queue before the writer.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: Mutex<(Vec<Batch>, bool)>,
    filled: Condvar,
}

impl Inbox {
    pub(super) fn send(&self, batch: Batch) {
        let mut queue = lock(&self.queue);
        let first = queue.0.is_empty();
        queue.0.push(batch);
        drop(queue);
        if first {
            self.filled.notify_one();
        }
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        lock(&self.queue).1 = true;
        self.filled.notify_one();
    }

    /// Takes everything queued; waits for something, at most for `patience`. False once closed and empty.
    pub(super) fn take(&self, patience: Duration, into: &mut Vec<Batch>) -> bool {
        let mut queue = lock(&self.queue);
        if queue.0.is_empty() {
            if queue.1 {
                return false;
            }
            // Woken for nothing is as good as a patience that is over: the caller asks again.
            queue = self
                .filled
                .wait_timeout(queue, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        std::mem::swap(&mut queue.0, into);
        true
    }
}
