//! What a core keeps for the journal between two turns of its loop.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::inbox::{Batch, Inbox};
use super::receipt::{Appended, BatchState, LOST, OVERDUE, RECORDED, Receipt};
use super::{EventKind, Guarantee};
use crate::telemetry::JournalMetrics;

/// The longest that a completion waits for a decision to travel with.
const COMPLETION_DELAY: Duration = Duration::from_millis(5);

/// What one core may keep and have under way, in bytes, before it says that the journal is unavailable.
const ROOM: usize = 16 * 1024 * 1024;

/// A core's side of the journal. Records are appended at once and travel in batches.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<Shared>);

/// The task that hands a core's batches to the writer; one for each core.
#[derive(Debug)]
pub struct OutboxTask {
    shared: Arc<Shared>,
    metrics: Arc<JournalMetrics>,
    deadline: Duration,
    under_way: VecDeque<(Instant, Arc<BatchState>)>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pending: Mutex<Batch>,
    /// Batches that the writer is done with, and whether they are recorded.
    done: Mutex<Vec<(Arc<BatchState>, usize, bool)>>,
    wake: Notify,
    /// Bytes handed over and not done yet; touched by the core only.
    under_way: Mutex<usize>,
    inbox: Arc<Inbox>,
}

impl Outbox {
    pub(super) fn new(
        inbox: Arc<Inbox>,
        deadline: Duration,
        metrics: Arc<JournalMetrics>,
    ) -> (Self, OutboxTask) {
        let shared = Arc::new(Shared {
            pending: Mutex::default(),
            done: Mutex::default(),
            wake: Notify::new(),
            under_way: Mutex::new(0),
            inbox,
        });
        let task = OutboxTask {
            shared: Arc::clone(&shared),
            metrics,
            deadline,
            under_way: VecDeque::new(),
        };
        (Self(shared), task)
    }

    /// Appends a decision. `write` adds the record's members after `seq`, each with a comma before it. With `watching` the
    /// call goes on whatever becomes of the record, which may wait in memory for room then.
    pub fn decision(
        &self,
        guarantee: Guarantee,
        watching: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Receipt {
        let mut pending = lock(&self.0.pending);
        if pending.len() + *lock(&self.0.under_way) > ROOM {
            pending.lost += 1;
            return Receipt(Appended::Lost);
        }
        if guarantee == Guarantee::BestEffort {
            let first = pending.is_empty();
            pending.push_watched(write);
            drop(pending);
            if first {
                self.0.wake.notify_one();
            }
            return Receipt(Appended::Unwatched);
        }
        pending.sync |= guarantee == Guarantee::Strict;
        let first = !pending.is_awaited();
        let state = if watching {
            pending.push_watched(write);
            &mut pending.watched_state
        } else {
            pending.push(EventKind::CallDecision, write);
            &mut pending.state
        };
        let state = Arc::clone(state.get_or_insert_default());
        drop(pending);
        if first {
            self.0.wake.notify_one();
        }
        Receipt(Appended::With(state))
    }

    /// Appends a record that nobody waits for.
    pub fn append(&self, kind: EventKind, write: impl FnOnce(&mut Vec<u8>)) {
        let mut pending = lock(&self.0.pending);
        if pending.len() + *lock(&self.0.under_way) > 2 * ROOM {
            pending.lost += 1;
            return;
        }
        let first = pending.is_empty();
        pending.push(kind, write);
        drop(pending);
        if first {
            self.0.wake.notify_one();
        }
    }
}

impl OutboxTask {
    /// Hands over a batch whenever there is one, until the task is dropped.
    pub async fn run(mut self) {
        let timer = sleep_until(Instant::now());
        tokio::pin!(timer);
        let mut armed = false;
        loop {
            let fired = tokio::select! {
                biased;
                () = self.shared.wake.notified() => false,
                () = &mut timer, if armed => true,
            };
            armed &= !fired;
            let now = Instant::now();
            self.release(now);
            let completions_wait = !self.hand_over(now, fired);
            let next = match (completions_wait, self.under_way.front()) {
                (true, _) => now + COMPLETION_DELAY,
                (false, Some((due, _))) => *due,
                (false, None) => continue,
            };
            if !armed || next < timer.deadline() {
                timer.as_mut().reset(next);
                armed = true;
            }
        }
    }

    /// Tells the waiters what became of batches that are done or overdue.
    fn release(&mut self, now: Instant) {
        let done = std::mem::take(&mut *lock(&self.shared.done));
        for (state, bytes, recorded) in done {
            *lock(&self.shared.under_way) -= bytes;
            state.settle(if recorded { RECORDED } else { LOST });
        }
        while let Some((due, state)) = self.under_way.front() {
            if state.is_open() {
                if *due > now {
                    break;
                }
                state.settle(OVERDUE);
                // The writer, which would say so, is the one that hangs.
                self.metrics
                    .failed(0, "the journal's disk does not answer in time");
            }
            self.under_way.pop_front();
        }
    }

    /// Hands the pending records over if a decision is among them or the others have waited long enough; false if
    /// some are left.
    fn hand_over(&mut self, now: Instant, waited: bool) -> bool {
        let mut pending = lock(&self.shared.pending);
        if !pending.is_awaited() && !waited {
            return pending.is_empty();
        }
        if pending.is_empty() {
            return true;
        }
        let mut batch = pending.take();
        drop(pending);
        *lock(&self.shared.under_way) += batch.len();
        // Nobody may wait for it; that the journal hangs is to be seen all the same.
        if !batch.is_awaited() {
            batch.state = Some(Arc::default());
        }
        for state in [&batch.state, &batch.watched_state].into_iter().flatten() {
            self.under_way
                .push_back((now + self.deadline, Arc::clone(state)));
        }
        batch.outbox = Some(Arc::clone(&self.shared));
        self.shared.inbox.send(batch);
        true
    }
}

impl Drop for Shared {
    /// What was appended while a core ended goes to the journal all the same.
    fn drop(&mut self) {
        let batch = std::mem::take(
            self.pending
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner),
        );
        if !batch.is_empty() {
            self.inbox.send(batch);
        }
    }
}

impl Shared {
    /// Called by the writer, once for each batch and those who wait for it alike.
    pub(super) fn done(&self, state: Option<Arc<BatchState>>, bytes: usize, recorded: bool) {
        lock(&self.done).push((state.unwrap_or_default(), bytes, recorded));
    }

    /// Called by the writer, once for each core and write.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// A mutex whose holder panicked still guards plain data.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
