//! From a validated configuration to the first generation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::listen;
use crate::audit::{GateText, Recorder};
use crate::clock::Timestamp;
use crate::config::{Config, GateConfig};
use crate::grants::{AskerHandle, Declared, Drifts, Grants, Learned, Scene, Way};
use crate::model::TokenIdKey;
use crate::proxy::Budget;
use crate::shared::Teller;
use crate::snapshot::{Destination, Gate, GateParts, Snapshot};
use crate::store::Database;
use crate::telemetry::{GateNames, Metrics};
use crate::upstream::{self, Circuit, LastKnown, PrivateAddresses};

/// What is looked up to connect to a server.
type Place = (String, u16, PrivateAddresses);

/// A gate's server at its place.
type Server = (String, &'static str, Place);

/// What generations share of grants: what was learned, by gate, and who asks.
pub(super) struct Memory {
    /// Gates that learn with each other have the same.
    pub(super) learned: Vec<Arc<Learned>>,
    pub(super) drifts: Vec<Arc<Drifts>>,
    pub(super) asker: AskerHandle,
    pub(super) recorder: Recorder,
    /// The addresses that upstreams had last, by what was looked up.
    addresses: Mutex<HashMap<Place, Arc<LastKnown>>>,
    /// Whether connections to servers are worth a try.
    circuits: Mutex<HashMap<Server, Arc<Circuit>>>,
}

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

impl Memory {
    /// Grants of these gates, kept in this database.
    pub(super) fn new(
        config: &Config,
        database: &Arc<Database>,
        asker: AskerHandle,
        recorder: Recorder,
        metrics: &Metrics,
        teller: Option<&Teller>,
    ) -> Self {
        let measured = |position| metrics.gate(position).unwrap_or_default();
        let own: Vec<Arc<Learned>> = config
            .gates
            .iter()
            .enumerate()
            .map(|(position, gate)| {
                let database = Some(Arc::clone(database));
                let metrics = measured(position);
                let learned = Learned::new(&gate.name, database, config.most_grants, metrics);
                Arc::new(learned.telling(teller.cloned()))
            })
            .collect();
        let of = |name: &str| own.iter().find(|learned| learned.gate() == name);
        let learned = config.gates.iter().filter_map(|gate| {
            let home = gate.asking.learns_with.as_ref().unwrap_or(&gate.name);
            of(home).cloned()
        });
        Self {
            learned: learned.collect(),
            drifts: config.gates.iter().map(|_| Arc::default()).collect(),
            asker,
            recorder,
            addresses: Mutex::default(),
            circuits: Mutex::default(),
        }
    }

    /// Whether a gate's calls to a place are worth a try, whichever generation has found that out.
    fn circuit(
        &self,
        gate: &str,
        server: &'static str,
        place: &upstream::Settings,
    ) -> Arc<Circuit> {
        let key = (gate.to_owned(), server, place.looked_up());
        let mut known = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(key).or_default())
    }

    /// What is known of the addresses of a place, whichever generation asked for them.
    fn addresses(&self, place: &upstream::Settings) -> Arc<LastKnown> {
        let mut known = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(place.looked_up()).or_default())
    }
}

/// Puts the first generation together.
pub(super) fn assemble(
    config: Config,
    key: &Arc<TokenIdKey>,
    metrics: &Metrics,
    memory: &Memory,
) -> Assembled {
    let budget = Arc::new(Budget::new(
        config.limits.inspected_total,
        config.limits.inspected_body,
        config.gates.len(),
        &config.state.dir,
    ));
    let snapshot = generation(1, config, key, metrics, memory);
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
    memory: &Memory,
) -> Snapshot {
    let mut gates = Vec::new();
    for (position, mut gate) in config.gates.into_iter().enumerate() {
        if let Some(measured) = metrics.gate(position) {
            let opened = &measured.upstream_connections;
            gate.upstream.settings.opened = opened.clone();
            gate.authorization_server.settings.opened = opened.clone();
            for (server, settings) in [
                ("resource", &mut gate.upstream.settings),
                ("authorization", &mut gate.authorization_server.settings),
            ] {
                settings.last_known = memory.addresses(settings);
                settings.circuit = memory.circuit(&gate.name, server, settings);
            }
        }
        let names = gate.catalogue.operations();
        let numbers = metrics.numbers(position, names.map(|operation| operation.name.as_ref()));
        let index = u16::try_from(position).unwrap_or(u16::MAX);
        let on_failure = config.audit.on_failure;
        let scene = Scene {
            vendor: gate.vendor,
            catalogue: Arc::clone(&gate.catalogue),
            key: Arc::clone(key),
            text: GateText::new(number, &gate.name, &gate.app),
            recorder: Some(memory.recorder.clone()),
            metrics: metrics.gate(position).unwrap_or_default(),
            drifts: memory.drifts.get(position).cloned().unwrap_or_default(),
        };
        let Some(learned) = memory.learned.get(position) else {
            continue;
        };
        learned.bound(config.most_grants);
        let learned = Arc::clone(learned);
        gates.push(self::gate(
            number, index, gate, scene, learned, memory, on_failure, numbers,
        ));
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

#[expect(
    clippy::too_many_arguments,
    reason = "a gate is put together from all sides"
)]
fn gate(
    generation: u64,
    index: u16,
    gate: GateConfig,
    scene: Scene,
    learned: Arc<Learned>,
    memory: &Memory,
    on_audit_failure: crate::audit::OnAuditFailure,
    numbers: Vec<u32>,
) -> Gate {
    let key = Arc::clone(&scene.key);
    let declared = gate.grants.into_iter().map(|grant| Declared {
        token: key.identify(&grant.token),
        scopes: grant.scopes,
        user: grant.user,
        expires: grant.expires,
    });
    let (upstream, authorization_server) = (
        destination(gate.upstream.settings),
        destination(gate.authorization_server.settings),
    );
    let way = match (gate.asking.asks, gate.asking.introspection) {
        (_, Some(server)) => Way::Introspection(server),
        (true, None) => Way::Vendor {
            upstream: Arc::clone(&upstream.settings),
            authorization_server: Arc::clone(&authorization_server.settings),
        },
        (false, None) => Way::Nobody,
    };
    let inquiry = memory.asker.inquiry(
        index,
        scene.clone(),
        Arc::clone(&learned),
        way,
        gate.asking.limits,
    );
    let grants = Grants::new(
        declared,
        gate.asking.precedence,
        gate.assumed,
        learned,
        scene,
        Some(inquiry),
        Timestamp::now().as_secs(),
    );
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
            token_key: key,
            hosts: gate.hosts,
            guarantee: gate.guarantee,
            on_audit_failure,
            redirects: gate.redirects,
            upstream,
            authorization_server,
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
