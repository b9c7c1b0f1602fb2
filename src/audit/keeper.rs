//! The thread that keeps one of two directories.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::outbox::lock;
use super::retention::Retention;
use super::sink::Sink;
use super::sinks::{Job, Shared};

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
    pub(super) fn run(mut self, queue: &mpsc::Receiver<Job>) {
        let mut last = 0;
        loop {
            match queue.recv_timeout(TICK) {
                Ok(job) => {
                    self.behind |= last != 0 && job.number != last + 1;
                    last = job.number;
                    let kept = self.keep(&job);
                    self.waiting.fetch_sub(job.lines.len(), Ordering::Relaxed);
                    self.tell(job.number, kept);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.sink.regain_room();
            self.full.store(self.sink.is_full(), Ordering::Relaxed);
            if let Some((tampering, _)) = self.sink.tampering() {
                let dir = self.dir.display();
                tracing::error!(%dir, ?tampering, "somebody has laid hands on a segment of the journal; a new one is begun");
                self.behind = true;
            }
        }
    }

    fn keep(&mut self, job: &Job) -> Result<(), String> {
        if self.behind || job.begins || self.sink.broken().is_some() {
            self.sink.begin(job.first).map_err(|error| {
                format!("{}: a segment cannot be begun: {error}", self.dir.display())
            })?;
            self.sink.retain(self.retention);
            self.behind = false;
        }
        let named = |cause: String| format!("{}: {cause}", self.dir.display());
        let kept = self.sink.append(&job.lines).and_then(|()| {
            if job.sync {
                self.sink.sync(&job.lines, job.next)
            } else {
                self.sink.leave_unsynced(&job.lines, job.next);
                Ok(())
            }
        });
        self.behind |= kept.is_err();
        kept.map_err(named)
    }

    fn tell(&self, job: u64, kept: Result<(), String>) {
        let mut done = lock(&self.shared.done);
        if let Some(side) = done.get_mut(self.number) {
            match kept {
                Ok(()) => {
                    if side.failed > side.kept {
                        tracing::info!(dir = %self.dir.display(), "a journal's directory is kept again, from here on");
                    }
                    side.kept = job;
                }
                Err(cause) => {
                    if side.failed <= side.kept {
                        tracing::error!(
                            cause,
                            "one of the journal's directories is not kept; the other is"
                        );
                    }
                    side.failed = job;
                    side.cause = cause;
                }
            }
        }
        drop(done);
        self.shared.changed.notify_all();
    }
}
