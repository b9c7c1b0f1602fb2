//! What one token may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use super::Holding;

/// What one token may do. Grants with the same scopes share one set: there may be a million of them.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The scopes that the token holds.
    pub scopes: Arc<Holding>,
    /// Whose token it is, where known.
    pub subject: Option<Box<Subject>>,
    /// When the grant became known, in seconds since 1970.
    pub obtained: u32,
    /// When the token expires, in seconds since 1970; [`Grant::NEVER`] where it does not or nobody said.
    pub expires: u32,
    /// When it was last looked at.
    pub used: LastUse,
    /// How the grant is known.
    pub source: GrantSource,
    /// Whether it still holds.
    pub standing: Standing,
}

impl Grant {
    /// The value of [`Grant::expires`] for a token without a known end.
    pub const NEVER: u32 = u32::MAX;

    /// A declared grant of these scopes, without a user and an end.
    pub fn declared(scopes: impl Into<Holding>) -> Self {
        Self {
            scopes: Arc::new(scopes.into()),
            subject: None,
            obtained: 0,
            expires: Self::NEVER,
            used: LastUse::default(),
            source: GrantSource::Config,
            standing: Standing::Valid,
        }
    }

    /// True if the token's time is over at `now` (seconds since 1970).
    pub const fn has_expired(&self, now: u32) -> bool {
        self.expires != Self::NEVER && self.expires <= now
    }
}

/// Whether a token still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Until it expires.
    Valid,
    /// The vendor says that it has expired.
    Expired,
    /// It was revoked, or another took its place.
    Revoked,
}

impl Standing {
    /// The word in the database and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// When a grant was last looked at, in seconds since 1970, to the minute; 0 if not yet. Shared by all cores.
#[derive(Debug, Default)]
pub struct LastUse(AtomicU32);

impl LastUse {
    /// A use that was noted before.
    pub const fn at(secs: u32) -> Self {
        Self(AtomicU32::new(secs))
    }

    /// Notes a use. Most uses change nothing, so that cores do not take the memory from each other.
    pub fn note(&self, now: u32) {
        if self.0.load(Ordering::Relaxed).wrapping_add(60) <= now {
            self.0.store(now, Ordering::Relaxed);
        }
    }

    /// When it was.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clone for LastUse {
    fn clone(&self) -> Self {
        Self::at(self.get())
    }
}

/// Whose token it is, in the vendor's own ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// The user behind the token.
    pub user: Option<Box<str>>,
    /// The portal, account or organization that the user belongs to.
    pub tenant: Option<Arc<str>>,
}

impl Subject {
    /// A subject, unless nothing is known of it.
    pub fn of(user: Option<Box<str>>, tenant: Option<Arc<str>>) -> Option<Box<Self>> {
        (user.is_some() || tenant.is_some()).then(|| Box::new(Self { user, tenant }))
    }
}

/// How a grant is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GrantSource {
    /// Declared in the configuration.
    Config,
    /// Every token of the gate is taken to hold the app's scopes (`unknown_token = "assume"`).
    Assumed,
    /// Read from an answer of the token endpoint that passed through the gate.
    Capture,
    /// The vendor was asked.
    VendorInfo,
    /// An authorization server was asked (RFC 7662).
    Introspection,
}

impl GrantSource {
    /// Every source.
    pub const ALL: [Self; 5] = [
        Self::Config,
        Self::Assumed,
        Self::Capture,
        Self::VendorInfo,
        Self::Introspection,
    ];

    /// The source with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == word)
    }
}

impl GrantSource {
    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Assumed => "assumed",
            Self::Capture => "capture",
            Self::VendorInfo => "vendor-info",
            Self::Introspection => "introspection",
        }
    }
}

/// What is known of a call's token at the moment of the decision.
#[derive(Debug, Clone, Copy)]
pub enum GrantView<'g> {
    /// The call carries no credential, or none that could be told.
    None,
    /// A grant, perhaps past its end: the decision compares with the time it is given.
    Known(&'g Grant),
    /// No grant is known.
    Unknown,
    /// Known to have expired.
    Expired,
    /// Known to have been revoked.
    Revoked,
    /// The vendor could not be asked.
    Unavailable,
}
