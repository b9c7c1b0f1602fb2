//! One call from its decision record to its completion record.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Core;
use super::admit::Admitted;
use super::span::CallSpan;
use crate::audit::{CompletionRecord, EventId, EventKind, Origin, Receipt};
use crate::clock::Timestamp;
use crate::model::{Decision, Outcome, Reason};
use crate::snapshot::Route;
use crate::vendor::Objection;

/// When a request's head had arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// By the wall clock, for records and expiry.
    pub(super) time: Timestamp,
    /// By the steady clock, for durations.
    pub(super) instant: Instant,
}

impl Arrival {
    pub(super) fn now() -> Self {
        Self {
            time: Timestamp::now(),
            instant: Instant::now(),
        }
    }

    /// The wall clock's time when so much has passed since: durations do not jump with the clock.
    fn after(self, passed: Duration) -> Timestamp {
        let nanos = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        Timestamp::from_nanos(self.time.as_nanos().saturating_add(nanos))
    }
}

/// A call whose decision record is on its way or written. However it ends, dropped included, it leaves exactly one
/// completion record, unless the decision's was lost.
#[derive(Debug)]
pub(super) struct Exchange {
    core: Arc<Core>,
    /// The decision's event.
    pub(super) event: EventId,
    /// Where the call goes.
    pub(super) route: Route,
    /// The answer may lead elsewhere.
    pub(super) leads_away: bool,
    /// What becomes of the decision's record.
    pub(super) decision: Option<Receipt>,
    /// The call in a distributed trace.
    pub(super) span: CallSpan,
    /// Counts while the call has not ended.
    pub(super) admitted: Option<Admitted>,
    arrival: Arrival,
    sent: Option<Instant>,
    latency: Option<Duration>,
    outcome: Option<Outcome>,
    /// Why the gate answered in place of the vendor.
    pub(super) reason: Option<Reason>,
    /// What the vendor has against the call.
    pub(super) objection: Option<Objection>,
    /// How often it was tried to send the call, where that is not once.
    pub(super) attempts: Option<u16>,
    response: Option<(u16, Origin)>,
    /// Bytes of the answer's body that went to the app.
    pub(super) bytes: u64,
    peer: Option<Arc<str>>,
}

impl Exchange {
    pub(super) fn new(
        core: &Arc<Core>,
        event: EventId,
        arrival: Arrival,
        route: Route,
        leads_away: bool,
    ) -> Self {
        Self {
            core: Arc::clone(core),
            event,
            route,
            leads_away,
            decision: None,
            span: CallSpan::default(),
            admitted: None,
            arrival,
            sent: None,
            latency: None,
            outcome: None,
            reason: None,
            objection: None,
            attempts: None,
            response: None,
            bytes: 0,
            peer: None,
        }
    }

    /// The call is refused; the completion says why where that is not what the decision says.
    pub(super) fn refused(
        mut self: Box<Self>,
        decision: &Decision<'_>,
        reason: Reason,
    ) -> Box<Self> {
        self.reason = (reason != decision.verdict.reason).then_some(reason);
        self
    }

    /// The call is about to be sent.
    pub(super) fn sending(&mut self) {
        self.sent = Some(Instant::now());
    }

    /// When the call was sent.
    pub(super) fn sent(&self) -> Instant {
        self.sent.unwrap_or(self.arrival.instant)
    }

    /// The head of the vendor's answer has come from this address.
    pub(super) fn answered(&mut self, peer: &Arc<str>) {
        self.latency = self.sent.map(|sent| sent.elapsed());
        self.peer = Some(Arc::clone(peer));
    }

    /// The call was sent to this address and no valid answer came.
    pub(super) fn unanswered(&mut self, peer: &Arc<str>) {
        self.peer = Some(Arc::clone(peer));
    }

    /// The head of the answer goes to the app.
    pub(super) fn responding(&mut self, status: u16, origin: Origin) {
        self.response = Some((status, origin));
    }

    /// The time between arrival and now that the vendor did not take, and the time that it took.
    pub(super) fn times(&self) -> (Duration, Option<Duration>) {
        (
            self.arrival
                .instant
                .elapsed()
                .saturating_sub(self.latency.unwrap_or_default()),
            self.latency,
        )
    }

    /// True unless the call is known not to have reached the vendor.
    pub(super) fn may_have_arrived(&self) -> bool {
        self.sent.is_some() && self.outcome != Some(Outcome::NotForwarded)
    }

    /// Sets how the call ends; the first word counts.
    pub(super) fn ends(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Without its decision a completion says nothing; that it is lost is declared.
        if self.decision.as_ref().is_some_and(Receipt::is_lost) {
            return;
        }
        let given_up = if std::thread::panicking() {
            Outcome::Panic
        } else if self.sent.is_none() {
            Outcome::NotForwarded
        } else if self.core.aborting.load(Ordering::Relaxed) {
            Outcome::Aborted
        } else {
            Outcome::ClientGone
        };
        let duration = self.arrival.instant.elapsed();
        let outcome = self.outcome.unwrap_or(given_up);
        let status = self.response.map(|(status, _)| status);
        self.span.end(outcome, status);
        tracing::debug!(decision = %self.event, outcome = outcome.as_str(), status, "a call has ended");
        let record = CompletionRecord {
            event: self.event,
            time: self.arrival.after(duration),
            outcome,
            reason: self.reason,
            response: self
                .response
                .map(|(status, origin)| (status, origin, self.bytes)),
            vendor_error: self
                .objection
                .as_ref()
                .map(|objection| (objection.code.as_str(), objection.is_about_scope())),
            attempts: self.attempts,
            latency: self.latency,
            duration,
            destination: self.peer.as_deref(),
        };
        self.core
            .outbox
            .append(EventKind::CallCompletion, |out| record.write(out));
    }
}
