//! What a core keeps for the journal between two turns of its loop.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
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

/// Once so many calls have waited for one batch, the core's next waits until that one is done, and then for more calls: until
/// the core has nothing else to do.
const CROWD: usize = 24;

/// How many calls are enough for such a batch once the writer is free, and how long it waits for them.
const FULL: usize = 64;
const CROWD_DELAY: Duration = Duration::from_millis(2);

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
    /// How many calls waited for the batch before.
    crowd: usize,
    /// Since when a call has waited for the next one.
    since: Option<Instant>,
    /// Since when records have waited that nobody waits for.
    unhurried: Option<Instant>,
    /// Since when nothing has been under way.
    free: Instant,
}

#[derive(Debug)]
pub(super) struct Shared {
    pending: Mutex<Batch>,
    /// Batches that the writer is done with, and whether they are recorded.
    done: Mutex<Vec<(Arc<BatchState>, usize, bool)>>,
    wake: Notify,
    /// Whether a batch waits until the core has nothing else to do.
    core: AtomicU8,
    /// Bytes handed over and not done yet; touched by the core only.
    under_way: Mutex<usize>,
    inbox: Arc<Inbox>,
}

/// The core is not asked whether it has something to do.
const BUSY: u8 = 0;
/// It is to say when it has nothing to do.
const ASKED: u8 = 1;
/// It has had nothing to do since.
const IDLE: u8 = 2;

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
            core: AtomicU8::new(BUSY),
            under_way: Mutex::new(0),
            inbox,
        });
        let task = OutboxTask {
            shared: Arc::clone(&shared),
            metrics,
            deadline,
            under_way: VecDeque::new(),
            crowd: 0,
            since: None,
            unhurried: None,
            free: Instant::now(),
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
        pending.awaited += 1;
        let enough = pending.awaited == FULL;
        drop(pending);
        if first || enough {
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
    /// What the core's thread has to call whenever it is about to sleep.
    pub fn before_sleep(&self) -> impl Fn() + Send + Sync + use<> {
        let shared = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = shared.upgrade() {
                shared.idle();
            }
        }
    }

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
            if self.shared.core.load(Ordering::Relaxed) == IDLE {
                // It was before the sockets were looked at.
                tokio::task::yield_now().await;
            }
            let now = Instant::now();
            self.release(now);
            let held = self.hand_over(now);
            let Some(next) = held.or_else(|| Some(self.under_way.front()?.0)) else {
                continue;
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
            self.free = now;
        }
    }

    /// Hands the pending records over, or says until when they wait for others. What waits for what is under way waits until
    /// that is done or overdue.
    fn hand_over(&mut self, now: Instant) -> Option<Instant> {
        let idle = self.shared.core.swap(BUSY, Ordering::Relaxed) == IDLE;
        let mut pending = lock(&self.shared.pending);
        if pending.is_empty() {
            return None;
        }
        if pending.is_awaited() {
            let since = *self.since.get_or_insert(now);
            if self.crowd >= CROWD {
                // The writer takes all there is: what came earlier would halve what comes with it.
                if !self.under_way.is_empty() {
                    return None;
                }
                let until = since.max(self.free) + CROWD_DELAY;
                if !idle && pending.awaited < FULL && now < until {
                    self.shared.core.store(ASKED, Ordering::Relaxed);
                    return Some(until);
                }
            }
        } else {
            let until = *self.unhurried.get_or_insert(now) + COMPLETION_DELAY;
            if now < until {
                return Some(until);
            }
        }
        let mut batch = pending.take();
        drop(pending);
        self.unhurried = None;
        let since = self.since.take().unwrap_or(now);
        *lock(&self.shared.under_way) += batch.len();
        // Nobody may wait for it; that the journal hangs is to be seen all the same.
        if batch.is_awaited() {
            self.crowd = batch.awaited;
        } else {
            batch.state = Some(Arc::default());
        }
        for state in [&batch.state, &batch.watched_state].into_iter().flatten() {
            self.under_way
                .push_back((since + self.deadline, Arc::clone(state)));
        }
        batch.outbox = Some(Arc::clone(&self.shared));
        self.shared.inbox.send(batch);
        None
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
    fn idle(&self) {
        let asked = self
            .core
            .compare_exchange(ASKED, IDLE, Ordering::Relaxed, Ordering::Relaxed);
        if asked.is_ok() {
            self.wake.notify_one();
        }
    }

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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::super::acknowledge::acknowledge;
    use super::*;

    /// How many calls come while the first of their crowd are written, and how many that were.
    const FIRST: usize = 30;
    const SECOND: usize = 10;

    /// How often each calls.
    const CALLS: usize = 20;

    async fn calls(outbox: Outbox) {
        for _ in 0..CALLS {
            let receipt = outbox.decision(Guarantee::Strict, false, |_| {});
            receipt.recorded().await.unwrap();
        }
    }

    /// Whether the core sleeps, and how often it has woken.
    #[derive(Default)]
    struct Sleep {
        sleeps: AtomicBool,
        woken: AtomicUsize,
    }

    /// Plays the writer, whose every write lasts until the core has nothing else to do. How many calls waited for each.
    fn writes(inbox: &Inbox, core: &Sleep) -> Vec<usize> {
        let (mut batches, mut writes) = (Vec::new(), Vec::new());
        while writes.iter().sum::<usize>() < (FIRST + SECOND) * CALLS {
            assert!(inbox.take(Duration::from_secs(1), &mut batches));
            if batches.is_empty() {
                continue;
            }
            writes.push(batches.iter().map(|batch| batch.awaited).sum::<usize>());
            let mut woken = core.woken.load(Ordering::Acquire);
            // In this order: who is seen asleep after that has yet to wake.
            while !core.sleeps.load(Ordering::Acquire) {
                std::thread::yield_now();
                woken = core.woken.load(Ordering::Acquire);
            }
            acknowledge(batches.iter_mut(), true);
            while core.woken.load(Ordering::Acquire) == woken {
                std::thread::yield_now();
            }
            batches.clear();
        }
        writes
    }

    /// Two parts of a crowd, of which one comes while the other is written, would take turns for ever: with twice the syncs.
    #[test]
    fn a_crowd_is_written_as_one() {
        let inbox = Arc::new(Inbox::default());
        let metrics = JournalMetrics::default().into();
        let (outbox, task) = Outbox::new(Arc::clone(&inbox), Duration::from_secs(60), metrics);
        let core = Arc::new(Sleep::default());
        let (before_sleep, sleeps, woken) =
            (task.before_sleep(), Arc::clone(&core), Arc::clone(&core));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .on_thread_park(move || {
                before_sleep();
                sleeps.sleeps.store(true, Ordering::Release);
            })
            .on_thread_unpark(move || {
                woken.sleeps.store(false, Ordering::Release);
                woken.woken.fetch_add(1, Ordering::Release);
            })
            .build()
            .unwrap();
        let writer = std::thread::spawn(move || writes(&inbox, &core));
        runtime.block_on(async {
            let task = tokio::spawn(task.run());
            let spawn = |_| tokio::spawn(calls(outbox.clone()));
            let mut callers: Vec<_> = (0..FIRST).map(spawn).collect();
            // The first are handed over by now.
            tokio::task::yield_now().await;
            callers.extend((0..SECOND).map(spawn));
            for caller in callers {
                caller.await.unwrap();
            }
            task.abort();
        });
        drop(runtime);
        let writes = writer.join().unwrap();
        let whole = writes.iter().filter(|&&calls| calls == FIRST + SECOND);
        assert!(whole.count() >= CALLS / 2, "{writes:?}");
    }
}
