//! The table of learned grants: concurrent, bounded, in memory.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::one::Ref;
use rustc_hash::FxBuildHasher;

use crate::model::{Grant, Holding, Standing, TokenId};

/// Into how many parts the table is divided: each is locked for itself, and a sweep holds up one at a time.
const PARTS: usize = 64;

/// Grants by token id, which is a keyed digest: nobody without the key can make two collide.
#[derive(Debug)]
pub(super) struct Table {
    grants: DashMap<TokenId, Grant, FxBuildHasher>,
    /// Equal sets of scopes, and equal tenants, are kept once: that is most of what a grant weighs.
    sets: Mutex<HashSet<Arc<Holding>>>,
    tenants: Mutex<HashSet<Arc<str>>>,
}

/// A grant that is borrowed from the table: while it lives, that part of the table can be read but not changed.
pub(super) type Lent<'t> = Ref<'t, TokenId, Grant>;

impl Table {
    pub(super) fn new() -> Self {
        Self {
            grants: DashMap::with_capacity_and_hasher_and_shard_amount(0, FxBuildHasher, PARTS),
            sets: Mutex::default(),
            tenants: Mutex::default(),
        }
    }

    pub(super) fn get(&self, token: TokenId) -> Option<Lent<'_>> {
        self.grants.get(&token)
    }

    pub(super) fn insert(&self, token: TokenId, grant: Grant) {
        self.grants.insert(token, grant);
    }

    /// Takes what the vendor said of a token, unless it was revoked meanwhile: the answer may be older. False then.
    pub(super) fn insert_unless_revoked(&self, token: TokenId, grant: Grant) -> bool {
        let mut known = self.grants.entry(token).or_insert_with(|| grant.clone());
        if known.standing == Standing::Revoked {
            return false;
        }
        *known = grant;
        true
    }

    /// Takes a grant from the disk, unless something newer is known of the token.
    pub(super) fn insert_older(&self, token: TokenId, grant: Grant) {
        self.grants.entry(token).or_insert(grant);
    }

    pub(super) fn remove(&self, token: TokenId) -> bool {
        self.grants.remove(&token).is_some()
    }

    /// Ends a token, which is remembered until `until`; `none` is what is kept where nothing is known of it.
    pub(super) fn end(&self, token: TokenId, standing: Standing, until: u32, none: Grant) {
        let mut grant = self.grants.entry(token).or_insert(none);
        // What is revoked has not only expired.
        if grant.standing != Standing::Revoked {
            grant.standing = standing;
        }
        grant.expires = grant.expires.min(until);
    }

    pub(super) fn len(&self) -> usize {
        self.grants.len()
    }

    /// The one set that is equal to this one.
    pub(super) fn shared(&self, scopes: Holding) -> Arc<Holding> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sets.get(&scopes) {
            return Arc::clone(known);
        }
        let scopes = Arc::new(scopes);
        sets.insert(Arc::clone(&scopes));
        scopes
    }

    /// The one text that is equal to this one.
    pub(super) fn shared_text(&self, text: &str) -> Arc<str> {
        let mut known = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        known.insert(Arc::clone(&text));
        text
    }

    /// Removes what ended before `ended`, in seconds since 1970, and sets that nobody holds any more.
    pub(super) fn sweep(&self, ended: u32) {
        self.grants.retain(|_, grant| grant.expires >= ended);
        let held = |count: usize| count > 1;
        self.sets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|set| held(Arc::strong_count(set)));
        self.tenants
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|text| held(Arc::strong_count(text)));
    }

    /// Makes room: of more than `most` grants those go that have ended, then those that expire soonest, and one in sixteen more, so that this is not
    /// done for each new one. Returns how many went.
    pub(super) fn evict(&self, most: usize) -> usize {
        let count = self.len();
        if count <= most {
            return 0;
        }
        let go = (count - most + most / 16).min(count);
        let worth = |grant: &Grant| match grant.standing {
            Standing::Valid => grant.expires,
            Standing::Expired | Standing::Revoked => 0,
        };
        let mut ends: Vec<u32> = self.grants.iter().map(|grant| worth(&grant)).collect();
        let last = go.saturating_sub(1).min(ends.len().saturating_sub(1));
        if ends.is_empty() {
            return 0;
        }
        let (_, until, _) = ends.select_nth_unstable(last);
        let until = *until;
        // Among those that end together, any may go: no more than there should.
        let mut left = go;
        self.grants.retain(|_, grant| {
            let goes = worth(grant) <= until && left > 0;
            left -= usize::from(goes);
            !goes
        });
        go - left
    }

    /// What each grant holds, anew: the catalogue has changed.
    pub(super) fn rebase(&self, held: impl Fn(&Holding) -> Holding) {
        let old: Vec<Arc<Holding>> = {
            let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
            sets.iter().cloned().collect()
        };
        let changed: Vec<(Arc<Holding>, Arc<Holding>)> = old
            .into_iter()
            .map(|set| (held(&set), set))
            .filter(|(new, old)| *new != **old)
            .map(|(new, old)| (old, self.shared(new)))
            .collect();
        if changed.is_empty() {
            return;
        }
        for mut grant in self.grants.iter_mut() {
            if let Some((_, new)) = changed.iter().find(|(old, _)| *old == grant.scopes) {
                grant.scopes = Arc::clone(new);
            }
        }
    }

    /// Looks at every grant, part by part.
    pub(super) fn each(&self, mut look: impl FnMut(TokenId, &Grant)) {
        for grant in &self.grants {
            look(*grant.key(), grant.value());
        }
    }
}
