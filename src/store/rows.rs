//! What is kept of grants: token ids and facts, nothing that could be used as a token.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use crate::model::{Grant, Standing, TokenId};

/// The version of the tables; a database of a later one is not touched.
pub(super) const VERSION: i64 = 1;

/// The tables.
pub(super) const TABLES: &str = "
CREATE TABLE grants (
    gate TEXT NOT NULL, token BLOB NOT NULL, scopes TEXT NOT NULL, user TEXT, tenant TEXT, session BLOB,
    source TEXT NOT NULL, obtained INTEGER NOT NULL, expires INTEGER NOT NULL, used INTEGER NOT NULL,
    standing TEXT NOT NULL, ended INTEGER NOT NULL,
    PRIMARY KEY (gate, token)) WITHOUT ROWID;
CREATE INDEX grants_by_session ON grants (gate, session) WHERE session IS NOT NULL;
CREATE INDEX grants_by_end ON grants (expires);
CREATE TABLE refreshes (
    gate TEXT NOT NULL, refresh BLOB NOT NULL, access BLOB NOT NULL, session BLOB, scopes TEXT, obtained INTEGER NOT NULL,
    PRIMARY KEY (gate, refresh)) WITHOUT ROWID;
CREATE INDEX refreshes_by_access ON refreshes (gate, access);
CREATE TABLE marks (name TEXT PRIMARY KEY, place TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE uses (
    gate TEXT NOT NULL, scope TEXT NOT NULL, uses INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (gate, scope)) WITHOUT ROWID;
";

/// A learned grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRow {
    /// The access token, by its id.
    pub token: TokenId,
    /// The scopes as they were granted.
    pub scopes: Vec<String>,
    /// The vendor's user behind it.
    pub user: Option<String>,
    /// The user's portal, account or organization.
    pub tenant: Option<String>,
    /// The vendor's session that it belongs to, by a keyed digest.
    pub session: Option<TokenId>,
    /// How it was learned, in the word of records.
    pub source: String,
    /// When, in seconds since 1970.
    pub obtained: u32,
    /// When the token expires, in seconds since 1970; `u32::MAX` if never.
    pub expires: u32,
    /// When it was last used, in seconds since 1970; 0 if not yet.
    pub used: u32,
    /// Whether it still holds.
    pub standing: Standing,
}

impl GrantRow {
    /// A grant in memory, as it would stand on disk.
    pub fn of(token: TokenId, grant: &Grant) -> Self {
        let subject = grant.subject.as_deref();
        Self {
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
}

/// A refresh token: what it stands for (RFC 6749 section 6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshRow {
    /// The refresh token, by its id.
    pub refresh: TokenId,
    /// The access token that came with it.
    pub access: TokenId,
    /// The vendor's session, by a keyed digest.
    pub session: Option<TokenId>,
    /// The scopes that it can bring; `None` if nobody said.
    pub scopes: Option<Vec<String>>,
    /// When it was seen, in seconds since 1970.
    pub obtained: u32,
}

/// How often a scope of a gate has opened something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeUse {
    /// The scope.
    pub scope: String,
    /// Calls that were permitted by it.
    pub uses: u64,
    /// When the last was counted, in seconds since 1970.
    pub last: u32,
}

pub(super) fn keep_grant(db: &Connection, gate: &str, row: &GrantRow) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO grants VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0)
         ON CONFLICT DO UPDATE SET scopes = ?3, user = ?4, tenant = ?5, session = coalesce(?6, session), source = ?7, obtained = ?8,
         expires = ?9, standing = ?11, ended = 0",
    )?
    .execute(params![
        gate,
        row.token.as_bytes(),
        joined(&row.scopes),
        row.user,
        row.tenant,
        row.session.map(|id| *id.as_bytes()),
        row.source,
        row.obtained,
        row.expires,
        row.used,
        row.standing.as_str(),
    ])?;
    Ok(())
}

