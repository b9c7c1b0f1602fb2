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

/// The room for bodies that wait for their verdict, in bytes, and where large ones wait.
#[derive(Debug)]
pub struct Budget {
    taken: AtomicU64,
    total: u64,
    dir: Arc<Path>,
}

impl Budget {
    /// Room for so many bytes; what is not kept in memory waits in files of this directory, which have no names there.
    pub fn new(total: u64, dir: &Path) -> Self {
        Self {
            taken: AtomicU64::new(0),
            total,
            dir: dir.into(),
        }
    }
}

/// Room that was taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Room {
    /// Takes more room; false if there is none.
    fn take(&mut self, bytes: usize) -> bool {
        let bytes = as_u64(bytes);
        let taken = self.budget.taken.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        taken.saturating_add(bytes) <= self.budget.total
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
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
    room: Room,
}

impl Held {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        let room = Room {
            budget: Arc::clone(budget),
            bytes: 0,
        };
        Self {
            segments: VecDeque::new(),
            block: BytesMut::new(),
            bytes: 0,
            file: None,
            stored: 0,
            room,
        }
    }

    /// Keeps a piece; false if there was no room for it, though it is kept all the same.
    ///
    /// # Errors
    /// What was read is lost: the file could not be made or written.
    pub(super) async fn push(&mut self, piece: &Bytes) -> io::Result<bool> {
        self.bytes = self.bytes.saturating_add(as_u64(piece.len()));
        if self.bytes > IN_MEMORY {
            return self.store(piece).await;
        }
        if self.segments.is_empty() || piece.len() >= BLOCK {
            self.end_block();
            self.segments.push_back(Segment::Memory(piece.clone()));
            return Ok(self.room.take(piece.len().max(BLOCK)));
        }
        let mut fits = true;
        if self.block.capacity() - self.block.len() < piece.len() {
            self.end_block();
            self.block = BytesMut::with_capacity(BLOCK);
            fits = self.room.take(BLOCK);
        }
        self.block.extend_from_slice(piece);
        Ok(fits)
    }

    /// How many bytes were read.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The body.
    ///
    /// # Errors
    /// What was read is lost: the file could not be written.
    pub(super) async fn into_body(mut self) -> io::Result<CallBody> {
        if self.file.is_some() {
            self.write_block().await?;
        }
        self.end_block();
        Ok(CallBody::held(
            self.segments,
            self.bytes,
            self.file,
            self.room,
        ))
    }

    /// Keeps a piece in the file. Writing may wait for a disk: that is no work for the core's own thread.
    async fn store(&mut self, piece: &Bytes) -> io::Result<bool> {
        let fits = self.room.take(piece.len());
        if self.file.is_none() {
            self.end_block();
            let dir = Arc::clone(&self.room.budget.dir);
            let file = spawn_blocking(move || tempfile::tempfile_in(dir)).await??;
            self.file = Some(Arc::new(file));
        }
        self.block.extend_from_slice(piece);
        if self.block.len() >= AT_ONCE {
            self.write_block().await?;
        }
        Ok(fits)
    }

    async fn write_block(&mut self) -> io::Result<()> {
        let (Some(file), false) = (&self.file, self.block.is_empty()) else {
            return Ok(());
        };
        let (file, at) = (Arc::clone(file), self.stored);
        let block = std::mem::take(&mut self.block).freeze();
        let end = at + as_u64(block.len());
        spawn_blocking(move || file.write_all_at(&block, at)).await??;
        self.stored = end;
        match self.segments.back_mut() {
            Some(Segment::Stored(range)) => range.end = end,
            _ => self.segments.push_back(Segment::Stored(at..end)),
        }
        Ok(())
    }

    fn end_block(&mut self) {
        if !self.block.is_empty() {
            let block = std::mem::take(&mut self.block).freeze();
            self.segments.push_back(Segment::Memory(block));
        }
    }
}

/// The next bytes of a stored segment, of which no more than a little are read at a time.
pub(super) async fn read_stored(file: Arc<File>, at: u64, bytes: u64) -> io::Result<Bytes> {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX).min(AT_ONCE);
    spawn_blocking(move || {
        let mut buffer = vec![0; length];
        file.read_exact_at(&mut buffer, at)?;
        Ok(Bytes::from(buffer))
    })
    .await?
}

pub(super) fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
