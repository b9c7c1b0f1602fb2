//! Connections of one core to one upstream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{ConnectError, Settings};

/// The idle connections of one core to one upstream; the last one used is the first one taken.
#[derive(Debug)]
pub struct Pool<B> {
    settings: Arc<Settings>,
    idle: Arc<Mutex<Vec<Idle<B>>>>,
}

#[derive(Debug)]
struct Idle<B> {
    sender: SendRequest<B>,
    peer: Arc<str>,
    since: Instant,
}

/// An answer's head, with its body still to come and the connection on which it comes.
#[derive(Debug)]
pub struct Answer<B> {
    /// The head, and the body as it arrives.
    pub response: Response<Incoming>,
    /// To be given back once the body has been read to its end.
    pub lease: Lease<B>,
}

/// A connection in use. Dropped, it is closed: only [`Lease::give_back`] keeps it.
#[derive(Debug)]
pub struct Lease<B> {
    sender: SendRequest<B>,
    /// The address that was contacted.
    pub peer: Arc<str>,
    idle: Arc<Mutex<Vec<Idle<B>>>>,
    room: usize,
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

/// How long a kept connection may take to be ready again.
const SETTLING: Duration = Duration::from_millis(5);

impl<B> Pool<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A pool without connections.
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            idle: Arc::default(),
        }
    }

    /// Where the pool's connections go.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// A kept connection that the upstream has closed meanwhile is passed over if not a byte was written to it; that
    /// is the only case in which another one is tried.
    ///
    /// # Errors
    /// If no connection can be made, or the answer does not come or is no HTTP.
    pub async fn send(&self, request: Request<B>) -> Result<Answer<B>, SendError> {
        let mut request = request;
        while let Some(Idle {
            mut sender, peer, ..
        }) = self.take().await
        {
            match sender.try_send_request(request).await {
                Ok(response) => {
                    return Ok(Answer {
                        response,
                        lease: self.lease(sender, peer),
                    });
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => {
                        return Err(SendError::Broken {
                            source: error.into_error(),
                            peer,
                        });
                    }
                },
            }
        }
        let (mut sender, peer) = self.open().await?;
        match sender.send_request(request).await {
            Ok(response) => Ok(Answer {
                response,
                lease: self.lease(sender, peer),
            }),
            Err(source) => Err(SendError::Broken { source, peer }),
        }
    }

    /// A kept connection that is still open and ready.
    async fn take(&self) -> Option<Idle<B>> {
        loop {
            let mut idle = lock(&self.idle).pop()?;
            if idle.sender.is_closed() || idle.since.elapsed() > self.settings.idle_timeout {
                continue;
            }
            // A connection that was just given back is ready within a turn; one whose upload still runs is not.
            if idle.sender.is_ready()
                || matches!(timeout(SETTLING, idle.sender.ready()).await, Ok(Ok(())))
            {
                return Some(idle);
            }
        }
    }

    async fn open(&self) -> Result<(SendRequest<B>, Arc<str>), SendError> {
        let (stream, peer) = self.settings.connect().await?;
        let peer: Arc<str> = peer.to_string().into();
        let handshake = http1::Builder::new()
            .writev(false)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = handshake.map_err(|source| SendError::Broken {
            source,
            peer: Arc::clone(&peer),
        })?;
        // How the connection ends is told to whoever waits for an answer on it.
        tokio::spawn(async { _ = connection.await });
        Ok((sender, peer))
    }

    fn lease(&self, sender: SendRequest<B>, peer: Arc<str>) -> Lease<B> {
        Lease {
            sender,
            peer,
            idle: Arc::clone(&self.idle),
            room: self.settings.idle_connections,
        }
    }
}

impl<B> Lease<B> {
    /// Keeps the connection for the next call. Only after the answer's body was read to its end.
    pub fn give_back(self) {
        let mut idle = lock(&self.idle);
        if !self.sender.is_closed() && idle.len() < self.room {
            idle.push(Idle {
                sender: self.sender,
                peer: self.peer,
                since: Instant::now(),
            });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