/// Keeps what somebody else has told, unless the disk knows better: what is revoked stays so, what is newer too.
pub(super) fn keep_told_grant(db: &Connection, gate: &str, row: &GrantRow) -> rusqlite::Result<()> {
    let better: bool = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM grants WHERE gate = ?1 AND token = ?2
             AND (standing = 'revoked' OR obtained > ?3))",
        )?
        .query_row(params![gate, row.token.as_bytes(), row.obtained], |row| {
            row.get(0)
        })?;
    if better {
        return Ok(());
    }
    keep_grant(db, gate, row)
}

/// As [`keep_refresh`], unless the disk has a newer one.
pub(super) fn keep_told_refresh(
    db: &Connection,
    gate: &str,
    row: &RefreshRow,
) -> rusqlite::Result<()> {
    let newer =
        find_refresh(db, gate, row.refresh)?.is_some_and(|known| known.obtained > row.obtained);
    if newer {
        return Ok(());
    }
    keep_refresh(db, gate, row)
}

pub(super) fn keep_refresh(db: &Connection, gate: &str, row: &RefreshRow) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO refreshes VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            gate,
            row.refresh.as_bytes(),
            row.access.as_bytes(),
            row.session.map(|id| *id.as_bytes()),
            row.scopes.as_deref().map(joined),
            row.obtained,
        ])?;
    Ok(())
}

pub(super) fn find(
    db: &Connection,
    gate: &str,
    token: TokenId,
) -> rusqlite::Result<Option<GrantRow>> {
    db.prepare_cached("SELECT * FROM grants WHERE gate = ?1 AND token = ?2")?
        .query_row(params![gate, token.as_bytes()], grant)
        .optional()
}

pub(super) fn find_refresh(
    db: &Connection,
    gate: &str,
    refresh: TokenId,
) -> rusqlite::Result<Option<RefreshRow>> {
    db.prepare_cached(
        "SELECT refresh, access, session, scopes, obtained FROM refreshes WHERE gate = ?1 AND refresh = ?2",
    )?
    .query_row(params![gate, refresh.as_bytes()], |row| {
        Ok(RefreshRow {
            refresh: id(row.get(0)?),
            access: id(row.get(1)?),
            session: row.get::<_, Option<[u8; 16]>>(2)?.map(TokenId::from_bytes),
            scopes: row.get::<_, Option<String>>(3)?.map(|text| split(text.as_str())),
            obtained: row.get(4)?,
        })
    })
    .optional()
}

/// The access tokens that live and die with a token, which may be an access or a refresh token: those of its session, and
/// the one that came with it. The token itself is among them if it is a known access token.
pub(super) fn related(
    db: &Connection,
    gate: &str,
    token: TokenId,
) -> rusqlite::Result<Vec<TokenId>> {
    let refresh = find_refresh(db, gate, token)?;
    let access = refresh.as_ref().map_or(token, |row| row.access);
    let own = find(db, gate, access)?;
    let session = refresh
        .and_then(|row| row.session)
        .or_else(|| own.as_ref().and_then(|row| row.session));
    let mut found: Vec<TokenId> = own.map(|row| row.token).into_iter().collect();
    if let Some(session) = session {
        let mut rows = db.prepare_cached(
            "SELECT token FROM grants WHERE gate = ?1 AND session = ?2 AND standing = 'valid'",
        )?;
        for row in rows.query_map(params![gate, session.as_bytes()], |row| row.get(0))? {
            let one = id(row?);
            if !found.contains(&one) {
                found.push(one);
            }
        }
    }
    Ok(found)
}

pub(super) fn end(
    db: &Connection,
    gate: &str,
    tokens: &[TokenId],
    standing: Standing,
    now: u32,
    until: u32,
) -> rusqlite::Result<()> {
    // Also of what nothing was known: the end is known then.
    let mut update = db.prepare_cached(
        "INSERT INTO grants VALUES (?1, ?2, '', NULL, NULL, NULL, 'capture', ?4, ?5, 0, ?3, ?4)
         ON CONFLICT DO UPDATE SET standing = iif(standing = 'revoked', standing, ?3), ended = ?4,
         expires = min(expires, ?5)",
    )?;
    for token in tokens {
        let token = token.as_bytes();
        update.execute(params![gate, token, standing.as_str(), now, until])?;
    }
    Ok(())
}

