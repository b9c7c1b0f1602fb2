//! An emulated LiveChat: its APIs with their accounts host.

mod accounts;

use base64::Engine as _;
use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};

use super::{Emulator, Reply};
use crate::catalogue::Routed;
use crate::model::{Operation, Requirement};

/// How many entries every list has.
const ROWS: u64 = 120;
/// How many of them a page holds unless `limit` says otherwise.
const LIMIT: u64 = 100;

pub(super) fn answer(emulator: &Emulator, head: &Parts, body: &[u8]) -> Reply {
    if let Some(reply) = accounts::answer(emulator, head, body) {
        return reply;
    }
    let version = head.headers.get("x-api-version");
    let version = version.and_then(|version| version.to_str().ok());
    let path = head.uri.path();
    let routed = match version {
        Some("2") => format!("/@2{path}"),
        Some(version) if !path.starts_with("/v") => format!("/v{version}{path}"),
        _ => path.to_owned(),
    };
    let found = emulator.catalogue.route(head.method.as_str(), &routed);
    let Routed::Found(operation, values) = found else {
        let text = "Action is not supported";
        return refused(head, 404, "not_found", text);
    };
    if !emulator.has_room() {
        return refused(head, 429, "too_many_requests", "Too many requests");
    }
    let scopes = match scopes(emulator, head) {
        _ if operation.requirement == Requirement::Open => Vec::new(),
        Some((scopes, false)) => scopes,
        Some((_, true)) | None => {
            return refused(head, 401, "authentication", "Invalid access token");
        }
    };
    let payload: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Err(lacks) = may(emulator, &scopes, operation, &payload) {
        let text = format!("missing scope {lacks}");
        return refused(head, 403, "authorization", &text);
    }
    let elements = payload.pointer("/requests").and_then(Value::as_array);
    if let (true, Some(elements)) = (operation.name.contains("/batch_"), elements) {
        let responses: Vec<Value> = elements
            .iter()
            .map(|element| match may(emulator, &scopes, operation, element) {
                Ok(()) => json!({ "id": element.pointer("/id"), "name": element.pointer("/name") }),
                Err(lacks) => error("authorization", &format!("missing scope {lacks}")),
            })
            .collect();
        return Reply::json(StatusCode::OK, json!({ "responses": responses }));
    }
    let reply = Reply::json(StatusCode::OK, result(operation, &values, &payload));
    match version.or_else(|| path.strip_prefix("/v")?.split('/').next()) {
        Some("3.5") => reply.with("legacy", "2027-01-01"),
        Some("3.4") => reply.with("deprecation", "2026-08-01"),
        _ => reply,
    }
}

/// The scopes of the caller, and whether its token has expired.
fn scopes(emulator: &Emulator, head: &Parts) -> Option<(Vec<String>, bool)> {
    let value = head.headers.get(http::header::AUTHORIZATION)?;
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return emulator.token(rest);
    }
    let pair = base64::engine::general_purpose::STANDARD
        .decode(rest)
        .ok()?;
    emulator.token(std::str::from_utf8(&pair).ok()?)
}

/// The vendor's own check: what the action needs, and what its payload adds.
fn may(
    emulator: &Emulator,
    scopes: &[String],
    operation: &Operation,
    payload: &Value,
) -> Result<(), String> {
    let catalogue = &emulator.catalogue;
    let always = match &operation.requirement {
        Requirement::Conditional(_) => catalogue.choose(operation, None),
        fixed => Some(fixed),
    };
    let creates = operation.name.contains("create_agent");
    let agent = creates || operation.name.contains("update_agent");
    let condition = |parameter: &str, value: &str| catalogue.chosen(parameter, value);
    let role = payload.pointer("/role");
    let mut needs: Vec<&Requirement> = always.into_iter().collect();
    if creates && payload.pointer("/awaiting_approval") == Some(&Value::Bool(false)) {
        needs.extend(condition(
            "configuration/create_agent",
            "awaiting_approval=false",
        ));
    }
    if agent && role.is_some() && !(creates && role == Some(&"normal".into())) {
        needs.extend(condition("configuration/update_agent", "role?"));
    }
    needs
        .into_iter()
        .try_for_each(|need| emulator.may(scopes, need))
}

/// A generic answer: one page of a list, or one entry.
fn result(operation: &Operation, values: &[&str], payload: &Value) -> Value {
    let (_, action) = operation.name.split_once('/').unwrap_or_default();
    let action = action.split('@').next().unwrap_or_default();
    match action {
        "start_chat" | "resume_chat" => return json!({ "chat_id": "C1", "thread_id": "T1" }),
        "send_event" => return json!({ "event_id": "E1" }),
        "upload_file" => return json!({ "url": "https://cdn.livechat-files.com/emulated" }),
        _ => {}
    }
    let Some(listed) = action.strip_prefix("list_") else {
        return json!({ "id": values.last().copied().unwrap_or("1"), "ok": true });
    };
    let number = |name: &str| payload.get(name).and_then(Value::as_u64);
    let limit = number("limit").filter(|limit| *limit > 0).unwrap_or(LIMIT);
    let page = payload.get("page_id").and_then(Value::as_str);
    let first: u64 = page.and_then(|page| page.parse().ok()).unwrap_or(0);
    let end = first.saturating_add(limit).min(ROWS);
    let rows: Vec<Value> = (first..end)
        .map(|row| json!({ "id": (row + 1).to_string() }))
        .collect();
    let (rows_name, count_name) = match listed {
        "chats" => ("chats_summary", "found_chats"),
        "archives" => ("chats", "found_chats"),
        "threads" => ("threads", "found_threads"),
        // The lists of the Configuration API are bare.
        _ if operation.name.starts_with("configuration/") => return rows.into(),
        other => (other, "total"),
    };
    let mut answer = json!({ rows_name: rows, count_name: ROWS });
    if let (true, Some(answer)) = (end < ROWS, answer.as_object_mut()) {
        answer.insert("next_page_id".to_owned(), end.to_string().into());
    }
    answer
}

fn error(kind: &str, text: &str) -> Value {
    json!({ "error": { "type": kind, "message": text } })
}

/// An error in the shape of the API that was called.
fn refused(head: &Parts, status: u16, kind: &str, text: &str) -> Reply {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let path = head.uri.path();
    let body = if path.starts_with("/v2/customer/") || path.starts_with("/customer/") {
        json!({ "oauth_exception": kind, "exception_description": text })
    } else if path.starts_with("/v2/") {
        let (name, sub) = match status {
            401 => ("unauthorized", ""),
            403 => ("access_denied", "insufficient_scope"),
            _ => ("invalid_request", ""),
        };
        json!({ "error": name, "sub_error": sub, "error_description": text, "request_id": "emulated" })
    } else if head
        .headers
        .get("x-api-version")
        .is_some_and(|version| version == "2")
    {
        json!({ "errors": [text] })
    } else {
        error(kind, text)
    };
    Reply::json(code, body)
}
