//! One thread for each core: a current-thread runtime with its own listeners, connections and upstream pools.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::assemble::Assembled;
use super::listen::{Accepted, Counted, GateListeners, Spread};
use super::{MOMENT, Stop};
use crate::audit::{Journal, OutboxTask};
use crate::proxy::{self, Connection, Core, Pools, Protocol};
use crate::telemetry::{Metrics, OpenConnection};
use crate::upstream::Pool;

/// Threads of a core for what blocks: bodies that wait in files, names being resolved. The C library sets 64 MiB of address
/// space aside for each, and where that is bounded there must be some left.
const BLOCKING: usize = 3;

/// The cores' threads.
pub(super) struct Threads {
    threads: Vec<JoinHandle<()>>,
    progress: watch::Receiver<Progress>,
    cores: usize,
}

/// How far the cores have come.
#[derive(Debug, Default)]
struct Progress {
    /// How many have ended their calls.
    drained: usize,
    /// How many threads have ended, for whatever reason.
    ended: usize,
}

/// Says that a thread has ended, when it is dropped: by a panic too.
struct AtEnd(watch::Sender<Progress>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.send_modify(|progress| progress.ended += 1);
    }
}

/// What one core's thread starts with.
struct Plan {
    number: usize,
    core: Arc<Core>,
    listeners: Vec<std::net::TcpListener>,
    spread: Arc<Spread>,
    handed_over: mpsc::UnboundedReceiver<Accepted>,
    stopping: watch::Receiver<Stop>,
}

/// Starts a thread for each core.
pub(super) fn start(
    assembled: &Assembled,
    gates: Vec<GateListeners>,
    journal: &Journal,
    metrics: &Arc<Metrics>,
    aborting: &Arc<AtomicBool>,
    stopping: &watch::Receiver<Stop>,
) -> io::Result<Threads> {
    let cores = gates.first().map_or(0, |gate| gate.by_core.len());
    let mut by_core: Vec<Vec<std::net::TcpListener>> = (0..cores).map(|_| Vec::new()).collect();
    for gate in gates {
        for (listeners, listener) in by_core.iter_mut().zip(gate.by_core) {
            listeners.push(listener);
        }
    }
    let (senders, receivers): (Vec<_>, Vec<_>) =
        by_core.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let spread = Arc::new(Spread::new(senders));
    let (done, progress) = watch::channel(Progress::default());
    let mut threads = Vec::new();
    for (number, (listeners, handed_over)) in by_core.into_iter().zip(receivers).enumerate() {
        let (outbox, task) = journal.outbox();
        let before_sleep = task.before_sleep();
        let core = Core {
            snapshots: Arc::clone(&assembled.snapshots),
            outbox,
            pools: gates_of(assembled)
                .map(|_| Pools {
                    upstream: Pool::new(),
                    authorization_server: Pool::new(),
                })
                .collect(),
            counts: metrics.core(number).unwrap_or_default(),
            gates: gates_of(assembled)
                .filter_map(|gate| metrics.gate(gate))
                .collect(),
            metrics: Arc::clone(metrics),
            budget: Arc::clone(&assembled.budget),
            aborting: Arc::clone(aborting),
        };
        let plan = Plan {
            number,
            core: Arc::new(core),
            listeners,
            spread: Arc::clone(&spread),
            handed_over,
            stopping: stopping.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING)
            .event_interval(TURNS)
            .on_thread_park(before_sleep)
            .build()?;
        let at_end = AtEnd(done.clone());
        let thread = std::thread::Builder::new()
            .name(format!("core-{number}"))
            .spawn(move || {
                let mut stopping = plan.stopping.clone();
                runtime.block_on(async {
                    let abort = async {
                        // A sender that is gone means the same.
                        let _ = stopping.wait_for(|stop| *stop == Stop::Abort).await;
                    };
                    tokio::pin!(abort);
                    tokio::select! {
                        run = run(plan, task) => if run.is_err() {
                            return;
                        },
                        () = &mut abort => return,
                    }
                    at_end.0.send_modify(|progress| progress.drained += 1);
                    // The journal's task goes on until nobody can append any more.
                    abort.await;
                });
                // A name that is being resolved cannot be interrupted, and nobody waits for it any more.
                runtime.shutdown_timeout(MOMENT);
            })?;
        threads.push(thread);
    }
    Ok(Threads {
        threads,
        progress,
        cores,
    })
}

/// The positions of the gates.
fn gates_of(assembled: &Assembled) -> std::ops::Range<usize> {
    0..assembled.snapshots.load().gates.len()
}

impl Threads {
    /// Ready once every core has ended its calls, or is lost.
    pub(super) fn drained(&self) -> impl Future<Output = ()> + use<> {
        let (mut progress, cores) = (self.progress.clone(), self.cores);
        async move {
            let drained = |at: &Progress| at.drained + at.ended >= cores;
            let _ = progress.wait_for(drained).await;
        }
    }

    /// Ready if a core's thread has ended without being asked to: the others would go on giving it connections.
    pub(super) fn lost(&self) -> impl Future<Output = ()> + use<> {
        let mut progress = self.progress.clone();
        async move {
            let _ = progress.wait_for(|at| at.ended > 0).await;
        }
    }

    /// True if a core's thread has ended; before all are told to.
    pub(super) fn is_one_lost(&self) -> bool {
        self.progress.borrow().ended > 0
    }

    /// Waits for the threads to end.
    pub(super) fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a core's thread had panicked");
            }
        }
    }
}

