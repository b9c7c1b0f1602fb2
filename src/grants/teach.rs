//! Learning from what passes by: token answers, revocations, and a vendor that objects to what the gate had permitted.

use std::sync::{MutexGuard, PoisonError};

use super::lesson::{Conclusion, Expected, conclude};
use super::scene::Scene;
use super::{Answered, Grants, Inquiry, Learned};
use crate::audit::{DriftRecord, EventId, EventKind, GrantRecord};
use crate::clock::Timestamp;
use crate::model::{
    Finding, Grant, GrantSource, GrantType, ScopeSet, Standing, Subject, TokenAnswer, TokenId,
};
use crate::store::{GrantRow, RefreshRow};
use crate::vendor::{Objection, ObjectionTo};

/// A call that the vendor objected to, although the gate had permitted it.
#[derive(Debug)]
pub struct Objected<'o> {
    /// The call.
    pub call: EventId,
    /// Its token.
    pub token: TokenId,
    /// Its operation.
    pub operation: &'o str,
    /// What the catalogue says that it needs.
    pub required: &'o [ScopeSet],
    /// What the vendor said.
    pub objection: &'o Objection,
}

impl Grants {
    /// Learns from the whole answer to a token request: on disk when this is done.
    pub async fn learn(&self, expected: &Expected, answer: &TokenAnswer) {
        let (scene, learned) = (&self.scene, &self.learned);
        let now = learned.now();
        let key = |secret| scene.key.identify(secret);
        let access = key(&answer.access);
        let presented = expected
            .token
            .filter(|_| expected.grant_type == GrantType::RefreshToken);
        let prior = match presented {
            Some(presented) => learned.refresh(presented).await,
            None => None,
        };
        let before = prior
            .as_ref()
            .and_then(|row| row.scopes.as_deref())
            .map(set);
        let asked = expected
            .scopes
            .clone()
            .filter(|_| scene.vendor.grants_as_requested());
        let Conclusion {
            access: scopes,
            refresh,
            changed,
        } = if answer.unclear_scopes {
            Conclusion::default()
        } else {
            let answered = answer.scopes.as_deref().map(set);
            conclude(expected.grant_type, answered, asked, before)
        };
        // Where the vendor names no session, what one login has brought is one: a chain of refreshes.
        let session = answer
            .session
            .as_ref()
            .or(answer.refresh.as_ref().filter(|_| presented.is_none()))
            .map(key)
            .or_else(|| prior.as_ref().and_then(|row| row.session))
            .or(presented);
        let mut replaced = match presented {
            Some(presented) if scene.vendor.ends_replaced() => learned.related(presented).await,
            _ => Vec::new(),
        };
        replaced.retain(|token| *token != access);
        let expires = ends(now, answer.lasts);
        let subject = Subject::of(
            answer.user.clone(),
            answer.tenant.as_deref().map(Into::into),
        );
        let row = scopes.as_ref().map(|scopes| GrantRow {
            token: access,
            scopes: scopes.iter().map(str::to_owned).collect(),
            user: answer.user.as_deref().map(str::to_owned),
            tenant: answer.tenant.as_deref().map(str::to_owned),
            session,
            source: GrantSource::Capture.as_str().to_owned(),
            obtained: now,
            expires,
            used: 0,
            standing: Standing::Valid,
        });
        let refresh = answer.refresh.as_ref().map(|token| RefreshRow {
            refresh: key(token),
            access,
            session,
            scopes: refresh.map(|scopes| scopes.iter().map(str::to_owned).collect()),
            obtained: now,
        });
        let grant = row.zip(scopes.as_ref().map(|scopes| scene.hold(scopes)));
        learned.keep(grant, refresh, replaced.clone()).await;
        scene.metrics.captured.inc();
        let record = GrantRecord {
            time: Timestamp::now(),
            gate: &scene.text,
            token: access,
            source: GrantSource::Capture,
            grant_type: Some(expected.grant_type),
            scopes: scopes.as_ref(),
            before: None,
            subject: subject.as_deref(),
            expires,
        };
        scene.record(EventKind::TokenCaptured, |out| record.write(out));
        if changed.is_some() {
            let record = GrantRecord {
                before: changed.as_ref(),
                ..record
            };
            scene.record(EventKind::GrantChanged, |out| record.write(out));
        }
        for token in replaced {
            scene.ended(token, "replaced");
        }
        if let Some(scopes) = &scopes {
            scene.note_unknown(scopes, now);
        }
    }

