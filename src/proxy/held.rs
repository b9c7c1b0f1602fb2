//! Bodies that wait for their verdict: small ones in memory, the rest of large ones in a file without a name.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::task::spawn_blocking;

use super::body::CallBody;

/// The room for bodies that wait for their verdict, in bytes, and where large ones wait. It is taken before anybody knows
/// whose call it is: no gate can take that of the others.
#[derive(Debug)]
pub struct Budget {
    all: Counted,
    gates: Box<[Counted]>,
    dir: Arc<Path>,
}

/// What was taken, and how much there is.
#[derive(Debug, Default)]
struct Counted {
    taken: AtomicU64,
    total: AtomicU64,
}

impl Counted {
    /// Takes room; false if there was none, though it counts as taken all the same.
    fn take(&self, bytes: u64) -> bool {
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed);
        taken.saturating_add(bytes) <= self.total.load(Ordering::Relaxed)
    }
}

impl Budget {
    /// Room for so many bytes in all, of which each of so many gates has a share that is large enough for the largest body. What
    /// is not kept in memory waits in files of this directory, which have no names there.
    pub fn new(total: u64, largest: u64, gates: usize, dir: &Path) -> Self {
        let budget = Self {
            all: Counted::default(),
            gates: (0..gates).map(|_| Counted::default()).collect(),
            dir: dir.into(),
        };
        budget.resize(total, largest);
        budget
    }

    /// Changes how much room there is; what was taken stays taken.
    pub fn resize(&self, total: u64, largest: u64) {
        let share = total / as_u64(self.gates.len().max(1));
        self.all.total.store(total, Ordering::Relaxed);
        for gate in &self.gates {
            gate.total.store(share.max(largest), Ordering::Relaxed);
        }
    }
}

/// Room that was taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    budget: Arc<Budget>,
    gate: u16,
    bytes: u64,
}

impl Room {
    /// Takes more room; false if there is none.
    fn take(&mut self, bytes: usize) -> bool {
        let bytes = as_u64(bytes);
        self.bytes += bytes;
        let of_gate = self.budget.gates.get(usize::from(self.gate));
        // Both are taken, whether they are there or not.
        let of_gate = of_gate.is_none_or(|gate| gate.take(bytes));
        self.budget.all.take(bytes) && of_gate
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let of_gate = self.budget.gates.get(usize::from(self.gate));
        for counted in of_gate.into_iter().chain([&self.budget.all]) {
            counted.taken.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// The memory that small pieces share, and the least that a piece of its own is charged: a piece of one byte can hold
/// a whole read buffer.
const BLOCK: usize = 16 * 1024;

/// How much of a body stays in memory, in bytes.
const IN_MEMORY: u64 = 256 * 1024;

/// How much is written to a file, or read from it, at a time.
const AT_ONCE: usize = 256 * 1024;

/// A part of a body.
#[derive(Debug, Clone)]
pub(super) enum Segment {
    Memory(Bytes),
    Stored(Range<u64>),
}

impl Segment {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => as_u64(bytes.len()),
            Self::Stored(range) => range.end - range.start,
        }
    }

    /// The part of it between two distances from its beginning.
    pub(super) fn slice(&self, range: Range<u64>) -> Self {
        match self {
            Self::Memory(bytes) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Self::Memory(bytes.slice(place(range.start)..place(range.end)))
            }
            Self::Stored(stored) => {
                Self::Stored(stored.start + range.start..stored.start + range.end)
            }
        }
    }
}

/// The pieces of a body that were read.
#[derive(Debug)]
pub(super) struct Held {
    segments: VecDeque<Segment>,
    /// Small pieces behind the first are copied together.
    block: BytesMut,
    bytes: u64,
    file: Option<Arc<File>>,
    stored: u64,
    /// The file could not be made or written.
    fileless: bool,
    room: Room,
}

