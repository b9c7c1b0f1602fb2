//! Step 6: mode × decision → a permitted request, or a refusal.

use http::Request;
use http::header::{self, HeaderValue};
use http::request::Parts;

use super::body::CallBody;
use super::record::Recorded;
use crate::clock::Timestamp;
use crate::model::{Call, Decision, Mode, Reason, Verdict};
use crate::policy::BatchPolicy;
use crate::snapshot::Gate;
use crate::vendor::{Division, NativeAnswer, Splicer};

/// A request that may be forwarded. Only [`enforce`] makes one, and only from a decision and its record; nothing can
/// be forwarded by forgetting a check. Not `Debug`: it holds the credential.
pub(super) struct Permitted {
    head: Parts,
    body: CallBody,
    /// True if the gate watches only: the request stays as it is, beyond what HTTP demands.
    pub(super) watching: bool,
    /// Set for a batch of which only a part goes on.
    splicer: Option<Box<Splicer>>,
    _recorded: Recorded,
}

/// What becomes of a batch with members that are held back.
pub(super) enum Divided {
    /// The rest of it goes on.
    Goes(Box<Division>),
    /// Nothing of it is left: the gate answers as the vendor would.
    Answered(NativeAnswer),
}

/// Divides a batch whose decision holds members back; `None` for every other call, and for a batch that goes on or is
/// refused whole.
pub(super) fn divide(
    gate: &Gate,
    call: &Call<'_, '_>,
    decision: &Decision<'_>,
    head: &Parts,
    now: Timestamp,
) -> Option<Divided> {
    let batch = call.batch.as_deref()?;
    let held = decision
        .children
        .iter()
        .filter(|child| child.holds_back())
        .count();
    let splits = gate.rules.settings.batch == BatchPolicy::Split && batch.layout.is_some();
    if held == 0 || !splits || decision.verdict.reason != Reason::BatchMemberDenied {
        return None;
    }
    Some(if decision.verdict.permitted {
        let target = head
            .uri
            .path_and_query()
            .map_or("", http::uri::PathAndQuery::as_str);
        Divided::Goes(Box::new(gate.vendor.divide(
            target,
            batch,
            &decision.children,
        )?))
    } else {
        Divided::Answered(
            gate.vendor
                .answer_for_none(batch, &decision.children, now)?,
        )
    })
}

/// What becomes of a request.
pub(super) enum Enforced {
    /// It goes on.
    Permitted(Permitted),
    /// It is refused, for this reason; with what may still come of its body.
    Refused(Reason, CallBody),
    /// It is a batch of which nothing is left.
    Answered(NativeAnswer),
}

/// Decides what becomes of a request. `recorded` is `None` if its record could not be written.
pub(super) fn enforce(
    decision: &Decision<'_>,
    recorded: Option<Recorded>,
    mut head: Parts,
    mut body: CallBody,
    divided: Option<Divided>,
) -> Enforced {
    let verdict = &decision.verdict;
    let Some(recorded) = recorded else {
        return Enforced::Refused(Reason::AuditUnavailable, body);
    };
    let division = match divided {
        Some(Divided::Answered(answer)) => return Enforced::Answered(answer),
        Some(Divided::Goes(division)) => Some(division),
        None => None,
    };
    if verdict.mode == Mode::Enforce && !verdict.permitted {
        return Enforced::Refused(verdict.reason, body);
    }
    // What is held back leaves only by a division: without one, a decision that holds something back is a refusal.
    let holds_back = decision.children.iter().any(Verdict::holds_back);
    let splicer = match division {
        None if holds_back => return Enforced::Refused(Reason::BatchMemberDenied, body),
        None => None,
        Some(division) => {
            if let Some(target) = division.target {
                let Ok(uri) = target.parse() else {
                    return Enforced::Refused(Reason::Internal, body);
                };
                head.uri = uri;
            }
            body.edit(&division.body);
            // Its answer will be changed, so it must be readable.
            let identity = HeaderValue::from_static("identity");
            head.headers.insert(header::ACCEPT_ENCODING, identity);
            Some(Box::new(division.splicer))
        }
    };
    let watching = verdict.mode != Mode::Enforce;
    if watching {
        body.unwatch();
    }
    Enforced::Permitted(Permitted {
        head,
        body,
        watching,
        splicer,
        _recorded: recorded,
    })
}

impl Permitted {
    /// The request's parts, to be rebuilt for the upstream.
    pub(super) fn into_request(self) -> Request<CallBody> {
        Request::from_parts(self.head, self.body)
    }

    /// What makes the answer whole again, where only a part of a batch goes on.
    pub(super) fn take_splicer(&mut self) -> Option<Box<Splicer>> {
        self.splicer.take()
    }
}
