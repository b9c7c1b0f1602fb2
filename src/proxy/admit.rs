//! Between steps 3 and 4: is there room for one call more? What is over a limit is shed: answered with 503, counted, and
//! summed up in a record, so that a flood costs neither memory nor a journal.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::identify::Identity;
use super::{Core, Reason};
use crate::model::{Mode, TokenId};
use crate::snapshot::{Gate, Limits};
use crate::telemetry::GateMetrics;

/// A call that has been let in; it counts until it has ended.
#[derive(Debug)]
pub(super) struct Admitted {
    gate: Arc<GateMetrics>,
    token: Option<TokenId>,
}

/// Lets a call in; or says why not. A gate that watches only lets every call in.
pub(super) fn admit(
    core: &Core,
    gate: &Gate,
    limits: &Limits,
    identity: &Identity<'_>,
) -> Result<Option<Admitted>, Reason> {
    let Some(measured) = core.gates.get(usize::from(gate.index)) else {
        return Ok(None);
    };
    let token = identity.token.map(|(token, ..)| token);
    let admitted = Admitted {
        gate: Arc::clone(measured),
        token,
    };
    let calls = measured.in_flight.inc();
    let of_token = token.map_or(0, |token| {
        slot(measured, token).fetch_add(1, Ordering::Relaxed)
    });
    let fits = calls < i64::from(limits.calls_in_flight) && of_token < limits.calls_per_token;
    if fits || gate.rules.settings.mode != Mode::Enforce {
        return Ok(Some(admitted));
    }
    measured.shed_calls.fetch_add(1, Ordering::Relaxed);
    Err(Reason::Overloaded)
}

/// The count that a token shares with few others: there are more counts than tokens in use at one time.
fn slot(gate: &GateMetrics, token: TokenId) -> &std::sync::atomic::AtomicU32 {
    let [one, other, ..] = token.as_bytes();
    gate.by_token(usize::from(*one) << 8 | usize::from(*other))
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.gate.in_flight.dec();
        if let Some(token) = self.token {
            slot(&self.gate, token).fetch_sub(1, Ordering::Relaxed);
        }
    }
}
