//! What other instances tell of tokens: into memory, then onto the disk with the place up to which they were heard.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::shared::{Change, Link, What};
use crate::snapshot::Snapshot;
use crate::store::{Database, Told, ToldRow};
use crate::telemetry::Metrics;

/// The name of the place.
const PLACE: &str = "shared";

/// Hears the others until it is dropped, beginning where it was heard to before.
pub(super) async fn hear(
    link: Link,
    snapshots: Arc<ArcSwap<Snapshot>>,
    database: Arc<Database>,
    metrics: Arc<Metrics>,
) {
    let last = database.marked(PLACE).await.ok().flatten();
    let apply = |changes: Vec<Change>, place: String| {
        let (snapshot, database) = (snapshots.load_full(), Arc::clone(&database));
        metrics.shared.heard(changes.len());
        async move { take(&snapshot, &database, changes, place).await }
    };
    link.run(last.unwrap_or_else(|| "0".to_owned()), apply)
        .await;
}

async fn take(snapshot: &Snapshot, database: &Database, changes: Vec<Change>, place: String) {
    let (mut told, mut now): (Vec<Told>, u32) = (Vec::new(), 0);
    for Change {
        gate: name, what, ..
    } in changes
    {
        let Some(gate) = snapshot.gates.iter().find(|gate| gate.name == name) else {
            continue;
        };
        now = gate.grants.learned().now();
        if !gate.grants.hear(&what) {
            continue;
        }
        let row = match what {
            What::Grant(row) => ToldRow::Grant(row),
            What::Refresh(row) => ToldRow::Refresh(row),
            What::End(token, standing) => ToldRow::End(token, standing),
            What::Forget(token) => ToldRow::Forget(token),
        };
        told.push((name, row));
    }
    // Without news the place may stay: it is read again, and says nothing new.
    if told.is_empty() {
        return;
    }
    let mark = (PLACE.to_owned(), place);
    if let Err(error) = database.keep_told(told, now, mark).await {
        tracing::warn!(%error, "what other instances have told is known until the process ends only");
    }
}
