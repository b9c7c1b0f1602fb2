//! The closed list of reasons.

/// Makes the list: of each reason its meaning, its word, and its remedy.
macro_rules! reasons {
    ($($(#[doc = $cause:literal])+ $name:ident = $word:literal, $remedy:literal;)+) => {
        /// Why a call was permitted, refused or could not be decided: one vocabulary for responses, records, metrics and
        /// docs.
        ///
        /// The order of the variants up to [`Reason::Permitted`] is the order of precedence: where several hold, the first
        /// is the call's reason.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $cause])+ $name,)+
        }

        impl Reason {
            /// Every reason, in order of precedence.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$name),+];

            /// The word that stands in records, headers, metrics and docs.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// What has led to it, in one sentence.
            pub const fn cause(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($cause),+),)+
                }
            }

            /// What the caller or the operator can do about it, in one sentence; empty where nothing is wrong.
            pub const fn remedy(self) -> &'static str {
                match self {
                    $(Self::$name => $remedy,)+
                }
            }
        }
    };
}

reasons! {
    /// The HTTP message can be framed in more than one way (RFC 9112 section 6.3).
    AmbiguousFraming = "ambiguous_framing", "send one Content-Length or one `Transfer-Encoding: chunked`, and one Host";
    /// `CONNECT` or `Upgrade`: a tunnel that nobody could look into.
    UpgradeRefused = "upgrade_refused", "call the method over plain HTTP requests; tunnels are not forwarded";
    /// The `Host` is none that this gate answers for.
    HostUnknown = "host_unknown", "use a host name listed in the gate's `hosts`";
    /// More than one credential, or one in a place where the vendor's API does not look for it, but its website may.
    AmbiguousCredential = "ambiguous_credential", "send exactly one credential, in one place";
    /// The vendor could run another operation than the one read.
    AmbiguousOperation = "ambiguous_operation", "write the method in the vendor's documented URL form, once";
    /// The vendor could read the body otherwise.
    AmbiguousBody = "ambiguous_body", "send a JSON object or an urlencoded form with its exact media type, by POST";
    /// The body is larger than what is inspected.
    BodyOverCap = "body_over_cap", "send a smaller body or raise `limits.inspected_body_mib`";
    /// No credential where one is needed.
    CredentialMissing = "credential_missing", "send the access token or use the webhook URL";
    /// The credential is not known.
    TokenUnknown = "token_unknown", "log in or refresh through the gate, declare the grant, or set `unknown_token`";
    /// The token was known and has expired.
    TokenExpired = "token_expired", "refresh the token";
    /// The token has been revoked, or the vendor says that it does not hold.
    TokenRevoked = "token_revoked", "authorise the app again";
    /// The grant could not be asked for.
    GrantUnavailable = "grant_unavailable", "retry; the vendor could not be asked for the token's scopes";
    /// A rule of the configuration refuses the operation.
    RuleRefused = "rule_refused", "see the gate's rules; the first that matches the operation decides";
    /// The catalogue has no such operation, or its requirement cannot be read from the call.
    OperationUnlisted = "operation_unlisted", "check its name: `grantgate catalogue VENDOR` lists those that are known";
    /// The grant lacks a scope that the operation needs.
    ScopeMissing = "scope_missing", "add the missing scope to the app and authorise it again";
    /// A member of the batch was refused.
    BatchMemberDenied = "batch_member_denied", "see the refused members";
    /// The batch has more members than the vendor runs.
    BatchTooLong = "batch_too_long", "send at most 50 commands in a batch";
    /// The operation needs no scope.
    NoScopeNeeded = "no_scope_needed", "";
    /// The grant holds what the operation needs.
    Permitted = "permitted", "";
    /// An upstream redirect to another authority was not passed on.
    RedirectRefused = "redirect_refused", "point `upstream` at the host that the vendor redirects to";
    /// The journal could not take the record in time.
    AuditUnavailable = "audit_unavailable", "free space on the journal's disk, see `/readyz`";
    /// A limit on load was reached.
    Overloaded = "overloaded", "retry later or raise the limit that `/metrics` shows as reached";
    /// No connection to the upstream could be made.
    UpstreamUnreachable = "upstream_unreachable", "check `upstream`, name resolution and the network";
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout", "retry; see `limits.first_byte_secs` and `limits.answer_secs`";
    /// The upstream's answer is not HTTP that can be passed on.
    UpstreamInvalid = "upstream_invalid", "the upstream answered with something that is not HTTP; check `upstream`";
    /// A fault of the gate itself.
    Internal = "internal", "a fault of Grantgate: report it with the record and the process log around it";
}

impl Reason {
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
