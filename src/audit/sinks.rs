//! Where the journal is kept: in one directory, or in two of which one is enough.
//!
//! With one, the writer's own thread appends and syncs. With two each has a thread of its own, so that a disk that hangs
//! holds up nobody as long as the other one keeps what it is given.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::keeper::Keeper;
use super::outbox::lock;
use super::retention::Retention;
use super::segment::Tampering;
use super::sink::{Rolling, Sink};
use crate::telemetry::JournalMetrics;

/// What may wait for one of two directories, in bytes, before it is left behind.
const BEHIND: usize = 16 * 1024 * 1024;

/// How long the end waits for a directory that is behind.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// One directory, or two.
pub(super) enum Sinks {
    One(Box<Sink>),
    Two(Pair),
}

/// Two directories, each with its thread.
pub(super) struct Pair {
    sides: Vec<Side>,
    shared: Arc<Shared>,
    job: u64,
    /// The segment at hand: its first record, its bytes, its beginning.
    first: u64,
    bytes: u64,
    begun: SystemTime,
    /// The next job begins a segment.
    begins: bool,
    metrics: Arc<JournalMetrics>,
}

struct Side {
    jobs: Option<mpsc::Sender<Job>>,
    waiting: Arc<AtomicUsize>,
    full: Arc<AtomicBool>,
    dir: PathBuf,
    thread: Option<JoinHandle<()>>,
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

/// What became of the last jobs: for each side the last that it kept, the last that it did not, and why.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) done: Mutex<Vec<Done>>,
    pub(super) changed: Condvar,
}

#[derive(Default, Clone)]
pub(super) struct Done {
    pub(super) kept: u64,
    pub(super) failed: u64,
    pub(super) cause: String,
}

impl Sinks {
    /// Two directories; both have what came before `next`, or begin with it.
    pub(super) fn two(
        sinks: [Sink; 2],
        first: u64,
        retention: Retention,
        metrics: Arc<JournalMetrics>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        lock(&shared.done).resize(2, Done::default());
        let mut sides = Vec::new();
        for (number, sink) in sinks.into_iter().enumerate() {
            let (jobs, queue) = mpsc::channel();
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
                jobs: Some(jobs),
                waiting,
                full,
                dir: keeper.dir.clone(),
                thread: Some(
                    std::thread::Builder::new()
                        .name(format!("journal-{number}"))
                        .spawn(move || keeper.run(&queue))?,
                ),
            });
        }
        Ok(Self::Two(Pair {
            sides,
            shared,
            job: 0,
            first,
            // Both may have begun before: the first roll by size comes a little late.
            bytes: 1,
            begun: SystemTime::now(),
            begins: false,
            metrics,
        }))
    }

    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::One(sink) => sink.is_full(),
            Self::Two(pair) => pair
                .sides
                .iter()
                .all(|side| side.full.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn is_new(&self) -> bool {
        match self {
            Self::One(sink) => sink.is_new(),
            Self::Two(pair) => pair.bytes == 0,
        }
    }

    pub(super) fn is_due(&self, rolling: Rolling) -> bool {
        match self {
            Self::One(sink) => sink.is_due(rolling),
            Self::Two(pair) => {
                let age = pair.begun.elapsed().unwrap_or_default();
                pair.bytes > 0 && (pair.bytes >= rolling.bytes || age >= rolling.age)
            }
        }
    }

    /// True if the segment cannot be written any more.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Self::One(sink) => sink.broken().is_some(),
            // Each side begins a new one by itself.
            Self::Two(_) => false,
        }
    }

    /// Appends whole records, `first` to just before `next`, or nothing. With two directories they are kept as `sync` says
    /// once this returns.
    pub(super) fn append(
        &mut self,
        lines: &[u8],
        first: u64,
        next: u64,
        sync: bool,
    ) -> Result<(), String> {
        match self {
            Self::One(sink) => sink.append(lines),
            Self::Two(pair) => pair.append(lines, first, next, sync),
        }
    }

    /// Makes what was appended survive the loss of power, or keeps in mind that it may not.
    pub(super) fn settle(&mut self, lines: &[u8], next: u64, sync: bool) -> Result<(), String> {
        match self {
            Self::One(sink) if sync => sink.sync(lines, next),
            Self::One(sink) => {
                sink.leave_unsynced(lines, next);
                Ok(())
            }
            Self::Two(_) => Ok(()),
        }
    }

    /// Begins a new segment.
    pub(super) fn begin(&mut self, first: u64, retention: Retention) -> io::Result<()> {
        match self {
            Self::One(sink) => {
                sink.begin(first)?;
                sink.retain(retention);
            }
            Self::Two(pair) => {
                (pair.first, pair.bytes, pair.begun) = (first, 0, SystemTime::now());
                pair.begins = true;
            }
        }
        Ok(())
    }

    /// The number of the segment's first record.
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::One(sink) => sink.first(),
            Self::Two(pair) => pair.first,
        }
    }

    /// What was done to the segment from outside. With two directories the other one still has what it held.
    pub(super) fn tampering(&self) -> Option<(Tampering, u64)> {
        match self {
            Self::One(sink) => sink.tampering(),
            Self::Two(_) => None,
        }
    }

    pub(super) fn regain_room(&mut self) {
        if let Self::One(sink) = self {
            sink.regain_room();
        }
    }

    /// Bytes left where there are fewest.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        match self {
            Self::One(sink) => sink.free_bytes(),
            Self::Two(pair) => pair
                .sides
                .iter()
                .filter_map(|side| super::reserve::free_bytes(&side.dir))
                .min(),
        }
    }
}

