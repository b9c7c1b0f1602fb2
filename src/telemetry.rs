//! Metrics. One registry, read by `/metrics`; counters on the path of a call belong to one core each.

mod calls;
mod causes;
mod families;
mod gate;
pub mod log;
mod rejections;
mod shared;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use gate::{GateMetrics, OpenConnection};
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use shared::SharedMetrics;

pub use causes::with_causes;

pub use calls::{CallCounts, CallKey, GateNames, OperationKey};
use families::GateFamilies;

use crate::model::Reason;

/// Every metric of the program.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: calls::Collector,
    /// The journal's own.
    pub journal: Arc<JournalMetrics>,
    /// Those of the link between instances.
    pub shared: Arc<SharedMetrics>,
    gates: Vec<Arc<GateMetrics>>,
    rejected: Family<RejectedLabels, Counter>,
    generation: Gauge,
    rejected_policy: Gauge,
    shed: Family<ShedLabels, Counter>,
}

/// What is measured of the journal.
#[derive(Debug)]
pub struct JournalMetrics {
    commits: Counter,
    records: Counter,
    lost: Counter,
    seconds: Histogram,
    writable: Gauge,
    head: Gauge,
    free: Gauge,
    degraded: Gauge,
    failing: AtomicBool,
    commit_count: AtomicU64,
    cause: Mutex<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShedLabels {
    gate: String,
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectedLabels {
    gate: String,
    reason: &'static str,
}

impl Metrics {
    /// Makes the metrics of these gates, in their order, with one set of counts for each core.
    pub fn new(gates: Vec<GateNames>, cores: usize) -> Self {
        let mut registry = Registry::with_prefix("grantgate");
        let journal = Arc::new(JournalMetrics::new());
        journal.register(registry.sub_registry_with_prefix("journal"));
        let shared = Arc::new(SharedMetrics::default());
        shared.register(registry.sub_registry_with_prefix("shared"));
        let rejected = family(
            &mut registry,
            "rejected",
            "Requests refused below the dialect, by HTTP rules or limits",
        );
        let shed = family(
            &mut registry,
            "shed",
            "Calls and connections turned away for want of room",
        );
        let families = GateFamilies::new(&mut registry);
        let measured = gates
            .iter()
            .map(|names| Arc::new(families.of(&names.gate)))
            .collect();
        let generation = Gauge::default();
        registry.register(
            "policy_generation",
            "The generation of the configuration in force",
            generation.clone(),
        );
        let rejected_policy = Gauge::default();
        registry.register(
            "policy_rejected",
            "1 while the configuration on disk cannot come into force",
            rejected_policy.clone(),
        );
        registry.register_collector(Box::new(log::Collector));
        let calls = calls::Collector::new(gates, cores);
        registry.register_collector(Box::new(calls.clone()));
        Self {
            registry,
            calls,
            journal,
            shared: Arc::clone(&shared),
            gates: measured,
            rejected,
            shed,
            generation,
            rejected_policy,
        }
    }

    /// Notes that a generation has come into force.
    pub fn policy_loaded(&self, generation: u64) {
        self.generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.rejected_policy.set(0);
    }

    /// Notes that the configuration on disk cannot come into force.
    pub fn policy_rejected(&self) {
        self.rejected_policy.set(1);
    }

    /// The metrics of a gate, by its position.
    pub fn gate(&self, position: usize) -> Option<Arc<GateMetrics>> {
        self.gates.get(position).cloned()
    }

    /// The numbers by which a gate's operations are counted, in the order of these names.
    pub fn numbers<'n>(&self, gate: usize, names: impl Iterator<Item = &'n str>) -> Vec<u32> {
        self.calls.numbers(gate, names)
    }

    /// The counts of a core.
    pub fn core(&self, core: usize) -> Option<Arc<CallCounts>> {
        self.calls.core(core)
    }

    /// How often each of a gate's operations was permitted by a scope, by its number.
    pub fn permitted(&self, gate: u16) -> rustc_hash::FxHashMap<u32, u64> {
        self.calls.permitted(gate)
    }

    /// Counts a request that was refused below the dialect.
    pub fn rejected(&self, gate: &str, reason: Reason) {
        self.rejected
            .get_or_create(&RejectedLabels {
                gate: gate.to_owned(),
                reason: reason.as_str(),
            })
            .inc();
    }

    /// The calls and connections that a gate has shed since this was asked last; they are counted now.
    pub fn take_shed(&self, position: usize, gate: &str) -> (u64, u64) {
        let Some(measured) = self.gates.get(position) else {
            return (0, 0);
        };
        let taken = (
            measured.shed_calls.swap(0, Ordering::Relaxed),
            measured.shed_connections.swap(0, Ordering::Relaxed),
        );
        for (what, count) in [("call", taken.0), ("connection", taken.1)] {
            if count > 0 {
                let gate = gate.to_owned();
                let labels = ShedLabels { gate, what };
                self.shed.get_or_create(&labels).inc_by(count);
            }
        }
        taken
    }

    /// The text of `/metrics` (`OpenMetrics` 1.0).
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

/// A family of counters or gauges, registered.
fn family<L, M>(registry: &mut Registry, name: &str, help: &str) -> Family<L, M>
where
    L: EncodeLabelSet + Clone + std::hash::Hash + Eq + std::fmt::Debug + Send + Sync + 'static,
    M: EncodeMetric + TypedMetric + Default + std::fmt::Debug + Send + Sync + 'static,
{
    let family = Family::<L, M>::default();
    registry.register(name, help, family.clone());
    family
}

impl JournalMetrics {
    /// Metrics of a journal that nobody scrapes yet.
    pub fn new() -> Self {
        let writable = Gauge::default();
        writable.set(1);
        Self {
            commits: Counter::default(),
            records: Counter::default(),
            lost: Counter::default(),
            seconds: short(),
            writable,
            head: Gauge::default(),
            free: Gauge::default(),
            degraded: Gauge::default(),
            failing: AtomicBool::new(false),
            commit_count: AtomicU64::new(0),
            cause: Mutex::default(),
        }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "commits",
            "Writes to the journal, each with many records",
            self.commits.clone(),
        );
        registry.register(
            "records",
            "Records written to the journal",
            self.records.clone(),
        );
        registry.register(
            "lost_records",
            "Records that could not be written",
            self.lost.clone(),
        );
        registry.register_with_unit(
            "commit",
            "Time of a write with its sync",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register(
            "writable",
            "1 if the last write to the journal succeeded",
            self.writable.clone(),
        );
        registry.register(
            "head_seq",
            "The number of the last record",
            self.head.clone(),
        );
        registry.register(
            "degraded",
            "1 while only one of the journal's two directories is kept",
            self.degraded.clone(),
        );
        registry.register_with_unit(
            "disk_free",
            "Space left on the journal's disk",
            Unit::Bytes,
            self.free.clone(),
        );
    }

    /// Notes a write that succeeded.
    pub fn committed(&self, records: u64, took: Duration) {
        self.commits.inc();
        self.commit_count.fetch_add(1, Ordering::Relaxed);
        self.records.inc_by(records);
        self.seconds.observe(took.as_secs_f64());
    }

    /// Notes that the journal can be written.
    pub fn writable(&self) {
        if self.failing.swap(false, Ordering::AcqRel) {
            self.writable.set(1);
        }
    }

    /// Notes a write that failed, and how many records it lost.
    pub fn failed(&self, lost: u64, cause: &str) {
        self.lost.inc_by(lost);
        self.writable.set(0);
        cause.clone_into(&mut self.cause.lock().unwrap_or_else(PoisonError::into_inner));
        self.failing.store(true, Ordering::Release);
    }

    /// Notes whether one of the journal's two directories is not kept.
    pub fn degraded(&self, degraded: bool) {
        self.degraded.set(degraded.into());
    }

    /// True if one of the journal's two directories is not kept.
    pub fn is_degraded(&self) -> bool {
        self.degraded.get() != 0
    }

    /// Notes the bytes left on the journal's disk.
    pub fn free(&self, bytes: u64) {
        self.free.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Notes the number of the last record.
    pub fn head(&self, seq: u64) {
        self.head.set(i64::try_from(seq).unwrap_or(i64::MAX));
    }

    /// Why the journal cannot be written; `None` while it can.
    pub fn trouble(&self) -> Option<String> {
        self.failing.load(Ordering::Acquire).then(|| {
            self.cause
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        })
    }
}

impl Default for JournalMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// From 10 µs to 2.6 s.
fn short() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(
        0.000_01, 4.0, 10,
    ))
}

/// From 1 ms to 65 s.
fn long() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(
        0.001, 4.0, 9,
    ))
}
