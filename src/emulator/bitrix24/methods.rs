//! What the emulated portal answers to its methods.

use serde_json::{Map, Value, json};

use super::{Caller, php, time};
use crate::catalogue::Catalogue;
use crate::clock::Timestamp;
use crate::model::{ApiVersion, Operation};

/// How many rows every list has, and how many of them a page holds.
const ROWS: u64 = 120;
const PAGE: u64 = 50;

pub(super) fn result(
    catalogue: &Catalogue,
    operation: &Operation,
    parameters: &Map<String, Value>,
    caller: &Caller,
) -> Value {
    let named = |name: &str| {
        let mut found = parameters.iter();
        found
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.clone())
    };
    let name = operation.name.to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    let id = || {
        named("id")
            .or_else(|| named("taskId"))
            .unwrap_or_else(|| json!("1"))
    };
    let plain = |result: Value| json!({ "result": result, "time": time() });
    match (name.as_str(), last) {
        ("scope", _) => plain(json!(caller.scopes)),
        ("server.time", _) => plain(json!(Timestamp::now().to_rfc3339())),
        ("profile", _) => plain(json!({
            "ID": "1", "ADMIN": true, "NAME": "Ada", "LAST_NAME": "Example", "PERSONAL_GENDER": "", "TIME_ZONE": "UTC",
        })),
        ("user.current", _) => {
            plain(json!({ "ID": "1", "ACTIVE": true, "NAME": "Ada", "LAST_NAME": "Example" }))
        }
        ("app.info", _) => plain(json!({
            "ID": 1, "CODE": "app.rehearsal", "VERSION": 1, "STATUS": "L", "INSTALLED": true,
            "PAYMENT_EXPIRED": "N", "DAYS": null, "LANGUAGE_ID": "en", "LICENSE": "en_demo",
        })),
        ("method.get", _) => {
            let asked = named("name").unwrap_or_default();
            let found = catalogue.find(ApiVersion::V2, asked.as_str().unwrap_or_default());
            let available = found.is_some_and(|one| caller.may(catalogue, one, &Map::new()));
            plain(json!({ "isExisting": found.is_some(), "isAvailable": available }))
        }
        ("disk.file.get", _) => {
            let link = caller.signed("disk", "download");
            plain(json!({ "ID": id(), "NAME": "file.txt", "DOWNLOAD_URL": link }))
        }
        ("disk.folder.uploadfile" | "disk.storage.uploadfile", _) => {
            let link = caller.signed("disk", "upload");
            plain(json!({ "field": "file", "uploadUrl": link }))
        }
        (_, "list") if operation.version == ApiVersion::V3 => {
            plain(json!({ "items": rows(0, 0, PAGE) }))
        }
        (_, "get") if operation.version == ApiVersion::V3 => {
            plain(json!({ "item": { "id": id(), "title": "first" } }))
        }
        (_, "list") => list(&name, parameters),
        (_, "add") => plain(json!(1)),
        (_, "get") if name.starts_with("user.") => plain(json!(rows(0, 0, 1))),
        (_, "get") => plain(json!({ "ID": id(), "TITLE": "first" })),
        _ => plain(json!(true)),
    }
}

/// A page of a list, by `start`; `start=-1` counts nothing and goes by `filter[>ID]`.
fn list(name: &str, parameters: &Map<String, Value>) -> Value {
    let number = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.parse::<i64>().ok(),
        Some(value) => value.as_i64(),
        None => None,
    };
    let folded = |name: &str| {
        let mut found = parameters.iter();
        found
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    let start = number(folded("start")).unwrap_or(0);
    let filter = folded("filter").map(php::entries).unwrap_or_default();
    let after = filter
        .iter()
        .find(|(field, _)| field.eq_ignore_ascii_case(">id"))
        .and_then(|(_, value)| number(Some(value)))
        .and_then(|after| u64::try_from(after).ok())
        .unwrap_or(0);
    let first = u64::try_from(start).unwrap_or(0);
    let rows = rows(after, first, PAGE);
    let left = ROWS.saturating_sub(after);
    let result = match name {
        "tasks.task.list" => json!({ "tasks": rows }),
        name if name.starts_with("crm.item.") => json!({ "items": rows }),
        _ => json!(rows),
    };
    let mut answer = json!({ "result": result });
    if let Value::Object(answer) = &mut answer {
        if start >= 0 {
            if first + PAGE < left {
                answer.insert("next".to_owned(), json!(first + PAGE));
            }
            answer.insert("total".to_owned(), json!(left));
        }
        answer.insert("time".to_owned(), time());
    }
    answer
}

fn rows(after: u64, first: u64, most: u64) -> Vec<Value> {
    (after + first + 1..=ROWS)
        .take(usize::try_from(most).unwrap_or(usize::MAX))
        .map(|id| json!({ "ID": id.to_string(), "TITLE": format!("row {id}") }))
        .collect()
}
