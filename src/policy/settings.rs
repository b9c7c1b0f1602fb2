//! What a gate asks beside its rules.

use crate::model::Mode;

/// What a gate asks beside its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// What is done with decisions, unless a rule says otherwise.
    pub mode: Mode,
    /// What a token without a known grant gets.
    pub unknown_token: UnknownToken,
    /// What becomes of operations that the catalogue does not have.
    pub unlisted_operation: UnlistedOperation,
    /// What becomes of a batch with members that are refused.
    pub batch: BatchPolicy,
    /// What becomes of calls that the vendor signed and that carry no credential.
    pub signed_links: SignedLinks,
}

/// What a token without a known grant gets. `assume` is not among them: it makes every token known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownToken {
    /// Nothing, operations without a scope included.
    #[default]
    Refuse,
    /// Its calls are forwarded; the record says `token_unknown`.
    Forward,
}

/// What becomes of operations that the catalogue does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnlistedOperation {
    /// Refused.
    Refuse,
    /// Judged by the vendor's own rule for names; refused where that knows none.
    #[default]
    Prefix,
    /// Forwarded; the record says `operation_unlisted`.
    Forward,
}

/// What becomes of a batch with members that are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchPolicy {
    /// The permitted members go on, where the vendor's answer can be put together again.
    #[default]
    Split,
    /// It is refused whole.
    Reject,
}

/// What becomes of calls that the vendor signed and that carry no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignedLinks {
    /// Refused, as every call without a credential.
    #[default]
    Refuse,
    /// Forwarded; the record says `credential_missing`.
    Forward,
}
