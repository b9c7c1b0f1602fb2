//! What a gate has learned: in memory for the calls, on disk for the next start. It outlives the generations of the
//! configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::scene::Scene;
use super::table::{Lent, Table};
use crate::clock::SteadyClock;
use crate::model::{Grant, GrantSource, Holding, LastUse, ScopeSet, Standing, Subject, TokenId};
use crate::store::{Database, GrantRow, RefreshRow, ScopeUse, StoreError};
use crate::telemetry::GateMetrics;

/// How long an ended token is remembered at least, in seconds: an app that slept hears that it has expired, and refreshes.
pub const REMEMBERED: u32 = 48 * 3600;

/// How long a refresh token is remembered, in seconds: Bitrix24's last longest, 180 days.
const REFRESHABLE: u32 = 200 * 24 * 3600;

/// How many grants are read from the disk at once.
const PAGE: u32 = 5000;

/// The learned grants of one gate.
#[derive(Debug)]
pub struct Learned {
    gate: String,
    table: Table,
    database: Option<Arc<Database>>,
    clock: SteadyClock,
    most: AtomicUsize,
    /// All of the disk is in memory, or was.
    loaded: AtomicBool,
    /// Something is on disk only.
    left_out: AtomicBool,
    metrics: Arc<GateMetrics>,
}

impl Learned {
    /// Grants of a gate that are kept in a database; without one in memory only. `most` bounds those in memory.
    pub fn new(
        gate: &str,
        database: Option<Arc<Database>>,
        most: usize,
        metrics: Arc<GateMetrics>,
    ) -> Self {
        Self {
            gate: gate.to_owned(),
            table: Table::new(),
            loaded: AtomicBool::new(database.is_none()),
            database,
            clock: SteadyClock::set(),
            most: AtomicUsize::new(most),
            left_out: AtomicBool::new(false),
            metrics,
        }
    }

    /// How many are in memory.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// True if none is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time by which tokens expire, in seconds since 1970. It does not jump.
    pub fn now(&self) -> u32 {
        self.clock.as_secs()
    }

    /// From now on so many are kept in memory.
    pub fn bound(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    pub(super) fn get(&self, token: TokenId) -> Option<Lent<'_>> {
        self.table.get(token)
    }

    /// True if the disk may know a token that memory does not.
    pub(super) fn may_be_on_disk(&self) -> bool {
        !self.loaded.load(Ordering::Relaxed) || self.left_out.load(Ordering::Relaxed)
    }

