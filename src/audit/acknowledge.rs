//! What the writer tells the cores.

use std::sync::Arc;

use super::inbox::{Batch, Unwritten};
use super::outbox::Shared;
use super::receipt::OVERDUE;

/// Tells every core once what became of its batches.
pub(super) fn acknowledge<'b>(batches: impl Iterator<Item = &'b mut Batch>, recorded: bool) {
    let mut last: Option<Arc<Shared>> = None;
    for batch in batches {
        let Some(outbox) = batch.outbox.take() else {
            continue;
        };
        outbox.done(batch.state.take(), batch.len(), recorded && !batch.refused);
        if let Some(state) = batch.watched_state.take() {
            if batch.unwritten == Some(Unwritten::Waiting) {
                state.settle(OVERDUE);
            }
            outbox.done(Some(state), 0, recorded && batch.unwritten.is_none());
        }
        match &last {
            Some(known) if Arc::ptr_eq(known, &outbox) => {}
            _ => {
                if let Some(known) = last.replace(outbox) {
                    known.wake();
                }
            }
        }
    }
    if let Some(known) = last {
        known.wake();
    }
}
