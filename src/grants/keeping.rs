//! How learned grants change: kept, ended, forgotten, told to other instances and heard from them.

use std::sync::PoisonError;

use super::learned::{Learned, count};
use super::scene::Scene;
use crate::model::{Grant, GrantSource, Holding, LastUse, Standing, TokenId};
use crate::shared::What;
use crate::store::{GrantRow, REMEMBERED, RefreshRow, ScopeUse, StoreError};

/// How many ends may wait for the disk.
const OWED: usize = 65_536;

/// How long a refresh token is remembered, in seconds: Bitrix24's last longest, 180 days.
const REFRESHABLE: u32 = 200 * 24 * 3600;

impl Learned {
    fn tell(&self, what: What) {
        if let Some(teller) = &self.teller {
            teller.tell(&self.gate, what);
        }
    }

    /// Tells the others which tokens have ended: whoever told it before may have been cut short.
    pub fn tell_ends(&self) {
        self.table.each(|token, grant| {
            if grant.standing == Standing::Revoked {
                self.tell(What::End(token, grant.standing));
            }
        });
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
        self.owed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(owed, _)| *owed != token);
        self.tell(What::Forget(token));
        let stored = match &self.database {
            Some(database) => database.remove(&self.gate, token).await?,
            None => false,
        };
        self.metrics.grants.set(count(self.len()));
        Ok(known || stored)
    }

    /// Writes down the ends that are not on disk yet.
    pub async fn write_owed(&self) {
        let Some(database) = &self.database else {
            return;
        };
        let owed = std::mem::take(&mut *self.owed.lock().unwrap_or_else(PoisonError::into_inner));
        for standing in [Standing::Expired, Standing::Revoked] {
            let tokens = owed.iter().filter(|(_, owed)| *owed == standing);
            let tokens: Vec<TokenId> = tokens.map(|(token, _)| *token).collect();
            if !tokens.is_empty()
                && database
                    .end(&self.gate, tokens.clone(), standing, self.now())
                    .await
                    .is_err()
            {
                self.owe(&tokens, standing);
            }
        }
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
        self.write_owed().await;
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
}
