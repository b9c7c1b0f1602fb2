//! A connection that leaves time for others.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is read in a row before other tasks have their turn, in bytes. What a peer sends may be dear to look at, byte by
/// byte, and come faster than it is.
const AT_ONCE: usize = 64 * 1024;

/// A connection from which a task reads so much, and then lets others go on.
#[derive(Debug)]
pub struct Fair<S> {
    stream: S,
    /// Read since there was last nothing to read.
    read: usize,
}

impl<S> Fair<S> {
    /// Reads from this stream.
    pub const fn new(stream: S) -> Self {
        Self { stream, read: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fair<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= AT_ONCE {
            self.read = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) else {
            self.read = 0;
            return Poll::Pending;
        };
        self.read += buf.filled().len() - before;
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Fair<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[test]
    fn others_have_their_turn() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let endless = tokio::spawn(async {
                let mut endless = Fair::new(tokio::io::repeat(0));
                let mut bytes = vec![0; 16 * 1024];
                loop {
                    // Outside of tokio's own turns, as hyper reads what it has.
                    tokio::task::unconstrained(endless.read_exact(&mut bytes))
                        .await
                        .unwrap();
                }
            });
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            endless.abort();
        });
    }
}
