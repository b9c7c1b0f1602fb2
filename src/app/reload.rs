//! A new generation of the configuration, while calls go on: on SIGHUP, and when a file of it has changed.
//!
//! A file that cannot be used changes nothing: the generation in force stays, and journal, metrics and log say so. Calls
//! under way keep the generation that they began with.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::assemble::{self, Memory};
use crate::audit::{
    self, EventKind, Guarantee, Journal, OnAuditFailure, PolicyGate, PolicyRecord, PolicyRejection,
};
use crate::clock::Timestamp;
use crate::config::{Config, ConfigError, Files};
use crate::model::{Secret, TokenIdKey};
use crate::proxy::Budget;
use crate::snapshot::Snapshot;
use crate::telemetry::Metrics;
use crate::tls::Acceptor;
use crate::vendor::Vendor;

/// How often the files are looked at. A change must stand still for as long: whoever writes a file has finished by then.
pub(super) const WATCH: Duration = Duration::from_millis(500);

/// Brings new generations into force.
pub(super) struct Reloader {
    path: PathBuf,
    key: Arc<TokenIdKey>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    memory: Arc<Memory>,
    fixed: Fixed,
    admin_tls: Option<Acceptor>,
    /// The files that the generation in force was read from, and those of one that was refused, as they were when they were
    /// read.
    read: Files,
    /// A change that has been seen once.
    pending: Option<Files>,
}

/// What must stay as it is while the program runs: ports, and what lies on disk.
#[derive(PartialEq, Eq)]
struct Fixed {
    state: PathBuf,
    /// A name of the key, if one is given: the key itself is not kept.
    token_id_key: Option<String>,
    journal: (audit::Settings, Guarantee),
    shared: Option<String>,
    admin: (SocketAddr, bool),
    gates: Vec<(String, Vendor, SocketAddr, Option<String>)>,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        Self {
            state: config.state.dir.clone(),
            token_id_key: config
                .token_id_key
                .as_deref()
                .map(|key| TokenIdKey::new(key).fingerprint()),
            journal: (
                audit::Settings {
                    // What becomes of calls is taken over.
                    on_failure: OnAuditFailure::default(),
                    ..config.audit.clone()
                },
                config.guarantee,
            ),
            shared: config.shared.as_ref().map(|shared| shared.digest.clone()),
            admin: (config.admin.listen, config.admin.tls.is_some()),
            gates: config
                .gates
                .iter()
                .map(|gate| {
                    let learns_with = gate.asking.learns_with.clone();
                    (gate.name.clone(), gate.vendor, gate.listen, learns_with)
                })
                .collect(),
        }
    }

    /// What has changed that cannot, in the words of the configuration.
    fn changed(&self, other: &Self) -> Option<&'static str> {
        [
            (self.state != other.state, "`state.dir`"),
            (
                self.token_id_key != other.token_id_key,
                "`state.token_id_key`",
            ),
            (
                self.journal != other.journal,
                "`audit`, but for `on_audit_failure`",
            ),
            (self.shared != other.shared, "`state.redis`"),
            (self.admin != other.admin, "the admin listener"),
            (
                self.gates != other.gates,
                "the list of gates, their vendors, listeners or `learns_with`",
            ),
        ]
        .into_iter()
        .find_map(|(changed, what)| changed.then_some(what))
    }
}

impl Reloader {
    pub(super) fn new(
        path: &Path,
        text: &str,
        config: &Config,
        key: Arc<TokenIdKey>,
        metrics: Arc<Metrics>,
        memory: Arc<Memory>,
    ) -> impl FnOnce(Arc<ArcSwap<Snapshot>>, Arc<Budget>) -> Self + use<> {
        let (path, fixed) = (path.to_owned(), Fixed::of(config));
        let admin_tls = config.admin.tls.clone();
        // What has changed since the text was read is a change.
        let main = Files::of(&path);
        let same = fs::read_to_string(&path).is_ok_and(|now| now == text);
        let read = if same {
            config.files.clone().and(&main)
        } else {
            Files::default()
        };
        move |snapshots, budget| Self {
            path,
            key,
            snapshots,
            budget,
            metrics,
            memory,
            fixed,
            admin_tls,
            read,
            pending: None,
        }
    }