    /// Brings a grant from the disk; true if there is one.
    pub(super) async fn recall(&self, token: TokenId, scene: &Scene) -> bool {
        let (Some(database), true) = (&self.database, self.may_be_on_disk()) else {
            return false;
        };
        match database.find(&self.gate, token).await {
            Ok(Some(row)) => {
                self.remember(&row, scene);
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// Takes a grant into memory, unless something newer is known of its token.
    pub fn remember(&self, row: &GrantRow, scene: &Scene) {
        let grant = self.grant_of(row, |scopes| scene.hold(scopes));
        self.table.insert_older(row.token, grant);
    }

    /// Brings what is on disk into memory, page by page, as far as it fits.
    pub async fn load(&self, scene: &Scene) {
        let Some(database) = &self.database else {
            return;
        };
        let mut after = None;
        loop {
            let page = match database.page(&self.gate, after, PAGE).await {
                Ok(page) => page,
                Err(StoreError::Busy) => {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
                // It was put aside, or will be asked again token by token.
                Err(_) => return,
            };
            let Some(last) = page.last() else {
                break;
            };
            after = Some(last.token);
            for row in &page {
                self.remember(row, scene);
            }
            self.make_room();
            self.metrics.grants.set(count(self.len()));
        }
        self.loaded.store(true, Ordering::Relaxed);
        tracing::info!(
            gate = self.gate,
            grants = self.len(),
            "learned grants are in memory"
        );
    }

    /// What is known of a refresh token.
    pub(super) async fn refresh(&self, refresh: TokenId) -> Option<RefreshRow> {
        let database = self.database.as_ref()?;
        database.find_refresh(&self.gate, refresh).await.ok()?
    }

    /// The access tokens that live and die with a token.
    pub(super) async fn related(&self, token: TokenId) -> Vec<TokenId> {
        let found = match &self.database {
            Some(database) => database.related(&self.gate, token).await.ok(),
            None => None,
        };
        found.unwrap_or_else(|| self.table.get(token).map(|_| token).into_iter().collect())
    }

    /// Keeps what a token answer said: on disk first, then in memory. What is not on disk is known until the process ends.
    pub(super) async fn keep(
        &self,
        grant: Option<(GrantRow, Holding)>,
        refresh: Option<RefreshRow>,
        replaced: Vec<TokenId>,
    ) {
        if let Some(database) = &self.database {
            let row = grant.as_ref().map(|(row, _)| row.clone());
            let kept = database.keep(&self.gate, row, refresh, replaced.clone(), self.now());
            if let Err(error) = kept.await {
                tracing::warn!(gate = self.gate, %error, "a grant is known until the process ends only");
            }
        }
        if let Some((row, holding)) = grant {
            let grant = self.grant_of(&row, |_| holding.clone());
            self.table.insert(row.token, grant);
        }
        for token in replaced {
            self.table.end(token, Standing::Revoked);
        }
        self.make_room();
        self.metrics.grants.set(count(self.len()));
    }

    /// Ends tokens: in memory at once, then on disk.
    pub(super) async fn end(&self, tokens: Vec<TokenId>, standing: Standing) {
        for token in &tokens {
            if !self.table.end(*token, standing) {
                // Of what nothing is known the end is known now: an answer that is under way does not bring it back.
                self.table.insert_older(*token, self.ended(standing));
            }
        }
        self.make_room();
        if let Some(database) = &self.database {
            let ended = database.end(&self.gate, tokens, standing, self.now());
            if let Err(error) = ended.await {
                tracing::error!(gate = self.gate, %error, "the end of a token is known until the process ends only");
            }
        }
    }

    /// Removes all that is known of a token; true if something was.
    ///
    /// # Errors
    /// If the disk still has it.
    pub async fn forget(&self, token: TokenId) -> Result<bool, StoreError> {
        let known = self.table.remove(token);
        let stored = match &self.database {
            Some(database) => database.remove(&self.gate, token).await?,
            None => false,
        };
        self.metrics.grants.set(count(self.len()));
        Ok(known || stored)
    }

    /// Forgets what ended long ago, makes room, and writes down when grants were last used and `scopes` that were. To be
    /// done now and then.
    pub async fn sweep(&self, since: u32, scopes: Vec<ScopeUse>) {
        let now = self.now();
        self.table.sweep(now.saturating_sub(REMEMBERED));
        self.make_room();
        self.metrics.grants.set(count(self.len()));
        let Some(database) = &self.database else {
            return;
        };
        let mut used = Vec::new();
        self.table.each(|token, grant| {
            if grant.used.get() >= since {
                used.push((token, grant.used.get()));
            }
        });
        if !used.is_empty() || !scopes.is_empty() {
            // The next sweep notes what this one could not.
            let _ = database.note_uses(&self.gate, used, scopes).await;
        }
        let _ = database
            .purge(
                now.saturating_sub(REMEMBERED),
                now.saturating_sub(REFRESHABLE),
            )
            .await;
    }

    /// What each grant holds, anew, after the catalogue has changed.
    pub fn rebase(&self, scene: &Scene) {
        self.table.rebase(|held| scene.hold(held.granted()));
    }

    /// The grants in memory, as they would stand on disk.
    pub fn rows(&self) -> Vec<GrantRow> {
        let mut rows = Vec::with_capacity(self.len());
        self.table
            .each(|token, grant| rows.push(row_of(token, grant)));
        rows
    }

    /// How often the gate's scopes have opened something, as far as it is on disk.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub async fn uses(&self) -> Result<Vec<ScopeUse>, StoreError> {
        match &self.database {
            Some(database) => database.uses(&self.gate).await,
            None => Ok(Vec::new()),
        }
    }

    /// The grant of a token, in memory or on disk.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub async fn row(&self, token: TokenId) -> Result<Option<GrantRow>, StoreError> {
        let known = self.table.get(token).map(|grant| row_of(token, &grant));
        match (known, &self.database) {
            (None, Some(database)) => database.find(&self.gate, token).await,
            (known, _) => Ok(known),
        }
    }

    /// A token of which only its end is known.
    fn ended(&self, standing: Standing) -> Grant {
        let now = self.now();
        Grant {
            scopes: self.table.shared(Holding::default()),
            subject: None,
            obtained: now,
            expires: now.saturating_add(REMEMBERED),
            used: LastUse::at(now),
            source: GrantSource::Capture,
            standing,
        }
    }

    fn make_room(&self) {
        let most = self.most.load(Ordering::Relaxed);
        if self.table.evict(most) > 0 {
            self.left_out.store(true, Ordering::Relaxed);
        }
    }

    fn grant_of(&self, row: &GrantRow, hold: impl Fn(&ScopeSet) -> Holding) -> Grant {
        let scopes: ScopeSet = row.scopes.iter().map(String::as_str).collect();
        let tenant = row
            .tenant
            .as_deref()
            .map(|text| self.table.shared_text(text));
        // Learned in what is now the future: the clock has been put back since, and the token lasts no longer for it.
        let expires = match row.expires {
            Grant::NEVER => Grant::NEVER,
            expires => {
                let lasts = expires.saturating_sub(row.obtained);
                expires.min(self.now().saturating_add(lasts))
            }
        };
        Grant {
            scopes: self.table.shared(hold(&scopes)),
            subject: Subject::of(row.user.as_deref().map(Into::into), tenant),
            obtained: row.obtained,
            expires,
            used: LastUse::at(row.used),
            source: GrantSource::parse(&row.source).unwrap_or(GrantSource::Capture),
            standing: row.standing,
        }
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A grant in memory as it would stand on disk.
fn row_of(token: TokenId, grant: &Grant) -> GrantRow {
    let subject = grant.subject.as_deref();
    GrantRow {
        token,
        scopes: grant.scopes.granted().iter().map(str::to_owned).collect(),
        user: subject.and_then(|subject| subject.user.as_deref().map(str::to_owned)),
        tenant: subject.and_then(|subject| subject.tenant.as_deref().map(str::to_owned)),
        session: None,
        source: grant.source.as_str().to_owned(),
        obtained: grant.obtained,
        expires: grant.expires,
        used: grant.used.get(),
        standing: grant.standing,
    }
}
