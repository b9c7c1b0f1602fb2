//! The decision: pure, total, without I/O, clock or log.
//!
//! [`decide`] is the one place where a call is permitted or refused. `serve`, `explain` and the tests use the same
//! function.

mod settings;

pub use settings::{BatchPolicy, Settings, SignedLinks, UnknownToken, UnlistedOperation};

use std::borrow::Cow;

use crate::model::{
    ApiVersion, Asked, Batch, Call, CredentialRead, Decision, Grant, GrantView, Mode, Operation,
    Pattern, Reason, Requirement, ScopeSet, Standing, Verdict,
};

/// What a gate asks beside the vendor's scopes: its mode, its rules and what becomes of the unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Mode, and what becomes of the unknown.
    pub settings: Settings,
    /// Narrower than the grant; the first that matches decides.
    rules: Vec<Rule>,
    /// For each operation of the catalogue the position of its rule; empty without rules.
    of_operation: Vec<Option<u16>>,
}

/// One rule of a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The operations it speaks of.
    pub operations: Vec<Pattern>,
    /// What it does with them.
    pub effect: Effect,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Refuses the operation, whatever the grant says.
    Refuse,
    /// Sets the mode for the operation.
    Mode(Mode),
}

impl Rules {
    /// True if a call can be refused: the gate enforces, or a rule does.
    pub fn enforce(&self) -> bool {
        let enforces = |rule: &Rule| rule.effect == Effect::Mode(Mode::Enforce);
        self.settings.mode == Mode::Enforce || self.rules.iter().any(enforces)
    }
}

/// Decides on a call.
///
/// `now` is in seconds since 1970. Where several reasons to refuse hold, the verdict names the first in the order of
/// [`Reason`]. A mode comes from the first rule that matches the operation, else from the gate.
pub fn decide<'c>(
    call: &Call<'_, 'c>,
    grant: GrantView<'_>,
    rules: &Rules,
    now: u32,
) -> Decision<'c> {
    let mut verdict = judge(call, &call.operation, grant, rules, now);
    let Some(batch) = &call.batch else {
        return Decision {
            verdict,
            children: Vec::new(),
        };
    };
    let mut children: Vec<Verdict<'c>> = Vec::with_capacity(batch.members.len());
    let mut before: Option<&Operation> = None;
    for member in &batch.members {
        let same = match (&member.asked, before) {
            (Asked::Listed(operation), Some(before)) => std::ptr::eq(*operation, before),
            _ => false,
        };
        before = match &member.asked {
            Asked::Listed(operation) => Some(operation),
            _ => None,
        };
        // Batches mostly repeat one operation, and what is asked of it is the same each time.
        let verdict = match children.last() {
            Some(verdict) if same => verdict.clone(),
            _ => judge(call, &member.asked, grant, rules, now),
        };
        children.push(verdict);
    }
    if call.fault.is_none() && (verdict.permitted || verdict.mode != Mode::Enforce) {
        hold_back(batch, &mut children);
        judge_batch(batch, &children, rules.settings.batch, &mut verdict);
    }
    Decision { verdict, children }
}

/// Holds back what hangs on a refused member: whatever refers to its answer, and with `halt` whatever comes after it.
fn hold_back(batch: &Batch<'_>, children: &mut [Verdict<'_>]) {
    let refuse = |child: &mut Verdict<'_>| {
        child.permitted = false;
        child.reason = Reason::BatchMemberDenied;
        child.mode = Mode::Enforce;
        child.missing.clear();
    };
    if !children.iter().any(Verdict::holds_back) {
        return;
    }
    // A reference to what was just held back holds back in turn: each round holds back one member more, or is the last.
    loop {
        let held: Vec<bool> = children.iter().map(Verdict::holds_back).collect();
        let refers = |refers: &[u16]| {
            refers
                .iter()
                .any(|position| held.get(usize::from(*position)) == Some(&true))
        };
        let first = held.iter().position(|held| *held);
        let more = children
            .iter_mut()
            .zip(&batch.members)
            .enumerate()
            .filter(|(_, (child, _))| !child.holds_back())
            .filter(|(position, (_, member))| {
                let stopped = batch.halt && first.is_some_and(|first| first < *position);
                stopped || refers(&member.refers)
            })
            .map(|(_, (child, _))| refuse(child))
            .count();
        if more == 0 {
            return;
        }
    }
}

