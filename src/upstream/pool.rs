//! Connections of one core to one upstream.
//!
//! A connection has no task of its own: whoever holds it drives it, while it sends, waits and reads. That saves two
//! wake-ups a call. An idle one is looked at when it is taken.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;

use super::link::Link;
use super::{ConnectError, Settings};
use crate::tls::Turn;

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

/// How long a connection is used. The name may have got other addresses meanwhile, and steady traffic would never see them.
const OLDEST: Duration = Duration::from_mins(2);

/// How many connections a core opens before its other tasks have their turn: each makes several calls of the system.
const OPENED_A_TURN: u32 = 8;

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
        let mut link = Link::open(settings).await?;
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
            link.look();
            let fresh = link.since.elapsed() <= settings.idle_timeout
                && link.begun.elapsed() <= OLDEST
                && Arc::ptr_eq(&link.settings, settings);
            if fresh && !link.ended() && link.sender.is_ready() {
                return Some(link);
            }
        }
    }

    /// Closes the connections that have been idle for too long or that the upstream has closed.
    pub fn sweep(&self) {
        lock(&self.idle).retain_mut(|link| {
            link.drive(&mut Context::from_waker(Waker::noop()));
            !link.ended() && link.since.elapsed() <= link.settings.idle_timeout
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
        if self.link.ended() || !self.link.sender.is_ready() {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use bytes::Bytes;
    use http_body_util::Empty;
    use tokio::runtime::Runtime;

    use super::*;
    use crate::upstream::{Circuit, PrivateAddresses};

    type Calls = Pool<Empty<Bytes>>;

    fn settings(listener: &TcpListener) -> Arc<Settings> {
        let address = listener.local_addr().unwrap();
        Arc::new(Settings {
            host: address.ip().to_string(),
            port: address.port(),
            authority: address.to_string(),
            tls: None,
            connect: None,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            idle_connections: 1,
            opened: prometheus_client::metrics::counter::Counter::default(),
            circuit: Arc::<Circuit>::default(),
            private_addresses: PrivateAddresses::Allow,
            last_known: Arc::default(),
        })
    }

    fn request() -> Request<Empty<Bytes>> {
        Request::get("/").body(Empty::new()).unwrap()
    }

    /// Answers one request; the connection, of which no byte is unread.
    fn answers(listener: &TcpListener) -> TcpStream {
        let (mut stream, _) = listener.accept().unwrap();
        let mut taken = Vec::new();
        while !taken.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            taken.extend(byte);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        stream
    }

    /// A pool that keeps a connection, the connection's other end, and a runtime that looks at it only when told to.
    fn kept() -> (Calls, Arc<Settings>, TcpStream, Runtime) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (pool, settings) = (Calls::new(), settings(&listener));
        let portal = std::thread::spawn(move || answers(&listener));
        runtime.block_on(async {
            let answer = pool.send(&settings, request()).await.unwrap();
            answer.collect(0).await.unwrap();
        });
        (pool, settings, portal.join().unwrap(), runtime)
    }

    #[test]
    fn what_has_come_is_seen_before_the_runtime_looks() {
        for bytes in ["", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"] {
            let (pool, settings, mut stream, runtime) = kept();
            let _within = runtime.enter();
            let link = pool.take(&settings).expect("nothing has come");
            lock(&pool.idle).push(link);
            stream.write_all(bytes.as_bytes()).unwrap();
            if bytes.is_empty() {
                drop(stream);
            }
            assert!(pool.take(&settings).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_known_of_a_name_serves_nobody_who_looks_up_otherwise() {
        let plain = settings(&TcpListener::bind("127.0.0.1:0").unwrap());
        let mut egress = Settings::clone(&plain);
        egress.connect = Some("egress.example:8443".to_owned());
        let mut public = Settings::clone(&plain);
        public.private_addresses = PrivateAddresses::Refuse;
        assert_ne!(plain.looked_up(), egress.looked_up());
        assert_ne!(plain.looked_up(), public.looked_up());
    }

    #[test]
    fn what_was_not_sent_when_a_connection_ended_comes_back() {
        let (pool, settings, stream, runtime) = kept();
        let within = runtime.enter();
        let mut link = pool.take(&settings).unwrap();
        let sent = link.sender.try_send_request(request());
        drop((stream, within));
        let settled = runtime.block_on(async {
            // The runtime sees that it has ended.
            tokio::time::sleep(Duration::from_millis(1)).await;
            tokio::time::timeout(Duration::from_secs(5), link.settle(sent)).await
        });
        let mut error = settled.expect("it does not hang").unwrap_err();
        assert!(error.take_message().is_some());
    }
}
