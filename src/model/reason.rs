//! The closed list of reasons.

/// Why a call was permitted, refused or could not be decided: one vocabulary for responses, records, metrics and docs.
///
/// The order of the variants up to [`Reason::Permitted`] is the order of precedence: where several hold, the first is
/// the call's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The HTTP message can be framed in more than one way (RFC 9112 section 6.3).
    AmbiguousFraming,
    /// `CONNECT` or `Upgrade`: a tunnel that nobody could look into.
    UpgradeRefused,
    /// The `Host` is none that this gate answers for.
    HostUnknown,
    /// More than one credential, or one in a place that only the vendor's other doors use.
    AmbiguousCredential,
    /// The vendor could run another operation than the one read.
    AmbiguousOperation,
    /// The vendor could read the body otherwise.
    AmbiguousBody,
    /// The body is larger than what is inspected.
    BodyOverCap,
    /// No credential where one is needed.
    CredentialMissing,
    /// The credential is not known.
    TokenUnknown,
    /// The token was known and has expired.
    TokenExpired,
    /// The token was known and has been revoked.
    TokenRevoked,
    /// The grant could not be asked for.
    GrantUnavailable,
    /// A rule of the configuration refuses the operation.
    RuleRefused,
    /// The catalogue has no such operation, or its requirement cannot be read from the call.
    OperationUnlisted,
    /// The grant lacks a scope that the operation needs.
    ScopeMissing,
    /// A member of the batch was refused.
    BatchMemberDenied,
    /// The batch has more members than the vendor runs.
    BatchTooLong,
    /// The operation needs no scope.
    NoScopeNeeded,
    /// The grant holds what the operation needs.
    Permitted,
    /// An upstream redirect to another authority was not passed on.
    RedirectRefused,
    /// The journal could not take the record in time.
    AuditUnavailable,
    /// A limit on load was reached.
    Overloaded,
    /// No connection to the upstream could be made.
    UpstreamUnreachable,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The upstream's answer is not HTTP that can be passed on.
    UpstreamInvalid,
    /// A fault of the gate itself.
    Internal,
}

impl Reason {
    /// Every reason, in order of precedence.
    pub const ALL: [Self; 26] = [
        Self::AmbiguousFraming,
        Self::UpgradeRefused,
        Self::HostUnknown,
        Self::AmbiguousCredential,
        Self::AmbiguousOperation,
        Self::AmbiguousBody,
        Self::BodyOverCap,
        Self::CredentialMissing,
        Self::TokenUnknown,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::GrantUnavailable,
        Self::RuleRefused,
        Self::OperationUnlisted,
        Self::ScopeMissing,
        Self::BatchMemberDenied,
        Self::BatchTooLong,
        Self::NoScopeNeeded,
        Self::Permitted,
        Self::RedirectRefused,
        Self::AuditUnavailable,
        Self::Overloaded,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::UpstreamInvalid,
        Self::Internal,
    ];

    /// The word that stands in records, headers, metrics and docs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AmbiguousFraming => "ambiguous_framing",
            Self::UpgradeRefused => "upgrade_refused",
            Self::HostUnknown => "host_unknown",
            Self::AmbiguousCredential => "ambiguous_credential",
            Self::AmbiguousOperation => "ambiguous_operation",
            Self::AmbiguousBody => "ambiguous_body",
            Self::BodyOverCap => "body_over_cap",
            Self::CredentialMissing => "credential_missing",
            Self::TokenUnknown => "token_unknown",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::GrantUnavailable => "grant_unavailable",
            Self::RuleRefused => "rule_refused",
            Self::OperationUnlisted => "operation_unlisted",
            Self::ScopeMissing => "scope_missing",
            Self::BatchMemberDenied => "batch_member_denied",
            Self::BatchTooLong => "batch_too_long",
            Self::NoScopeNeeded => "no_scope_needed",
            Self::Permitted => "permitted",
            Self::RedirectRefused => "redirect_refused",
            Self::AuditUnavailable => "audit_unavailable",
            Self::Overloaded => "overloaded",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamInvalid => "upstream_invalid",
            Self::Internal => "internal",
        }
    }

    /// What the caller or the operator can do about it, in one sentence; empty where nothing is wrong.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::AmbiguousFraming => {
                "send one Content-Length or one `Transfer-Encoding: chunked`, and one Host"
            }
            Self::UpgradeRefused => {
                "call the method over plain HTTP requests; tunnels are not forwarded"
            }
            Self::HostUnknown => "use a host name listed in the gate's `hosts`",
            Self::AmbiguousCredential => "send exactly one credential, in one place",
            Self::AmbiguousOperation => {
                "write the method in the vendor's documented URL form, once"
            }
            Self::AmbiguousBody => {
                "send a JSON object or an urlencoded form with its exact media type, by POST"
            }
            Self::BodyOverCap => "send a smaller body or raise `limits.inspected_body_mib`",
            Self::CredentialMissing => "send the access token or use the webhook URL",
            Self::TokenUnknown => "declare the token's grant, or set `unknown_token` for this gate",
            Self::TokenExpired => "refresh the token",
            Self::TokenRevoked => "authorise the app again",
            Self::GrantUnavailable => "retry; the vendor could not be asked for the token's scopes",
            Self::RuleRefused => {
                "see the gate's rules; the first that matches the operation decides"
            }
            Self::OperationUnlisted => {
                "check its name: `grantgate catalogue VENDOR` lists those that are known"
            }
            Self::ScopeMissing => "add the missing scope to the app and authorise it again",
            Self::BatchMemberDenied => "see the refused members",
            Self::BatchTooLong => "send at most 50 commands in a batch",
            Self::RedirectRefused => "point `upstream` at the host that the vendor redirects to",
            Self::AuditUnavailable => "free space on the journal's disk, see `/readyz`",
            Self::Overloaded => "retry later or raise the limit that `/metrics` shows as reached",
            Self::UpstreamUnreachable => "check `upstream`, name resolution and the network",
            Self::UpstreamTimeout => "retry; see `limits.first_byte_secs`",
            Self::UpstreamInvalid => {
                "the upstream answered with something that is not HTTP; check `upstream`"
            }
            Self::Internal => "report this as a fault of Grantgate",
            Self::NoScopeNeeded | Self::Permitted => "",
        }
    }

    /// True where the call could not be decided, as opposed to being decided against.
    pub const fn is_failure_to_decide(self) -> bool {
        matches!(
            self,
            Self::GrantUnavailable
                | Self::BodyOverCap
                | Self::Overloaded
                | Self::AuditUnavailable
                | Self::Internal
        )
    }

    /// The reason with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}
