//! What is known of tokens: declared, learned or assumed. The PIP of the gate.
//!
//! Declared grants come from the configuration; learned ones from token answers that pass through the gate and from asking
//! ([`Learned`], [`Asker`]); `assume` makes every other token hold the app's scopes. No other module names dashmap. A
//! learned grant lies within its table's bucket, so that a look-up among a million misses the cache once; [`Known`]
//! borrows it there, and must not be held over an `.await`, which clippy keeps.

mod asker;
mod bounds;
mod keeping;
mod learned;
mod lesson;
mod question;
mod report;
mod scene;
mod table;
mod teach;

use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

pub use asker::{Answered, Asker, AskerHandle, AskerLimits, Inquiry, Subject as AskedAbout};
pub use learned::Learned;
pub use lesson::Expected;
pub use question::{Introspection, Way};
pub use report::{GateReport, GrantReport, ScopeReport};
pub use scene::{Drifts, Scene};
pub use teach::Objected;

use crate::model::{
    Grant, GrantSource, GrantView, Holding, LastUse, ScopeSet, Standing, Subject, TokenId,
};
use crate::shared::What;
use table::Lent;

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

/// Which grant counts where a token has a declared and a learned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precedence {
    /// What the configuration says.
    #[default]
    Declared,
    /// What was learned.
    Learned,
    /// What both allow.
    Narrowest,
}

/// The grants of one gate, for one generation of the configuration.
#[derive(Debug)]
pub struct Grants {
    declared: HashMap<TokenId, Grant, FxBuildHasher>,
    precedence: Precedence,
    assumed: Option<Grant>,
    learned: Arc<Learned>,
    /// What learning needs of the gate.
    scene: Scene,
    /// How unknown tokens are asked about; `None` if they are not.
    inquiry: Option<Inquiry>,
}

/// What a look-up found. While it lives, that part of the table can be read but not changed.
#[derive(Debug)]
pub struct Known<'g>(Found<'g>);

#[derive(Debug)]
enum Found<'g> {
    Learned(Lent<'g>),
    Kept(&'g Grant),
    Narrowed(Box<Grant>),
    Nothing(Answered),
}

impl Known<'_> {
    /// The view that a decision takes.
    pub fn view(&self) -> GrantView<'_> {
        match (self.grant(), &self.0) {
            (Some(grant), _) => GrantView::Known(grant),
            (None, Found::Nothing(Answered::Expired)) => GrantView::Expired,
            (None, Found::Nothing(Answered::Revoked)) => GrantView::Revoked,
            (None, Found::Nothing(Answered::Unavailable)) => GrantView::Unavailable,
            (None, _) => GrantView::Unknown,
        }
    }

    /// The grant, if there is one.
    pub fn grant(&self) -> Option<&Grant> {
        match &self.0 {
            Found::Learned(grant) => Some(grant),
            Found::Kept(grant) => Some(grant),
            Found::Narrowed(grant) => Some(grant),
            Found::Nothing(_) => None,
        }
    }

    /// True if the grant was learned, so that the clock of learned grants says whether it has expired.
    pub const fn is_learned(&self) -> bool {
        matches!(self.0, Found::Learned(_) | Found::Narrowed(_))
    }

    /// True if nothing is known of the token.
    pub const fn is_nothing(&self) -> bool {
        matches!(self.0, Found::Nothing(_))
    }
}

impl Grants {
    /// Takes declared grants, the scopes that every token is taken to hold that is not known better (`assume`), and what
    /// was learned. `now` is in seconds since 1970.
    ///
    /// Equal sets of scopes are kept once: that is most of what a grant weighs.
    pub fn new(
        declared: impl IntoIterator<Item = Declared>,
        precedence: Precedence,
        assumed: Option<Holding>,
        learned: Arc<Learned>,
        scene: Scene,
        inquiry: Option<Inquiry>,
        now: u32,
    ) -> Self {
        let mut sets: HashMap<Holding, Arc<Holding>, FxBuildHasher> = HashMap::default();
        let mut grant = |scopes: Holding, user: Option<Box<str>>, expires, source| Grant {
            scopes: Arc::clone(
                sets.entry(scopes)
                    .or_insert_with_key(|scopes| Arc::new(scopes.clone())),
            ),
            subject: Subject::of(user, None),
            obtained: now,
            expires,
            used: LastUse::default(),
            source,
            standing: Standing::Valid,
        };
        Self {
            declared: declared
                .into_iter()
                .map(|one| {
                    let declared = grant(one.scopes, one.user, one.expires, GrantSource::Config);
                    (one.token, declared)
                })
                .collect(),
            precedence,
            assumed: assumed.map(|scopes| grant(scopes, None, Grant::NEVER, GrantSource::Assumed)),
            learned,
            scene,
            inquiry,
        }
    }