/// What becomes of a batch as a whole.
fn judge_batch(
    batch: &Batch<'_>,
    children: &[Verdict<'_>],
    policy: BatchPolicy,
    verdict: &mut Verdict<'_>,
) {
    if children.iter().all(|child| child.permitted) {
        return;
    }
    if verdict.permitted {
        verdict.reason = Reason::BatchMemberDenied;
    }
    let held = children.iter().filter(|child| child.holds_back()).count();
    if held == 0 {
        // Watched only: the whole batch goes on.
        verdict.permitted = verdict.permitted && verdict.mode == Mode::Enforce;
        return;
    }
    // A member that is refused is refused, whatever the mode of the rest.
    verdict.mode = Mode::Enforce;
    verdict.reason = Reason::BatchMemberDenied;
    verdict.permitted =
        held < children.len() && batch.layout.is_some() && policy == BatchPolicy::Split;
}

/// The verdict on one operation of a call.
fn judge<'c>(
    call: &Call<'_, 'c>,
    asked: &Asked<'c>,
    grant: GrantView<'_>,
    rules: &Rules,
    now: u32,
) -> Verdict<'c> {
    let (rule, effect) = rules.first_match(asked);
    let mode = match effect {
        // The floor holds in every mode: this could not be forwarded as one message.
        _ if call
            .fault
            .is_some_and(|fault| fault.reason <= Reason::UpgradeRefused) =>
        {
            Mode::Enforce
        }
        // What was not read is not known to be what the rule speaks of: it does not loosen the gate.
        Some(Effect::Mode(mode))
            if call.fault.is_none() && !matches!(asked, Asked::Closed { .. }) =>
        {
            mode
        }
        Some(Effect::Mode(mode)) => stricter(mode, rules.settings.mode),
        Some(Effect::Refuse) | None => rules.settings.mode,
    };
    let mut missing = Vec::new();
    let (permitted, reason) = verdict(call, asked, grant, rules, effect, now, &mut missing);
    Verdict {
        permitted,
        reason,
        missing,
        mode,
        rule,
    }
}

/// The questions in their order: can it be read, whose is it, does a rule forbid it, is it known, is it granted.
fn verdict<'c>(
    call: &Call<'_, 'c>,
    asked: &Asked<'c>,
    grant: GrantView<'_>,
    rules: &Rules,
    effect: Option<Effect>,
    now: u32,
    missing: &mut Vec<Cow<'c, str>>,
) -> (bool, Reason) {
    if let Some(fault) = call.fault {
        return (false, fault.reason);
    }
    match asked {
        // The token endpoint asks for client credentials itself; a preflight carries none.
        Asked::Preflight | Asked::TokenTraffic(_) => return (true, Reason::NoScopeNeeded),
        // What is closed is never forwarded by a setting.
        Asked::Closed { .. } => return (false, Reason::OperationUnlisted),
        Asked::Listed(_) | Asked::Chosen { .. } | Asked::Unlisted { .. } | Asked::Unparsed => {}
    }
    if matches!(call.credential, CredentialRead::Missing) {
        let signed = call.signed && rules.settings.signed_links == SignedLinks::Forward;
        let open = asked.need() == Some(&Requirement::Open);
        return match (open, signed, effect) {
            (true, _, Some(Effect::Refuse)) | (_, true, Some(Effect::Refuse)) => {
                (false, Reason::RuleRefused)
            }
            (true, _, _) => (true, Reason::NoScopeNeeded),
            (false, signed, _) => (signed, Reason::CredentialMissing),
        };
    }
    let known = match identity(grant, now) {
        Ok(known) => known,
        Err(Reason::TokenUnknown) if rules.settings.unknown_token == UnknownToken::Forward => None,
        Err(reason) => return (false, reason),
    };
    if effect == Some(Effect::Refuse) {
        return (false, Reason::RuleRefused);
    }
    let assumed = matches!(asked, Asked::Unlisted { .. });
    let usable = |need: &&Requirement| {
        !matches!(need, Requirement::Unknown | Requirement::Conditional(_))
            && (!assumed || rules.settings.unlisted_operation == UnlistedOperation::Prefix)
    };
    let Some(requirement) = asked.need().filter(usable) else {
        // A method that is known keeps what it needs: only what nobody knows is forwarded.
        let unknown = matches!(asked, Asked::Listed(_) | Asked::Unlisted { .. });
        let forward = rules.settings.unlisted_operation == UnlistedOperation::Forward;
        return (unknown && forward, Reason::OperationUnlisted);
    };
    match (requirement, known) {
        (_, None) => (true, Reason::TokenUnknown),
        (Requirement::Open | Requirement::NoScope, Some(_)) => (true, Reason::NoScopeNeeded),
        (Requirement::AnyOf(sets), Some(grant)) => {
            let held = grant.scopes.opens();
            if sets.iter().any(|set| held.covers(set)) {
                return (true, Reason::Permitted);
            }
            *missing = match asked.catalogued_need() {
                Some(need) => borrowed(fewest_missing(required(need), held)),
                None => owned(fewest_missing(sets, held)),
            };
            (false, Reason::ScopeMissing)
        }
        (Requirement::Unknown | Requirement::Conditional(_), _) => {
            (false, Reason::OperationUnlisted)
        }
    }
}