impl Held {
    pub(super) fn new(budget: &Arc<Budget>, gate: u16) -> Self {
        let room = Room {
            budget: Arc::clone(budget),
            gate,
            bytes: 0,
        };
        Self {
            segments: VecDeque::new(),
            block: BytesMut::new(),
            bytes: 0,
            file: None,
            stored: 0,
            fileless: false,
            room,
        }
    }

    /// Keeps a piece; false if there was no room for it, though it is kept all the same.
    pub(super) async fn push(&mut self, piece: &Bytes) -> bool {
        self.bytes = self.bytes.saturating_add(as_u64(piece.len()));
        if self.bytes > IN_MEMORY {
            return self.store(piece).await;
        }
        if self.segments.is_empty() || piece.len() >= BLOCK {
            self.end_block();
            self.segments.push_back(Segment::Memory(piece.clone()));
            return self.room.take(piece.len().max(BLOCK));
        }
        let mut fits = true;
        if self.block.capacity() - self.block.len() < piece.len() {
            self.end_block();
            self.block = BytesMut::with_capacity(BLOCK);
            fits = self.room.take(BLOCK);
        }
        self.block.extend_from_slice(piece);
        fits
    }

    /// How many bytes were read.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The body.
    pub(super) async fn into_body(mut self) -> CallBody {
        self.write_block().await;
        self.end_block();
        CallBody::held(self.segments, self.bytes, self.file, self.room)
    }

    /// Keeps a piece in the file. Writing may wait for a disk: that is no work for the core's own thread.
    async fn store(&mut self, piece: &Bytes) -> bool {
        let fits = self.room.take(piece.len());
        if self.file.is_none() && !self.fileless {
            self.end_block();
            let dir = Arc::clone(&self.room.budget.dir);
            match flat(spawn_blocking(move || tempfile::tempfile_in(dir)).await) {
                Ok(file) => self.file = Some(Arc::new(file)),
                Err(error) => self.give_up_file(&error),
            }
        }
        self.block.extend_from_slice(piece);
        if self.block.len() >= AT_ONCE {
            self.write_block().await;
            self.end_block();
        }
        fits
    }

    async fn write_block(&mut self) {
        let (Some(file), false, false) = (&self.file, self.fileless, self.block.is_empty()) else {
            return;
        };
        let (file, at) = (Arc::clone(file), self.stored);
        let block = std::mem::take(&mut self.block).freeze();
        let (end, written) = (at + as_u64(block.len()), block.clone());
        let write = spawn_blocking(move || file.write_all_at(&written, at));
        if let Err(error) = flat(write.await) {
            self.segments.push_back(Segment::Memory(block));
            return self.give_up_file(&error);
        }
        self.stored = end;
        match self.segments.back_mut() {
            Some(Segment::Stored(range)) => range.end = end,
            _ => self.segments.push_back(Segment::Stored(at..end)),
        }
    }

    /// Without a file the rest of the body stays in memory, for which its room was taken all the same.
    fn give_up_file(&mut self, error: &io::Error) {
        tracing::warn!(%error, "a body cannot wait in a file and stays in memory");
        self.fileless = true;
    }

    fn end_block(&mut self) {
        if !self.block.is_empty() {
            let block = std::mem::take(&mut self.block).freeze();
            self.segments.push_back(Segment::Memory(block));
        }
    }
}

/// What a task on another thread came to; one that was cut off has failed.
fn flat<T>(done: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    done.unwrap_or_else(|error| Err(error.into()))
}

/// The next bytes of a stored segment, of which no more than a little are read at a time.
pub(super) async fn read_stored(file: Arc<File>, at: u64, bytes: u64) -> io::Result<Bytes> {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX).min(AT_ONCE);
    let read = spawn_blocking(move || {
        let mut buffer = vec![0; length];
        file.read_exact_at(&mut buffer, at)?;
        Ok(Bytes::from(buffer))
    });
    flat(read.await)
}

pub(super) fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
