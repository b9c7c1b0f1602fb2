//! A call: one HTTP request as the vendor would read it.

use super::{Batch, CredentialRead, Member, Operation, Reason, Requirement};

/// One HTTP request as the vendor would read it: a credential and one or more operations.
///
/// `'r` is the request that was read, `'c` the catalogue it was read with.
#[derive(Debug)]
pub struct Call<'r, 'c> {
    /// Which credential the vendor would use.
    pub credential: CredentialRead<'r>,
    /// The operation in the target; for a batch, the batch itself.
    pub operation: Asked<'c>,
    /// What a batch holds; `None` for a single call.
    pub batch: Option<Box<Batch<'c>>>,
    /// True for a call that the vendor itself signed: it may come without a credential.
    pub signed: bool,
    /// Hosts outside to which the call makes the vendor send data, past the gate.
    pub handlers: Vec<Box<str>>,
    /// The shape in which the app expects an answer.
    pub answer: AnswerShape,
    /// Why the request cannot be read in one way only; `None` for a request that can.
    pub fault: Option<Fault>,
    /// How much of the body was looked at.
    pub inspected: Inspected,
}

impl<'c> Call<'_, 'c> {
    /// The members of a batch, in the order in which the vendor would run them; empty for a single call.
    pub fn members(&self) -> &[Member<'c>] {
        self.batch.as_ref().map_or(&[], |batch| &batch.members)
    }
}

/// The shape in which a vendor answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AnswerShape {
    /// The vendor's usual one.
    #[default]
    Usual,
    /// XML, where the request asks for it.
    Xml,
}

/// An operation as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked<'c> {
    /// An operation that the catalogue has.
    Listed(&'c Operation),
    /// An operation that the catalogue has, whose need hangs on a parameter.
    Chosen {
        /// The operation.
        operation: &'c Operation,
        /// What it needs as it was called; `None` where the parameter is missing, or names nothing that is known.
        need: Option<&'c Requirement>,
    },
    /// A name that fits the dialect's grammar and stands in no line of the catalogue.
    Unlisted {
        /// The version whose door was used.
        version: ApiVersion,
        /// The name, at most [`OPERATION_NAME_CAP`] bytes.
        name: Box<str>,
        /// What the vendor's own rule for names would ask for.
        assumed: Option<&'c Requirement>,
    },
    /// A form of call that the dialect recognises and never opens.
    Closed {
        /// The version whose door was used.
        version: ApiVersion,
        /// The name, at most [`OPERATION_NAME_CAP`] bytes.
        name: Box<str>,
        /// Why, in words without any byte of the request.
        why: &'static str,
    },
    /// Traffic of the token endpoint: it goes to the authorization server and is not asked for scopes.
    TokenTraffic(&'static str),
    /// A CORS preflight (Fetch standard, section 3.2.2): asks the vendor's permission, carries no credential.
    Preflight,
    /// No operation could be read from the target.
    Unparsed,
}

impl<'c> Asked<'c> {
    /// The name that records and metrics show: the catalogue's spelling, or what the grammar read, or `unparsed`.
    pub fn name(&self) -> &str {
        match self {
            Self::Listed(operation) | Self::Chosen { operation, .. } => &operation.name,
            Self::Unlisted { name, .. } | Self::Closed { name, .. } => name,
            Self::TokenTraffic(name) => name,
            Self::Preflight => "preflight",
            Self::Unparsed => "unparsed",
        }
    }

    /// The version of the vendor's API that the request addresses.
    pub fn version(&self) -> ApiVersion {
        match self {
            Self::Listed(operation) | Self::Chosen { operation, .. } => operation.version,
            Self::Unlisted { version, .. } | Self::Closed { version, .. } => *version,
            Self::TokenTraffic(_) | Self::Preflight | Self::Unparsed => ApiVersion::V2,
        }
    }

    /// The catalogue's line, where there is one.
    pub fn operation(&self) -> Option<&'c Operation> {
        match self {
            Self::Listed(operation) | Self::Chosen { operation, .. } => Some(operation),
            Self::Unlisted { .. }
            | Self::Closed { .. }
            | Self::TokenTraffic(_)
            | Self::Preflight
            | Self::Unparsed => None,
        }
    }

    /// What the operation needs as it was called; `None` where that is not known. The need of an unlisted operation is
    /// assumed.
    pub fn need(&self) -> Option<&'c Requirement> {
        match self {
            Self::Listed(operation) => Some(&operation.requirement),
            Self::Chosen { need, .. } | Self::Unlisted { assumed: need, .. } => *need,
            Self::Closed { .. } | Self::TokenTraffic(_) | Self::Preflight | Self::Unparsed => None,
        }
    }
}

/// A version of a vendor's API; each vendor uses the variants it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ApiVersion {
    /// Bitrix24's REST under `/rest/`.
    V2,
    /// Bitrix24's REST 3.0 under `/rest/api/`.
    V3,
}

impl ApiVersion {
    /// The word in catalogue files and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }
}

/// Why a request cannot be judged as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// One of the `ambiguous_…` reasons, `host_unknown`, `upgrade_refused`, `body_over_cap`, or `operation_unlisted`
    /// for a verb that the vendor does not offer.
    pub reason: Reason,
    /// What exactly, in words without any byte of the request.
    pub detail: &'static str,
}

/// How much of the body was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inspected {
    /// Nothing: there is none, or it does not decide.
    None,
    /// All of it.
    Full,
    /// It is larger than the cap.
    OverCap,
    /// It could not be read in one way only.
    Unparseable,
}

impl Inspected {
    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Full => "full",
            Self::OverCap => "over_cap",
            Self::Unparseable => "unparseable",
        }
    }
}

/// The longest operation name that is kept, in bytes.
pub const OPERATION_NAME_CAP: usize = 96;

/// A name cut to [`OPERATION_NAME_CAP`]; the dialects' grammars allow ASCII only, so a cut never splits a character.
pub fn cap_name(name: &str) -> Box<str> {
    name.chars().take(OPERATION_NAME_CAP).collect()
}
