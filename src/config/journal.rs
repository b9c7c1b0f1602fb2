//! `[audit]`: how the journal is kept.

use std::time::Duration;

use super::section::Section;
use crate::audit::{self, Guarantee, OnAuditFailure, Retention, Rolling};
use crate::model::Mode;
use crate::policy::{Effect, Rule};
use crate::store;

/// The words of `guarantee`.
pub(super) const GUARANTEES: [(&str, Guarantee); 3] = [
    ("strict", Guarantee::Strict),
    ("durable", Guarantee::Durable),
    ("best_effort", Guarantee::BestEffort),
];

/// Reads `[audit]`.
pub(super) fn journal(
    section: &Section<'_, '_>,
    state: &store::Settings,
) -> (audit::Settings, Guarantee) {
    // 0 is for ever.
    let bound = |key| Some(section.integer(key)).filter(|bound| *bound > 0);
    let mut settings = audit::Settings {
        dir: store::audit_dir(&state.dir),
        second_dir: section.string("second_dir").map(|dir| dir.value.into()),
        deadline: Duration::from_millis(section.integer("deadline_ms")),
        on_failure: OnAuditFailure::Forward,
        reserve: section.integer("reserve_mib") << 20,
        rolling: Rolling {
            bytes: section.integer("segment_mib") << 20,
            age: Duration::from_secs(section.integer("segment_hours") * 3600),
        },
        retention: Retention {
            age: bound("keep_days").map(|days| Duration::from_secs(days * 86_400)),
            bytes: bound("keep_mib").map(|mib| mib << 20),
        },
    };
    let guarantee = section.choice("guarantee", &GUARANTEES).unwrap_or_default();
    let on_failure = [
        ("forward", OnAuditFailure::Forward),
        ("block", OnAuditFailure::Block),
    ];
    settings.on_failure = section
        .choice("on_audit_failure", &on_failure)
        .unwrap_or_default();
    section.finish();
    (settings, guarantee)
}

/// `best_effort` never waits for the journal: nothing that is refused can rest on it.
pub(super) fn can_be_best_effort(
    section: &Section<'_, '_>,
    mode: Mode,
    rules: &[Rule],
    on_failure: OnAuditFailure,
) {
    let enforces = |rule: &Rule| matches!(rule.effect, Effect::Mode(Mode::Enforce));
    let span = section.value("guarantee").map(|(_, span)| span);
    let problem = |message: &str, hint: &str| match &span {
        Some(span) => section.problem_at(span, message, hint),
        None => section.problem(message, hint),
    };
    if mode == Mode::Enforce || rules.iter().any(enforces) {
        problem(
            "`best_effort` does not wait for the journal, and this gate enforces",
            "use `strict` or `durable`, or `mode = \"report\"`",
        );
    } else if on_failure == OnAuditFailure::Block {
        problem(
            "`best_effort` does not wait for the journal, and `on_audit_failure = \"block\"` asks to",
            "use `strict` or `durable`, or `on_audit_failure = \"forward\"`",
        );
    }
}
