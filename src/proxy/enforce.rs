//! Step 6: mode × decision → a permitted request, or a refusal.

use http::Request;
use http::request::Parts;

use super::body::CallBody;
use super::record::Recorded;
use crate::model::{Decision, Mode, Reason};

/// A request that may be forwarded. Only [`enforce`] makes one, and only from a decision and its record; nothing can
/// be forwarded by forgetting a check. Not `Debug`: it holds the credential.
pub(super) struct Permitted {
    head: Parts,
    body: CallBody,
    /// True if the gate watches only: the request stays as it is, beyond what HTTP demands.
    pub(super) watching: bool,
    _recorded: Recorded,
}

/// What becomes of a request.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for a moment on the path of every call"
)]
pub(super) enum Enforced {
    /// It goes on.
    Permitted(Permitted),
    /// It is refused, for this reason.
    Refused(Reason),
}

/// Decides what becomes of a request. `recorded` is `None` if its record could not be written.
pub(super) fn enforce(
    decision: &Decision<'_>,
    recorded: Option<Recorded>,
    head: Parts,
    body: CallBody,
) -> Enforced {
    let verdict = &decision.verdict;
    let Some(recorded) = recorded else {
        return Enforced::Refused(Reason::AuditUnavailable);
    };
    if verdict.mode == Mode::Enforce && !verdict.permitted {
        return Enforced::Refused(verdict.reason);
    }
    Enforced::Permitted(Permitted {
        head,
        body,
        watching: verdict.mode != Mode::Enforce,
        _recorded: recorded,
    })
}

impl Permitted {
    /// The request's parts, to be rebuilt for the upstream.
    pub(super) fn into_request(self) -> Request<CallBody> {
        Request::from_parts(self.head, self.body)
    }
}
