//! What is known of tokens, for people and machines: by token id, never by token.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Grants, Learned};
use crate::clock::Timestamp;
use crate::model::{Grant, Standing, TokenId};
use crate::store::{GrantRow, ScopeUse, StoreError};

/// The grants of one gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateReport {
    /// The gate's name.
    pub gate: String,
    /// The grants, the last used first.
    pub grants: Vec<GrantReport>,
    /// How many more there are.
    pub more: usize,
    /// The scopes that these tokens hold, and whether they were ever needed.
    pub scopes: Vec<ScopeReport>,
}

/// One grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantReport {
    /// The gate that knows it.
    pub gate: String,
    /// The token's id, as in records.
    #[serde(rename = "ref")]
    pub token: String,
    /// `valid`, `expired` or `revoked`.
    pub standing: String,
    /// How it is known.
    pub source: String,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// The vendor's user behind it.
    pub user: Option<String>,
    /// The user's portal, account or organization.
    pub tenant: Option<String>,
    /// When it was learned, in seconds since 1970.
    pub obtained: u32,
    /// When it expires, in seconds since 1970; `None` if nobody said.
    pub expires: Option<u32>,
    /// When it was last used, to the minute, in seconds since 1970; `None` if not yet.
    pub used: Option<u32>,
}

/// A scope that tokens hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeReport {
    /// The scope.
    pub scope: String,
    /// How many valid grants hold it.
    pub grants: usize,
    /// Calls that it has opened, since the state directory was made.
    pub uses: u64,
    /// When the last was counted, in seconds since 1970.
    pub last: Option<u32>,
}

impl GrantReport {
    /// A learned grant as it stands at `now`, in seconds since 1970.
    pub fn of(gate: &str, row: GrantRow, now: u32) -> Self {
        let over = row.expires != Grant::NEVER && row.expires <= now;
        let standing = match row.standing {
            Standing::Valid if over => Standing::Expired,
            standing => standing,
        };
        Self {
            gate: gate.to_owned(),
            token: row.token.to_string(),
            standing: standing.as_str().to_owned(),
            source: row.source,
            scopes: row.scopes,
            user: row.user,
            tenant: row.tenant,
            obtained: row.obtained,
            expires: Some(row.expires).filter(|expires| *expires != Grant::NEVER),
            used: Some(row.used).filter(|used| *used > 0),
        }
    }

    fn declared(gate: &str, token: TokenId, grant: &Grant, now: u32) -> Self {
        Self::of(gate, GrantRow::of(token, grant), now)
    }
}

impl GateReport {
    /// Puts a report together, of at most so many grants.
    pub fn new(gate: &str, mut grants: Vec<GrantReport>, uses: Vec<ScopeUse>, most: usize) -> Self {
        let mut scopes: BTreeMap<&str, usize> = BTreeMap::new();
        for grant in grants.iter().filter(|grant| grant.standing == "valid") {
            for scope in &grant.scopes {
                *scopes.entry(scope).or_default() += 1;
            }
        }
        let mut used: BTreeMap<String, (u64, u32)> = uses
            .into_iter()
            .map(|one| (one.scope, (one.uses, one.last)))
            .collect();
        let scopes = scopes
            .into_iter()
            .map(|(scope, grants)| {
                let (uses, last) = used.remove(scope).unwrap_or_default();
                ScopeReport {
                    scope: scope.to_owned(),
                    grants,
                    uses,
                    last: Some(last).filter(|last| *last > 0),
                }
            })
            .collect();
        grants.sort_by(|one, other| (other.used, &one.token).cmp(&(one.used, &other.token)));
        let more = grants.len().saturating_sub(most);
        grants.truncate(most);
        Self {
            gate: gate.to_owned(),
            grants,
            more,
            scopes,
        }
    }

    /// The scopes that tokens hold and no call has needed.
    pub fn never_used(&self) -> impl Iterator<Item = &str> {
        self.scopes
            .iter()
            .filter(|scope| scope.uses == 0)
            .map(|scope| scope.scope.as_str())
    }
}

impl Grants {
    /// What is known of a gate's tokens: those that are declared or in memory.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub async fn report(&self, gate: &str, most: usize) -> Result<GateReport, StoreError> {
        let learned = self.learned();
        let now = learned.now();
        let wall = Timestamp::now().as_secs();
        let mut grants: Vec<GrantReport> = self
            .declared()
            .map(|(token, grant)| GrantReport::declared(gate, token, grant, wall))
            .collect();
        let (learned, name) = (Arc::clone(learned), gate.to_owned());
        if learned.gate() != gate {
            // What it shares stands with the gate that it learns with.
            return Ok(GateReport::new(&name, grants, Vec::new(), most));
        }
        let uses = learned.uses().await?;
        // There may be a million: the thread that answers has more to do.
        let report = tokio::task::spawn_blocking(move || {
            let rows = learned.rows().into_iter();
            grants.extend(rows.map(|row| GrantReport::of(&name, row, now)));
            GateReport::new(&name, grants, uses, most)
        });
        report.await.map_err(|_| StoreError::Busy)
    }

    /// What is known of one token: declared, in memory, or on disk.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub async fn report_one(
        &self,
        gate: &str,
        token: TokenId,
    ) -> Result<Vec<GrantReport>, StoreError> {
        let learned: &Learned = self.learned();
        let wall = Timestamp::now().as_secs();
        let declared = self
            .declared()
            .filter(|(known, _)| *known == token)
            .map(|(token, grant)| GrantReport::declared(gate, token, grant, wall));
        let stored = if learned.gate() == gate {
            learned.row(token).await?
        } else {
            None
        };
        Ok(declared
            .chain(stored.map(|row| GrantReport::of(gate, row, learned.now())))
            .collect())
    }
}
