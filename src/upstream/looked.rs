//! A kept connection, of which the system itself is asked whether something has come: the runtime looks at its sockets
//! between turns, and what has come since then it does not know.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::{Fair, Stream};

/// Has reads of a connection ask the system, until it is told to stop.
#[derive(Debug, Clone, Default)]
pub(super) struct Look(Arc<AtomicBool>);

impl Look {
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// A connection whose reads fail where something has come that nobody has read, if asked to look.
#[derive(Debug)]
pub(super) struct Looked {
    stream: Fair<Stream>,
    look: Look,
}

impl Looked {
    pub(super) const fn new(stream: Fair<Stream>, look: Look) -> Self {
        Self { stream, look }
    }
}

impl AsyncRead for Looked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_pending()
            && self.look.0.load(Ordering::Relaxed)
            && self.stream.get_ref().has_unread()
        {
            let unasked = "something has come that nobody asked for";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, unasked)));
        }
        read
    }
}

impl AsyncWrite for Looked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
