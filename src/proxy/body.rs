//! A request's body on its way: what was read before the verdict, and what still comes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// The room for bodies that wait for their verdict, in bytes.
#[derive(Debug)]
pub struct Budget {
    taken: AtomicU64,
    total: u64,
}

/// Room that was taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    budget: Arc<Budget>,
    bytes: u64,
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

impl Room {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            bytes: 0,
        }
    }

    /// Takes more room; false if there is none.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
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

    /// A body of which these pieces were read.
    pub(super) fn held(
        held: VecDeque<Bytes>,
        bytes: u64,
        rest: Option<Incoming>,
        room: Room,
    ) -> Self {
        Self {
            held,
            held_bytes: bytes,
            rest,
            _room: Some(room),
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