/// The grant to judge by, or why there is none.
fn identity(view: GrantView<'_>, now: u32) -> Result<Option<&Grant>, Reason> {
    match view {
        GrantView::Known(grant) if grant.standing == Standing::Revoked => Err(Reason::TokenRevoked),
        GrantView::Known(grant)
            if grant.has_expired(now) || grant.standing == Standing::Expired =>
        {
            Err(Reason::TokenExpired)
        }
        GrantView::Known(grant) => Ok(Some(grant)),
        GrantView::None => Err(Reason::CredentialMissing),
        GrantView::Unknown => Err(Reason::TokenUnknown),
        GrantView::Expired => Err(Reason::TokenExpired),
        GrantView::Revoked => Err(Reason::TokenRevoked),
        GrantView::Unavailable => Err(Reason::GrantUnavailable),
    }
}

fn borrowed(codes: Vec<&str>) -> Vec<Cow<'_, str>> {
    codes.into_iter().map(Cow::Borrowed).collect()
}

fn owned<'c>(codes: Vec<&str>) -> Vec<Cow<'c, str>> {
    codes
        .into_iter()
        .map(|code| Cow::Owned(code.to_owned()))
        .collect()
}

/// What lacks of the alternative that lacks the fewest scopes; the first of equals.
fn fewest_missing<'s>(sets: &'s [ScopeSet], held: &ScopeSet) -> Vec<&'s str> {
    sets.iter()
        .map(|set| {
            set.iter()
                .filter(|code| !held.contains(code))
                .collect::<Vec<_>>()
        })
        .min_by_key(Vec::len)
        .unwrap_or_default()
}

impl Rules {
    /// Rules that know, for every operation of a catalogue, which of them speaks of it first.
    ///
    /// `operations` must be all of the catalogue, in its order.
    pub fn new<'c>(
        settings: Settings,
        rules: Vec<Rule>,
        operations: impl Iterator<Item = &'c Operation>,
    ) -> Self {
        let mut compiled = Self {
            settings,
            rules,
            of_operation: Vec::new(),
        };
        if !compiled.rules.is_empty() {
            compiled.of_operation = operations
                .map(|operation| compiled.search(operation.version, &operation.name))
                .collect();
        }
        compiled
    }

    /// True unless calls pass whatever is known of them: the mode is `off`, and no rule says otherwise.
    pub fn judges(&self) -> bool {
        self.settings.mode != Mode::Off || !self.rules.is_empty()
    }

    /// The first rule that speaks of this operation: its position and effect.
    fn first_match(&self, asked: &Asked<'_>) -> (Option<u16>, Option<Effect>) {
        if self.rules.is_empty() {
            return (None, None);
        }
        let position = match asked {
            Asked::Listed(operation) | Asked::Chosen { operation, .. } => {
                usize::try_from(operation.index)
                    .ok()
                    .and_then(|index| *self.of_operation.get(index)?)
            }
            Asked::Unlisted { .. }
            | Asked::Closed { .. }
            | Asked::TokenTraffic(_)
            | Asked::Preflight
            | Asked::Unparsed => self.search(asked.version(), asked.name()),
        };
        let effect =
            position.and_then(|position| Some(self.rules.get(usize::from(position))?.effect));
        (position, effect)
    }

    fn search(&self, version: ApiVersion, name: &str) -> Option<u16> {
        let versioned = format!("{}:{name}", version.as_str());
        let speaks = |rule: &Rule| {
            let loosens = matches!(rule.effect, Effect::Mode(mode) if stricter(mode, self.settings.mode) != mode);
            // A bare name is one of the usual version; a rule that loosens opens no other one beside it.
            let bare = version.is_usual() || !loosens;
            rule.operations
                .iter()
                .any(|one| (bare && one.matches(name)) || one.matches(&versioned))
        };
        u16::try_from(self.rules.iter().position(speaks)?).ok()
    }
}

/// The mode of the two that lets less through.
const fn stricter(one: Mode, other: Mode) -> Mode {
    match (one, other) {
        (Mode::Enforce, _) | (_, Mode::Enforce) => Mode::Enforce,
        (Mode::Report, _) | (_, Mode::Report) => Mode::Report,
        (Mode::Off, Mode::Off) => Mode::Off,
    }
}

/// The sets of scopes that would satisfy a requirement, for records and answers; empty where none would.
pub fn required(requirement: &Requirement) -> &[ScopeSet] {
    match requirement {
        Requirement::AnyOf(sets) => sets,
        Requirement::Open
        | Requirement::NoScope
        | Requirement::Conditional(_)
        | Requirement::Unknown => &[],
    }
}
