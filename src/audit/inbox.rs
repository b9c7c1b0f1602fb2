//! The queue between the cores and the writer.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::EventKind;
use super::outbox::{Shared, lock};
use super::receipt::BatchState;

/// Records on their way from a core to the writer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    records: Vec<(EventKind, usize)>,
    /// Which of the records are decisions that do not hold their calls up.
    watched: Vec<usize>,
    /// How many of them calls wait for.
    pub(super) awaited: usize,
    /// True if a decision among them must be on stable storage.
    pub(super) sync: bool,
    /// Set if a call waits that must not go on without its record.
    pub(super) state: Option<Arc<BatchState>>,
    /// Set if a call waits that goes on all the same.
    pub(super) watched_state: Option<Arc<BatchState>>,
    pub(super) outbox: Option<Arc<Shared>>,
    /// Records that found no room.
    pub(super) lost: u64,
    /// Set by the writer: decisions that hold their calls up are not written, for there is no room.
    pub(super) refused: bool,
    /// Set by the writer: what becomes of the other decisions where there is no room.
    pub(super) unwritten: Option<Unwritten>,
}

/// The most room that an empty batch is given because the one before it needed it, in bytes.
const ROOM: usize = 64 * 1024;

impl Batch {
    /// Takes what there is and leaves an empty batch with room for as much again: it would grow step by step, each time with a
    /// copy.
    pub(super) fn take(&mut self) -> Self {
        let next = Self {
            bytes: Vec::with_capacity(self.bytes.len().min(ROOM)),
            records: Vec::with_capacity(self.records.len().min(ROOM / 64)),
            ..Self::default()
        };
        std::mem::replace(self, next)
    }

    pub(super) fn push(&mut self, kind: EventKind, write: impl FnOnce(&mut Vec<u8>)) {
        // A panic while a record was written leaves a part of it: that part is no record.
        self.bytes
            .truncate(self.records.last().map_or(0, |(_, end)| *end));
        write(&mut self.bytes);
        self.records.push((kind, self.bytes.len()));
    }

    /// A decision whose call goes on whatever becomes of it.
    pub(super) fn push_watched(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.push(EventKind::CallDecision, write);
        self.watched.push(self.records.len() - 1);
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.records.is_empty() && self.lost == 0
    }

    /// The records, in the order in which they were appended; of each decision, whether its call goes on all the same.
    pub(super) fn records(&self) -> impl Iterator<Item = (EventKind, bool, &[u8])> {
        let mut start = 0;
        self.records
            .iter()
            .enumerate()
            .map(move |(position, (kind, end))| {
                let rest = self.bytes.get(start..*end).unwrap_or_default();
                start = *end;
                let watched = self.watched.binary_search(&position).is_ok();
                (*kind, watched, rest)
            })
    }

    /// True if a call waits for it.
    pub(super) const fn is_awaited(&self) -> bool {
        self.state.is_some() || self.watched_state.is_some()
    }

    /// The bytes of the decisions whose calls go on all the same.
    pub(super) fn watched_bytes(&self) -> usize {
        let watched = self.records().filter(|(_, watched, _)| *watched);
        watched.map(|(_, _, rest)| rest.len()).sum()
    }

    /// True if a decision in it holds its call up.
    pub(super) fn holds_up(&self) -> bool {
        self.records()
            .any(|(kind, watched, _)| kind == EventKind::CallDecision && !watched)
    }
}

/// What becomes of decisions that find no room on the disk and hold nothing up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// They wait in memory.
    Waiting,
    /// There is no room in memory either.
    Lost,
}

/// The queue before the writer.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    batches: Vec<Batch>,
    closed: bool,
    /// What of it came from no core, in bytes, and how many such records found no room.
    own: usize,
    lost: u64,
}

/// What may wait from no core while the writer hangs, in bytes.
const OWN: usize = 4 * 1024 * 1024;

impl Inbox {
    /// Queues a core's records; how many those are is the core's to bound.
    pub(super) fn send(&self, batch: Batch) {
        self.push(lock(&self.queue), batch);
    }

    /// Queues records that nobody waits for and no core bounds; beyond what has room they are counted as lost.
    pub(super) fn send_own(&self, mut batch: Batch) {
        let mut queue = lock(&self.queue);
        if queue.own + batch.len() > OWN {
            queue.lost += 1;
            return;
        }
        queue.own += batch.len();
        batch.lost = std::mem::take(&mut queue.lost);
        self.push(queue, batch);
    }

    fn push(&self, mut queue: MutexGuard<'_, Queue>, batch: Batch) {
        let first = queue.batches.is_empty();
        queue.batches.push(batch);
        // Woken under the lock, the writer would go to sleep once more to wait for it.
        drop(queue);
        if first {
            self.filled.notify_one();
        }
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        lock(&self.queue).closed = true;
        self.filled.notify_one();
    }

    /// Takes everything queued; waits for something, at most for `patience`. False once closed and empty.
    pub(super) fn take(&self, patience: Duration, into: &mut Vec<Batch>) -> bool {
        let mut queue = lock(&self.queue);
        if queue.batches.is_empty() {
            if queue.closed {
                return false;
            }
            // Woken for nothing is as good as a patience that is over: the caller asks again.
            queue = self
                .filled
                .wait_timeout(queue, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        std::mem::swap(&mut queue.batches, into);
        queue.own = 0;
        let lost = std::mem::take(&mut queue.lost);
        if lost > 0 {
            into.push(Batch {
                lost,
                ..Batch::default()
            });
        }
        true
    }
}
