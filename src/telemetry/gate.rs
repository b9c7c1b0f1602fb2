//! What is measured of one gate, and what its limits count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::rejections::Rejections;

/// What is measured of one gate, beside the counts of its calls.
#[derive(Debug)]
pub struct GateMetrics {
    /// Time that the gate added to a forwarded call: all but the wait for the upstream's head, in seconds.
    pub added: Histogram,
    /// Time from the first byte sent upstream to the head of the answer, in seconds.
    pub upstream: Histogram,
    /// Open connections from apps.
    pub connections: Gauge,
    /// Connections made to the upstream.
    pub upstream_connections: Counter,
    /// 1 while the circuit to the vendor's API is open.
    pub circuit: Gauge,
    /// 1 while the circuit to the vendor's authorization server is open.
    pub token_circuit: Gauge,
    /// Calls that have been let in and have not ended.
    pub in_flight: Gauge,
    /// Calls that were shed since the last record of them.
    pub shed_calls: AtomicU64,
    /// Connections that were shed since the last record of them.
    pub shed_connections: AtomicU64,
    /// Requests that were rejected.
    pub rejections: Rejections,
    /// Learned grants in memory.
    pub grants: Gauge,
    /// Token answers that taught something.
    pub captured: Counter,
    /// Signs that the vendor is not as the catalogue has it.
    pub drift: Counter,
    pub(super) gate: String,
    pub(super) questions: Family<QuestionLabels, Counter>,
    pub(super) by_token: Box<[AtomicU32]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct QuestionLabels {
    gate: String,
    result: &'static str,
}

/// How many counts of calls by token a gate has.
pub(super) const TOKEN_COUNTS: usize = 4096;

impl Default for GateMetrics {
    /// Metrics that nobody scrapes.
    fn default() -> Self {
        Self {
            added: super::short(),
            upstream: super::long(),
            connections: Gauge::default(),
            upstream_connections: Counter::default(),
            circuit: Gauge::default(),
            token_circuit: Gauge::default(),
            in_flight: Gauge::default(),
            shed_calls: AtomicU64::new(0),
            shed_connections: AtomicU64::new(0),
            rejections: Rejections::default(),
            grants: Gauge::default(),
            captured: Counter::default(),
            drift: Counter::default(),
            gate: String::new(),
            questions: Family::default(),
            by_token: (0..TOKEN_COUNTS).map(|_| AtomicU32::new(0)).collect(),
        }
    }
}

impl GateMetrics {
    /// Counts a question about a token, by what came of it.
    pub fn asked(&self, result: &'static str) {
        let gate = self.gate.clone();
        self.questions
            .get_or_create(&QuestionLabels { gate, result })
            .inc();
    }

    /// The count of calls under way of the tokens with this number.
    pub fn by_token(&self, number: usize) -> &AtomicU32 {
        // The remainder is always a place of the list.
        static NONE: AtomicU32 = AtomicU32::new(0);
        self.by_token.get(number % TOKEN_COUNTS).unwrap_or(&NONE)
    }
}

/// A connection that is open while the value lives.
#[derive(Debug)]
pub struct OpenConnection(Arc<GateMetrics>);

impl OpenConnection {
    /// Counts a connection of this gate.
    pub fn new(gate: Arc<GateMetrics>) -> Self {
        gate.connections.inc();
        Self(gate)
    }

    /// How many are open beside this one.
    pub fn others(&self) -> i64 {
        self.0.connections.get() - 1
    }

    /// Notes that it is closed for want of room.
    pub fn shed(&self) {
        self.0.shed_connections.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}
