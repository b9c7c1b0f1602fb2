//! What is known of tokens: a concurrent map from token id to grant, one for each gate.
//!
//! Declared grants come from the configuration; `assume` makes every other token hold the app's scopes. No other
//! module names dashmap. A grant lies within its table's bucket, so that a look-up among a million misses the cache
//! once; [`Known`] borrows it there, and must not be held over an `.await`, which clippy keeps.

use std::collections::HashSet;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::one::Ref;
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
    known: DashMap<TokenId, Grant, FxBuildHasher>,
    assumed: Option<Grant>,
}

/// What a look-up found. While it lives, that part of the table can be read but not changed.
#[derive(Debug)]
pub struct Known<'g>(Found<'g>);

#[derive(Debug)]
enum Found<'g> {
    Stored(Ref<'g, TokenId, Grant>),
    Assumed(&'g Grant),
    Nothing,
}

impl Known<'_> {
    /// The view that a decision takes.
    pub fn view(&self) -> GrantView<'_> {
        self.grant().map_or(GrantView::Unknown, GrantView::Known)
    }

    /// The grant, if there is one.
    pub fn grant(&self) -> Option<&Grant> {
        match &self.0 {
            Found::Stored(grant) => Some(grant),
            Found::Assumed(grant) => Some(grant),
            Found::Nothing => None,
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
        let declared = declared.into_iter();
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
        let known = DashMap::with_capacity_and_hasher(declared.size_hint().0, FxBuildHasher);
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
                Grant {
                    scopes,
                    user,
                    obtained: now,
                    expires,
                    source: GrantSource::Config,
                },
            );
        }
        let assumed = assumed.map(|scopes| Grant {
            scopes: shared(scopes),
            user: None,
            obtained: now,
            expires: Grant::NEVER,
            source: GrantSource::Assumed,
        });
        Self { known, assumed }
    }

    /// What is known of a token.
    pub fn find(&self, token: TokenId) -> Known<'_> {
        Known(match (self.known.get(&token), &self.assumed) {
            (Some(grant), _) => Found::Stored(grant),
            (None, Some(grant)) => Found::Assumed(grant),
            (None, None) => Found::Nothing,
        })
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
