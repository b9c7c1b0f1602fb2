//! A call: one HTTP request as the vendor would read it.

use super::{CredentialRead, Operation, Reason};

/// One HTTP request as the vendor would read it: a credential and one or more operations.
///
/// `'r` is the request that was read, `'c` the catalogue it was read with.
#[derive(Debug)]
pub struct Call<'r, 'c> {
    /// Which credential the vendor would use.
    pub credential: CredentialRead<'r>,
    /// The operation in the target; for a batch, the batch itself.
    pub operation: Asked<'c>,
    /// The members of a batch, in the order in which the vendor would run them; empty for a single call.
    pub members: Vec<Asked<'c>>,
    /// Why the request cannot be read in one way only; `None` for a request that can.
    pub fault: Option<Fault>,
    /// How much of the body was looked at.
    pub inspected: Inspected,
}

/// An operation as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked<'c> {
    /// An operation that the catalogue has.
    Listed(&'c Operation),
    /// A name that fits the dialect's grammar and stands in no line of the catalogue.
    Unlisted {
        /// The version whose door was used.
        version: ApiVersion,
        /// The name, at most [`OPERATION_NAME_CAP`] bytes.
        name: Box<str>,
    },
    /// A form of call that the dialect recognises and cannot read yet. Never forwarded in `enforce`.
    NotBuilt {
        /// The version whose door was used.
        version: ApiVersion,
        /// The name, at most [`OPERATION_NAME_CAP`] bytes.
        name: Box<str>,
        /// Which form it is.
        form: NotBuilt,
    },
    /// A CORS preflight (Fetch standard, section 3.2.2): asks the vendor's permission, carries no credential.
    Preflight,
    /// No operation could be read from the target.
    Unparsed,
}

impl Asked<'_> {
    /// The name that records and metrics show: the catalogue's spelling, or what the grammar read, or `unparsed`.
    pub fn name(&self) -> &str {
        match self {
            Self::Listed(operation) => &operation.name,
            Self::Unlisted { name, .. } | Self::NotBuilt { name, .. } => name,
            Self::Preflight => "preflight",
            Self::Unparsed => "unparsed",
        }
    }

    /// The version of the vendor's API that the request addresses.
    pub fn version(&self) -> ApiVersion {
        match self {
            Self::Listed(operation) => operation.version,
            Self::Unlisted { version, .. } | Self::NotBuilt { version, .. } => *version,
            Self::Preflight | Self::Unparsed => ApiVersion::V2,
        }
    }
}

/// Forms of call that are recognised and refused as unlisted until they can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotBuilt {
    /// Several commands in one request.
    Batch,
    /// An operation under `/rest/api/`.
    Rest3,
    /// An answer asked for as XML.
    Xml,
    /// A `multipart/form-data` body.
    Multipart,
    /// A signed `token=` call, whose scope and arguments hide in the token.
    SignedToken,
}

impl NotBuilt {
    /// What the form is, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "a batch",
            Self::Rest3 => "a REST 3.0 call",
            Self::Xml => "a call that asks for XML",
            Self::Multipart => "a multipart body",
            Self::SignedToken => "a signed `token` call",
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
