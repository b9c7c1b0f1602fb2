//! The decision on a call.

use std::borrow::Cow;

use super::Reason;

/// Permit or deny for a whole call, with one verdict for each operation.
///
/// `'c` is the catalogue whose scope codes the verdicts name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'c> {
    /// The verdict on the call as a whole.
    pub verdict: Verdict<'c>,
    /// The verdicts on the members of a batch, in their order; empty for a single call.
    pub children: Vec<Verdict<'c>>,
}

/// Permit or deny for one operation, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<'c> {
    /// True if the operation may be forwarded.
    pub permitted: bool,
    /// Why. For a permitted operation it may also be what a `forward` setting overrode.
    pub reason: Reason,
    /// The scopes that the grant lacks, of the alternative that lacks the fewest; empty unless one is missing.
    pub missing: Vec<Cow<'c, str>>,
    /// What is done with the verdict.
    pub mode: Mode,
    /// The rule that refused or set the mode, by its position in the gate's list.
    pub rule: Option<u16>,
}

impl Verdict<'_> {
    /// True if the operation stays here: it is refused, and its mode enforces that.
    pub const fn holds_back(&self) -> bool {
        !self.permitted && matches!(self.mode, Mode::Enforce)
    }

    /// The word in records: the verdict seen through its mode.
    pub const fn word(&self) -> DecisionWord {
        match (self.mode, self.permitted) {
            (Mode::Off, _) => DecisionWord::NotEvaluated,
            (_, true) => DecisionWord::Allow,
            (Mode::Enforce, false) if self.reason.is_failure_to_decide() => DecisionWord::ErrorDeny,
            (Mode::Enforce, false) => DecisionWord::Deny,
            (Mode::Report, false) if self.reason.is_failure_to_decide() => DecisionWord::ErrorAllow,
            (Mode::Report, false) => DecisionWord::WouldDeny,
        }
    }
}

/// What is done with a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Calls outside the grant are refused.
    #[default]
    Enforce,
    /// Calls outside the grant are forwarded, and the record says so.
    Report,
    /// Everything is forwarded and recorded.
    Off,
}

impl Mode {
    /// The word in configuration and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Report => "report",
            Self::Off => "off",
        }
    }
}

/// The word for a decision in records and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DecisionWord {
    /// Permitted.
    Allow,
    /// Refused.
    Deny,
    /// Forwarded in `report`, would be refused in `enforce`.
    WouldDeny,
    /// Forwarded in `report`; it could not be decided.
    ErrorAllow,
    /// Refused because it could not be decided.
    ErrorDeny,
    /// Mode `off`.
    NotEvaluated,
}

impl DecisionWord {
    /// Every word.
    pub const ALL: [Self; 6] = [
        Self::Allow,
        Self::Deny,
        Self::WouldDeny,
        Self::ErrorAllow,
        Self::ErrorDeny,
        Self::NotEvaluated,
    ];

    /// The word itself.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::WouldDeny => "would_deny",
            Self::ErrorAllow => "error_allow",
            Self::ErrorDeny => "error_deny",
            Self::NotEvaluated => "not_evaluated",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The answer was passed on to its last byte.
    Ok,
    /// The app went away before its answer was complete.
    ClientGone,
    /// The upstream did not answer, or did not go on, in time.
    Timeout,
    /// The upstream broke the connection before its answer began.
    Reset,
    /// The upstream broke the connection within its answer.
    Truncated,
    /// The gate ended the call.
    Aborted,
    /// Nothing was sent to the upstream.
    NotForwarded,
    /// A fault in the gate ended the call.
    Panic,
    /// The gate died; written when it comes back.
    OutcomeUnknown,
}

impl Outcome {
    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientGone => "client_gone",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::Aborted => "aborted",
            Self::NotForwarded => "not_forwarded",
            Self::Panic => "panic",
            Self::OutcomeUnknown => "outcome_unknown",
        }
    }
}