impl Pair {
    fn append(&mut self, lines: &[u8], first: u64, next: u64, sync: bool) -> Result<(), String> {
        self.job += 1;
        let begins = std::mem::take(&mut self.begins);
        let lines: Arc<[u8]> = lines.into();
        for (number, side) in self.sides.iter().enumerate() {
            // Whoever is too far behind is left out, and begins anew once it has caught up.
            if side.waiting.load(Ordering::Relaxed) > BEHIND {
                if let Some(done) = lock(&self.shared.done).get_mut(number) {
                    done.failed = self.job;
                    "it does not keep up".clone_into(&mut done.cause);
                }
                continue;
            }
            side.waiting.fetch_add(lines.len(), Ordering::Relaxed);
            if let Some(jobs) = &side.jobs {
                // A side whose thread is gone has said so.
                let _ = jobs.send(Job {
                    number: self.job,
                    lines: Arc::clone(&lines),
                    first,
                    next,
                    sync,
                    begins,
                });
            }
        }
        let mut done = lock(&self.shared.done);
        loop {
            if done.iter().any(|side| side.kept >= self.job) {
                let degraded = done.iter().any(|side| side.failed > side.kept);
                self.metrics.degraded(degraded || self.is_behind());
                self.bytes += u64::try_from(lines.len()).unwrap_or(u64::MAX);
                return Ok(());
            }
            if done.iter().all(|side| side.failed >= self.job) {
                let causes: Vec<&str> = done.iter().map(|side| side.cause.as_str()).collect();
                self.begins = begins;
                return Err(causes.join("; "));
            }
            done = self
                .shared
                .changed
                .wait(done)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn is_behind(&self) -> bool {
        self.sides
            .iter()
            .any(|side| side.waiting.load(Ordering::Relaxed) > BEHIND)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for side in &mut self.sides {
            side.jobs = None;
        }
        // Each is to end with the same record. One that hangs is not waited for longer: the other has everything.
        let is_busy = |side: &Side| side.waiting.load(Ordering::Relaxed) > 0;
        let done = lock(&self.shared.done);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(done, LAST_WAIT, |_| self.sides.iter().any(is_busy));
        drop(waited);
        for side in &mut self.sides {
            if !is_busy(side)
                && let Some(thread) = side.thread.take()
            {
                let _ = thread.join();
            }
        }
    }
}

/// The directory of a segment's path.
pub(super) fn dir_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}
