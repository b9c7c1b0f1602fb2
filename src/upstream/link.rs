//! A kept connection, driven by whoever holds it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use http_body::Body;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::Settings;
use super::looked::{Look, Looked};
use super::pool::SendError;
use crate::tls::Fair;

/// The connection's own side, which reads and writes.
type Driven<B> = Pin<Box<Connection<TokioIo<Looked>, B>>>;

/// A connection, both its ends.
pub(super) struct Link<B: Body + 'static> {
    pub(super) sender: SendRequest<B>,
    /// `None` once it has ended: then what was still to be sent comes back.
    connection: Option<Driven<B>>,
    look: Look,
    pub(super) peer: Arc<str>,
    /// Where it leads: another generation's upstream does not take it.
    pub(super) settings: Arc<Settings>,
    pub(super) begun: Instant,
    pub(super) since: Instant,
}

/// The most that is read from an upstream at a time, and so the largest head of an answer, in bytes.
const AT_ONCE: usize = 64 * 1024;

impl<B> Link<B>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) async fn open(settings: Arc<Settings>) -> Result<Self, SendError> {
        let (stream, peer) = settings.connect().await?;
        let peer: Arc<str> = peer.to_string().into();
        let look = Look::default();
        let stream = Looked::new(Fair::new(stream), look.clone());
        // A small message is written whole sooner than in parts.
        let handshake = http1::Builder::new()
            .writev(false)
            .max_buf_size(AT_ONCE)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = handshake.map_err(|source| SendError::Broken {
            source,
            peer: Arc::clone(&peer),
        })?;
        Ok(Self {
            sender,
            connection: Some(Box::pin(connection)),
            look,
            peer,
            settings,
            begun: Instant::now(),
            since: Instant::now(),
        })
    }

    /// Lets it read and write.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            // How it ended is told to whoever waits for an answer on it.
            self.connection = None;
        }
    }

    /// Reads what has come since it was used: an end, or bytes that nobody asked for, end it.
    pub(super) fn look(&mut self) {
        self.look.begin();
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.look.end();
    }

    /// Drives the connection until an answer's head has come for what was sent on it.
    pub(super) async fn settle<T>(&mut self, sent: impl Future<Output = T>) -> T {
        let mut sent = pin!(sent);
        poll_fn(|cx| {
            self.drive(cx);
            // What the answer waits for is the connection, which wakes this task itself.
            sent.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    pub(super) fn broken(&self, source: hyper::Error) -> SendError {
        SendError::Broken {
            source,
            peer: Arc::clone(&self.peer),
        }
    }
}

impl<B: Body + 'static> Link<B> {
    pub(super) const fn ended(&self) -> bool {
        self.connection.is_none()
    }
}

impl<B: Body + 'static> fmt::Debug for Link<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("peer", &self.peer)
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}
