//! The emulated accounts host's token traffic: any code hands out the tokens in turn, a refresh replaces one.

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::emulator::bitrix24::php;
use crate::emulator::{Emulator, Reply};

/// How long an access token lasts where nothing else is said, in seconds.
const LASTS: u64 = 28_800;

/// Answers token traffic; `None` for everything else.
pub(super) fn answer(emulator: &Emulator, head: &Parts, body: &[u8]) -> Option<Reply> {
    match (&head.method, head.uri.path()) {
        (&Method::POST, "/v2/token") => Some(token(emulator, body)),
        (&Method::DELETE, "/v2/token" | "/v2/customer/token") => {
            let known = told(head).is_some_and(|token| emulator.revoke(&token));
            Some(if known {
                Reply::json(StatusCode::OK, json!({}))
            } else {
                unauthorized()
            })
        }
        (&Method::GET, "/v2/info" | "/v2/customer/info") => Some(info(emulator, head)),
        _ => None,
    }
}

fn token(emulator: &Emulator, body: &[u8]) -> Reply {
    let parameters = match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => members,
        _ => php::parse(body),
    };
    let text = |name: &str| {
        parameters
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if text("client_id").is_empty() {
        return refused("invalid_client", "client_id is needed");
    }
    let issued = match text("grant_type") {
        "refresh_token" => emulator.renew(text("refresh_token")),
        "authorization_code" | "code" => emulator.hand_out(),
        _ => return refused("unsupported_grant_type", "grant_type is not known"),
    };
    match issued {
        Some((access, refresh, scopes)) => {
            Reply::json(StatusCode::OK, fields(emulator, &access, &refresh, &scopes))
        }
        None => refused("invalid_grant", "the grant is not known, or was used"),
    }
}

fn info(emulator: &Emulator, head: &Parts) -> Reply {
    let token = told(head).unwrap_or_default();
    match emulator.token(&token) {
        Some((scopes, false)) => {
            let refresh = format!("refresh-{token}");
            let mut fields = fields(emulator, &token, &refresh, &scopes);
            if let Some(fields) = fields.as_object_mut() {
                fields.insert("client_id".to_owned(), "emulated-client".into());
            }
            Reply::json(StatusCode::OK, fields)
        }
        _ => unauthorized(),
    }
}

/// The token that a request is about: in the header, or as `code`.
fn told(head: &Parts) -> Option<String> {
    let header = head.headers.get(http::header::AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok()?.split_once(' '));
    let query = php::parse(head.uri.query().unwrap_or_default().as_bytes());
    let query = query.get("code").and_then(Value::as_str).map(str::to_owned);
    header.map(|(_, token)| token.to_owned()).or(query)
}

fn fields(emulator: &Emulator, access: &str, refresh: &str, scopes: &[String]) -> Value {
    json!({
        "access_token": access, "refresh_token": refresh, "token_type": "Bearer",
        "expires_in": emulator.lasts(LASTS), "scope": scopes.join(","),
        "account_id": "b7eff798-f8df-4364-8059-649c35c9ed0c",
        "organization_id": "390e44e6-f1e6-4dc6-be53-1d8c5c4ad8a0",
    })
}

fn refused(error: &str, text: &str) -> Reply {
    let body = json!({ "oauth_exception": error, "exception_details": text });
    Reply::json(StatusCode::BAD_REQUEST, body)
}

fn unauthorized() -> Reply {
    let body = json!({
        "error": "unauthorized", "error_description": "Invalid access token", "request_id": "emulated",
    });
    Reply::json(StatusCode::UNAUTHORIZED, body)
}