    /// What is known of a token at `now`, by the clock of [`Learned::now`].
    pub fn find(&self, token: TokenId, now: u32) -> Known<'_> {
        let declared = if self.declared.is_empty() {
            None
        } else {
            self.declared.get(&token)
        };
        if let (Precedence::Declared, Some(declared)) = (self.precedence, declared) {
            return Known(Found::Kept(declared));
        }
        let learned = self.learned.get(token);
        if learned
            .as_ref()
            .is_some_and(|learned| self.is_stale(learned, now))
        {
            return Known(Found::Nothing(Answered::Unknown));
        }
        Known(match (learned, declared, &self.assumed) {
            (Some(learned), Some(declared), _) if self.precedence == Precedence::Narrowest => {
                Found::Narrowed(Box::new(narrowed(declared, &learned)))
            }
            (Some(learned), _, _) => {
                learned.used.note(now);
                Found::Learned(learned)
            }
            (None, Some(grant), _) | (None, None, Some(grant)) => Found::Kept(grant),
            (None, None, None) => Found::Nothing(Answered::Unknown),
        })
    }

    /// As [`Grants::find`]; `None` if nothing is known.
    pub fn known(&self, token: TokenId, now: u32) -> Option<Known<'_>> {
        let known = self.find(token, now);
        // What stands in for a grant does not count where the disk may have one.
        let stands_in = match &known.0 {
            Found::Kept(grant) => {
                grant.source != GrantSource::Config || self.precedence != Precedence::Declared
            }
            _ => false,
        };
        let unsure = stands_in && self.learned.may_be_on_disk();
        (!known.is_nothing() && !unsure).then_some(known)
    }

    /// What is known of a token, after whoever may know more of it was asked: the disk, then the vendor.
    ///
    /// `about` is called only then; `None` if there is nobody to ask.
    pub async fn ask(&self, token: TokenId, about: impl FnOnce() -> AskedAbout) -> Known<'_> {
        let answered = match &self.inquiry {
            Some(inquiry) => inquiry.ask(token, about()).await,
            None => Answered::Unknown,
        };
        let known = self.find(token, self.learned.now());
        Known(match (known.0, answered) {
            (Found::Learned(grant), _) => Found::Learned(grant),
            // It was there, and had to make room again; or nobody could be asked.
            (Found::Nothing(_), Answered::Known) | (_, Answered::Unavailable) => {
                Found::Nothing(Answered::Unavailable)
            }
            (Found::Nothing(_), answered) => Found::Nothing(answered),
            (found, _) => found,
        })
    }

    /// True if somebody may know more of an unknown token.
    pub const fn can_ask(&self) -> bool {
        self.inquiry.is_some()
    }

    /// What learned grants stand for, anew, by this generation's catalogue.
    pub fn rebase(&self) {
        self.learned.rebase(&self.scene);
    }

    /// Takes what another instance has told; true if it is news.
    pub async fn hear(&self, what: &What) -> bool {
        if let What::Grant(row) = what {
            // The disk may know that it was revoked; that it cannot be read now is the same for what follows.
            let _ = self.learned.recall(row.token, &self.scene).await;
        }
        self.learned.hear(what, &self.scene)
    }

    /// Brings what is on disk into memory.
    pub async fn load(&self) {
        self.learned.load(&self.scene).await;
    }

    /// What was learned.
    pub const fn learned(&self) -> &Arc<Learned> {
        &self.learned
    }

    /// The declared grants, in no order.
    pub fn declared(&self) -> impl Iterator<Item = (TokenId, &Grant)> {
        self.declared.iter().map(|(token, grant)| (*token, grant))
    }

    /// How many grants are known.
    pub fn len(&self) -> usize {
        self.declared.len() + self.learned.len()
    }

    /// True if no grant is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if a grant is too old to be trusted without asking again.
    fn is_stale(&self, grant: &Grant, now: u32) -> bool {
        let age = self.inquiry.as_ref().and_then(Inquiry::longest_trust);
        age.is_some_and(|age| {
            grant.standing == Standing::Valid && grant.obtained.saturating_add(age) <= now
        })
    }
}

/// What two grants of one token have in common; an end counts from either.
fn narrowed(declared: &Grant, learned: &Grant) -> Grant {
    let common = |one: &ScopeSet, other: &ScopeSet| -> ScopeSet {
        one.iter().filter(|code| other.contains(code)).collect()
    };
    let (one, other) = (&declared.scopes, &learned.scopes);
    // A code counts as granted if it is in one of them, and the other opens it at least.
    let granted: ScopeSet = common(one.granted(), other.opens())
        .iter()
        .chain(common(other.granted(), one.opens()).iter())
        .collect();
    Grant {
        scopes: Arc::new(Holding::new(granted, common(one.opens(), other.opens()))),
        expires: declared.expires.min(learned.expires),
        ..learned.clone()
    }
}
