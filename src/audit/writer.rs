//! The one thread that writes the journal.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::inbox::{Batch, Inbox};
use super::lifecycle::{self, StartRecord};
use super::member::EventId;
use super::outbox::{Outbox, OutboxTask, Shared};
use super::recovery::{self, Recovery};
use super::{Chain, EventKind, SegmentError, Settings};
use crate::clock::Timestamp;
use crate::telemetry::JournalMetrics;

/// How often a journal that cannot be written is tried again without being asked.
const RETRY: Duration = Duration::from_secs(1);

/// The open journal. Dropping it writes what is queued, closes the journal in order and ends the writer thread.
#[derive(Debug)]
pub struct Journal {
    inbox: Arc<Inbox>,
    deadline: Duration,
    metrics: Arc<JournalMetrics>,
    writer: Option<JoinHandle<()>>,
}

/// The journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The directory or a segment cannot be read or written.
    #[error("the journal {path} cannot be used", path = path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The newest segment cannot be continued.
    #[error("the journal {path} cannot be continued; run `grantgate audit verify`", path = path.display())]
    Segment {
        /// Which segment.
        path: PathBuf,
        /// Why.
        source: SegmentError,
    },
}

impl Journal {
    /// Opens or makes the journal, repairs what a crash left, and starts the writer.
    ///
    /// # Errors
    /// If the directory cannot be written or the newest segment cannot be continued.
    pub fn open(
        settings: &Settings,
        start: &StartRecord<'_>,
        metrics: Arc<JournalMetrics>,
    ) -> Result<(Self, Recovery), JournalError> {
        let recovery = recovery::recover(&settings.dir)?;
        let io = |source| JournalError::Io {
            path: recovery.path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&recovery.path)
            .map_err(io)?;
        let mut lines = Vec::new();
        let mut chain = recovery.chain;
        lifecycle::write_start(&mut chain, start, &recovery, &mut lines);
        let began = Instant::now();
        file.write_all(&lines)
            .and_then(|()| file.sync_data())
            .map_err(io)?;
        metrics.committed(chain.seq - recovery.chain.seq, began.elapsed());
        sync_dir(&settings.dir).map_err(|source| JournalError::Io {
            path: settings.dir.clone(),
            source,
        })?;
        let end = file.seek(SeekFrom::End(0)).map_err(io)?;
        let inbox = Arc::new(Inbox::default());
        let writer = Writer {
            file,
            end,
            chain,
            metrics: Arc::clone(&metrics),
            gap: None,
            broken: None,
            lines: Vec::new(),
        };
        let queue = Arc::clone(&inbox);
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(io)?;
        Ok((
            Self {
                inbox,
                deadline: settings.deadline,
                metrics,
                writer: Some(writer),
            },
            recovery,
        ))
    }

    /// Appends a record of the program itself, which nobody waits for.
    pub fn append(&self, kind: EventKind, write: impl FnOnce(&mut Vec<u8>)) {
        let mut batch = Batch::default();
        batch.sync = true;
        batch.push(kind, write);
        self.inbox.send(batch);
    }

    /// A core's side of the journal, and the task that the core has to run for it.
    pub fn outbox(&self) -> (Outbox, OutboxTask) {
        Outbox::new(
            Arc::clone(&self.inbox),
            self.deadline,
            Arc::clone(&self.metrics),
        )
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.inbox.close();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has said so already; there is nothing left to save.
            let _ = writer.join();
        }
    }
}

struct Writer {
    file: File,
    /// The length of the file up to its last whole record.
    end: u64,
    chain: Chain,
    metrics: Arc<JournalMetrics>,
    /// Records lost since the last write that succeeded.
    gap: Option<Gap>,
    /// Why the file is not written any more: a sync failed, and what the kernel then holds is unknown.
    broken: Option<String>,
    lines: Vec<u8>,
}

struct Gap {
    lost: u64,
    first: Timestamp,
    last: Timestamp,
    cause: String,
}

