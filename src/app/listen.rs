//! Ports, and the spread of connections over the cores.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

use super::AppError;
use crate::config::Config;

/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Descriptors that are for files, listeners and the admin pages.
const APART: u64 = 64;

/// Takes as many descriptors as the system lets this process have.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused, the limit stays what it was, and connections are bounded by that.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// How many connections each of so many gates may keep, and how many calls, so that descriptors do not run out: a call takes
/// one to the upstream, and several may come by one connection.
pub(super) fn room_for_connections(gates: usize) -> u32 {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let gates = u64::try_from(gates.max(1)).unwrap_or(u64::MAX);
    let room = descriptors.saturating_sub(APART) / 2 / gates;
    u32::try_from(room.max(1)).unwrap_or(u32::MAX)
}

/// Every port that the program listens on.
pub(super) struct Listeners {
    pub(super) admin: TcpListener,
    pub(super) gates: Vec<GateListeners>,
}

/// One gate's port, with a listener for each core.
pub(super) struct GateListeners {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) by_core: Vec<TcpListener>,
}

/// Binds all ports, or none, and makes room for connections.
pub(super) fn bind_all(config: &Config, cores: usize) -> Result<Listeners, AppError> {
    raise_descriptors();
    let failed = |what: String, address| {
        move |source| AppError::Listen {
            address,
            what,
            source,
        }
    };
    let address = config.admin.listen;
    let admin = TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(failed("the admin pages".to_owned(), address))?;
    let mut gates = Vec::new();
    for gate in &config.gates {
        let failed = failed(format!("the gate `{}`", gate.name), gate.listen);
        gates.push(bind(gate.name.clone(), gate.listen, cores).map_err(failed)?);
    }
    Ok(Listeners { admin, gates })
}

/// Binds one port for all cores. With `SO_REUSEPORT` another process of the same user could share the port unseen;
/// an exclusive bind before shows that nobody has it.
fn bind(name: String, address: SocketAddr, cores: usize) -> io::Result<GateListeners> {
    let exclusive = socket(address)?;
    exclusive.set_reuse_address(true)?;
    exclusive.bind(&address.into())?;
    let address = exclusive.local_addr()?.as_socket().unwrap_or(address);
    drop(exclusive);
    let listener = || {
        let socket = socket(address)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    };
    Ok(GateListeners {
        name,
        address,
        by_core: (0..cores).map(|_| listener()).collect::<io::Result<_>>()?,
    })
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )
}

/// A connection on its way to the core that will serve it.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) gate: u16,
}

/// How many connections each core has, and the way to hand one over: the kernel spreads by a hash, which leaves few
/// long connections on one core.
#[derive(Debug)]
pub(super) struct Spread {
    open: Vec<AtomicUsize>,
    hand_over: Vec<mpsc::UnboundedSender<Accepted>>,
}

/// A connection that counts for its core while the value lives.
#[derive(Debug)]
pub(super) struct Counted {
    spread: Arc<Spread>,
    core: usize,
}

impl Spread {
    pub(super) fn new(hand_over: Vec<mpsc::UnboundedSender<Accepted>>) -> Self {
        Self {
            open: hand_over.iter().map(|_| AtomicUsize::new(0)).collect(),
            hand_over,
        }
    }

    /// Counts a connection that `core` has accepted for the core that should serve it: itself, unless another one has
    /// clearly fewer.
    pub(super) fn place(self: &Arc<Self>, core: usize) -> Counted {
        let open = |core: usize| {
            self.open
                .get(core)
                .map_or(0, |open| open.load(Ordering::Relaxed))
        };
        let least = (0..self.open.len())
            .min_by_key(|other| open(*other))
            .unwrap_or(core);
        let core = if open(core) > open(least) {
            least
        } else {
            core
        };
        if let Some(open) = self.open.get(core) {
            open.fetch_add(1, Ordering::Relaxed);
        }
        Counted {
            spread: Arc::clone(self),
            core,
        }
    }

    /// Hands a connection over to its core; false if that core is gone.
    pub(super) fn hand_over(&self, core: usize, accepted: Accepted) -> bool {
        self.hand_over
            .get(core)
            .is_some_and(|core| core.send(accepted).is_ok())
    }
}

impl Counted {
    pub(super) const fn core(&self) -> usize {
        self.core
    }

    /// For a connection that was counted by the core that accepted it.
    pub(super) const fn taken_over(spread: Arc<Spread>, core: usize) -> Self {
        Self { spread, core }
    }

    /// Leaves the count standing for whoever takes the connection over.
    pub(super) fn leave(self) {
        if let Some(open) = self.spread.open.get(self.core) {
            // Undone by the drop that follows.
            open.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(open) = self.spread.open.get(self.core) {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_long_connections_are_spread_evenly_whichever_core_accepts_them() {
        for accepting in [[0; 6], [0, 0, 1, 1, 2, 2], [2, 2, 2, 1, 1, 1]] {
            let senders = (0..3).map(|_| mpsc::unbounded_channel().0).collect();
            let spread = Arc::new(Spread::new(senders));
            let open: Vec<Counted> = accepting.map(|core| spread.place(core)).into();
            for core in 0..3 {
                let here = open.iter().filter(|counted| counted.core() == core);
                assert_eq!(here.count(), 2, "accepted by {accepting:?}");
            }
        }
    }
}
