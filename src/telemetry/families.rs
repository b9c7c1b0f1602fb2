//! The metrics that every gate has, registered once for all of them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::gate::{GateMetrics, QuestionLabels};
use super::{family, long, short};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GateLabel {
    gate: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CircuitLabels {
    gate: String,
    server: &'static str,
}

/// What is measured of gates.
pub(super) struct GateFamilies {
    added: Family<GateLabel, Histogram>,
    upstream: Family<GateLabel, Histogram>,
    connections: Family<GateLabel, Gauge>,
    circuits: Family<CircuitLabels, Gauge>,
    in_flight: Family<GateLabel, Gauge>,
    opened: Family<GateLabel, Counter>,
    grants: Family<GateLabel, Gauge>,
    captured: Family<GateLabel, Counter>,
    drift: Family<GateLabel, Counter>,
    questions: Family<QuestionLabels, Counter>,
}

impl GateFamilies {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let added = Family::<GateLabel, Histogram>::new_with_constructor(short);
        registry.register_with_unit(
            "added",
            "Time the gate added to a forwarded call",
            Unit::Seconds,
            added.clone(),
        );
        let upstream = Family::<GateLabel, Histogram>::new_with_constructor(long);
        registry.register_with_unit(
            "upstream",
            "Time from sending a call to the head of the vendor's answer",
            Unit::Seconds,
            upstream.clone(),
        );
        Self {
            added,
            upstream,
            connections: family(registry, "connections", "Open connections from apps"),
            circuits: family(
                registry,
                "circuit_open",
                "1 while nobody answers at the upstream and calls are told so at once",
            ),
            in_flight: family(
                registry,
                "calls_in_flight",
                "Calls that have been let in and have not ended",
            ),
            opened: family(
                registry,
                "upstream_connections",
                "Connections made to the upstream",
            ),
            grants: family(registry, "grants", "Learned grants in memory"),
            captured: family(registry, "captured", "Token answers that taught a grant"),
            drift: family(
                registry,
                "drift",
                "Signs that the vendor is not as the catalogue has it",
            ),
            questions: family(
                registry,
                "questions",
                "Questions about unknown tokens, by what came of them",
            ),
        }
    }

    /// The metrics of one gate.
    pub(super) fn of(&self, gate: &str) -> GateMetrics {
        let label = GateLabel {
            gate: gate.to_owned(),
        };
        let circuit = |server| {
            self.circuits.get_or_create_owned(&CircuitLabels {
                gate: gate.to_owned(),
                server,
            })
        };
        GateMetrics {
            added: self.added.get_or_create_owned(&label),
            upstream: self.upstream.get_or_create_owned(&label),
            connections: self.connections.get_or_create_owned(&label),
            upstream_connections: self.opened.get_or_create_owned(&label),
            circuit: circuit("resource"),
            token_circuit: circuit("authorization"),
            in_flight: self.in_flight.get_or_create_owned(&label),
            grants: self.grants.get_or_create_owned(&label),
            captured: self.captured.get_or_create_owned(&label),
            drift: self.drift.get_or_create_owned(&label),
            gate: gate.to_owned(),
            questions: self.questions.clone(),
            ..GateMetrics::default()
        }
    }
}
