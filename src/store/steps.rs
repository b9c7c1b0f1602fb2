//! What the database is asked and told: each step is whole or not at all.

use super::database::{Database, StoreError};
use super::rows::{self, GrantRow, RefreshRow, ScopeUse};
use crate::model::{Standing, TokenId};

/// How long an ended token is remembered, in seconds: an app that slept hears that it has expired, and refreshes.
pub const REMEMBERED: u32 = 48 * 3600;

/// What somebody else has told of a gate's token.
pub type Told = (String, ToldRow);

/// What was told.
#[derive(Debug)]
pub enum ToldRow {
    /// A grant was learned.
    Grant(GrantRow),
    /// A refresh token was.
    Refresh(RefreshRow),
    /// A token does not hold any more.
    End(TokenId, Standing),
    /// It is forgotten.
    Forget(TokenId),
}

impl Database {
    /// Keeps what one token answer said, in one step: a grant, the refresh token that came with it, and what they replace.
    ///
    /// # Errors
    /// If it is not on the disk.
    pub async fn keep(
        &self,
        gate: &str,
        grant: Option<GrantRow>,
        refresh: Option<RefreshRow>,
        replaced: Vec<TokenId>,
        now: u32,
    ) -> Result<(), StoreError> {
        let gate = gate.to_owned();
        self.run(move |db| {
            let step = db.unchecked_transaction()?;
            let until = now.saturating_add(REMEMBERED);
            rows::end(&step, &gate, &replaced, Standing::Revoked, now, until)?;
            if let Some(grant) = &grant {
                rows::keep_grant(&step, &gate, grant)?;
            }
            if let Some(refresh) = &refresh {
                rows::keep_refresh(&step, &gate, refresh)?;
            }
            step.commit()
        })
        .await
    }

    /// The grant of a token.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn find(&self, gate: &str, token: TokenId) -> Result<Option<GrantRow>, StoreError> {
        let gate = gate.to_owned();
        self.run(move |db| rows::find(db, &gate, token)).await
    }

    /// What a refresh token stands for.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn find_refresh(
        &self,
        gate: &str,
        refresh: TokenId,
    ) -> Result<Option<RefreshRow>, StoreError> {
        let gate = gate.to_owned();
        self.run(move |db| rows::find_refresh(db, &gate, refresh))
            .await
    }

    /// The access tokens that live and die with an access or refresh token.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn related(&self, gate: &str, token: TokenId) -> Result<Vec<TokenId>, StoreError> {
        let gate = gate.to_owned();
        self.run(move |db| rows::related(db, &gate, token)).await
    }

    /// Ends tokens.
    ///
    /// # Errors
    /// If it is not on the disk.
    pub async fn end(
        &self,
        gate: &str,
        tokens: Vec<TokenId>,
        standing: Standing,
        now: u32,
    ) -> Result<(), StoreError> {
        let gate = gate.to_owned();
        self.run(move |db| {
            let step = db.unchecked_transaction()?;
            let until = now.saturating_add(REMEMBERED);
            rows::end(&step, &gate, &tokens, standing, now, until)?;
            step.commit()
        })
        .await
    }

    /// Removes all that is known of a token; true if it was known.
    ///
    /// # Errors
    /// If it is not on the disk.
    pub async fn remove(&self, gate: &str, token: TokenId) -> Result<bool, StoreError> {
        let gate = gate.to_owned();
        self.run(move |db| rows::remove(db, &gate, token)).await
    }

    /// A page of a gate's grants, in the order of their ids.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn page(
        &self,
        gate: &str,
        after: Option<TokenId>,
        most: u32,
    ) -> Result<Vec<GrantRow>, StoreError> {
        let gate = gate.to_owned();
        self.run(move |db| rows::page(db, &gate, after, most)).await
    }

    /// How often a gate's scopes have opened something.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn uses(&self, gate: &str) -> Result<Vec<ScopeUse>, StoreError> {
        let gate = gate.to_owned();
        self.run(move |db| rows::uses(db, &gate)).await
    }

    /// Notes when tokens were last used, and which scopes have opened something since.
    ///
    /// # Errors
    /// If it is not on the disk.
    pub async fn note_uses(
        &self,
        gate: &str,
        used: Vec<(TokenId, u32)>,
        scopes: Vec<ScopeUse>,
    ) -> Result<(), StoreError> {
        let gate = gate.to_owned();
        self.run(move |db| {
            let step = db.unchecked_transaction()?;
            rows::touch(&step, &gate, &used)?;
            rows::count_uses(&step, &gate, &scopes)?;
            step.commit()
        })
        .await
    }

    /// Keeps what others have told of a gate's tokens, in one step, and the place up to which they were heard.
    ///
    /// # Errors
    /// If it is not on the disk.
    pub async fn keep_told(
        &self,
        told: Vec<Told>,
        now: u32,
        mark: (String, String),
    ) -> Result<(), StoreError> {
        self.run(move |db| {
            let until = now.saturating_add(REMEMBERED);
            let step = db.unchecked_transaction()?;
            for (gate, what) in &told {
                match what {
                    ToldRow::Grant(row) => rows::keep_told_grant(&step, gate, row)?,
                    ToldRow::Refresh(row) => rows::keep_told_refresh(&step, gate, row)?,
                    ToldRow::End(token, standing) => {
                        rows::end(&step, gate, &[*token], *standing, now, until)?;
                    }
                    ToldRow::Forget(token) => {
                        rows::remove(&step, gate, *token)?;
                    }
                }
            }
            rows::mark(&step, &mark.0, &mark.1)?;
            step.commit()
        })
        .await
    }

    /// The place that was kept under a name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn marked(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.run(move |db| rows::marked(db, &name)).await
    }

    /// Removes what ended before `ended` and refresh tokens seen before `refreshed`, in seconds since 1970.
    ///
    /// # Errors
    /// If it is not on the disk.
    pub async fn purge(&self, ended: u32, refreshed: u32) -> Result<usize, StoreError> {
        self.run(move |db| rows::purge(db, ended, refreshed)).await
    }
}
