//! The path of a request. [`handle`] is the whole of it; each step is one file.

mod admit;
mod answer;
mod body;
mod enforce;
mod exchange;
mod fault;
mod forward;
mod frames;
pub mod framing;
mod held;
mod http2;
mod identify;
mod lesson;
mod linger;
mod observe;
mod read;
mod record;
mod respond;
mod rest;
mod serve;
mod span;
mod waiting;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use http::Request;
use hyper::body::Incoming;

pub use answer::AnswerBody;
pub use body::{BodyError, CallBody};
pub use held::Budget;
pub use serve::{Connection, Protocol, serve};
#[cfg(feature = "otlp")]
pub use span::collect as collect_spans;

use crate::audit::Outbox;
use crate::model::Reason;
use crate::policy;
use crate::snapshot::{Route, Snapshot};
use crate::telemetry::{CallCounts, GateMetrics, Metrics};
use crate::upstream::Pool;
use enforce::Enforced;
use exchange::Arrival;

/// What one core has for its calls; nothing in it is shared with another core but what is read-mostly.
#[derive(Debug)]
pub struct Core {
    /// The configuration in force.
    pub snapshots: Arc<ArcSwap<Snapshot>>,
    /// The way to the journal.
    pub outbox: Outbox,
    /// Connections to the upstreams, by gate.
    pub pools: Vec<Pools>,
    /// This core's counts.
    pub counts: Arc<CallCounts>,
    /// What is measured of each gate.
    pub gates: Vec<Arc<GateMetrics>>,
    /// All metrics, for what is rare.
    pub metrics: Arc<Metrics>,
    /// The room for bodies that are read before the verdict, shared by all cores.
    pub budget: Arc<Budget>,
    /// Set once calls under way are no longer waited for.
    pub aborting: Arc<AtomicBool>,
}

/// Connections of one core to what is behind one gate.
#[derive(Debug)]
pub struct Pools {
    /// The vendor's API.
    pub upstream: Pool<CallBody>,
    /// The vendor's authorization server.
    pub authorization_server: Pool<CallBody>,
}

impl Pools {
    /// Closes connections that have been idle for too long, or that were closed by the other side.
    pub fn sweep(&self) {
        self.upstream.sweep();
        self.authorization_server.sweep();
    }

    const fn to(&self, route: Route) -> &Pool<CallBody> {
        match route {
            Route::Upstream => &self.upstream,
            Route::AuthorizationServer => &self.authorization_server,
        }
    }
}

/// One request, from its head to the head of its answer. What follows, the answer's body and the completion record,
/// belongs to the [`AnswerBody`].
pub async fn handle(
    core: Arc<Core>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<respond::Answer, Infallible> {
    let arrival = Arrival::now();
    let snapshot = core.snapshots.load_full();
    let Some(gate) = snapshot.gate(connection.gate) else {
        return Ok(respond::gone());
    };
    if !gate.admits(&connection.condition) {
        return Ok(respond::misdirected(&core, gate, &connection, arrival));
    }
    let (head, body) = request.into_parts();
    if framing::head_bytes(&head) > snapshot.limits.head {
        return Ok(respond::head_too_large(&core, gate, &connection, arrival));
    }
    let (call, body) = match read::read(gate, &snapshot.limits, &core.budget, &head, body).await {
        Ok(read) => read,
        Err(unread) => return Ok(respond::unread(&core, gate, &connection, arrival, unread)),
    };
    // The grant is borrowed from its table, which must not wait for the journal.
    let judged = 'judged: {
        let identity = identify::identify(gate, &call, arrival).await;
        let admitted = match admit::admit(&core, gate, &snapshot.limits, &identity) {
            Ok(admitted) => admitted,
            Err(reason) => break 'judged Err(reason),
        };
        let now = identity.now(arrival.time.as_secs());
        let decision = policy::decide(&call, identity.view(), &gate.rules, now);
        let (mut exchange, recording) = record::decision(
            &core,
            gate,
            &connection,
            arrival,
            &head,
            &call,
            &identity,
            &decision,
            body.len(),
        );
        exchange.admitted = admitted;
        let token = identity.token.map(|(token, ..)| token);
        Ok((decision, exchange, recording, token))
    };
    let (decision, exchange, recording, token) = match judged {
        Ok(judged) => judged,
        Err(reason) => return Ok(respond::shed(gate, &call, reason).await),
    };
    let recorded = recording.settled(&decision, gate).await;
    #[cfg(feature = "fault-injection")]
    fault::inject();
    let refusal = respond::Refusing::new(&call, &decision);
    let divided = enforce::divide(gate, &call, &decision, &head, arrival.time);
    // The credential is wiped before the request goes on.
    let mut watched = observe::Watched::of(gate, call, token, &decision);
    Ok(
        match enforce::enforce(&decision, recorded, head, body, divided) {
            Enforced::Permitted(mut permitted) => {
                let splicer = permitted.take_splicer();
                watched.goes();
                let answer =
                    forward::forward(&core, gate, &snapshot.limits, permitted, exchange).await;
                let observed = observe::observe(gate, &decision, watched, answer).await;
                respond::pass(&core, gate, &snapshot.limits, &refusal, observed, splicer)
            }
            Enforced::Refused(reason, unsent) => {
                linger::linger(unsent, &snapshot.limits);
                respond::refuse(gate, &refusal, reason, exchange.refused(&decision, reason))
            }
            Enforced::Answered(answer) => {
                let exchange = exchange.refused(&decision, Reason::BatchMemberDenied);
                respond::answer(gate, answer, Reason::BatchMemberDenied, exchange)
            }
        },
    )
}
