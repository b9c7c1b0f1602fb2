//! A call: one HTTP request as the vendor would read it.

use std::borrow::Cow;
use std::fmt;

use super::{Batch, CredentialRead, Member, Operation, Reason, Requirement, TokenRequest};

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
    /// Ids of what the call is about, where one request names several.
    pub targets: Vec<Box<str>>,
    /// In whose name the caller acts beside its token, as the request says.
    pub author: Option<Box<str>>,
    /// Which of the vendor's servers answers it.
    pub server: Server,
    /// What a request to the authorization server is about; `None` for a call of the API.
    pub token_request: Option<Box<TokenRequest<'r>>>,
    /// True if the answer is meant to lead a person elsewhere: the pages of a login.
    pub leads_away: bool,
    /// The verbs that the vendor offers for the target, where that is why the call is refused.
    pub offered: Verbs,
    /// The shape in which the app expects an answer.
    pub answer: AnswerShape,
    /// Why the request cannot be read in one way only; `None` for a request that can.
    pub fault: Option<Fault>,
    /// How much of the body was looked at.
    pub inspected: Inspected,
}

impl<'r, 'c> Call<'r, 'c> {
    /// A call of one operation of the API, of which nothing else is known.
    pub const fn new(credential: CredentialRead<'r>, operation: Asked<'c>) -> Self {
        Self {
            credential,
            operation,
            batch: None,
            signed: false,
            handlers: Vec::new(),
            targets: Vec::new(),
            author: None,
            server: Server::Resource,
            token_request: None,
            leads_away: false,
            offered: Verbs::NONE,
            answer: AnswerShape::Usual,
            fault: None,
            inspected: Inspected::None,
        }
    }
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
    /// SCIM's own (RFC 7644 section 3.12).
    Scim,
    /// That of an authorization server (RFC 6749 section 5.2), with what the vendor adds.
    OAuth,
    /// That of an authorization server's part for the vendor's own customers.
    CustomerOAuth,
    /// That of an API which is older than the usual one.
    Old,
}

/// Which of a vendor's servers answers a call, in the words of RFC 6749 section 1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Server {
    /// The API.
    #[default]
    Resource,
    /// The one that issues tokens.
    Authorization,
}

/// A set of HTTP verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verbs(u8);

impl Verbs {
    /// No verb.
    pub const NONE: Self = Self(0);

    /// The verbs that operations have.
    pub const KNOWN: [&'static str; 6] = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"];

    /// The set with one verb more; one that no operation has changes nothing.
    #[must_use]
    pub fn with(self, verb: &str) -> Self {
        let place = Self::KNOWN.iter().position(|known| *known == verb);
        Self(self.0 | place.map_or(0, |place| 1 << place))
    }

    /// True if no verb is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Verbs {
    /// As the value of `Allow` (RFC 9110 section 10.2.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for (place, verb) in Self::KNOWN.iter().enumerate() {
            if self.0 & (1 << place) != 0 {
                write!(f, "{before}{verb}")?;
                before = ", ";
            }
        }
        Ok(())
    }
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
        need: Option<Cow<'c, Requirement>>,
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
            Self::TokenTraffic(_) | Self::Preflight | Self::Unparsed => ApiVersion::Sole,
        }
    }

    /// What the catalogue says that the operation needs; `None` also where the need was put together for this call.
    pub fn catalogued_need(&self) -> Option<&'c Requirement> {
        match self {
            Self::Listed(operation) => Some(&operation.requirement),
            Self::Chosen {
                need: Some(Cow::Borrowed(need)),
                ..
            }
            | Self::Unlisted {
                assumed: Some(need),
                ..
            } => Some(need),
            _ => None,
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
    pub fn need(&self) -> Option<&Requirement> {
        match self {
            Self::Listed(operation) => Some(&operation.requirement),
            Self::Chosen { need, .. } => need.as_deref(),
            Self::Unlisted { assumed, .. } => *assumed,
            Self::Closed { .. } | Self::TokenTraffic(_) | Self::Preflight | Self::Unparsed => None,
        }
    }
}

/// A version of a vendor's API; each vendor uses the variants it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ApiVersion {
    /// The vendor's only one, or one that the operations' names say themselves.
    Sole,
    /// Bitrix24's REST under `/rest/`.
    V2,
    /// Bitrix24's REST 3.0 under `/rest/api/`.
    V3,
}

impl ApiVersion {
    /// The word in catalogue files and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sole => "-",
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }

    /// The version with this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Sole, Self::V2, Self::V3]
            .into_iter()
            .find(|version| version.as_str() == word)
    }

    /// True if a bare name is one of this version.
    pub const fn is_usual(self) -> bool {
        matches!(self, Self::Sole | Self::V2)
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
