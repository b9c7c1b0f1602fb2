//! From a validated configuration to the first generation.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::metrics::gauge::Gauge;

use super::listen;
use crate::clock::Timestamp;
use crate::config::{Config, GateConfig};
use crate::grants::{Declared, Grants};
use crate::model::TokenIdKey;
use crate::proxy::Budget;
use crate::snapshot::{Destination, Gate, GateParts, Snapshot};
use crate::telemetry::{GateNames, Metrics};
use crate::upstream::{self, Circuit};

/// What all cores share.
pub(super) struct Assembled {
    pub(super) snapshots: Arc<ArcSwap<Snapshot>>,
    pub(super) budget: Arc<Budget>,
}

/// The metrics for the gates of a configuration.
pub(super) fn metrics(config: &Config, cores: usize) -> Metrics {
    let names = config.gates.iter().map(|gate| GateNames {
        gate: gate.name.clone(),
        operations: gate
            .catalogue
            .operations()
            .map(|operation| operation.name.clone())
            .collect(),
    });
    Metrics::new(names.collect(), cores)
}

/// Puts the first generation together.
pub(super) fn assemble(config: Config, key: &Arc<TokenIdKey>, metrics: &Metrics) -> Assembled {
    let budget = Arc::new(Budget::new(
        config.limits.inspected_total,
        &config.state.dir,
    ));
    let snapshot = generation(1, config, key, metrics);
    Assembled {
        snapshots: Arc::new(ArcSwap::from_pointee(snapshot)),
        budget,
    }
}

/// Puts a generation together. The declared tokens end here: only their ids go on.
pub(super) fn generation(
    number: u64,
    config: Config,
    key: &Arc<TokenIdKey>,
    metrics: &Metrics,
) -> Snapshot {
    let mut gates = Vec::new();
    for (position, mut gate) in config.gates.into_iter().enumerate() {
        if let Some(measured) = metrics.gate(position) {
            let opened = &measured.upstream_connections;
            gate.upstream.settings.opened = opened.clone();
            gate.authorization_server.settings.opened = opened.clone();
            let circuit = |gauge: &Gauge| Arc::new(Circuit::new(gauge.clone()));
            gate.upstream.settings.circuit = circuit(&measured.circuit);
            gate.authorization_server.settings.circuit = circuit(&measured.token_circuit);
        }
        let names = gate.catalogue.operations();
        let numbers = metrics.numbers(position, names.map(|operation| operation.name.as_ref()));
        let index = u16::try_from(position).unwrap_or(u16::MAX);
        let on_failure = config.audit.on_failure;
        gates.push(self::gate(number, index, gate, key, on_failure, numbers));
    }
    let mut limits = config.limits;
    let room = listen::room_for_connections(gates.len());
    if limits.connections.max(limits.calls_in_flight) > room {
        tracing::warn!(
            most = room,
            "fewer connections or calls under way than configured: there are too few descriptors (RLIMIT_NOFILE)"
        );
        limits.connections = limits.connections.min(room);
        limits.calls_in_flight = limits.calls_in_flight.min(room);
    }
    Snapshot {
        generation: number,
        gates,
        limits,
    }
}

fn gate(
    generation: u64,
    index: u16,
    gate: GateConfig,
    key: &Arc<TokenIdKey>,
    on_audit_failure: crate::audit::OnAuditFailure,
    numbers: Vec<u32>,
) -> Gate {
    let declared = gate.grants.into_iter().map(|grant| Declared {
        token: key.identify(&grant.token),
        scopes: grant.scopes,
        user: grant.user,
        expires: grant.expires,
    });
    let grants = Grants::new(declared, gate.assumed, Timestamp::now().as_secs());
    Gate::new(
        generation,
        GateParts {
            index,
            name: gate.name,
            app: gate.app,
            vendor: gate.vendor,
            catalogue: gate.catalogue,
            rules: gate.rules,
            grants: Arc::new(grants),
            token_key: Arc::clone(key),
            hosts: gate.hosts,
            guarantee: gate.guarantee,
            on_audit_failure,
            redirects: gate.redirects,
            upstream: destination(gate.upstream.settings),
            authorization_server: destination(gate.authorization_server.settings),
            tls: gate.tls,
            numbers,
        },
    )
}

fn destination(settings: upstream::Settings) -> Destination {
    Destination {
        // An authority that was parsed from a URL is a header value.
        authority: http::HeaderValue::try_from(settings.authority.as_str())
            .unwrap_or_else(|_| http::HeaderValue::from_static("")),
        text: format!("{}:{}", settings.host, settings.port),
        settings: Arc::new(settings),
    }
}
