//! A request's body on its way: what was read before the verdict, and what still comes.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::answer::IN_A_ROW;
use super::held::{Room, Segment, as_u64, read_stored};
use super::rest::{Rest, more};
use super::waiting::Upload;
use crate::model::Fault;
use crate::tls::Turn;
use crate::vendor::{Edit, Watch};

/// A request's body: what was read, byte for byte as it came but for what a divided batch leaves out, then the rest as
/// it comes. Trailers are dropped.
///
/// It is moved along the whole path, and most calls have none: it is as small as can be.
pub struct CallBody(Option<Box<Pieces>>);

/// The body of a call that has one.
struct Pieces {
    held: VecDeque<Segment>,
    held_bytes: u64,
    stored: Option<Stored>,
    rest: Rest,
    by_http2: bool,
    /// How far it has come, for whoever waits for the answer.
    upload: Option<Arc<Upload>>,
    /// Pieces of it in a row.
    turn: Turn,
    /// Gives the room back with the last piece.
    _room: Option<Room>,
}

/// What of a body waits in a file.
struct Stored {
    file: Arc<File>,
    reading: Option<Reading>,
}

type Reading = Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>;

/// A body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The app broke it off.
    #[error("the app broke its body off")]
    App(#[source] hyper::Error),
    /// The app reset its HTTP/2 stream within it.
    #[error("the app reset its stream within the body")]
    Cut,
    /// What waited in a file could not be read again.
    #[error("the body that waited could not be read again")]
    Stored(#[source] io::Error),
    /// It says something that must be judged, where it is passed on unread.
    #[error("the body holds what it must not: {}", .0.detail)]
    Unclean(Fault),
}

impl CallBody {
    /// No body.
    pub(super) const fn empty() -> Self {
        Self(None)
    }

    /// A body of which nothing was read.
    pub(super) fn unread(rest: Incoming) -> Self {
        Self(Some(Box::new(Pieces::coming(Rest::Coming(rest)))))
    }

    /// A body that is looked at while it passes.
    pub(super) fn watched(incoming: Incoming, watch: Watch) -> Self {
        Self(Some(Box::new(Pieces::coming(Rest::Watched {
            incoming,
            watch: Box::new(watch),
            withheld: None,
        }))))
    }

    /// A body that was read.
    pub(super) fn held(
        held: VecDeque<Segment>,
        held_bytes: u64,
        file: Option<Arc<File>>,
        room: Room,
    ) -> Self {
        Self(Some(Box::new(Pieces {
            held,
            held_bytes,
            stored: file.map(|file| Stored {
                file,
                reading: None,
            }),
            rest: Rest::Nothing,
            by_http2: false,
            upload: None,
            turn: Turn::of(IN_A_ROW),
            _room: Some(room),
        })))
    }

    /// The same, with what was not read.
    pub(super) fn with_rest(mut self, rest: Incoming) -> Self {
        let rest = Rest::Coming(rest);
        match &mut self.0 {
            Some(pieces) => pieces.rest = rest,
            None => self.0 = Some(Box::new(Pieces::coming(rest))),
        }
        self
    }

    /// The same, as it came by HTTP/2 or not: there an app can break a body off so that it looks ended.
    pub(super) fn by_http2(mut self, by_http2: bool) -> Self {
        if let Some(pieces) = &mut self.0 {
            pieces.by_http2 = by_http2;
        }
        self
    }

    /// True if the app may still be sending.
    pub(super) fn still_comes(&self) -> bool {
        let rest = self.0.as_ref().map(|pieces| &pieces.rest);
        !matches!(rest, None | Some(Rest::Nothing))
    }

    /// How many bytes were read.
    pub(super) fn len(&self) -> u64 {
        self.0.as_ref().map_or(0, |pieces| pieces.held_bytes)
    }

    /// How far the body comes from now on, if the app may still be sending, or what waits in a file is still to be sent.
    pub(super) fn upload(&mut self) -> Option<Arc<Upload>> {
        let takes_time =
            |pieces: &&mut Box<Pieces>| !pieces.rest.is_end() || pieces.stored.is_some();
        let pieces = self.0.as_mut().filter(takes_time)?;
        let upload = Arc::new(Upload::new());
        pieces.upload = Some(Arc::clone(&upload));
        Some(upload)
    }

    /// Passes the rest on as it comes: who only watches holds nothing back.
    pub(super) fn unwatch(&mut self) {
        if let Some(pieces) = &mut self.0 {
            pieces.rest = match std::mem::replace(&mut pieces.rest, Rest::Nothing) {
                Rest::Watched { incoming, .. } => Rest::Coming(incoming),
                other => other,
            };
        }
    }

    /// Replaces parts of what was read. The edits are in order and do not overlap.
    pub(super) fn edit(&mut self, edits: &[Edit]) {
        if let Some(pieces) = &mut self.0 {
            pieces.edit(edits);
        }
    }
}

impl Pieces {
    /// Nothing was read yet.
    const fn coming(rest: Rest) -> Self {
        Self {
            held: VecDeque::new(),
            held_bytes: 0,
            stored: None,
            rest,
            by_http2: false,
            upload: None,
            turn: Turn::of(IN_A_ROW),
            _room: None,
        }
    }

    fn edit(&mut self, edits: &[Edit]) {
        let mut edited = VecDeque::new();
        let mut from = 0;
        for Edit { at, with } in edits {
            self.copy(from..at.start, &mut edited);
            if !with.is_empty() {
                edited.push_back(Segment::Memory(with.clone()));
            }
            from = at.end;
        }
        self.copy(from..u64::MAX, &mut edited);
        self.held_bytes = edited.iter().map(Segment::len).sum();
        self.held = edited;
    }

    fn copy(&self, range: std::ops::Range<u64>, to: &mut VecDeque<Segment>) {
        let mut begins = 0;
        for segment in &self.held {
            let ends = begins + segment.len();
            let (from, until) = (range.start.max(begins), range.end.min(ends));
            if from < until {
                to.push_back(segment.slice(from - begins..until - begins));
            }
            begins = ends;
        }
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self.held.front_mut() {
            None => Poll::Ready(None),
            Some(Segment::Memory(_)) => {
                let Some(Segment::Memory(piece)) = self.held.pop_front() else {
                    return Poll::Ready(None);
                };
                self.held_bytes -= as_u64(piece.len());
                Poll::Ready(Some(Ok(piece)))
            }
            Some(Segment::Stored(range)) => {
                let Some(stored) = &mut self.stored else {
                    return Poll::Ready(None);
                };
                let (at, bytes) = (range.start, range.end - range.start);
                let file = &stored.file;
                let reading = stored
                    .reading
                    .get_or_insert_with(|| Box::pin(read_stored(Arc::clone(file), at, bytes)));
                let read = std::task::ready!(reading.as_mut().poll(cx));
                stored.reading = None;
                let piece = match read {
                    Ok(piece) => piece,
                    Err(error) => return Poll::Ready(Some(Err(BodyError::Stored(error)))),
                };
                range.start += as_u64(piece.len());
                if range.start == range.end {
                    self.held.pop_front();
                }
                self.held_bytes -= as_u64(piece.len());
                Poll::Ready(Some(Ok(piece)))
            }
        }
    }
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(pieces) = &mut self.0 else {
            return Poll::Ready(None);
        };
        ready!(pieces.turn.poll(cx));
        let piece = match ready!(pieces.poll_held(cx)) {
            None => {
                let by_http2 = pieces.by_http2;
                let Poll::Ready(piece) = pieces.rest.poll(by_http2, cx) else {
                    pieces.turn.begin_again();
                    if let Some(upload) = &pieces.upload {
                        upload.asked();
                    }
                    return Poll::Pending;
                };
                piece
            }
            held => held,
        };
        pieces.turn.take(1);
        if let Some(upload) = &pieces.upload {
            upload.moved();
            if piece.is_none() || pieces.held.is_empty() && pieces.rest.is_end() {
                upload.over();
            }
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        let pieces = self.0.as_ref();
        pieces.is_none_or(|pieces| pieces.held.is_empty() && pieces.rest.is_end())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(
            || SizeHint::with_exact(0),
            |pieces| more(&pieces.rest.size_hint(), pieces.held_bytes),
        )
    }
}

impl std::fmt::Debug for CallBody {
    /// Without what was read: it may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallBody")
            .field("held_bytes", &self.len())
            .finish_non_exhaustive()
    }
}
