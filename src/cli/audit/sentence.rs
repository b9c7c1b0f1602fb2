//! A record in one line for people.

use serde_json::Value;

use crate::cli::output::{colour_of, tint};

/// The members of a batch.
pub(super) fn children(record: &Value) -> impl Iterator<Item = &Value> {
    let children = record.pointer("/children").and_then(Value::as_array);
    children.into_iter().flatten()
}

pub(super) fn text<'v>(record: &'v Value, pointer: &str) -> Option<&'v str> {
    record.pointer(pointer).and_then(Value::as_str)
}

/// A record in one line for people.
pub(in crate::cli) fn sentence(record: &Value) -> String {
    let of = |pointer: &str| text(record, pointer).unwrap_or("-").to_owned();
    let number = |pointer: &str| {
        record
            .pointer(pointer)
            .map_or_else(|| "-".to_owned(), ToString::to_string)
    };
    let time = of("/time");
    let kind = of("/event_kind");
    let what = match kind.as_str() {
        "call.decision" => {
            let decision = of("/decision");
            let missing: Vec<&str> = record
                .pointer("/scopes/missing")
                .and_then(Value::as_array)
                .map(|missing| missing.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            let lacks = if missing.is_empty() {
                String::new()
            } else {
                format!(" missing {}", missing.join(","))
            };
            let lacks = children(record)
                .filter(|child| text(child, "/verdict") != Some("allow"))
                .fold(lacks, |lacks, child| {
                    let of = |pointer| text(child, pointer).unwrap_or("-");
                    let (key, name) = (of("/key"), of("/operation"));
                    let (verdict, reason) = (of("/verdict"), of("/reason"));
                    format!("{lacks} [{key}: {name} {verdict} {reason}]")
                });
            format!(
                "{} {} {} {}{lacks} token {} from {} id {}",
                of("/gate"),
                tint(&decision, colour_of(&decision)),
                of("/operation"),
                of("/reason"),
                of("/token/ref"),
                of("/source"),
                of("/event_id")
            )
        }
        "call.completion" => format!(
            "{} status {} by {} in {} µs, of {}",
            of("/outcome"),
            number("/response/status"),
            of("/response/origin"),
            number("/duration_us"),
            of("/event_group")
        ),
        "token.captured" | "grant.changed" => {
            let scopes = record.pointer("/scopes/granted").and_then(Value::as_array);
            let scopes: Vec<&str> = scopes
                .map(|scopes| scopes.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            let (gate, source) = (of("/gate"), of("/grant/source"));
            format!(
                "{gate} token {} by {source}: {}",
                of("/token/ref"),
                scopes.join(",")
            )
        }
        "grant.revoked" => format!(
            "{} token {} {}",
            of("/gate"),
            of("/token/ref"),
            of("/cause")
        ),
        "drift.detected" => {
            let unknown =
                text(record, "/unknown_scope").map(|scope| format!("unknown scope {scope}"));
            let refused = || {
                format!(
                    "{} refused with {}",
                    of("/operation"),
                    of("/vendor_error/code")
                )
            };
            format!("{} {}", of("/gate"), unknown.unwrap_or_else(refused))
        }
        "call.rejected" => format!(
            "{} {} {}{}",
            of("/gate"),
            of("/reason"),
            match record.pointer("/count") {
                Some(count) => format!("{count} more"),
                None => format!("status {}", number("/response/status")),
            },
            text(record, "/detail").map_or_else(String::new, |detail| format!(", {detail}"))
        ),
        "audit.started" => format!("{} of stream {}", of("/audit/guarantee"), of("/stream")),
        "policy.rejected" => of("/detail"),
        "policy.loaded" => format!("generation {}", number("/gen")),
        _ => text(record, "/gate").unwrap_or_default().to_owned(),
    };
    format!("{time} {:>8} {kind} {what}", number("/seq"))
        .trim_end()
        .to_owned()
}
