//! What the catalogue knows of one vendor method.

use super::{ApiVersion, ScopeSet};

/// One vendor method as the catalogue names it. API version and name together are its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Position in the catalogue: a small number that stands for the operation in counters.
    pub index: u32,
    /// The version of the vendor's API under which this name is open.
    pub version: ApiVersion,
    /// The name in the vendor's documented spelling.
    pub name: Box<str>,
    /// What a token needs to call it.
    pub requirement: Requirement,
    /// Whether it reads or writes.
    pub access: Access,
    /// Who may call it by the vendor's documentation, beside the scope.
    pub who: Box<str>,
    /// True if the vendor says that it stops developing or supporting it.
    pub deprecated: bool,
    /// Where this line comes from.
    pub provenance: Provenance,
}

/// What an operation needs of a grant: any of several sets of scopes, each needed whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// The vendor answers it to everyone, a call without a credential included.
    Open,
    /// Every valid token may call it.
    NoScope,
    /// One of these sets, whole.
    AnyOf(Box<[ScopeSet]>),
    /// A need that hangs on the call's parameters.
    Conditional(Box<[Condition]>),
    /// Not documented: as unlisted.
    Unknown,
}

/// One alternative of a requirement that hangs on parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Scopes that are needed whatever the parameters say.
    pub scopes: ScopeSet,
    /// What must be read from the call to know the rest, as the catalogue writes it: `{moduleId}`, `{event}`, `{event?}`
    /// where it may be absent; empty where nothing must.
    pub parameter: Box<str>,
}

impl Requirement {
    /// True if whatever satisfies this is known to satisfy `other`.
    pub fn implies(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::AnyOf(sets), Self::AnyOf(others)) => sets
                .iter()
                .all(|set| others.iter().any(|other| set.covers(other))),
            (Self::AnyOf(_) | Self::NoScope, Self::Open | Self::NoScope)
            | (Self::Open, Self::Open) => true,
            _ => false,
        }
    }

    /// What asks for both: each alternative of the one with each of the other. What is not known makes the whole
    /// unknown.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::AnyOf(one), Self::AnyOf(other)) => {
                let mut sets: Vec<ScopeSet> = Vec::new();
                for set in one.iter().flat_map(|one| {
                    other
                        .iter()
                        .map(|other| one.iter().chain(other.iter()).collect::<ScopeSet>())
                }) {
                    if !sets.contains(&set) {
                        sets.push(set);
                    }
                }
                Self::AnyOf(sets.into())
            }
            (Self::Open | Self::NoScope, other) => other.clone(),
            (one, Self::Open | Self::NoScope) => one.clone(),
            (Self::Conditional(_) | Self::Unknown, _)
            | (_, Self::Conditional(_) | Self::Unknown) => Self::Unknown,
        }
    }
}

impl Condition {
    /// The parameter's name.
    pub fn name(&self) -> Option<&str> {
        let name = self.parameter.strip_prefix('{')?.strip_suffix('}')?;
        Some(name.strip_suffix('?').unwrap_or(name))
    }

    /// True if the parameter may be absent, and then asks for nothing.
    pub fn is_optional(&self) -> bool {
        self.parameter.is_empty() || self.parameter.ends_with("?}")
    }
}

/// Whether an operation reads or writes, as the vendor documents it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads only.
    Read,
    /// Creates, changes or deletes.
    Write,
    /// Not documented.
    Unknown,
}

impl Access {
    /// The word in catalogue files and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a line of the catalogue comes from and how far to trust it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The vendor's page, or a word on where else it was seen.
    pub source: Box<str>,
    /// How the requirement is known.
    pub confidence: Confidence,
    /// A conflict between sources and how it was settled; empty where they agree.
    pub note: Box<str>,
}

/// How the requirement of an operation is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confidence {
    /// The vendor's documentation says so.
    Documented,
    /// Seen in the vendor's code or behaviour.
    Observed,
    /// Inferred.
    Assumed,
}

impl Confidence {
    /// The word in catalogue files, records and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Observed => "observed",
            Self::Assumed => "assumed",
        }
    }
}
