//! What is done for learned grants while calls go on: they are brought from the disk, swept, and their uses noted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::timeout;

use crate::model::ScopeSet;
use crate::policy;
use crate::snapshot::{Gate, Snapshot};
use crate::store::ScopeUse;
use crate::telemetry::Metrics;

/// How often it is done.
const PAUSE: Duration = Duration::from_secs(30);

/// How long ends and uses may take each when the program ends.
const LAST: Duration = Duration::from_secs(2);

/// What was noted of uses.
pub(super) struct Upkeep {
    metrics: Arc<Metrics>,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    /// Until when uses of tokens are noted, in seconds since 1970.
    until: u32,
    /// How often an operation had been permitted, by gate and number.
    permitted: HashMap<(u16, u32), u64>,
}

impl Upkeep {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            noted: Mutex::default(),
        }
    }

    /// Brings grants from the disk, then sweeps them now and then, until it is dropped.
    pub(super) async fn keep_up(self: Arc<Self>, snapshots: Arc<ArcSwap<Snapshot>>) {
        let snapshot = snapshots.load_full();
        // Those that learn with another gate have what that one has.
        let home = |gate: &&Gate| gate.grants.learned().gate() == gate.name;
        for gate in snapshot.gates.iter().filter(home) {
            gate.grants.load().await;
            gate.grants.learned().tell_ends();
        }
        drop(snapshot);
        loop {
            tokio::time::sleep(PAUSE).await;
            self.note_uses(&snapshots.load_full()).await;
        }
    }

    /// Puts on disk what became of grants, when no core runs any more and unless the disk hangs: ends first, since a token whose
    /// end is lost is permitted again.
    pub(super) async fn end(&self, snapshot: &Snapshot) {
        let ends = timeout(LAST, async {
            for gate in &snapshot.gates {
                gate.grants.end_revocations().await;
                gate.grants.learned().write_owed().await;
            }
        });
        let ends = ends.await.is_ok();
        let uses = timeout(LAST, self.note_uses(snapshot)).await.is_ok();
        if !ends || !uses {
            tracing::warn!(
                ends,
                uses,
                "the database of grants does not answer: not all that is known of grants is on disk"
            );
        }
    }

    /// Sweeps the grants of all gates and notes those that were used since this was done last.
    pub(super) async fn note_uses(&self, snapshot: &Snapshot) {
        let mut until = 0;
        let since = self.noted().until;
        for gate in &snapshot.gates {
            let learned = gate.grants.learned();
            until = learned.now();
            learned.sweep(since, self.scope_uses(gate, until)).await;
            // What was learned while a generation came into force may rest on the one before.
            gate.grants.rebase();
        }
        if let Some(gate) = snapshot.gates.first() {
            gate.grants.learned().purge().await;
        }
        self.noted().until = until;
    }

    /// Which of a gate's scopes have opened something since this was asked last: those that the permitted operations need.
    fn scope_uses(&self, gate: &Gate, now: u32) -> Vec<ScopeUse> {
        let permitted = self.metrics.permitted(gate.index);
        let mut uses: BTreeMap<&str, u64> = BTreeMap::new();
        let mut noted = self.noted();
        for operation in gate.catalogue.operations() {
            let number = gate.number(operation);
            let count = permitted.get(&number).copied().unwrap_or_default();
            let before = noted.permitted.entry((gate.index, number)).or_default();
            let more = count.saturating_sub(*before);
            *before = count;
            if more > 0 {
                for code in policy::required(&operation.requirement)
                    .iter()
                    .flat_map(ScopeSet::iter)
                {
                    *uses.entry(code).or_default() += more;
                }
            }
        }
        uses.into_iter()
            .map(|(scope, uses)| ScopeUse {
                scope: scope.to_owned(),
                uses,
                last: now,
            })
            .collect()
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
