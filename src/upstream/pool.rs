//! Connections of one core to one upstream.
//!
//! A connection has no task of its own: whoever holds it drives it, while it sends, waits and reads. That saves two
//! wake-ups a call. An idle one is looked at when it is taken.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::{ConnectError, Settings};
use crate::tls::{Fair, Stream, Turn};

/// The idle connections of one core to one upstream; the last one used is the first one taken.
#[derive(Debug)]
pub struct Pool<B: Body + 'static> {
    idle: Arc<Mutex<Vec<Link<B>>>>,
    /// The connections that are opened in a row.
    opening: Mutex<Turn>,
}

/// An answer's head, with its body still to come and the connection on which it comes.
#[derive(Debug)]
pub struct Answer<B: Body + 'static> {
    /// The head, and the body as it arrives.
    pub response: Response<Incoming>,
    /// To be driven while the body is read, and given back once it has been read to its end.
    pub lease: Lease<B>,
}

/// A connection in use. Dropped, it is closed: only [`Lease::give_back`] keeps it.
#[derive(Debug)]
pub struct Lease<B: Body + 'static> {
    link: Link<B>,
    idle: Arc<Mutex<Vec<Link<B>>>>,
}

/// The upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No byte of the request was sent: there is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The request was sent, in whole or in part, and no valid answer came.
    #[error("no valid answer came")]
    Broken {
        /// Why.
        source: hyper::Error,
        /// The address that was contacted.
        peer: Arc<str>,
    },
}

/// A connection, both its ends.
struct Link<B: Body + 'static> {
    sender: SendRequest<B>,
    connection: Pin<Box<Connection<TokioIo<Fair<Stream>>, B>>>,
    ended: bool,
    peer: Arc<str>,
    /// Where it leads: another generation's upstream does not take it.
    settings: Arc<Settings>,
    begun: Instant,
    since: Instant,
}

/// How long a connection is used. The name may have got other addresses meanwhile, and steady traffic would never see them.
const OLDEST: Duration = Duration::from_mins(2);

/// How many connections a core opens before its other tasks have their turn: each makes several calls of the system.
const OPENED_A_TURN: u32 = 8;

/// The most that is read from an upstream at a time, and so the largest head of an answer, in bytes.
const AT_ONCE: usize = 64 * 1024;

impl<B> Pool<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A pool without connections.
    pub fn new() -> Self {
        Self {
            idle: Arc::default(),
            opening: Mutex::new(Turn::of(OPENED_A_TURN)),
        }
    }

    /// Sends a request to where `settings` lead and waits for the head of its answer.
    ///
    /// A kept connection that the upstream has closed meanwhile is passed over if not a byte was written to it; that
    /// is the only case in which another one is tried.
    ///
    /// # Errors
    /// If no connection can be made, or the answer does not come or is no HTTP.
    pub fn send(
        &self,
        settings: &Arc<Settings>,
        request: Request<B>,
    ) -> impl Future<Output = Result<Answer<B>, SendError>> {
        // The request is on its way before the future is made. What waits is boxed: it has room for a request that
        // comes back unsent, which every move of a call's future would copy.
        let begun = match self.take(settings) {
            Some(mut link) => Ok((Box::pin(link.sender.try_send_request(request)), link)),
            None => Err(Box::pin(self.send_anew(Arc::clone(settings), request))),
        };
        async move {
            let (sent, mut link) = match begun {
                Ok(begun) => begun,
                Err(anew) => return anew.await,
            };
            match link.settle(sent).await {
                Ok(response) => Ok(self.answer(response, link)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => {
                        let settings = Arc::clone(&link.settings);
                        Box::pin(self.send_anew(settings, unsent)).await
                    }
                    None => Err(link.broken(error.into_error())),
                },
            }
        }
    }

    /// Sends on a connection of its own.
    async fn send_anew(
        &self,
        settings: Arc<Settings>,
        request: Request<B>,
    ) -> Result<Answer<B>, SendError> {
        self.may_open().await;
        let mut link = Self::open(settings).await?;
        let sent = link.sender.try_send_request(request);
        match link.settle(sent).await {
            Ok(response) => Ok(self.answer(response, link)),
            Err(error) => Err(link.broken(error.into_error())),
        }
    }

    /// A kept connection that leads there and is still open and ready.
    fn take(&self, settings: &Arc<Settings>) -> Option<Link<B>> {
        loop {
            let mut link = lock(&self.idle).pop()?;
            // Reads what has come meanwhile: an end, or bytes that nobody asked for, end it.
            link.drive(&mut Context::from_waker(Waker::noop()));
            let fresh = link.since.elapsed() <= settings.idle_timeout
                && link.begun.elapsed() <= OLDEST
                && Arc::ptr_eq(&link.settings, settings);
            if fresh && !link.ended && link.sender.is_ready() {
                return Some(link);
            }
        }
    }

    /// Closes the connections that have been idle for too long or that the upstream has closed.
    pub fn sweep(&self) {
        lock(&self.idle).retain_mut(|link| {
            link.drive(&mut Context::from_waker(Waker::noop()));
            !link.ended && link.since.elapsed() <= link.settings.idle_timeout
        });
    }

    /// Waits until it is this call's turn to open a connection.
    async fn may_open(&self) {
        let may = |cx: &mut Context<'_>| {
            let mut opening = lock(&self.opening);
            let may = opening.poll(cx).is_ready();
            opening.take(u32::from(may));
            Poll::Ready(may)
        };
        while !poll_fn(may).await {
            // Those who wait are told by nobody: each asks again after the others had their turn.
            tokio::task::yield_now().await;
        }
    }

    async fn open(settings: Arc<Settings>) -> Result<Link<B>, SendError> {
        let (stream, peer) = settings.connect().await?;
        let peer: Arc<str> = peer.to_string().into();
        // A small message is written whole sooner than in parts.
        let handshake = http1::Builder::new()
            .writev(false)
            .max_buf_size(AT_ONCE)
            .handshake(TokioIo::new(Fair::new(stream)))
            .await;
        let (sender, connection) = handshake.map_err(|source| SendError::Broken {
            source,
            peer: Arc::clone(&peer),
        })?;
        Ok(Link {
            sender,
            connection: Box::pin(connection),
            ended: false,
            peer,
            settings,
            begun: Instant::now(),
            since: Instant::now(),
        })
    }

    fn answer(&self, response: Response<Incoming>, link: Link<B>) -> Answer<B> {
        let lease = Lease {
            link,
            idle: Arc::clone(&self.idle),
        };
        Answer { response, lease }
    }
}

