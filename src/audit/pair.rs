//! Two directories, each with a thread of its own, of which one is enough.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::keeper::Keeper;
use super::outbox::lock;
use super::ranges::Ranges;
use super::retention::Retention;
use super::segment::Tampering;
use super::sink::{Loss, Rolling, Sink};
use crate::telemetry::JournalMetrics;

/// What may wait for one of two directories, in bytes, before it is left behind.
const BEHIND: usize = 16 * 1024 * 1024;

/// How long the end waits for a directory that is behind.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Two directories.
pub(super) struct Pair {
    sides: Vec<Side>,
    shared: Arc<Shared>,
    job: u64,
    /// The records that were given to them.
    given: Option<Range<u64>>,
    /// The segment at hand: its bytes, its beginning.
    bytes: u64,
    begun: SystemTime,
    /// The next job begins a segment.
    begins: bool,
    /// How long a directory may take before it counts as hanging.
    patience: Duration,
    /// What neither has and was told already.
    told: Ranges,
    metrics: Arc<JournalMetrics>,
}

struct Side {
    orders: Option<mpsc::Sender<Order>>,
    waiting: Arc<AtomicUsize>,
    full: Arc<AtomicBool>,
    dir: PathBuf,
    /// Since when it has had something to do and has done nothing, and the last that it had done then.
    stuck: Option<(Instant, u64)>,
    /// It has been stuck for longer than its patience.
    hangs: bool,
    /// How often it was told to look at its segment.
    looks: u64,
    /// The records that it does not hold, as far as they are known.
    absent: Ranges,
    thread: Option<JoinHandle<()>>,
}

/// What a side is told to do.
pub(super) enum Order {
    Keep(Job),
    /// See whether somebody has laid hands on the segment.
    Look,
}

/// Records to be kept, in turn.
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) lines: Arc<[u8]>,
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) sync: bool,
    /// They begin a segment.
    pub(super) begins: bool,
}

/// What became of the last jobs.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) done: Mutex<Vec<Done>>,
    pub(super) changed: Condvar,
}

/// What became of one side's jobs.
#[derive(Default, Clone)]
pub(super) struct Done {
    /// The last that it kept.
    pub(super) kept: u64,
    /// The last that it did not keep, and why.
    pub(super) failed: u64,
    pub(super) cause: String,
    /// The records that it does not hold since it was asked last: by which job, if they were not lost later.
    pub(super) missed: Vec<(Option<u64>, Range<u64>)>,
    /// The number after the last record that it has written, or is about to.
    pub(super) next: Option<u64>,
    /// It is not to write any more.
    pub(super) closed: bool,
    /// How often it has looked at its segment because it was told to.
    pub(super) looks: u64,
    /// It has done everything, and looked a last time.
    pub(super) ended: bool,
}

impl Pair {
    /// Two directories, each with the records that it is known to lack; both go on at the same number.
    pub(super) fn new(
        sinks: [(Sink, Range<u64>); 2],
        retention: Retention,
        patience: Duration,
        metrics: Arc<JournalMetrics>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        lock(&shared.done).resize(2, Done::default());
        let mut sides = Vec::new();
        for (number, (sink, absent)) in sinks.into_iter().enumerate() {
            sink.retain(retention);
            let (orders, queue) = mpsc::channel();
            let (waiting, full) = (Arc::default(), Arc::new(AtomicBool::new(sink.is_full())));
            let keeper = Keeper {
                number,
                dir: sink.dir().to_owned(),
                sink,
                retention,
                shared: Arc::clone(&shared),
                waiting: Arc::clone(&waiting),
                full: Arc::clone(&full),
                behind: false,
            };
            sides.push(Side {
                orders: Some(orders),
                waiting,
                full,
                dir: keeper.dir.clone(),
                stuck: None,
                hangs: false,
                looks: 0,
                absent: std::iter::once(absent).collect(),
                thread: Some(
                    std::thread::Builder::new()
                        .name(format!("journal-{number}"))
                        .spawn(move || keeper.run(&queue))?,
                ),
            });
        }
        Ok(Self {
            sides,
            shared,
            job: 0,
            given: None,
            // Both may have begun before: the first roll by size comes a little late.
            bytes: 1,
            begun: SystemTime::now(),
            begins: false,
            patience,
            told: Ranges::default(),
            metrics,
        })
    }

