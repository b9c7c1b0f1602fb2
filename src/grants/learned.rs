//! What a gate has learned: in memory for the calls, on disk for the next start. It outlives the generations of the
//! configuration.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::scene::Scene;
use super::table::{Lent, Table};
use crate::clock::SteadyClock;
use crate::model::{Grant, GrantSource, Holding, LastUse, ScopeSet, Standing, Subject, TokenId};
use crate::shared::{Teller, What};
use crate::store::{Database, GrantRow, REMEMBERED, RefreshRow, ScopeUse, StoreError};
use crate::telemetry::GateMetrics;

/// How long a refresh token is remembered, in seconds: Bitrix24's last longest, 180 days.
const REFRESHABLE: u32 = 200 * 24 * 3600;

/// How many ends may wait for the disk.
const OWED: usize = 65_536;

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
    /// Ends that are not on disk yet.
    owed: Mutex<Vec<(TokenId, Standing)>>,
    metrics: Arc<GateMetrics>,
    /// Tells other instances.
    teller: Option<Teller>,
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
            owed: Mutex::default(),
            metrics,
            teller: None,
        }
    }

    /// Tells other instances from now on.
    #[must_use]
    pub fn telling(self, teller: Option<Teller>) -> Self {
        Self { teller, ..self }
    }

    fn tell(&self, what: What) {
        if let Some(teller) = &self.teller {
            teller.tell(&self.gate, what);
        }
    }

    /// The gate's name.
    pub fn gate(&self) -> &str {
        &self.gate
    }

    /// Takes what another instance has told: true if it is news. It is for the caller to keep on disk.
    pub fn hear(&self, what: &What, scene: &Scene) -> bool {
        match what {
            What::Grant(row) => {
                let grant = self.grant_of(row, |scopes| scene.hold(scopes));
                let older = self
                    .table
                    .get(row.token)
                    .is_some_and(|known| known.obtained > row.obtained);
                let news = !older && self.table.insert_unless_revoked(row.token, grant);
                self.make_room();
                news
            }
            What::End(token, standing) => {
                self.end_here(&[*token], *standing);
                true
            }
            What::Forget(token) => {
                self.table.remove(*token);
                true
            }
            What::Refresh(_) => true,
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

    /// As [`Learned::now`], at a moment that is known already.
    pub fn at(&self, moment: Instant) -> u32 {
        self.clock.secs_at(moment)
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
    ///
    /// # Errors
    /// If the disk cannot be read: it may have one.
    pub(super) async fn recall(&self, token: TokenId, scene: &Scene) -> Result<bool, StoreError> {
        let (Some(database), true) = (&self.database, self.may_be_on_disk()) else {
            return Ok(false);
        };
        let found = database.find(&self.gate, token).await?;
        if let Some(row) = &found {
            self.remember(row, scene);
        }
        Ok(found.is_some())
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
        // What is less from now on is so at once.
        self.end_here(&replaced, Standing::Revoked);
        for token in &replaced {
            self.tell(What::End(*token, Standing::Revoked));
        }
        if let Some((row, _)) = &grant {
            self.tell(What::Grant(row.clone()));
        }
        if let Some(row) = &refresh {
            self.tell(What::Refresh(row.clone()));
        }
        if let Some(database) = &self.database {
            let row = grant.as_ref().map(|(row, _)| row.clone());
            let kept = database.keep(&self.gate, row, refresh, replaced.clone(), self.now());
            if let Err(error) = kept.await {
                tracing::warn!(gate = self.gate, %error, "a grant is known until the process ends only");
                self.owe(&replaced, Standing::Revoked);
            }
        }
        if let Some((row, holding)) = grant {
            let grant = self.grant_of(&row, |_| holding.clone());
            self.table.insert(row.token, grant);
        }
        self.make_room();
        self.metrics.grants.set(count(self.len()));
    }

    /// Keeps what the vendor said of a token that it was asked about; false if the token was revoked meanwhile.
    pub(super) async fn keep_finding(&self, row: GrantRow, holding: Holding) -> bool {
        let grant = self.grant_of(&row, |_| holding.clone());
        let token = row.token;
        if !self.table.insert_unless_revoked(token, grant) {
            return false;
        }
        self.make_room();
        self.metrics.grants.set(count(self.len()));
        self.tell(What::Grant(row.clone()));
        if let Some(database) = &self.database {
            let kept = database.keep(&self.gate, Some(row), None, Vec::new(), self.now());
            if let Err(error) = kept.await {
                tracing::warn!(gate = self.gate, %error, "a grant is known until the process ends only");
            }
            // It was revoked while it was written: what is on disk is too late.
            let standing = self.table.get(token).map(|grant| grant.standing);
            if standing == Some(Standing::Revoked) {
                self.end(vec![token], Standing::Revoked).await;
                return false;
            }
        }
        true
    }

    /// Ends tokens in memory. Of what nothing is known the end is known now: an answer that is under way does not bring it
    /// back.
    pub(super) fn end_here(&self, tokens: &[TokenId], standing: Standing) {
        let until = self.now().saturating_add(REMEMBERED);
        for token in tokens {
            self.table
                .end(*token, standing, until, self.ended(standing));
        }
        self.make_room();
    }

    /// Keeps in mind ends that are not on disk yet.
    fn owe(&self, tokens: &[TokenId], standing: Standing) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded: what does not fit is known until the process ends.
        if owed.len() < OWED {
            owed.extend(tokens.iter().map(|token| (*token, standing)));
        }
    }

    /// Ends tokens: in memory at once, then on disk.
    pub(super) async fn end(&self, tokens: Vec<TokenId>, standing: Standing) {
        self.end_here(&tokens, standing);
        for token in &tokens {
            self.tell(What::End(*token, standing));
        }
        if let Some(database) = &self.database {
            let ended = database.end(&self.gate, tokens.clone(), standing, self.now());
            if let Err(error) = ended.await {
                tracing::error!(gate = self.gate, %error, "the end of a token is not on disk yet; it is tried again");
                self.owe(&tokens, standing);
            }
        }
    }

    /// Removes all that is known of a token; true if something was.
    ///
    /// # Errors
    /// If the disk still has it.
    pub async fn forget(&self, token: TokenId) -> Result<bool, StoreError> {
        let known = self.table.remove(token);
        self.tell(What::Forget(token));
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
        let owed = std::mem::take(&mut *self.owed.lock().unwrap_or_else(PoisonError::into_inner));
        for standing in [Standing::Expired, Standing::Revoked] {
            let tokens = owed.iter().filter(|(_, owed)| *owed == standing);
            let tokens: Vec<TokenId> = tokens.map(|(token, _)| *token).collect();
            if !tokens.is_empty() {
                self.end(tokens, standing).await;
            }
        }
        if !used.is_empty() || !scopes.is_empty() {
            // The next sweep notes what this one could not.
            let _ = database.note_uses(&self.gate, used, scopes).await;
        }
    }

    /// Removes from the disk what ended long ago, of all gates.
    pub async fn purge(&self) {
        let now = self.now();
        if let Some(database) = &self.database {
            let ended = now.saturating_sub(REMEMBERED);
            // The next time does what this one could not.
            let _ = database.purge(ended, now.saturating_sub(REFRESHABLE)).await;
        }
    }

    /// What each grant holds, anew, after the catalogue has changed.
    pub fn rebase(&self, scene: &Scene) {
        self.table.rebase(|held| scene.hold(held.granted()));
    }

    /// The grants in memory, as they would stand on disk.
    pub fn rows(&self) -> Vec<GrantRow> {
        let mut rows = Vec::with_capacity(self.len());
        self.table
            .each(|token, grant| rows.push(GrantRow::of(token, grant)));
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
        let known = self
            .table
            .get(token)
            .map(|grant| GrantRow::of(token, &grant));
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