    /// Takes a token for revoked: from now on no call is permitted by it. [`Grants::revoke`] ends what ends with it, or, if
    /// that is cut off, [`Grants::end_revocations`].
    pub fn begin_revoking(&self, token: TokenId) {
        self.learned.end_here(&[token], Standing::Revoked);
        self.revoking().push(token);
    }

    /// Does what is left of revocations, when nobody begins one any more.
    pub async fn end_revocations(&self) {
        let left = std::mem::take(&mut *self.revoking());
        for token in left {
            self.revoke(token).await;
        }
    }

    fn revoking(&self) -> MutexGuard<'_, Vec<TokenId>> {
        let revoking = &self.learned.revoking;
        revoking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a token that the vendor has agreed to revoke, and all that end with it. No call that is decided after this is
    /// permitted by them.
    pub async fn revoke(&self, token: TokenId) {
        // The token itself at once: what else ends has to be looked up.
        self.learned.end_here(&[token], Standing::Revoked);
        let mut tokens = if self.scene.vendor.revokes_sessions() {
            self.learned.related(token).await
        } else {
            // Of the pair both end, whichever of the two is named.
            let pair = self.learned.refresh(token).await;
            pair.map(|row| row.access).into_iter().collect()
        };
        if !tokens.contains(&token) {
            tokens.push(token);
        }
        self.learned.end(tokens.clone(), Standing::Revoked).await;
        for token in tokens {
            self.scene.ended(token, "revoked");
        }
        self.revoking().retain(|begun| *begun != token);
    }

    /// Takes note of what the vendor has against a call that was permitted: the token may be at its end, or the catalogue
    /// behind.
    pub async fn note_objection(&self, objected: &Objected<'_>) {
        let standing = match objected.objection.about {
            ObjectionTo::Expired => Standing::Expired,
            ObjectionTo::Revoked | ObjectionTo::Invalid => Standing::Revoked,
            ObjectionTo::Scope => return self.note_drift(objected),
        };
        let valid = self
            .learned
            .get(objected.token)
            .is_some_and(|grant| grant.standing == Standing::Valid);
        if !valid {
            return;
        }
        let asks = self.inquiry.as_ref().is_some_and(Inquiry::asks);
        if objected.objection.about == ObjectionTo::Invalid && asks {
            // It may be a hiccup: the next call asks.
            let forgotten = self.learned.forget(objected.token).await;
            if let Err(error) = forgotten {
                tracing::warn!(%error, "a grant that may not hold any more is still on disk");
            }
        } else {
            self.learned.end(vec![objected.token], standing).await;
        }
        let cause = match standing {
            Standing::Expired => "vendor_said_expired",
            _ => "vendor_said_revoked",
        };
        self.scene.ended(objected.token, cause);
    }

    fn note_drift(&self, objected: &Objected<'_>) {
        let scene = &self.scene;
        scene.metrics.drift.inc();
        if !scene.drifts.is_due(objected.operation, self.learned.now()) {
            return;
        }
        let known = self.find(objected.token, self.learned.now());
        let record = DriftRecord {
            time: Timestamp::now(),
            gate: &scene.text,
            call: Some(objected.call),
            operation: objected.operation,
            required: objected.required,
            granted: known.grant().map(|grant| grant.scopes.granted()),
            unknown_scope: None,
            vendor_error: Some(&objected.objection.code),
        };
        scene.record(EventKind::DriftDetected, |out| record.write(out));
        tracing::warn!(
            operation = objected.operation,
            code = objected.objection.code,
            "the vendor refused for its scope what the catalogue permits"
        );
    }