    /// Gives records to both, and waits for the first that has kept them as `sync` says.
    pub(super) fn append(
        &mut self,
        lines: &[u8],
        first: u64,
        next: u64,
        sync: bool,
    ) -> Result<(), String> {
        self.job += 1;
        let begins = std::mem::take(&mut self.begins);
        let lines: Arc<[u8]> = lines.into();
        let mut left_out = Vec::new();
        for (number, side) in self.sides.iter().enumerate() {
            // Whoever is too far behind is left out, and begins anew once it has caught up.
            let is_behind = side.waiting.load(Ordering::Relaxed) > BEHIND;
            side.waiting.fetch_add(lines.len(), Ordering::Relaxed);
            let job = Job {
                number: self.job,
                lines: Arc::clone(&lines),
                first,
                next,
                sync,
                begins,
            };
            let taken = !is_behind
                && side
                    .orders
                    .as_ref()
                    .is_some_and(|orders| orders.send(Order::Keep(job)).is_ok());
            if !taken {
                side.waiting.fetch_sub(lines.len(), Ordering::Relaxed);
                left_out.push(number);
                if let Some(done) = lock(&self.shared.done).get_mut(number) {
                    done.failed = self.job;
                    "it does not keep up".clone_into(&mut done.cause);
                }
            }
        }
        let shared = Arc::clone(&self.shared);
        let mut done = lock(&shared.done);
        loop {
            if done.iter().any(|side| side.kept >= self.job) {
                self.degrade(&done);
                drop(done);
                for side in left_out {
                    if let Some(side) = self.sides.get_mut(side) {
                        side.absent.add(first..next);
                    }
                }
                self.given.get_or_insert(first..next).end = next;
                self.bytes += u64::try_from(lines.len()).unwrap_or(u64::MAX);
                return Ok(());
            }
            if done.iter().all(|side| side.failed >= self.job) {
                let causes: Vec<&str> = done.iter().map(|side| side.cause.as_str()).collect();
                let causes = causes.join("; ");
                // Nobody holds them, and their numbers go to others.
                for side in done.iter_mut() {
                    side.missed.retain(|(job, _)| *job != Some(self.job));
                }
                self.begins = begins;
                return Err(causes);
            }
            done = shared
                .changed
                .wait(done)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// What neither directory holds any more, though one of them did; each record is told once.
    pub(super) fn loss(&mut self) -> Option<Loss> {
        let mut done = lock(&self.shared.done);
        for (side, done) in self.sides.iter_mut().zip(done.iter_mut()) {
            for (_, run) in done.missed.drain(..) {
                side.absent.add(run);
            }
        }
        drop(done);
        let [one, two] = self.sides.as_slice() else {
            return None;
        };
        let lost = one.absent.and(&two.absent).without(&self.told);
        if lost.count() == 0 {
            return None;
        }
        for run in lost.runs() {
            self.told.add(run);
        }
        Some(Loss {
            tampering: Tampering::Deleted,
            lost,
            since: self.begun,
        })
    }

    /// Has each directory looked at, so that `loss` knows what was done until now. One that hangs is not waited for, or for
    /// a part of its patience and once.
    pub(super) fn look_now(&mut self) {
        let done = lock(&self.shared.done);
        let mut asked = Vec::new();
        for (side, done) in self.sides.iter_mut().zip(done.iter()) {
            let answers = side.looks == done.looks && !side.hangs;
            let orders = side.orders.as_ref().filter(|_| answers);
            let sent = orders.is_some_and(|orders| orders.send(Order::Look).is_ok());
            side.looks += u64::from(sent);
            asked.push(if sent { side.looks } else { 0 });
        }
        let patience = self.patience / 4;
        let waited = self
            .shared
            .changed
            .wait_timeout_while(done, patience, |done| {
                done.iter()
                    .zip(&asked)
                    .any(|(side, asked)| side.looks < *asked)
            });
        drop(waited);
    }

    /// Lets both end with the same record, and look a last time. One that hangs is not waited for longer: what it has not
    /// got yet it will not have.
    pub(super) fn finish(&mut self) {
        let orders = self.sides.iter_mut().filter_map(|side| side.orders.take());
        if orders.count() == 0 {
            // Once is enough: one that hangs would be waited for again.
            return;
        }
        let done = lock(&self.shared.done);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(done, LAST_WAIT, |done| done.iter().any(|side| !side.ended));
        let (mut done, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        for side in done.iter_mut() {
            side.closed = true;
        }
        let ends: Vec<_> = done.iter().map(|side| (side.ended, side.next)).collect();
        drop(done);
        for (side, (ended, next)) in self.sides.iter_mut().zip(ends) {
            if !ended && let Some(given) = &self.given {
                side.absent.add(next.unwrap_or(given.start)..given.end);
            }
            if let Some(thread) = side.thread.take_if(|_| ended) {
                let _ = thread.join();
            }
        }
    }

    /// Sees whether a directory hangs.
    pub(super) fn watch(&mut self) {
        let shared = Arc::clone(&self.shared);
        let done = lock(&shared.done);
        for (side, done) in self.sides.iter_mut().zip(done.iter()) {
            let last = done.kept.max(done.failed);
            let waits = side.waiting.load(Ordering::Relaxed) > 0;
            side.stuck = match side.stuck {
                _ if !waits => None,
                Some((since, then)) if then == last => Some((since, then)),
                _ => Some((Instant::now(), last)),
            };
            let hung = side
                .stuck
                .is_some_and(|(since, _)| since.elapsed() > self.patience);
            if hung && !side.hangs {
                tracing::error!(dir = %side.dir.display(), "one of the journal's directories does not answer; the other is kept");
            }
            side.hangs = hung;
        }
        self.degrade(&done);
    }

    /// Says whether only one of the two is kept.
    fn degrade(&self, done: &MutexGuard<'_, Vec<Done>>) {
        let failed = done.iter().any(|side| side.failed > side.kept);
        let hangs = self.sides.iter().any(|side| side.hangs);
        self.metrics.degraded(failed || hangs);
    }

    pub(super) fn is_full(&self) -> bool {
        let full = |side: &Side| side.full.load(Ordering::Relaxed);
        self.sides.iter().all(full)
    }

    pub(super) const fn is_new(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn is_due(&self, rolling: Rolling) -> bool {
        let age = self.begun.elapsed().unwrap_or_default();
        self.bytes > 0 && (self.bytes >= rolling.bytes || age >= rolling.age)
    }

    /// The next records begin a segment.
    pub(super) fn begin(&mut self) {
        (self.bytes, self.begun, self.begins) = (0, SystemTime::now(), true);
    }

    /// Bytes left where there are fewest.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let free = |side: &Side| super::reserve::free_bytes(&side.dir);
        self.sides.iter().filter_map(free).min()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.finish();
    }
}
