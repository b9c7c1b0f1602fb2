//! What is known of tokens: a concurrent map from token id to grant, one for each gate.
//!
//! Declared grants come from the configuration; `assume` makes every other token hold the app's scopes. No other
//! module names dashmap: a guard held over an `.await` would block the core, so none leaves this one.

use std::collections::HashSet;
use std::sync::Arc;

use dashmap::DashMap;
use rustc_hash::FxBuildHasher;

use crate::model::{Grant, GrantSource, GrantView, Holding, TokenId};

/// A grant as it is declared: a token, by its id, with what it may do.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The token's id.
    pub token: TokenId,
    /// Its scopes.
    pub scopes: Holding,
    /// The vendor's user behind it.
    pub user: Option<Box<str>>,
    /// When it expires, in seconds since 1970; [`Grant::NEVER`] if it does not.
    pub expires: u32,
}

/// The grants of one gate.
#[derive(Debug)]
pub struct Grants {
    /// By token id, which is a keyed digest: nobody without the key can make two collide.
    known: DashMap<TokenId, Arc<Grant>, FxBuildHasher>,
    assumed: Option<Arc<Grant>>,
}

/// What a look-up found; keeps the grant alive while a decision looks at it.
#[derive(Debug, Clone)]
pub enum Known {
    /// A grant.
    Grant(Arc<Grant>),
    /// None.
    Unknown,
}

impl Known {
    /// The view that a decision takes.
    pub fn view(&self) -> GrantView<'_> {
        match self {
            Self::Grant(grant) => GrantView::Known(grant),
            Self::Unknown => GrantView::Unknown,
        }
    }

    /// The grant, if there is one.
    pub fn grant(&self) -> Option<&Grant> {
        match self {
            Self::Grant(grant) => Some(grant),
            Self::Unknown => None,
        }
    }
}

impl Grants {
    /// Takes declared grants, and the scopes that every other token is taken to hold (`assume`). `now` is in seconds
    /// since 1970.
    ///
    /// Equal sets of scopes are kept once: that is most of what a grant weighs.
    pub fn new(
        declared: impl IntoIterator<Item = Declared>,
        assumed: Option<Holding>,
        now: u32,
    ) -> Self {
        let mut sets: HashSet<Arc<Holding>> = HashSet::new();
        let mut shared = |scopes: Holding| {
            let scopes = Arc::new(scopes);
            if let Some(known) = sets.get(&scopes) {
                Arc::clone(known)
            } else {
                sets.insert(Arc::clone(&scopes));
                scopes
            }
        };
        let known = DashMap::with_hasher(FxBuildHasher);
        for Declared {
            token,
            scopes,
            user,
            expires,
        } in declared
        {
            let scopes = shared(scopes);
            known.insert(
                token,
                Arc::new(Grant {
                    scopes,
                    user,
                    obtained: now,
                    expires,
                    source: GrantSource::Config,
                }),
            );
        }
        let assumed = assumed.map(|scopes| {
            Arc::new(Grant {
                scopes: shared(scopes),
                user: None,
                obtained: now,
                expires: Grant::NEVER,
                source: GrantSource::Assumed,
            })
        });
        Self { known, assumed }
    }

    /// What is known of a token.
    pub fn find(&self, token: TokenId) -> Known {
        let known = self.known.get(&token).map(|grant| Arc::clone(&grant));
        known
            .or_else(|| self.assumed.clone())
            .map_or(Known::Unknown, Known::Grant)
    }

    /// How many grants are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True if no grant is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}
