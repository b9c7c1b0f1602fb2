//! The end of the program: how long it waits, and for whom.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// For how long calls under way, and then the journal, are waited for, unless it is asked for again.
pub(super) struct Hurry<A> {
    grace: Duration,
    again: Pin<Box<A>>,
}

impl<A: Future<Output = ()>> Hurry<A> {
    pub(super) fn new(grace: Duration, again: A) -> Self {
        let again = Box::pin(again);
        Self { grace, again }
    }

    /// Ready when it is time; at once if it was before.
    pub(super) async fn come(hurry: Option<Self>) {
        if let Some(Self { grace, again }) = hurry {
            // Time is up, or it is asked for again: both say so.
            let _ = tokio::time::timeout(grace, again).await;
        }
    }
}

/// Waits until calls under way have ended; the same patience for what follows, unless it is asked for again.
pub(super) async fn drain<A: Future<Output = ()>>(
    drained: impl Future<Output = ()>,
    mut hurry: Hurry<A>,
) -> Option<Hurry<A>> {
    // A supervisor knows then that the silence is meant.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!(
        grace_secs = hurry.grace.as_secs(),
        "stopping: calls under way may end"
    );
    tokio::select! {
        () = drained => Some(hurry),
        () = tokio::time::sleep(hurry.grace) => {
            tracing::warn!("the time for calls under way is over");
            Some(hurry)
        }
        () = &mut hurry.again => {
            tracing::warn!("asked again: stopping at once");
            None
        }
    }
}
