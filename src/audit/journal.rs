//! The journal as the program holds it: opened, appended to, closed in order.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::catch_up::catch_up;
use super::inbox::{Batch, Inbox};
use super::lifecycle::{self, StartRecord};
use super::outbox::{Outbox, OutboxTask};
use super::pair::Pair;
use super::recovery::{self, Recovery};
use super::sink::Sink;
use super::sinks::{self, Sinks};
use super::writer::Writer;
use super::{Chain, EventKind, SegmentError, Settings, segment, undeclared};
use crate::telemetry::JournalMetrics;

/// The open journal. Dropping it writes what is queued, closes the journal in order and ends the writer thread.
#[derive(Debug)]
pub struct Journal {
    inbox: Arc<Inbox>,
    deadline: Duration,
    metrics: Arc<JournalMetrics>,
    writer: Option<JoinHandle<()>>,
    /// Nobody else keeps a journal where this one is kept.
    _claims: Vec<File>,
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
        let claims = settings.dirs().map(claim).collect::<Result<_, _>>()?;
        let (recovery, mut sinks) = open_sinks(settings, &metrics)?;
        let io = |source| JournalError::Io {
            path: recovery.path.clone(),
            source,
        };
        let mut chain = recovery.chain;
        let mut lines = Vec::new();
        lifecycle::write_start(&mut chain, start, &recovery, &mut lines);
        let undeclared = undeclared::find(settings.dirs());
        if let Some(declaration) = &undeclared {
            chain.append(EventKind::AuditGap, declaration, &mut lines);
        }
        let began = Instant::now();
        let (first, next) = (recovery.chain.seq + 1, chain.seq + 1);
        sinks
            .append(&lines, first, next, true)
            .and_then(|()| sinks.settle(&lines, next, true))
            .map_err(|cause| io(io::Error::other(cause)))?;
        if undeclared.is_some() {
            undeclared::clear(settings.dirs()).map_err(io)?;
        }
        metrics.committed(chain.seq - recovery.chain.seq, began.elapsed());
        metrics.head(chain.seq);
        let inbox = Arc::new(Inbox::default());
        let writer = Writer::new(sinks, chain, start, settings, Arc::clone(&metrics));
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
                _claims: claims,
            },
            recovery,
        ))
    }

    /// Appends a record of the program itself, which nobody waits for.
    pub fn append(&self, kind: EventKind, write: impl FnOnce(&mut Vec<u8>)) {
        self.recorder().append(kind, write);
    }

    /// A way to append records of the program itself from anywhere.
    pub fn recorder(&self) -> Recorder {
        Recorder(Arc::clone(&self.inbox))
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

/// Appends records that nobody waits for. After the journal has closed they are lost.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Inbox>);

impl Recorder {
    /// Appends a record.
    pub fn append(&self, kind: EventKind, write: impl FnOnce(&mut Vec<u8>)) {
        let mut batch = Batch::default();
        batch.sync = true;
        batch.push(kind, write);
        self.0.send_own(batch);
    }
}

/// Locks a directory, which is made if it is not there: two journals in one, be it two directories of one gate or those of
/// two, would be none.
fn claim(dir: &Path) -> Result<File, JournalError> {
    let io = |source| JournalError::Io {
        path: dir.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io)?;
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(dir.join(".lock"))
        .map_err(io)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io(io::Error::other(
            "a journal is kept there already; give each directory to one",
        )),
        TryLockError::Error(source) => io(source),
    })?;
    Ok(lock)
}

/// Repairs and opens what the journal is kept in. Of two directories the one that has more says where the chain stands;
/// the other is given what it lacks, or begins a new segment where it was left behind for long.
fn open_sinks(
    settings: &Settings,
    metrics: &Arc<JournalMetrics>,
) -> Result<(Recovery, Sinks), JournalError> {
    let open = |recovery: &Recovery, chain: Chain| {
        let next = chain.seq + 1;
        let (path, first) = if recovery.chain == chain {
            (recovery.path.clone(), recovery.first)
        } else {
            let dir = sinks::dir_of(&recovery.path);
            (dir.join(segment::name(next)), next)
        };
        Sink::open(&path, first, next, settings.reserve).map_err(|source| JournalError::Io {
            path: path.clone(),
            source,
        })
    };
    let recovery = recovery::recover(&settings.dir)?;
    let Some(second) = &settings.second_dir else {
        let sink = open(&recovery, recovery.chain)?;
        sink.retain(settings.retention);
        return Ok((recovery, Sinks::One(Box::new(sink))));
    };
    let mut recovery = recovery;
    let mut second = recovery::recover(second)?;
    let further = if second.chain.seq > recovery.chain.seq {
        second.clone()
    } else {
        recovery.clone()
    };
    let chain = further.chain;
    for behind in [&mut recovery, &mut second] {
        if behind.chain != chain
            && let Err(error) = catch_up(behind, sinks::dir_of(&further.path))
        {
            let dir = sinks::dir_of(&behind.path).display();
            tracing::warn!(%dir, %error, "a directory of the journal could not be given what the other has more");
        }
    }
    let lacks = |behind: &Recovery| behind.chain.seq + 1..chain.seq + 1;
    let both = Pair::new(
        [
            (open(&recovery, chain)?, lacks(&recovery)),
            (open(&second, chain)?, lacks(&second)),
        ],
        settings.retention,
        settings.deadline,
        Arc::clone(metrics),
    );
    let both = both.map_err(|source| JournalError::Io {
        path: settings.dir.clone(),
        source,
    })?;
    Ok((further, Sinks::Two(both)))
}

impl Journal {
    /// Writes what is queued and closes the journal in order; false if its disk does not answer within its deadline from when
    /// `patience` is ready. Who waits for a disk that hangs waits for ever.
    pub async fn close(mut self, patience: impl Future<Output = ()>) -> bool {
        self.inbox.close();
        let Some(writer) = self.writer.take() else {
            return true;
        };
        let mut patience = pin!(patience);
        let mut until = None;
        while !writer.is_finished() {
            if until.is_some_and(|until| Instant::now() > until) {
                return false;
            }
            tokio::select! {
                () = &mut patience, if until.is_none() => until = Some(Instant::now() + self.deadline),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        // A writer that panicked has said so already; there is nothing left to save.
        let _ = writer.join();
        true
    }
}

/// How often it is seen whether the writer has finished.
const LOOK: Duration = Duration::from_millis(2);

impl Drop for Journal {
    fn drop(&mut self) {
        self.inbox.close();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has said so already; there is nothing left to save.
            let _ = writer.join();
        }
    }
}
