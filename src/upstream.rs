//! The way to the vendor: connections over HTTP/1.1, kept alive, one pool for each core and gate.
//!
//! A connection that has failed in any way, or holds bytes nobody asked for, is never used again; and nothing is sent
//! twice: a request goes to another connection only if not a byte of it was written.

mod addresses;
mod circuit;
mod link;
mod looked;
mod pool;
mod resolve;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use addresses::PrivateAddresses;
pub use circuit::Circuit;
pub use pool::{Answer, CollectError, Lease, Pool, SendError};
pub use resolve::LastKnown;

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
    /// Which addresses the host's name may resolve to.
    pub private_addresses: PrivateAddresses,
    /// The addresses that the host had last.
    pub last_known: Arc<LastKnown>,
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
    ///
    /// # Errors
    /// If none can be made in time.
    pub async fn connect(self: &Arc<Self>) -> Result<(tls::Stream, SocketAddr), ConnectError> {
        timeout(self.connect_timeout, self.connect_unbounded())
            .await
            .unwrap_or(Err(ConnectError::Timeout))
    }

    /// What is resolved, and which of its addresses may be used: what is known of it serves nobody who asks otherwise.
    pub fn looked_up(&self) -> (String, u16, PrivateAddresses) {
        let (host, port) = self.place();
        (host.to_owned(), port, self.private_addresses)
    }

    /// The host and port to connect to.
    fn place(&self) -> (&str, u16) {
        let named = self.connect.as_deref().and_then(|place| {
            let (host, port) = place.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Some((host, port.parse().ok()?))
        });
        named.unwrap_or((&self.host, self.port))
    }

    async fn connect_unbounded(&self) -> Result<(tls::Stream, SocketAddr), ConnectError> {
        // The other half is for the connection.
        let patience = self.connect_timeout / 2;
        let (host, port) = self.place();
        let private = self.private_addresses;
        let addresses = self.last_known.resolve(host, port, patience, private).await;
        let addresses = addresses.map_err(ConnectError::Resolve)?;
        let stream = race(in_turns(addresses))
            .await
            .map_err(ConnectError::Connect)?;
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
}

/// How long an address may take alone before the next one is tried beside it (RFC 8305 section 8).
const HEAD_START: Duration = Duration::from_millis(250);

/// The addresses with the families in turns, beginning with the resolver's choice (RFC 8305 section 4).
fn in_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for address in addresses {
        if address.is_ipv6() == first {
            ours.push(address);
        } else {
            others.push(address);
        }
    }
    let mut others = others.into_iter();
    let mut turns: Vec<SocketAddr> = ours
        .into_iter()
        .flat_map(|address| {
            std::iter::once(address)
                .chain(others.next())
                .collect::<Vec<_>>()
        })
        .collect();
    turns.extend(others);
    turns
}

/// Tries one address after the other, each as soon as the one before has failed or had its head start.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter().peekable();
    let mut tries = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = addresses.next() {
            tries.spawn(TcpStream::connect(address));
        } else if tries.is_empty() {
            return Err(last);
        }
        let ended = if addresses.peek().is_some() {
            timeout(HEAD_START, tries.join_next()).await.ok().flatten()
        } else {
            tries.join_next().await
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => last = error,
            Some(Err(_)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let [a, b, c] = ["[::1]:1", "[::2]:1", "[::3]:1"].map(at);
        let [x, y] = ["127.0.0.1:1", "127.0.0.2:1"].map(at);
        assert_eq!(in_turns(vec![a, b, c, x, y]), [a, x, b, y, c]);
        assert_eq!(in_turns(vec![x, a]), [x, a]);
        assert_eq!(in_turns(vec![x, y]), [x, y]);
        assert_eq!(in_turns(Vec::new()), []);
    }

    #[test]
    fn an_address_that_refuses_or_stalls_does_not_hold_the_next_one_up() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let listener = |address: &str| std::net::TcpListener::bind(address).unwrap();
        // One that refuses, and one whose queue is full: the kernel drops what more comes.
        let refusing = listener("127.0.0.1:0").local_addr().unwrap();
        let stalling = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let stalling = stalling.unwrap();
        stalling
            .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
            .unwrap();
        stalling.listen(0).unwrap();
        let full = stalling.local_addr().unwrap().as_socket().unwrap();
        let answering = listener("127.0.0.1:0");
        let good = answering.local_addr().unwrap();
        runtime.block_on(async {
            let mut queued = Vec::new();
            while let Ok(Ok(stream)) =
                timeout(Duration::from_millis(100), TcpStream::connect(full)).await
            {
                queued.push(stream);
            }
            let found = race(vec![refusing, full, good]).await.unwrap();
            assert_eq!(found.peer_addr().unwrap(), good);
            assert!(race(vec![refusing, refusing]).await.is_err());
            assert!(race(Vec::new()).await.is_err());
        });
    }
}
