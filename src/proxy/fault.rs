//! A fault of the program within one call ends that call only: the app gets 500 in the vendor's shape.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use hyper::body::Incoming;

use super::{Connection, Core, handle, respond};

pin_project_lite::pin_project! {
    /// A call whose panic becomes an answer. What it held is dropped on the way, so that its completion record says `panic`.
    struct Guarded<F> {
        #[pin]
        call: F,
        core: Arc<Core>,
        connection: Arc<Connection>,
    }
}

/// Handles a request; a panic on the way becomes an answer.
pub(super) fn guarded(
    core: &Arc<Core>,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<respond::Answer, Infallible>> + use<> {
    Guarded {
        call: handle(Arc::clone(core), Arc::clone(connection), request),
        core: Arc::clone(core),
        connection: Arc::clone(connection),
    }
}

impl<F> Future for Guarded<F>
where
    F: Future<Output = Result<respond::Answer, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let call = this.call;
        // What a call shares with others is counts and queues, whose locks guard plain data.
        if let Ok(polled) = catch_unwind(AssertUnwindSafe(|| call.poll(cx))) {
            return polled;
        }
        tracing::error!("a call ended by a fault of the program");
        let snapshot = this.core.snapshots.load();
        let gate = snapshot.gate(this.connection.gate);
        Poll::Ready(Ok(gate.map_or_else(respond::gone, respond::fault)))
    }
}

/// Panics at one call of a hundred, for the test of what becomes of it.
#[cfg(feature = "fault-injection")]
#[expect(clippy::panic, reason = "this is the fault")]
pub(super) fn inject() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    if CALLS.fetch_add(1, Ordering::Relaxed) % 100 == 99 {
        panic!("a fault that was asked for");
    }
}