/// An answer's body could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// It broke off.
    #[error("the answer broke off")]
    Broken(#[from] hyper::Error),
    /// It is longer than what is wanted.
    #[error("the answer is too long")]
    TooLong,
}

impl<B> Answer<B>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Reads the whole body, of at most so many bytes, and keeps the connection for the next request.
    ///
    /// # Errors
    /// If it breaks off, or is longer.
    pub async fn collect(self, most: usize) -> Result<Response<Vec<u8>>, CollectError> {
        let Self {
            response,
            mut lease,
        } = self;
        let (head, mut body) = response.into_parts();
        let mut whole = Vec::new();
        while let Some(frame) = poll_fn(|cx| {
            let asleep = &mut Context::from_waker(Waker::noop());
            let polled = Pin::new(&mut body).poll_frame(asleep);
            if polled.is_ready() {
                return polled;
            }
            lease.drive(cx);
            Pin::new(&mut body).poll_frame(asleep)
        })
        .await
        {
            if let Ok(piece) = frame?.into_data() {
                if whole.len() + piece.len() > most {
                    return Err(CollectError::TooLong);
                }
                whole.extend_from_slice(&piece);
            }
        }
        lease.give_back();
        Ok(Response::from_parts(head, whole))
    }
}

impl<B> Lease<B>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The address that was contacted.
    pub const fn peer(&self) -> &Arc<str> {
        &self.link.peer
    }

    /// Lets the connection read and write. The answer's body comes only while this is done.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        self.link.drive(cx);
    }

    /// Keeps the connection for the next call. Only after the answer's body was read to its end.
    pub fn give_back(mut self) {
        self.link.drive(&mut Context::from_waker(Waker::noop()));
        // An upstream that answered before it had the whole request leaves a connection that cannot be used again: it holds the
        // rest of the body, the room that was taken for it, and the app that may still be sending it.
        if self.link.ended || !self.link.sender.is_ready() {
            return;
        }
        self.link.since = Instant::now();
        let settings = Arc::clone(&self.link.settings);
        let mut idle = lock(&self.idle);
        // The one that has been idle longest, if its time is over: they leave one by one as calls come.
        if idle
            .first()
            .is_some_and(|oldest| oldest.since.elapsed() > settings.idle_timeout)
        {
            idle.remove(0);
        }
        if idle.len() < settings.idle_connections {
            idle.push(self.link);
        }
    }
}

impl<B> Link<B>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn drive(&mut self, cx: &mut Context<'_>) {
        // How it ends is told to whoever waits for an answer on it.
        self.ended = self.ended || self.connection.as_mut().poll(cx).is_ready();
    }

    /// Drives the connection until an answer's head has come for what was sent on it.
    async fn settle<T>(&mut self, sent: impl Future<Output = T>) -> T {
        let mut sent = pin!(sent);
        poll_fn(|cx| {
            self.drive(cx);
            // What the answer waits for is the connection, which wakes this task itself.
            sent.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    fn broken(&self, source: hyper::Error) -> SendError {
        SendError::Broken {
            source,
            peer: Arc::clone(&self.peer),
        }
    }
}

impl<B> Default for Pool<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Body + 'static> fmt::Debug for Link<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("peer", &self.peer)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