pub(super) fn remove(db: &Connection, gate: &str, token: TokenId) -> rusqlite::Result<bool> {
    db.execute(
        "DELETE FROM refreshes WHERE gate = ?1 AND (refresh = ?2 OR access = ?2)",
        params![gate, token.as_bytes()],
    )?;
    let gone = db.execute(
        "DELETE FROM grants WHERE gate = ?1 AND token = ?2",
        params![gate, token.as_bytes()],
    )?;
    Ok(gone > 0)
}

/// A page of a gate's grants, in the order of their ids, beginning after `after`.
pub(super) fn page(
    db: &Connection,
    gate: &str,
    after: Option<TokenId>,
    most: u32,
) -> rusqlite::Result<Vec<GrantRow>> {
    let after = after.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
    db.prepare_cached(
        "SELECT * FROM grants WHERE gate = ?1 AND token > ?2 ORDER BY token LIMIT ?3",
    )?
    .query_map(params![gate, after, most], grant)?
    .collect()
}

pub(super) fn touch(db: &Connection, gate: &str, used: &[(TokenId, u32)]) -> rusqlite::Result<()> {
    let mut update = db.prepare_cached(
        "UPDATE grants SET used = ?3 WHERE gate = ?1 AND token = ?2 AND used < ?3",
    )?;
    for (token, when) in used {
        update.execute(params![gate, token.as_bytes(), when])?;
    }
    Ok(())
}

pub(super) fn count_uses(db: &Connection, gate: &str, uses: &[ScopeUse]) -> rusqlite::Result<()> {
    let mut add = db.prepare_cached(
        "INSERT INTO uses VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET uses = uses + ?3, last = max(last, ?4)",
    )?;
    for one in uses {
        let count = i64::try_from(one.uses).unwrap_or(i64::MAX);
        add.execute(params![gate, one.scope, count, one.last])?;
    }
    Ok(())
}

pub(super) fn uses(db: &Connection, gate: &str) -> rusqlite::Result<Vec<ScopeUse>> {
    db.prepare_cached("SELECT scope, uses, last FROM uses WHERE gate = ?1 ORDER BY scope")?
        .query_map(params![gate], |row| {
            Ok(ScopeUse {
                scope: row.get(0)?,
                uses: u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
                last: row.get(2)?,
            })
        })?
        .collect()
}

/// Keeps a place to go on from.
pub(super) fn mark(db: &Connection, name: &str, place: &str) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO marks VALUES (?1, ?2)")?
        .execute(params![name, place])?;
    Ok(())
}

pub(super) fn marked(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.query_row("SELECT place FROM marks WHERE name = ?1", [name], |row| {
        row.get(0)
    })
    .optional()
}

/// Removes what ended before `ended`, and refresh tokens that were seen before `refreshed`.
pub(super) fn purge(db: &Connection, ended: u32, refreshed: u32) -> rusqlite::Result<usize> {
    db.execute("DELETE FROM refreshes WHERE obtained < ?1", [refreshed])?;
    db.execute("DELETE FROM grants WHERE expires < ?1", [ended])
}

fn grant(row: &Row<'_>) -> rusqlite::Result<GrantRow> {
    let standing: String = row.get("standing")?;
    Ok(GrantRow {
        token: id(row.get("token")?),
        scopes: split(row.get_ref("scopes")?.as_str()?),
        user: row.get("user")?,
        tenant: row.get("tenant")?,
        session: row
            .get::<_, Option<[u8; 16]>>("session")?
            .map(TokenId::from_bytes),
        source: row.get("source")?,
        obtained: row.get("obtained")?,
        expires: row.get("expires")?,
        used: row.get("used")?,
        standing: match standing.as_str() {
            "valid" => Standing::Valid,
            "expired" => Standing::Expired,
            _ => Standing::Revoked,
        },
    })
}

const fn id(bytes: [u8; 16]) -> TokenId {
    TokenId::from_bytes(bytes)
}

/// Scopes in one cell: a code may hold a blank, none holds a line's end.
fn joined(scopes: &[String]) -> String {
    scopes.join("\n")
}

fn split(cell: &str) -> Vec<String> {
    cell.lines().map(str::to_owned).collect()
}
