//! The state directory: one process at a time, the key behind token ids, the identity of the journal, and the database of
//! learned grants.

mod database;
mod rows;
mod steps;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use zeroize::Zeroizing;

pub use database::{Database, StoreError};
pub use rows::{GrantRow, RefreshRow, ScopeUse};
pub use steps::{REMEMBERED, Told, ToldRow};

use crate::clock::Timestamp;
use crate::model::{TokenId, TokenIdKey};

/// Where state lies, and who gives the key behind token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory.
    pub dir: PathBuf,
}

/// The state directory, locked for this process while the value lives.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    stream: String,
    _lock: File,
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process holds it.
    #[error("the state directory {} is in use by another process; give each its own `state.dir`", .0.display())]
    InUse(PathBuf),
    /// The database in it cannot be used.
    #[error(transparent)]
    Database(#[from] StoreError),
    /// A file in it cannot be read or written.
    #[error("the state directory's {} cannot be used", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key is too short to be one.
    #[error("the key in {} is shorter than 16 bytes", .0.display())]
    ShortKey(PathBuf),
}

impl StateDir {
    /// Makes the directory where there is none (mode 0700) and locks it.
    ///
    /// # Errors
    /// If it is in use or cannot be written.
    pub fn open(settings: &Settings) -> Result<Self, StateError> {
        let dir = settings.dir.clone();
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(io(&dir))?;
        let path = dir.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(io(&path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StateError::InUse(dir.clone()),
            TryLockError::Error(source) => StateError::Io {
                path: path.clone(),
                source,
            },
        })?;
        let path = dir.join("stream");
        let stream =
            read_or_make(&path, 0o644, || Ok(new_stream().into_bytes())).map_err(io(&path))?;
        Ok(Self {
            dir,
            stream: String::from_utf8_lossy(&stream).trim().to_owned(),
            _lock: lock,
        })
    }

    /// The identity of this directory's journal.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Where the journal's segments lie.
    pub fn audit_dir(&self) -> PathBuf {
        audit_dir(&self.dir)
    }

    /// The socket by which the running process is told to change something.
    pub fn socket(&self) -> PathBuf {
        socket(&self.dir)
    }

    /// The database of learned grants, made at first use.
    ///
    /// # Errors
    /// If none can be made.
    pub fn database(&self) -> Result<Database, StateError> {
        Ok(Database::open(&self.dir)?)
    }

    /// The key behind token ids, made at first use (32 random bytes, mode 0600).
    ///
    /// # Errors
    /// If the file cannot be read or made, or holds no key.
    pub fn token_id_key(&self) -> Result<TokenIdKey, StateError> {
        token_id_key(&self.dir, true)
    }
}

/// The socket by which the process that holds a state directory is told to change something.
pub fn socket(dir: &Path) -> PathBuf {
    dir.join("admin.sock")
}

/// Where the journal's segments of a state directory lie.
pub fn audit_dir(dir: &Path) -> PathBuf {
    dir.join("audit")
}

/// The key behind token ids of a state directory that another process may hold; made where there is none if `make`.
///
/// # Errors
/// If the file cannot be read or made, or holds no key.
pub fn token_id_key(dir: &Path, make: bool) -> Result<TokenIdKey, StateError> {
    let path = dir.join("token-id.key");
    let key = if make {
        read_or_make(&path, 0o600, || {
            let mut key = [0; 32];
            rand::fill(&mut key).map_err(|_| io::Error::other("no random bytes"))?;
            Ok(key.to_vec())
        })
    } else {
        fs::read(&path)
    };
    let key = Zeroizing::new(key.map_err(|source| StateError::Io {
        path: path.clone(),
        source,
    })?);
    if key.len() < 16 {
        return Err(StateError::ShortKey(path));
    }
    Ok(TokenIdKey::new(&key))
}

/// A look at the database of a state directory that another process may hold.
#[derive(Debug)]
pub struct Look(rusqlite::Connection);

impl Look {
    /// Opens it; `None` where nothing was ever learned.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn into(dir: &Path) -> Result<Option<Self>, StoreError> {
        Ok(database::look(dir)?.map(Self))
    }

    /// All grants of a gate, in the order of their ids.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn grants(&self, gate: &str) -> Result<Vec<GrantRow>, StoreError> {
        Ok(rows::page(&self.0, gate, None, u32::MAX)?)
    }

    /// How often a gate's scopes have opened something.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn uses(&self, gate: &str) -> Result<Vec<ScopeUse>, StoreError> {
        Ok(rows::uses(&self.0, gate)?)
    }

    /// Removes all that is known of a token; true if it was known. Only while no process runs on the directory.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn forget(&self, gate: &str, token: TokenId) -> Result<bool, StoreError> {
        Ok(rows::remove(&self.0, gate, token)?)
    }
}

fn read_or_make(
    path: &Path,
    mode: u32,
    make: impl FnOnce() -> io::Result<Vec<u8>>,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => {
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let bytes = make()?;
            // Written beside and renamed: a crash leaves no half of it.
            let beside = path.with_extension("new");
            let mut file = OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(true)
                .mode(mode)
                .open(&beside)?;
            file.write_all(&bytes).and_then(|()| file.sync_all())?;
            fs::rename(&beside, path)?;
            Ok(bytes)
        }
        Err(error) => Err(error),
    }
}

fn new_stream() -> String {
    let mut random = [0; 10];
    // A stream needs to be unique, not secret: without random bytes the time alone will do.
    let _ = rand::fill(&mut random);
    uuid::Builder::from_unix_timestamp_millis(Timestamp::now().as_millis(), &random)
        .into_uuid()
        .to_string()
}

/// What the journal's disk is and how long it takes to keep something.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DiskProbe {
    /// The kind of file system, where it is known by name.
    pub file_system: &'static str,
    /// True if what is kept there does not survive the machine.
    pub volatile: bool,
    /// The middle one of several syncs, in microseconds.
    pub sync_us: u64,
    /// Space left, in MiB.
    pub free_mib: u64,
}

/// Tries the disk of a directory, which is made if it is not there.
///
/// # Errors
/// If the directory cannot be written.
pub fn probe_disk(dir: &Path) -> io::Result<DiskProbe> {
    const TRIES: usize = 9;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = dir.join(".probe");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    let mut times = Vec::new();
    for _ in 0..TRIES {
        let began = std::time::Instant::now();
        file.write_all(&[b'\n'; 512])
            .and_then(|()| file.sync_data())?;
        times.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    fs::remove_file(&path)?;
    times.sort_unstable();
    let stat = rustix::fs::statfs(dir)?;
    let (file_system, volatile) = match stat.f_type {
        0xef53 => ("ext4", false),
        0x5846_5342 => ("xfs", false),
        0x9123_683e => ("btrfs", false),
        0x794c_7630 => ("overlay", false),
        0x0102_1994 => ("tmpfs", true),
        0x8584_58f6 => ("ramfs", true),
        0x6969 => ("nfs", false),
        0x2fc1_2fc1 => ("zfs", false),
        _ => ("unknown", false),
    };
    let block = u64::try_from(stat.f_bsize).unwrap_or_default();
    let free_mib = stat.f_bavail.saturating_mul(block) >> 20;
    Ok(DiskProbe {
        file_system,
        volatile,
        sync_us: times.get(TRIES / 2).copied().unwrap_or_default(),
        free_mib,
    })
}
