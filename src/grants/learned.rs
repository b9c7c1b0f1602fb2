//! What a gate has learned: in memory for the calls, on disk for the next start. It outlives the generations of the
//! configuration.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::scene::Scene;
use super::table::{Lent, Table};
use crate::clock::SteadyClock;
use crate::model::{Grant, GrantSource, Holding, LastUse, ScopeSet, Standing, Subject, TokenId};
use crate::shared::Teller;
use crate::store::{Database, GrantRow, RefreshRow, ScopeUse, StoreError};
use crate::telemetry::GateMetrics;

/// How many grants are read from the disk at once.
const PAGE: u32 = 5000;

/// The learned grants of one gate.
#[derive(Debug)]
pub struct Learned {
    pub(super) gate: String,
    pub(super) table: Table,
    pub(super) database: Option<Arc<Database>>,
    pub(super) clock: SteadyClock,
    pub(super) most: AtomicUsize,
    /// All of the disk is in memory, or was.
    pub(super) loaded: AtomicBool,
    /// Something is on disk only.
    pub(super) left_out: AtomicBool,
    /// Ends that are not on disk yet.
    pub(super) owed: Mutex<Vec<(TokenId, Standing)>>,
    /// Tokens that are taken for revoked, of which what ends with them is still looked up.
    pub(super) revoking: Mutex<Vec<TokenId>>,
    pub(super) metrics: Arc<GateMetrics>,
    /// Tells other instances.
    pub(super) teller: Option<Teller>,
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
            revoking: Mutex::default(),
            metrics,
            teller: None,
        }
    }

    /// Tells other instances from now on.
    #[must_use]
    pub fn telling(self, teller: Option<Teller>) -> Self {
        Self { teller, ..self }
    }

    /// The gate's name.
    pub fn gate(&self) -> &str {
        &self.gate
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
            let Ok(page) = database.page(&self.gate, after, PAGE).await else {
                // Until then the disk is asked token by token.
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                continue;
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

    pub(super) fn make_room(&self) {
        let most = self.most.load(Ordering::Relaxed);
        if self.table.evict(most) > 0 {
            self.left_out.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn grant_of(&self, row: &GrantRow, hold: impl Fn(&ScopeSet) -> Holding) -> Grant {
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

pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
