//! What other instances tell of tokens: into memory, then onto the disk with the place up to which they were heard.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::shared::{Change, Link, What};
use crate::snapshot::Snapshot;
use crate::store::{Database, Told, ToldRow};
use crate::telemetry::Metrics;

/// Before the database is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Hears the others until it is dropped, beginning where it was heard to before.
pub(super) async fn hear(
    link: Link,
    snapshots: Arc<ArcSwap<Snapshot>>,
    database: Arc<Database>,
    metrics: Arc<Metrics>,
) {
    let name = link.place();
    let last = loop {
        match database.marked(&name).await {
            Ok(last) => break last,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    };
    let apply = |changes: Vec<Change>, place: String| {
        let (snapshot, database) = (snapshots.load_full(), Arc::clone(&database));
        metrics.shared.heard(changes.len());
        let mark = (name.clone(), place);
        async move { take(&snapshot, &database, changes, mark).await }
    };
    link.run(last, apply).await;
}

/// Takes changes; false if they are not on disk.
async fn take(
    snapshot: &Snapshot,
    database: &Database,
    changes: Vec<Change>,
    mark: (String, String),
) -> bool {
    let (mut told, mut now): (Vec<Told>, u32) = (Vec::new(), 0);
    for Change {
        gate: name, what, ..
    } in changes
    {
        let Some(gate) = snapshot.gates.iter().find(|gate| gate.name == name) else {
            continue;
        };
        now = gate.grants.learned().now();
        if !gate.grants.hear(&what).await {
            continue;
        }
        let row = match what {
            What::Grant(row) => ToldRow::Grant(row),
            What::Refresh(row) => ToldRow::Refresh(row),
            What::End(token, standing) => ToldRow::End(token, standing),
            What::Forget(token) => ToldRow::Forget(token),
        };
        // Where what it has learned is kept: a gate that learns with another has nothing of its own on disk.
        told.push((gate.grants.learned().gate().to_owned(), row));
    }
    match database.keep_told(told, now, mark).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "what other instances have told is not on disk yet; it is tried again");
            false
        }
    }
}
