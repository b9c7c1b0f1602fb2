//! Connections from apps: HTTP/1.1, one task each.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::exchange::Arrival;
use super::{Core, handle, respond};

/// One connection from an app.
#[derive(Debug)]
pub struct Connection {
    /// The gate that it came in by, by its position.
    pub gate: u16,
    /// The app's address and port.
    pub peer: String,
}

/// Serves a connection until it ends, or until `stop` is ready and the call under way has its answer.
pub async fn serve<S>(
    core: Arc<Core>,
    connection: Connection,
    stream: S,
    stop: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connection = Arc::new(connection);
    let limits = core.snapshots.load().limits.clone();
    let (for_calls, for_service) = (Arc::clone(&core), Arc::clone(&connection));
    // The future of a call is handed on as it is: a wrapper would copy it once more.
    let service = service_fn(move |request| {
        handle(Arc::clone(&for_calls), Arc::clone(&for_service), request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head)
        .half_close(false)
        .writev(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended
        && error.is_parse()
        && let Some(gate) = core.snapshots.load().gate(connection.gate)
    {
        // The parser has refused the request before it became a call.
        respond::reject(
            &core,
            gate,
            &connection,
            Arrival::now(),
            "the request is not HTTP/1.1 that can be read",
        );
    }
}
