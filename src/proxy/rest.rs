//! What of a request's body is still to come, looked at where it must be.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, SizeHint};
use hyper::body::Incoming;

use super::body::BodyError;
use super::held::as_u64;
use crate::vendor::Watch;

/// What of a body is still to come.
pub(super) enum Rest {
    Nothing,
    Coming(Incoming),
    /// It is looked at while it passes; the last piece waits until the end has been seen.
    Watched {
        incoming: Incoming,
        watch: Box<Watch>,
        withheld: Option<Bytes>,
    },
}

impl Rest {
    pub(super) fn poll(
        &mut self,
        by_http2: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self {
            Self::Nothing => Poll::Ready(None),
            Self::Coming(incoming) => poll_data(incoming, by_http2, cx),
            Self::Watched {
                incoming,
                watch,
                withheld,
            } => loop {
                match std::task::ready!(poll_data(incoming, by_http2, cx)) {
                    Some(Ok(piece)) => {
                        if let Err(fault) = watch.feed(&piece) {
                            return Poll::Ready(Some(Err(BodyError::Unclean(fault))));
                        }
                        if let Some(before) = withheld.replace(piece) {
                            return Poll::Ready(Some(Ok(before)));
                        }
                    }
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => {
                        let Some(last) = withheld.take() else {
                            return Poll::Ready(None);
                        };
                        return Poll::Ready(Some(match watch.finish() {
                            Ok(()) => Ok(last),
                            Err(fault) => Err(BodyError::Unclean(fault)),
                        }));
                    }
                }
            },
        }
    }

    pub(super) fn is_end(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Coming(incoming) => incoming.is_end_stream(),
            Self::Watched {
                incoming, withheld, ..
            } => incoming.is_end_stream() && withheld.is_none(),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing => SizeHint::with_exact(0),
            Self::Coming(incoming) => incoming.size_hint(),
            Self::Watched {
                incoming, withheld, ..
            } => {
                let held = withheld.as_ref().map_or(0, |piece| as_u64(piece.len()));
                more(&incoming.size_hint(), held)
            }
        }
    }
}

/// The next piece of data; trailers are passed over.
fn poll_data(
    incoming: &mut Incoming,
    by_http2: bool,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, BodyError>>> {
    loop {
        match std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
            // A reset without an error (RFC 9113 section 8.1) is no end of the body.
            None if by_http2 && !incoming.is_end_stream() => {
                return Poll::Ready(Some(Err(BodyError::Cut)));
            }
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::App(error)))),
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    return Poll::Ready(Some(Ok(piece)));
                }
            }
        }
    }
}

/// A size with so many bytes more.
pub(super) fn more(hint: &SizeHint, bytes: u64) -> SizeHint {
    let mut sum = SizeHint::new();
    sum.set_lower(hint.lower() + bytes);
    if let Some(upper) = hint.upper() {
        sum.set_upper(upper + bytes);
    }
    sum
}
