//! What one token may do.

use std::sync::Arc;

use super::Holding;

/// What one token may do. Grants with the same scopes share one set: there may be a million of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The scopes that the token holds.
    pub scopes: Arc<Holding>,
    /// The vendor's user behind the token, where known.
    pub user: Option<Box<str>>,
    /// When the grant became known, in seconds since 1970.
    pub obtained: u32,
    /// When the token expires, in seconds since 1970; [`Grant::NEVER`] where it does not or nobody said.
    pub expires: u32,
    /// How the grant is known.
    pub source: GrantSource,
}

impl Grant {
    /// The value of [`Grant::expires`] for a token without a known end.
    pub const NEVER: u32 = u32::MAX;

    /// A declared grant of these scopes, without a user and an end.
    pub fn declared(scopes: impl Into<Holding>) -> Self {
        Self {
            scopes: Arc::new(scopes.into()),
            user: None,
            obtained: 0,
            expires: Self::NEVER,
            source: GrantSource::Config,
        }
    }

    /// True if the token's time is over at `now` (seconds since 1970).
    pub const fn has_expired(&self, now: u32) -> bool {
        self.expires != Self::NEVER && self.expires <= now
    }
}

/// How a grant is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantSource {
    /// Declared in the configuration.
    Config,
    /// Every token of the gate is taken to hold the app's scopes (`unknown_token = "assume"`).
    Assumed,
}

impl GrantSource {
    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Assumed => "assumed",
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
