//! What learns of tokens beside the calls: who asks, who hears other instances, and what keeps it.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::assemble::Memory;
use super::hearing;
use super::upkeep::Upkeep;
use crate::audit::Journal;
use crate::config::Config;
use crate::grants::Asker;
use crate::model::TokenIdKey;
use crate::shared::Link;
use crate::snapshot::Snapshot;
use crate::store::{Database, StateDir, StateError};
use crate::telemetry::Metrics;

/// The parts, before they run.
pub(super) struct Learning {
    asker: Asker,
    link: Option<Link>,
    database: Arc<Database>,
    memory: Arc<Memory>,
}

impl Learning {
    /// `key` is the one behind token ids.
    pub(super) fn new(
        config: &Config,
        state: &StateDir,
        key: &Arc<TokenIdKey>,
        journal: &Journal,
        metrics: &Metrics,
    ) -> Result<Self, StateError> {
        let (asker, handle) = Asker::new();
        let database = Arc::new(state.database()?);
        let link = config.shared.clone().map(|settings| {
            let metrics = Arc::clone(&metrics.shared);
            Link::new(settings, state.stream(), Arc::clone(key), metrics)
        });
        let (link, teller) = link.unzip();
        let recorder = journal.recorder();
        let memory = Memory::new(
            config,
            &database,
            handle,
            recorder,
            metrics,
            teller.as_ref(),
        );
        Ok(Self {
            asker,
            link,
            database,
            memory: Arc::new(memory),
        })
    }

    /// What generations share.
    pub(super) fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory)
    }

    /// Runs the parts, on the runtime at hand.
    pub(super) fn start(
        self,
        snapshots: &Arc<ArcSwap<Snapshot>>,
        upkeep: &Arc<Upkeep>,
        metrics: &Arc<Metrics>,
    ) {
        tokio::spawn(self.asker.run());
        tokio::spawn(Arc::clone(upkeep).keep_up(Arc::clone(snapshots)));
        if let Some(link) = self.link {
            let (snapshots, metrics) = (Arc::clone(snapshots), Arc::clone(metrics));
            tokio::spawn(hearing::hear(link, snapshots, self.database, metrics));
        }
    }
}
