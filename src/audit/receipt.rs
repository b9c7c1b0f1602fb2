//! What a call holds while its record is on its way: the proof that it may go on, once it is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// Proof that a decision's record was appended; to be awaited before the deed.
#[derive(Debug, Clone)]
pub struct Receipt(pub(super) Appended);

#[derive(Debug, Clone)]
pub(super) enum Appended {
    /// There was no room for it.
    Lost,
    /// Nobody waits for it (`best_effort`).
    Unwatched,
    /// It travels with a batch.
    With(Arc<BatchState>),
}

/// The journal did not take the record in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal did not take the record in time")]
pub struct JournalUnavailable;

/// What became of a batch: shared by everybody who waits for it.
#[derive(Debug, Default)]
pub(super) struct BatchState {
    state: AtomicU8,
    changed: Notify,
}

const OPEN: u8 = 0;
pub(super) const RECORDED: u8 = 1;
/// It was not written in time, and may still be.
pub(super) const OVERDUE: u8 = 2;
/// It could not be written.
pub(super) const LOST: u8 = 3;

impl Receipt {
    /// Waits until the record is kept as its guarantee says.
    ///
    /// # Errors
    /// If it could not be written, or not within the journal's deadline.
    pub async fn recorded(&self) -> Result<(), JournalUnavailable> {
        let batch = match &self.0 {
            Appended::Lost => return Err(JournalUnavailable),
            Appended::Unwatched => return Ok(()),
            Appended::With(batch) => batch,
        };
        loop {
            let changed = batch.changed.notified();
            match batch.state.load(Ordering::Acquire) {
                OPEN => changed.await,
                RECORDED => return Ok(()),
                _ => return Err(JournalUnavailable),
            }
        }
    }

    /// True if it is certain that the record is not in the journal: how the call ended has nothing to stand by then.
    pub fn is_lost(&self) -> bool {
        match &self.0 {
            Appended::Lost => true,
            Appended::Unwatched => false,
            Appended::With(batch) => batch.state.load(Ordering::Acquire) == LOST,
        }
    }

    /// As [`Receipt::recorded`], with a shorter patience.
    pub async fn recorded_within(&self, patience: Duration) -> Result<(), JournalUnavailable> {
        timeout(patience, self.recorded())
            .await
            .unwrap_or(Err(JournalUnavailable))
    }
}

impl BatchState {
    /// True while nobody has said what became of it.
    pub(super) fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) == OPEN
    }

    /// Says what became of it, once: what comes later changes nothing.
    pub(super) fn settle(&self, state: u8) {
        let _ = self
            .state
            .compare_exchange(OPEN, state, Ordering::AcqRel, Ordering::Acquire);
        self.changed.notify_waiters();
    }
}
