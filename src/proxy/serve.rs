//! Connections from apps, one task each.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::exchange::Arrival;
use super::fault::guarded;
use super::{Core, http2, respond};
use crate::model::Reason;
use crate::snapshot::Limits;
use crate::tls::{ClientIdentity, Condition, Fair};

/// One connection from an app.
#[derive(Debug)]
pub struct Connection {
    /// The gate that it came in by, by its position.
    pub gate: u16,
    /// The app's address and port.
    pub peer: String,
    /// Who the app is by its certificate.
    pub client: Option<ClientIdentity>,
    /// Whom the gate let in when the connection was made.
    pub condition: Condition,
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, and 1.0.
    Http1,
    /// HTTP/2, as agreed in the TLS handshake.
    Http2,
}

/// Serves a connection until it ends, or until `stop` is ready and the calls under way have their answers.
pub async fn serve<S>(
    core: Arc<Core>,
    connection: Connection,
    protocol: Protocol,
    stream: S,
    stop: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = Arc::new(connection);
    let limits = core.snapshots.load().limits.clone();
    let refused = match protocol {
        Protocol::Http1 => {
            let ended = http1(&core, &connection, &limits, stream, stop).await;
            ended
                .is_err_and(|error| error.is_parse())
                .then_some("the request is not HTTP/1.1 that can be read")
        }
        Protocol::Http2 => {
            let ended = http2::serve(&core, &connection, &limits, stream, stop).await;
            ended
                .is_err_and(|error| !is_gone(&error))
                .then_some("the connection is not HTTP/2 that can be read, or a flood")
        }
    };
    if let Some(detail) = refused
        && let Some(gate) = core.snapshots.load().gate(connection.gate)
    {
        // The parser has refused the request before it became a call.
        let reason = Reason::AmbiguousFraming;
        respond::reject(&core, gate, &connection, Arrival::now(), reason, detail);
    }
}

async fn http1<S>(
    core: &Arc<Core>,
    connection: &Arc<Connection>,
    limits: &Limits,
    stream: S,
    stop: impl Future<Output = ()>,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (for_calls, for_service) = (Arc::clone(core), Arc::clone(connection));
    let service = service_fn(move |request| guarded(&for_calls, &for_service, request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head)
        .half_close(false)
        .writev(false)
        .serve_connection(
            TokioIo::new(Fair::new(stream).with_patience(limits.answer_idle)),
            service,
        );
    let mut served = pin!(served);
    tokio::select! {
        ended = served.as_mut() => ended,
        () = stop => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    }
}

/// True if the peer went away: that is no fault of what it sent.
fn is_gone(error: &hyper::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(at) = cause {
        if at.is::<std::io::Error>() {
            return true;
        }
        cause = at.source();
    }
    error.is_timeout() || error.is_canceled()
}
