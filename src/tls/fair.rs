//! A connection that leaves time for others.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::turn::Turn;

/// What is read in a row before other tasks have their turn, in bytes. What a peer sends may be dear to look at, byte by
/// byte, and come faster than it is.
const AT_ONCE: u32 = 16 * 1024;

/// How often is written in a row: what answers each small thing that comes makes a call of the system of each.
const WRITES: u32 = 32;

/// A connection from which a task reads so much, and then lets others go on; and which ends if its peer takes nothing.
#[derive(Debug)]
pub struct Fair<S> {
    stream: S,
    reads: Turn,
    writes: Turn,
    /// How long the peer may take no byte of what is to be written; `None` for ever.
    patience: Option<Duration>,
    /// Runs while it takes none.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Fair<S> {
    /// Reads from this stream.
    pub const fn new(stream: S) -> Self {
        Self {
            stream,
            reads: Turn::of(AT_ONCE),
            writes: Turn::of(WRITES),
            patience: None,
            timer: None,
        }
    }

    /// The stream itself.
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Ends with an error if the peer takes no byte for so long. The system's own time-out (`TCP_USER_TIMEOUT`) looks at a
    /// closed window at ever longer intervals.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// What a write came to, unless the peer has taken nothing for too long.
    fn in_time<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let Some(patience) = self.patience.filter(|_| written.is_pending()) else {
            self.timer = None;
            return written;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(patience)));
        match timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the peer takes no byte of what is sent",
            ))),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fair<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Whoever only looks whether something has come has no task that could be put off, and looks once.
        if !cx.waker().will_wake(Waker::noop()) {
            ready!(self.reads.poll(cx));
        }
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) else {
            // Before there is more the sockets are looked at, and others have had their turn.
            self.reads.begin_again();
            self.writes.begin_again();
            return Poll::Pending;
        };
        let come = buf.filled().len() - before;
        self.reads.take(u32::try_from(come).unwrap_or(u32::MAX));
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Fair<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.writes.poll(cx));
        self.writes.take(1);
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[test]
    fn a_peer_that_takes_nothing_is_given_up() {
        use tokio::io::AsyncWriteExt as _;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(8);
            let mut ours = Fair::new(ours).with_patience(Duration::from_millis(50));
            // As long as it takes something it may take its time.
            let (written, ()) = tokio::join!(ours.write_all(&[0; 24]), async {
                for _ in 0..2 {
                    sleep(Duration::from_millis(30)).await;
                    theirs.read_exact(&mut [0; 8]).await.unwrap();
                }
            });
            written.unwrap();
            let error = ours.write_all(&[0; 24]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    /// Runs a task that always has something to do, and in between others.
    fn beside(endless: impl Future<Output = ()> + Send + 'static) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            // Outside of tokio's own turns, as hyper reads what it has.
            let endless = tokio::spawn(tokio::task::unconstrained(endless));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            endless.abort();
        });
    }

    #[test]
    fn a_reader_leaves_others_their_turn() {
        beside(async {
            let mut endless = Fair::new(tokio::io::repeat(0));
            let mut bytes = vec![0; 16 * 1024];
            loop {
                endless.read_exact(&mut bytes).await.unwrap();
            }
        });
    }

    /// A connection that has had its turn and is looked at between two calls says what has come.
    #[test]
    fn a_look_is_not_put_off() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut endless = Fair::new(tokio::io::repeat(0));
            let mut bytes = [0; 32 * 1024];
            let mut poll = |cx: &mut Context<'_>| {
                let mut space = ReadBuf::new(&mut bytes);
                Pin::new(&mut endless).poll_read(cx, &mut space).is_ready()
            };
            std::future::poll_fn(|cx| {
                assert!(poll(cx));
                assert!(!poll(cx), "others have their turn");
                assert!(poll(&mut Context::from_waker(Waker::noop())));
                assert!(!poll(cx));
                Poll::Ready(())
            })
            .await;
        });
    }

    #[test]
    fn so_does_a_writer() {
        use tokio::io::AsyncWriteExt as _;
        beside(async {
            let mut endless = Fair::new(tokio::io::sink());
            loop {
                endless.write_all(b"pong").await.unwrap();
            }
        });
    }
}