impl Writer {
    fn run(mut self, inbox: &Inbox) {
        let mut batches = Vec::new();
        while inbox.take(self.gap.is_some().then_some(RETRY), &mut batches) {
            self.write(&mut batches);
            batches.clear();
        }
        self.write(&mut [stop_batch()]);
        if let Some(Gap {
            lost,
            first,
            last,
            cause,
        }) = self.gap
        {
            // Nothing can be written any more: the process log is the only place left to say it.
            let (first, last) = (first.to_rfc3339(), last.to_rfc3339());
            tracing::error!(
                lost,
                first,
                last,
                cause,
                "records were lost that the journal could not declare"
            );
        }
    }

    /// Appends all batches by one write and at most one sync, and tells their cores.
    fn write(&mut self, batches: &mut [Batch]) {
        let dropped: u64 = batches.iter().map(|batch| batch.lost).sum();
        if dropped > 0 {
            self.lose(dropped, "no room before the journal");
        }
        let before = self.chain;
        self.lines.clear();
        if let Some(gap) = &self.gap {
            let event = EventId::new(Timestamp::now());
            self.chain.append(
                EventKind::AuditGap,
                &lifecycle::gap(event, gap.lost, gap.first, gap.last, &gap.cause),
                &mut self.lines,
            );
        }
        for batch in batches.iter() {
            for (kind, rest) in batch.records() {
                self.chain.append(kind, rest, &mut self.lines);
            }
        }
        let records = self.chain.seq - before.seq;
        let began = Instant::now();
        if let Err(cause) = self.append() {
            self.chain = before;
            let lost = batches
                .iter()
                .map(|batch| batch.records().len())
                .sum::<usize>();
            self.lose(u64::try_from(lost).unwrap_or(u64::MAX), &cause);
            acknowledge(batches.iter_mut(), false);
            return;
        }
        // Whoever needs no sync does not wait for one.
        acknowledge(batches.iter_mut().filter(|batch| !batch.sync), true);
        let mut synced = true;
        if (batches.iter().any(|batch| batch.sync) || self.gap.is_some())
            && let Err(error) = self.file.sync_data()
        {
            self.broken = Some(format!("a sync failed: {error}"));
            synced = false;
        }
        acknowledge(batches.iter_mut().filter(|batch| batch.sync), synced);
        if synced {
            self.gap = None;
            self.metrics.committed(records, began.elapsed());
        } else {
            self.lose(0, "a sync failed");
        }
        self.metrics.head(self.chain.seq);
    }

    fn append(&mut self) -> Result<(), String> {
        if let Some(cause) = &self.broken {
            return Err(cause.clone());
        }
        if let Err(error) = self.file.write_all(&self.lines) {
            // Cut back to the last whole record; if even that fails, the next start cuts.
            if let Err(cut) = self.file.set_len(self.end) {
                self.broken = Some(format!(
                    "a write failed: {error}; the torn record could not be cut: {cut}"
                ));
            }
            return Err(format!("a write failed: {error}"));
        }
        self.end += u64::try_from(self.lines.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    fn lose(&mut self, lost: u64, cause: &str) {
        let now = Timestamp::now();
        if self.gap.is_none() {
            tracing::error!(
                cause,
                "the journal cannot be written; enforcing gates answer 503 until it can"
            );
        }
        let gap = self.gap.get_or_insert_with(|| Gap {
            lost: 0,
            first: now,
            last: now,
            cause: cause.to_owned(),
        });
        gap.lost = gap.lost.saturating_add(lost);
        gap.last = now;
        self.metrics.failed(lost, cause);
    }
}

fn acknowledge<'b>(batches: impl Iterator<Item = &'b mut Batch>, recorded: bool) {
    let mut last: Option<Arc<Shared>> = None;
    for batch in batches {
        let Some(outbox) = batch.outbox.take() else {
            continue;
        };
        outbox.done(batch.state.take(), batch.len(), recorded);
        match &last {
            Some(known) if Arc::ptr_eq(known, &outbox) => {}
            _ => {
                if let Some(known) = last.replace(outbox) {
                    known.wake();
                }
            }
        }
    }
    if let Some(known) = last {
        known.wake();
    }
}

fn stop_batch() -> Batch {
    let mut batch = Batch::default();
    batch.sync = true;
    batch.push(EventKind::AuditStopped, |out| {
        lifecycle::write_stop(out, EventId::new(Timestamp::now()));
    });
    batch
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
