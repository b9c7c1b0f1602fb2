//! An emulated Bitrix24 portal: single calls of REST under `/rest/`.

use std::collections::BTreeMap;

use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};

use super::{Emulator, Reply};
use crate::clock::Timestamp;
use crate::model::{ApiVersion, Operation, Requirement, ScopeSet};

/// What a request says, as far as the emulator looks at it.
struct Asked {
    method: String,
    token: Option<String>,
    webhook: bool,
    parameters: BTreeMap<String, Value>,
}

pub(super) fn answer(emulator: &Emulator, head: &Parts, body: &[u8]) -> Reply {
    let Some(asked) = read(head, body) else {
        return error(
            StatusCode::NOT_FOUND,
            "ERROR_METHOD_NOT_FOUND",
            "Method not found!",
        );
    };
    let Some(operation) = emulator.catalogue.find(ApiVersion::V2, &asked.method) else {
        return error(
            StatusCode::NOT_FOUND,
            "ERROR_METHOD_NOT_FOUND",
            "Method not found!",
        );
    };
    let Some(token) = &asked.token else {
        return error(
            StatusCode::UNAUTHORIZED,
            "NO_AUTH_FOUND",
            "Wrong authorization data",
        );
    };
    let Some(scopes) = emulator.scopes(token) else {
        return if asked.webhook {
            error(
                StatusCode::UNAUTHORIZED,
                "INVALID_CREDENTIALS",
                "Invalid request credentials",
            )
        } else {
            error(
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "Unable to get application by token",
            )
        };
    };
    if !asked.webhook && emulator.has_expired() {
        return error(
            StatusCode::UNAUTHORIZED,
            "expired_token",
            "The access token provided has expired",
        );
    }
    if !opens(operation, scopes) {
        let kind = if asked.webhook { "webhook" } else { "access" };
        let text =
            format!("The request requires higher privileges than provided by the {kind} token");
        return error(StatusCode::FORBIDDEN, "insufficient_scope", &text);
    }
    Reply {
        status: StatusCode::OK,
        body: result(operation, &asked, scopes),
    }
}

fn opens(operation: &Operation, scopes: &[String]) -> bool {
    let held: ScopeSet = scopes.iter().map(String::as_str).collect();
    match &operation.requirement {
        Requirement::NoScope | Requirement::Unknown => true,
        Requirement::AnyOf(sets) => sets.iter().any(|set| held.covers(set)),
        Requirement::Conditional(alternatives) => {
            alternatives.iter().any(|one| held.covers(&one.scopes))
        }
    }
}

fn result(operation: &Operation, asked: &Asked, scopes: &[String]) -> Value {
    let now = Timestamp::now();
    let seconds = f64::from(now.as_secs());
    let time = json!({
        "start": seconds, "finish": seconds, "duration": 0.001, "processing": 0.0, "date_start": now.to_rfc3339(),
        "date_finish": now.to_rfc3339(), "operating": 0,
    });
    let id = |key: &str| {
        asked
            .parameters
            .get(key)
            .or_else(|| asked.parameters.get(&key.to_ascii_uppercase()))
            .cloned()
    };
    match operation.name.to_ascii_lowercase().as_str() {
        "scope" => json!({ "result": scopes, "time": time }),
        "server.time" => json!({ "result": now.to_rfc3339(), "time": time }),
        name if name.rsplit('.').next() == Some("list") => json!({
            "result": [{ "ID": "1", "TITLE": "first" }, { "ID": "2", "TITLE": "second" }], "total": 2, "time": time,
        }),
        name if name.rsplit('.').next() == Some("add") => json!({ "result": 1, "time": time }),
        name if name.rsplit('.').next() == Some("get") => json!({
            "result": { "ID": id("id").unwrap_or_else(|| json!("1")), "TITLE": "first" }, "time": time,
        }),
        _ => json!({ "result": true, "time": time }),
    }
}

fn read(head: &Parts, body: &[u8]) -> Option<Asked> {
    let segments: Vec<&str> = head
        .uri
        .path()
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let (pair, method) = match segments.as_slice() {
        ["rest", method] => (None, *method),
        ["rest", user, secret, method] => (Some(format!("{user}/{secret}")), *method),
        _ => return None,
    };
    let mut parameters = BTreeMap::new();
    let mut add_form = |text: &[u8]| {
        for pair in text
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty())
        {
            let cut = pair
                .iter()
                .position(|byte| *byte == b'=')
                .unwrap_or(pair.len());
            let (name, value) = pair.split_at(cut);
            parameters.insert(
                plain(name),
                Value::String(plain(value.strip_prefix(b"=").unwrap_or(value))),
            );
        }
    };
    add_form(head.uri.query().unwrap_or_default().as_bytes());
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => parameters.extend(members),
        Ok(_) => {}
        Err(_) => add_form(body),
    }
    let bearer = head
        .headers
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let bearer = bearer
        .and_then(|value| value.split_once(' '))
        .map(|(_, token)| token.to_owned());
    let named = |name: &str| {
        parameters
            .get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let webhook = pair.is_some();
    let token = bearer
        .or_else(|| named("auth"))
        .or_else(|| named("access_token"))
        .or(pair);
    Some(Asked {
        method: method.trim_end_matches(".json").to_owned(),
        token,
        webhook,
        parameters,
    })
}

fn plain(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).replace('+', " ");
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match escaped {
            Some(decoded) if byte == b'%' => {
                out.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn error(status: StatusCode, code: &str, text: &str) -> Reply {
    Reply {
        status,
        body: json!({ "error": code, "error_description": text }),
    }
}