    /// True once a change of the files has stood still for a while.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = self.read.now().and(&Files::of(&self.path));
        if now == self.read {
            self.pending = None;
            return false;
        }
        let settled = self.pending.as_ref() == Some(&now);
        self.pending = Some(now);
        settled
    }

    /// Reads the configuration anew and brings it into force, or says why it cannot.
    pub(super) fn reload(&mut self, journal: &Journal) {
        // What changes while it is read is looked at again.
        let main = Files::of(&self.path);
        self.pending = None;
        match fs::read_to_string(&self.path) {
            Ok(text) => self.take(&text, &main, journal),
            Err(error) => {
                self.read = main.and(&self.read.now());
                tracing::error!(path = %self.path.display(), %error, "the configuration cannot be read");
                self.reject(journal, None, "the file cannot be read");
            }
        }
    }

    fn take(&mut self, text: &str, main: &Files, journal: &Journal) {
        let id = self.key.identify(&Secret::new(text.as_bytes())).to_string();
        let config = match Config::parse(&self.path, text) {
            Ok(config) => config,
            Err(error) => {
                // A file of it that is not there, or wrong, may come: it is looked at, as are those of the one in force.
                let named = match &error {
                    ConfigError::Invalid { files, .. } => files.clone(),
                    ConfigError::Unreadable { .. } => Files::default(),
                };
                self.read = named.and(main).and(&self.read.now());
                tracing::error!("the configuration was not taken over:\n{error}");
                return self.reject(journal, Some(&id), &in_short(&error));
            }
        };
        self.read = config.files.clone().and(main);
        if let Some(what) = self.fixed.changed(&Fixed::of(&config)) {
            tracing::error!(
                what,
                "the configuration was not taken over: this takes a restart"
            );
            return self.reject(journal, Some(&id), &format!("{what}: this takes a restart"));
        }
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        if let (Some(old), Some(new)) = (&self.admin_tls, &config.admin.tls) {
            old.replace(new);
        }
        let generation = self.snapshots.load().generation + 1;
        let limits = &config.limits;
        let (total, largest) = (limits.inspected_total, limits.inspected_body);
        self.budget.resize(total, largest);
        let snapshot =
            assemble::generation(generation, config, &self.key, &self.metrics, &self.memory);
        loaded(journal, &self.metrics, &snapshot, &id);
        self.snapshots.store(Arc::new(snapshot));
        for gate in &self.snapshots.load().gates {
            gate.grants.rebase();
        }
        tracing::info!(generation, "a new configuration is in force");
    }

    fn reject(&self, journal: &Journal, id: Option<&str>, detail: &str) {
        self.metrics.policy_rejected();
        let record = PolicyRejection {
            time: Timestamp::now(),
            generation: self.snapshots.load().generation,
            id,
            detail,
        };
        journal.append(EventKind::PolicyRejected, |out| record.write(out));
    }
}

/// Records a generation that comes into force. `id` is a keyed digest of its text.
pub(super) fn loaded(journal: &Journal, metrics: &Metrics, snapshot: &Snapshot, id: &str) {
    let gates = snapshot.gates.iter();
    let record = PolicyRecord {
        time: Timestamp::now(),
        generation: snapshot.generation,
        id,
        gates: gates
            .map(|gate| PolicyGate {
                name: &gate.name,
                vendor: gate.vendor.name(),
                mode: gate.rules.settings.mode.as_str(),
                guarantee: gate.guarantee,
                on_audit_failure: gate.on_audit_failure.as_str(),
                destination: &gate.upstream.text,
            })
            .collect(),
    };
    journal.append(EventKind::PolicyLoaded, |out| record.write(out));
    metrics.policy_loaded(snapshot.generation);
}

/// How many problems there are and where the first is: the messages may quote the text, the journal does not.
fn in_short(error: &ConfigError) -> String {
    match error {
        ConfigError::Unreadable { .. } => "the file cannot be read".to_owned(),
        ConfigError::Invalid { problems, .. } => {
            let first = problems.first().map_or(0, |problem| problem.line);
            let count = problems.len();
            let errors = if count == 1 { "error" } else { "errors" };
            format!("{count} {errors}, the first in line {first}: the process log has all of it")
        }
    }
}
