//! The database of learned grants: `SQLite`, on a thread of its own.
//!
//! A change that was answered with success is on the disk. Nobody waits for more than [`PATIENCE`], and a database that
//! cannot be read is put aside: what was learned is lost then, what is declared is not.

use std::convert::Infallible;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::oneshot;

use super::rows;
use crate::clock::Timestamp;

/// The longest wait for the database.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many changes may wait for the thread.
const QUEUE: usize = 4096;

/// The database's file in a state directory.
const FILE: &str = "grants.db";

/// The database of learned grants. Dropping it does what is queued and ends the thread, unless
/// the disk hangs.
#[derive(Debug)]
pub struct Database {
    jobs: Option<SyncSender<Job>>,
    broken: Arc<AtomicBool>,
    /// How many jobs the thread has done.
    worked: Arc<AtomicU64>,
    /// Closed once the thread has ended.
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

type Job = Box<dyn FnOnce(&mut Keeper) + Send>;

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was asked too much, or does not answer in time.
    #[error("the database of grants does not keep up")]
    Busy,
    /// It says no.
    #[error("the database of grants cannot be used")]
    Database(#[from] rusqlite::Error),
    /// The file cannot be made or moved.
    #[error("the database of grants {} cannot be made", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What the thread works on.
struct Keeper {
    path: PathBuf,
    connection: Connection,
    broken: Arc<AtomicBool>,
}

impl Database {
    /// Opens the database of a state directory, or makes it. One that cannot be read is put aside with a word.
    ///
    /// # Errors
    /// If no database can be made there.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let connection = match connect(&path) {
            Err(StoreError::Database(error)) if is_corrupt(&error) => {
                put_aside(&path, &error)?;
                connect(&path)?
            }
            opened => opened?,
        };
        let broken = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            path: path.clone(),
            connection,
            broken: Arc::clone(&broken),
        };
        let (jobs, queue) = mpsc::sync_channel::<Job>(QUEUE);
        let (at_end, ended) = mpsc::channel();
        let worked = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&worked);
        std::thread::Builder::new()
            .name("grants-db".to_owned())
            .spawn(move || {
                // Dropped after the keeper: closing the database is work, too.
                let _at_end: mpsc::Sender<Infallible> = at_end;
                let mut keeper = keeper;
                while let Ok(job) = queue.recv() {
                    job(&mut keeper);
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
            .map_err(|source| StoreError::Io { path, source })?;
        Ok(Self {
            jobs: Some(jobs),
            broken,
            worked,
            ended: Mutex::new(ended),
        })
    }

    /// True while the last change could not be kept.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move |keeper| {
            let worked = work(&keeper.connection);
            keeper.note(worked.as_ref().err());
            // Whoever asked may have gone.
            let _ = done.send(worked);
        });
        match self.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => {}
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => {
                return Err(StoreError::Busy);
            }
        }
        match tokio::time::timeout(PATIENCE, result).await {
            Ok(Ok(worked)) => Ok(worked?),
            Ok(Err(_)) | Err(_) => Err(StoreError::Busy),
        }
    }
}

impl Keeper {
    /// Notes how a step ended; a database that turns out to be broken is put aside and begun anew.
    fn note(&mut self, error: Option<&rusqlite::Error>) {
        let Some(error) = error else {
            if self.broken.swap(false, Ordering::Relaxed) {
                tracing::info!("the database of grants can be used again");
            }
            return;
        };
        if !self.broken.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the database of grants cannot be used: what is learned now is lost with the process");
        }
        if !is_corrupt(error) {
            return;
        }
        let anew = put_aside(&self.path, error).and_then(|()| connect(&self.path));
        match anew {
            Ok(connection) => self.connection = connection,
            Err(error) => tracing::error!(%error, "no new database of grants can be made"),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.jobs = None;
        // It sends nothing: that its end of the channel goes is that it has ended, by a panic too.
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut worked = self.worked.load(Ordering::Relaxed);
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(PATIENCE) {
            let now = self.worked.load(Ordering::Relaxed);
            if now == worked {
                tracing::warn!(
                    "the database of grants does not answer, and is not waited for any more"
                );
                return;
            }
            worked = now;
        }
    }
}

/// Opens the file, which is made with mode 0600, and its tables.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| StoreError::Io {
            path: path.to_owned(),
            source,
        })?;
    let connection = Connection::open(path)?;
    // A change is on the disk once it is committed, and readers do not wait for it.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        let step = connection.unchecked_transaction()?;
        step.execute_batch(rows::TABLES)?;
        step.pragma_update(None, "user_version", rows::VERSION)?;
        step.commit()?;
    } else if version != rows::VERSION {
        // Made by a later program, which can read it: it is kept, and begun anew here.
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
            Some(format!("its version is {version}")),
        )
        .into());
    }
    Ok(connection)
}

/// Opens the database of a state directory for a look, while another process may keep it; `None` where there is none.
///
/// # Errors
/// If it cannot be read.
pub(super) fn look(dir: &Path) -> Result<Option<Connection>, StoreError> {
    let path = dir.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(Some(connection))
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Moves a database that cannot be read out of the way, with what belongs to it.
fn put_aside(path: &Path, error: &rusqlite::Error) -> Result<(), StoreError> {
    let aside = path.with_extension(format!("db.broken-{}", Timestamp::now().as_secs()));
    tracing::error!(
        %error,
        aside = %aside.display(),
        "the database of grants cannot be read: it is put aside, and what was learned has to be learned again"
    );
    fs::rename(path, &aside).map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })?;
    for end in ["db-wal", "db-shm"] {
        // They belong to the file that is gone.
        let _ = fs::remove_file(path.with_extension(end));
    }
    Ok(())
}
