//! Decisions counted: what enforcing would break, at a glance.

use std::collections::BTreeMap;

use serde_json::Value;

use super::sentence::{children, text};
use crate::cli::output::{colour_of, say, say_folded, tint};

/// How often what was decided, by gate, decision, reason, operation and missing scopes.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<[String; 5], u64>);

impl Counts {
    /// Counts a decision, and of a batch each member, where decision and reason fit.
    pub(super) fn add(&mut self, record: &Value, fits: impl Fn(&str, &str) -> bool) {
        if text(record, "/event_kind") != Some("call.decision") {
            return;
        }
        let of = |value: &Value, pointer: &str| text(value, pointer).unwrap_or("-").to_owned();
        let missing = |value: &Value, pointer: &str| {
            let scopes = value.pointer(pointer).and_then(Value::as_array);
            let scopes = scopes.into_iter().flatten().filter_map(Value::as_str);
            scopes.collect::<Vec<_>>().join(" ")
        };
        let gate = of(record, "/gate");
        let mut count = |key: [String; 5]| {
            if fits(&key[1], &key[2]) {
                *self.0.entry(key).or_default() += 1;
            }
        };
        count([
            gate.clone(),
            of(record, "/decision"),
            of(record, "/reason"),
            of(record, "/operation"),
            missing(record, "/scopes/missing"),
        ]);
        for child in children(record) {
            count([
                gate.clone(),
                of(child, "/verdict"),
                of(child, "/reason"),
                of(child, "/operation") + " (in a batch)",
                missing(child, "/missing"),
            ]);
        }
    }

    /// The counts, the most frequent first.
    fn sorted(&self) -> Vec<(&[String; 5], u64)> {
        let mut counts: Vec<_> = self.0.iter().map(|(key, count)| (key, *count)).collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    pub(super) fn print(&self) {
        for ([gate, decision, reason, operation, missing], count) in self.sorted() {
            let missing = match missing.as_str() {
                "" => String::new(),
                missing => format!(", missing {missing}"),
            };
            let decision = tint(decision, colour_of(decision));
            let first = format!("{count:>8}  ");
            let rest = format!("{decision} {operation}: {reason}{missing} ({gate})");
            say_folded(&first, "            ", &rest);
        }
        if self.0.is_empty() {
            say("no decision fits");
        }
    }

    pub(super) fn json(&self) -> Vec<Value> {
        let counts = self.sorted().into_iter();
        let counts = counts.map(|([gate, decision, reason, operation, missing], count)| {
            serde_json::json!({
                "count": count, "gate": gate, "decision": decision, "reason": reason, "operation": operation,
                "missing": missing.split_whitespace().collect::<Vec<_>>(),
            })
        });
        counts.collect()
    }
}