/// Serves until asked to stop and the calls under way have ended. The outbox goes on after that.
///
/// # Errors
/// If the outbox has ended: whoever waits for a record would wait for ever.
async fn run(plan: Plan, outbox: OutboxTask) -> Result<(), OutboxGone> {
    let mut outbox = tokio::spawn(outbox.run());
    tokio::select! {
        () = serve(plan) => Ok(()),
        _ = &mut outbox => Err(OutboxGone),
    }
}

/// A core's outbox has ended by a fault of the program.
struct OutboxGone;

async fn serve(plan: Plan) {
    let Plan {
        number,
        core,
        listeners,
        spread,
        mut handed_over,
        mut stopping,
    } = plan;
    let (alive, mut ended) = mpsc::channel::<()>(1);
    let place = Arc::new(Place {
        number,
        core,
        spread,
        alive: alive.clone(),
        stopping: stopping.clone(),
    });
    for (gate, listener) in listeners.into_iter().enumerate() {
        let place = Arc::clone(&place);
        tokio::spawn(async move {
            accept(place, u16::try_from(gate).unwrap_or(u16::MAX), listener).await;
        });
    }
    let asked = async {
        let _ = stopping.wait_for(|stop| *stop >= Stop::Drain).await;
    };
    tokio::pin!(asked);
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            () = &mut asked => break,
            _ = sweep.tick() => {
                for pools in &place.core.pools {
                    pools.sweep();
                }
            }
            Some(accepted) = handed_over.recv() => {
                let counted = Counted::taken_over(Arc::clone(&place.spread), number);
                match TcpStream::from_std(accepted.stream) {
                    Ok(stream) => place.serve(stream, accepted.peer, accepted.gate, counted),
                    Err(error) => tracing::warn!(%error, "a connection was lost between cores"),
                }
            }
        }
    }
    drop((place, alive));
    // Every connection holds a sender: nobody sends, and the last one to go closes the channel. What another core had accepted
    // before it heard is closed.
    tokio::select! {
        _ = ended.recv() => {}
        () = async {
            while handed_over.recv().await.is_some() {}
            std::future::pending::<()>().await;
        } => {}
    }
}

/// Turns of tasks after which sockets are looked at, though some tasks are always ready to go on.
const TURNS: u32 = 32;

/// How often idle connections to upstreams are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// A core, as its accept loops see it.
struct Place {
    number: usize,
    core: Arc<Core>,
    spread: Arc<Spread>,
    alive: mpsc::Sender<()>,
    stopping: watch::Receiver<Stop>,
}

async fn accept(place: Arc<Place>, gate: u16, listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listener cannot be used");
            return;
        }
    };
    let mut stopping = place.stopping.clone();
    let asked = async {
        let _ = stopping.wait_for(|stop| *stop >= Stop::Drain).await;
    };
    tokio::pin!(asked);
    loop {
        let accepted = tokio::select! {
            () = &mut asked => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => place.place(stream, peer, gate),
            Err(error) => {
                // Out of descriptors or memory: asking again at once would only burn the core.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(MOMENT).await;
            }
        }
    }
}

impl Place {
    /// Serves a connection here, or hands it to the core that has the fewest.
    fn place(&self, stream: TcpStream, peer: SocketAddr, gate: u16) {
        let counted = self.spread.place(self.number);
        if counted.core() == self.number {
            return self.serve(stream, peer, gate, counted);
        }
        let Ok(stream) = stream.into_std() else {
            return;
        };
        let core = counted.core();
        if self.spread.hand_over(core, Accepted { stream, peer, gate }) {
            counted.leave();
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, gate: u16, counted: Counted) {
        let core = Arc::clone(&self.core);
        let snapshot = core.snapshots.load();
        let tls = snapshot.gate(gate).and_then(|gate| gate.tls.clone());
        drop(snapshot);
        let mut stopping = self.stopping.clone();
        let alive = self.alive.clone();
        let open = core
            .gates
            .get(usize::from(gate))
            .cloned()
            .map(OpenConnection::new);
        let most = i64::from(core.snapshots.load().limits.connections);
        if let Some(open) = &open
            && open.others() >= most
        {
            // Closed at once: an answer would take what there is none of.
            open.shed();
            return;
        }
        tokio::spawn(async move {
            let _held = (counted, alive, open);
            // Answers are written whole; waiting for more only delays them.
            let _ = stream.set_nodelay(true);
            // An app that takes no byte of its answer for so long is gone.
            let patience = core.snapshots.load().limits.answer_idle;
            let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(patience));
            let connection = Connection {
                gate,
                peer: peer.to_string(),
                client: None,
                condition: tls
                    .as_ref()
                    .map(crate::tls::Acceptor::condition)
                    .unwrap_or_default(),
            };
            let stop = async move {
                let _ = stopping.wait_for(|stop| *stop >= Stop::Drain).await;
            };
            match tls {
                None => proxy::serve(core, connection, Protocol::Http1, stream, stop).await,
                Some(tls) => {
                    let patience = core.snapshots.load().limits.head_timeout;
                    tokio::pin!(stop);
                    let handshake = tokio::time::timeout(patience, tls.accept(stream));
                    let accepted = tokio::select! {
                        accepted = handshake => accepted,
                        () = &mut stop => return,
                    };
                    match accepted {
                        Ok(Ok(stream)) => {
                            let protocol = if stream.speaks_http2() {
                                Protocol::Http2
                            } else {
                                Protocol::Http1
                            };
                            let client = stream.client();
                            let connection = Connection {
                                client,
                                ..connection
                            };
                            proxy::serve(core, connection, protocol, stream, stop).await;
                        }
                        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    }
                }
            }
        });
    }
}
