//! The way to the vendor: connections over HTTP/1.1, kept alive, one pool for each core and gate.
//!
//! A connection that has failed in any way, or holds bytes nobody asked for, is never used again; and nothing is sent
//! twice: a request goes to another connection only if not a byte of it was written.

mod circuit;
mod pool;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

pub use circuit::Circuit;
pub use pool::{Answer, Lease, Pool, SendError};

use crate::tls;

/// Where a gate's calls go, and how long each step may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The vendor's host as the gate's `upstream` names it, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The value of `Host`: the authority of `upstream`.
    pub authority: String,
    /// TLS; `None` for a plain upstream.
    pub tls: Option<tls::Connector>,
    /// Connect here instead of resolving `host`.
    pub connect: Option<String>,
    /// For name resolution, connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// How many idle connections a core keeps.
    pub idle_connections: usize,
    /// Counts connections made.
    pub opened: Counter,
    /// Whether a connection is worth a try.
    pub circuit: Arc<Circuit>,
}

/// A connection cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name does not resolve.
    #[error("the name does not resolve")]
    Resolve(#[source] io::Error),
    /// Nobody answers at any address.
    #[error("no connection to the upstream")]
    Connect(#[source] io::Error),
    /// TLS cannot be agreed on.
    #[error("no TLS with the upstream")]
    Tls(#[source] io::Error),
    /// It took too long.
    #[error("no connection to the upstream in time")]
    Timeout,
}

impl Settings {
    /// Opens a connection; says to which address.
    async fn connect(self: &Arc<Self>) -> Result<(tls::Stream, SocketAddr), ConnectError> {
        timeout(self.connect_timeout, self.connect_unbounded())
            .await
            .unwrap_or(Err(ConnectError::Timeout))
    }

    async fn connect_unbounded(&self) -> Result<(tls::Stream, SocketAddr), ConnectError> {
        let stream = if let Some(place) = &self.connect {
            self.reach(
                lookup_host(place.as_str())
                    .await
                    .map_err(ConnectError::Resolve)?,
            )
            .await?
        } else {
            let found = lookup_host((self.host.as_str(), self.port))
                .await
                .map_err(ConnectError::Resolve)?;
            self.reach(found).await?
        };
        let peer = stream.peer_addr().map_err(ConnectError::Connect)?;
        // Small requests must not wait for the acknowledgement of the one before.
        stream.set_nodelay(true).map_err(ConnectError::Connect)?;
        self.opened.inc();
        match &self.tls {
            None => Ok((tls::Stream::Plain(stream), peer)),
            Some(tls) => Ok((
                tls.connect(&self.host, stream)
                    .await
                    .map_err(ConnectError::Tls)?,
                peer,
            )),
        }
    }

    /// The first of the addresses that answers.
    async fn reach(
        &self,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> Result<TcpStream, ConnectError> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(ConnectError::Connect(last))
    }
}
