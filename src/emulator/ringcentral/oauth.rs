//! The emulated token endpoint: any login hands out the tokens in turn, a refresh replaces one.

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::emulator::bitrix24::php;
use crate::emulator::{Emulator, Reply};

/// How long an access token lasts where nothing else is said, in seconds.
const LASTS: u64 = 3600;

/// Answers token traffic; `None` for everything else.
pub(super) fn answer(emulator: &Emulator, head: &Parts, body: &[u8]) -> Option<Reply> {
    let form = php::parse(body);
    let text = |name: &str| form.get(name).and_then(Value::as_str).unwrap_or_default();
    match (&head.method, head.uri.path()) {
        (&Method::POST, "/restapi/oauth/token") => Some(token(emulator, head, text)),
        (&Method::POST, "/restapi/oauth/revoke") => {
            emulator.revoke(text("token"));
            Some(Reply::json(StatusCode::OK, json!({})))
        }
        (&(Method::GET | Method::POST), "/restapi/oauth/authorize") => {
            let query = php::parse(head.uri.query().unwrap_or_default().as_bytes());
            let from = |name: &str| query.get(name).and_then(Value::as_str).unwrap_or_default();
            let back = format!(
                "{}?code=emulated-code&state={}",
                from("redirect_uri"),
                from("state")
            );
            Some(Reply::bare(StatusCode::FOUND).with("location", &back))
        }
        _ => None,
    }
}

fn token<'f>(emulator: &Emulator, head: &Parts, text: impl Fn(&str) -> &'f str) -> Reply {
    let client = head.headers.contains_key(http::header::AUTHORIZATION)
        || !text("client_id").is_empty()
        || !text("client_assertion").is_empty();
    if !client {
        return refused(
            "invalid_client",
            "OAU-123",
            "Client authentication is required",
        );
    }
    let issued = match text("grant_type") {
        "" => return refused("invalid_request", "OAU-109", "grant_type is not specified"),
        "refresh_token" => {
            let old = text("refresh_token");
            let renewed = emulator.renew(old);
            // The access token that it replaces dies at once.
            emulator.revoke(old);
            renewed
        }
        _ => emulator.hand_out(),
    };
    let Some((access, refresh, scopes)) = issued else {
        return refused("invalid_grant", "OAU-213", "Token not found");
    };
    Reply::json(
        StatusCode::OK,
        json!({
            "access_token": access, "token_type": "bearer", "expires_in": emulator.lasts(LASTS),
            "refresh_token": refresh, "refresh_token_expires_in": 604_800,
            "scope": scopes.join(" "), "owner_id": "256440016", "endpoint_id": "emulated-endpoint",
            "session_id": "emulated-session",
        }),
    )
}

fn refused(error: &str, code: &str, text: &str) -> Reply {
    Reply::json(
        StatusCode::BAD_REQUEST,
        json!({
            "error": error, "error_description": text,
            "errors": [{ "errorCode": code, "message": text }],
        }),
    )
}
