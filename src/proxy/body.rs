//! A request's body on its way: what was read before the verdict, and what still comes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// The room for bodies that wait for their verdict, in bytes.
#[derive(Debug)]
pub struct Budget {
    taken: AtomicU64,
    total: u64,
}

impl Budget {
    /// Room for so many bytes.
    pub const fn new(total: u64) -> Self {
        Self {
            taken: AtomicU64::new(0),
            total,
        }
    }
}

/// Room that was taken; given back when dropped.
#[derive(Debug)]
struct Room {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Room {
    /// Takes more room; false if there is none.
    fn take(&mut self, bytes: usize) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
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

/// The pieces of a body that were read.
#[derive(Debug)]
pub(super) struct Held {
    pieces: VecDeque<Bytes>,
    /// Small pieces behind the first are copied together.
    block: BytesMut,
    bytes: u64,
    room: Room,
}

impl Held {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        let room = Room {
            budget: Arc::clone(budget),
            bytes: 0,
        };
        Self {
            pieces: VecDeque::new(),
            block: BytesMut::new(),
            bytes: 0,
            room,
        }
    }

    /// Keeps a piece; false if there was no room for it.
    pub(super) fn push(&mut self, piece: &Bytes) -> bool {
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if self.pieces.is_empty() || piece.len() >= BLOCK {
            self.end_block();
            self.pieces.push_back(piece.clone());
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

    /// The body, with what was not read.
    pub(super) fn with_rest(mut self, rest: Option<Incoming>) -> CallBody {
        self.end_block();
        CallBody {
            held: self.pieces,
            held_bytes: self.bytes,
            rest,
            _room: Some(self.room),
        }
    }

    fn end_block(&mut self) {
        if !self.block.is_empty() {
            self.pieces
                .push_back(std::mem::take(&mut self.block).freeze());
        }
    }
}

/// A request's body: the pieces that were read, byte for byte as they came, then the rest as it comes. Trailers are
/// dropped.
#[derive(Debug)]
pub struct CallBody {
    held: VecDeque<Bytes>,
    held_bytes: u64,
    rest: Option<Incoming>,
    /// Gives the room back with the last piece.
    _room: Option<Room>,
}

impl CallBody {
    /// No body.
    pub(super) const fn empty() -> Self {
        Self {
            held: VecDeque::new(),
            held_bytes: 0,
            rest: None,
            _room: None,
        }
    }

    /// A body of which nothing was read.
    pub(super) const fn unread(rest: Incoming) -> Self {
        Self {
            held: VecDeque::new(),
            held_bytes: 0,
            rest: Some(rest),
            _room: None,
        }
    }

    /// How many bytes were read.
    pub(super) const fn len(&self) -> u64 {
        self.held_bytes
    }
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Some(piece) = self.held.pop_front() {
            self.held_bytes -= u64::try_from(piece.len()).unwrap_or(u64::MAX);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        loop {
            match Pin::new(&mut *rest).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) if !frame.is_data() => {}
                other => return other,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self
            .rest
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + self.held_bytes);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + self.held_bytes);
        }
        hint
    }
}