    /// Forgets a token, as an operator asks; true if it was known.
    ///
    /// # Errors
    /// If the disk still has it.
    pub async fn forget(&self, token: TokenId) -> Result<bool, crate::store::StoreError> {
        let known = self.learned.forget(token).await?;
        if known {
            self.scene.ended(token, "forgotten");
        }
        Ok(known)
    }
}

/// Learns what the vendor said when it was asked about a token.
pub(super) async fn learn_finding(
    scene: &Scene,
    learned: &Learned,
    token: TokenId,
    source: GrantSource,
    finding: Finding,
) -> Answered {
    let (scopes, lasts, user, tenant) = match finding {
        Finding::Holds {
            scopes,
            lasts,
            user,
            tenant,
        } => (set(&scopes), lasts, user, tenant),
        Finding::Expired => return end(scene, learned, token, Standing::Expired).await,
        Finding::Revoked => return end(scene, learned, token, Standing::Revoked).await,
        Finding::Unknown => return Answered::Unknown,
        Finding::Unclear => return Answered::Unavailable,
    };
    let now = learned.now();
    let before = learned
        .get(token)
        .map(|grant| grant.scopes.granted().clone());
    let row = GrantRow {
        token,
        scopes: scopes.iter().map(str::to_owned).collect(),
        user: user.as_deref().map(str::to_owned),
        tenant: tenant.as_deref().map(str::to_owned),
        session: None,
        source: source.as_str().to_owned(),
        obtained: now,
        expires: ends(now, lasts),
        used: now,
        standing: Standing::Valid,
    };
    let (subject, expires) = (
        Subject::of(user, tenant.as_deref().map(Into::into)),
        row.expires,
    );
    let holding = scene.hold(&scopes);
    if !learned.keep_finding(row, holding).await {
        // It was revoked while the question was under way: the answer is older than that.
        return Answered::Revoked;
    }
    let changed = before.filter(|before| *before != scopes);
    let record = GrantRecord {
        time: Timestamp::now(),
        gate: &scene.text,
        token,
        source,
        grant_type: None,
        scopes: Some(&scopes),
        before: changed.as_ref(),
        subject: subject.as_deref(),
        expires,
    };
    let kind = if changed.is_some() {
        EventKind::GrantChanged
    } else {
        EventKind::TokenCaptured
    };
    scene.record(kind, |out| record.write(out));
    scene.note_unknown(&scopes, now);
    Answered::Known
}

/// Ends a token of which something is known; a stranger's leaves no trace.
async fn end(scene: &Scene, learned: &Learned, token: TokenId, standing: Standing) -> Answered {
    if learned.get(token).is_some() {
        learned.end(vec![token], standing).await;
        let cause = match standing {
            Standing::Expired => "vendor_said_expired",
            _ => "vendor_said_revoked",
        };
        scene.ended(token, cause);
    }
    match standing {
        Standing::Expired => Answered::Expired,
        _ => Answered::Revoked,
    }
}

fn set(scopes: &[String]) -> ScopeSet {
    scopes.iter().map(String::as_str).collect()
}

/// When a token ends that is good for so many seconds from now. A moment sooner than the vendor says, so that a call does
/// not meet its end on the way.
fn ends(now: u32, lasts: Option<u32>) -> u32 {
    match lasts {
        // What lasts for decades has no end: RingCentral's bots have 2147483647 seconds.
        Some(lasts) if lasts < 20 * 365 * 86_400 => {
            now.saturating_add(lasts - (lasts / 100).min(5))
        }
        Some(_) | None => Grant::NEVER,
    }
}
