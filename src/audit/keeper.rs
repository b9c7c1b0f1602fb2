//! The thread that keeps one of two directories.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::outbox::lock;
use super::pair::{Job, Order, Shared};
use super::retention::Retention;
use super::sink::Sink;

/// How often a directory that has nothing to write is looked after.
const TICK: Duration = Duration::from_millis(400);

/// Keeps one of two directories.
pub(super) struct Keeper {
    pub(super) number: usize,
    pub(super) dir: PathBuf,
    pub(super) sink: Sink,
    pub(super) retention: Retention,
    pub(super) shared: Arc<Shared>,
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) full: Arc<AtomicBool>,
    /// It has missed records: the next one begins a segment.
    pub(super) behind: bool,
}

impl Keeper {
    pub(super) fn run(mut self, queue: &mpsc::Receiver<Order>) {
        let (mut last, mut next) = (0, self.sink.first());
        loop {
            let mut asked = false;
            match queue.recv_timeout(TICK) {
                Ok(Order::Keep(job)) => {
                    if !self.takes(&job) {
                        return self.end();
                    }
                    self.behind |= last != 0 && job.number != last + 1;
                    (last, next) = (job.number, job.next);
                    let kept = self.keep(&job);
                    self.waiting.fetch_sub(job.lines.len(), Ordering::Relaxed);
                    self.tell(&job, kept);
                }
                Ok(Order::Look) => asked = true,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.look(next);
                    return self.end();
                }
            }
            self.sink.regain_room();
            self.full.store(self.sink.is_full(), Ordering::Relaxed);
            self.look(next);
            if asked {
                self.tell_looked();
            }
        }
    }

    /// Sees whether somebody has laid hands on the segment.
    fn look(&mut self, next: u64) {
        let Some(loss) = self.sink.tampering(next) else {
            return;
        };
        tracing::error!(
            dir = %self.dir.display(),
            what = ?loss.tampering,
            "somebody has laid hands on a segment of the journal; a new one is begun"
        );
        // Nothing more is written to it, and nobody asks again.
        self.sink.give_up("the segment was changed from outside");
        self.behind = true;
        let mut done = lock(&self.shared.done);
        if let Some(side) = done.get_mut(self.number) {
            side.missed.extend(loss.lost.runs().map(|run| (None, run)));
        }
    }

    /// False if it is too late: what was not taken by now was declared as lost.
    fn takes(&self, job: &Job) -> bool {
        let mut done = lock(&self.shared.done);
        done.get_mut(self.number).is_some_and(|side| {
            if !side.closed {
                side.next = Some(job.next);
            }
            !side.closed
        })
    }

    /// Tells that nothing is left to do; the reserve is given back before.
    fn end(self) {
        let Self {
            sink,
            shared,
            number,
            ..
        } = self;
        drop(sink);
        if let Some(side) = lock(&shared.done).get_mut(number) {
            side.ended = true;
        }
        shared.changed.notify_all();
    }

    fn tell_looked(&self) {
        if let Some(side) = lock(&self.shared.done).get_mut(self.number) {
            side.looks += 1;
        }
        self.shared.changed.notify_all();
    }

    fn keep(&mut self, job: &Job) -> Result<(), String> {
        if self.behind || job.begins || self.sink.broken().is_some() {
            self.sink.begin(job.first).map_err(|error| {
                format!("{}: a segment cannot be begun: {error}", self.dir.display())
            })?;
            self.sink.retain(self.retention);
            self.behind = false;
        }
        let kept = self.sink.append(&job.lines).and_then(|()| {
            if job.sync {
                // If nobody keeps them their numbers go to other records.
                let synced = self.sink.sync(&job.lines, job.next);
                synced.inspect_err(|_| self.sink.disown(&job.lines))
            } else {
                self.sink.leave_unsynced(&job.lines, job.next);
                Ok(())
            }
        });
        self.behind |= kept.is_err();
        kept.map_err(|cause| format!("{}: {cause}", self.dir.display()))
    }

    fn tell(&self, job: &Job, kept: Result<(), String>) {
        let mut done = lock(&self.shared.done);
        if let Some(side) = done.get_mut(self.number) {
            match kept {
                Ok(()) => {
                    if side.failed > side.kept {
                        tracing::info!(dir = %self.dir.display(), "a journal's directory is kept again, from here on");
                    }
                    side.kept = side.kept.max(job.number);
                }
                Err(cause) => {
                    if side.failed <= side.kept {
                        tracing::error!(
                            cause,
                            "one of the journal's directories is not kept; the other is"
                        );
                    }
                    // A later job may have been left out meanwhile.
                    side.failed = side.failed.max(job.number);
                    side.cause = cause;
                    side.missed.push((Some(job.number), job.first..job.next));
                }
            }
        }
        drop(done);
        self.shared.changed.notify_all();
    }
}
