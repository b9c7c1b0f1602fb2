//! The emulated authorization server: any code hands out the tokens in turn, a refresh replaces one.

use http::StatusCode;
use http::request::Parts;
use serde_json::{Map, Value, json};

use super::php;
use crate::clock::Timestamp;
use crate::emulator::{Emulator, Reply};

/// How long an access token lasts where nothing else is said, in seconds.
const LASTS: u64 = 3600;

/// Answers with the fields of a real reply. A refresh token is good once.
pub(super) fn answer(emulator: &Emulator, head: &Parts, body: &[u8]) -> Reply {
    let mut parameters = php::parse(head.uri.query().unwrap_or_default().as_bytes());
    parameters.extend(php::parse(body));
    let text = |name: &str| text(&parameters, name);
    let (client, secret) = (text("client_id"), text("client_secret"));
    if client.is_empty() || secret.is_empty() {
        return refused("invalid_client", "client_id and client_secret are needed");
    }
    let issued = match text("grant_type") {
        "refresh_token" => emulator.renew(text("refresh_token")),
        // Any code is one.
        "authorization_code" if !text("code").is_empty() => emulator.hand_out(),
        "authorization_code" => None,
        _ => return refused("invalid_request", "grant_type is not known"),
    };
    let Some((access, refresh, scopes)) = issued else {
        return refused("invalid_grant", "the grant is not known, or was used");
    };
    let host = head
        .headers
        .get(http::header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let scheme = if emulator.secure { "https" } else { "http" };
    let endpoint = format!("{scheme}://{host}/rest/");
    let lasts = emulator.expires_in.map_or(LASTS, |lasts| lasts.as_secs());
    let expires = u64::from(Timestamp::now().as_secs()) + lasts;
    Reply::json(
        StatusCode::OK,
        json!({
            "access_token": access, "expires": expires, "expires_in": lasts, "scope": scopes.join(","),
            "domain": host, "server_endpoint": endpoint, "status": "L", "client_endpoint": endpoint,
            "member_id": "a223c6b3710f85df22e9377d6c4f7553", "user_id": 1, "refresh_token": refresh,
        }),
    )
}

fn text<'p>(parameters: &'p Map<String, Value>, name: &str) -> &'p str {
    parameters
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn refused(code: &str, text: &str) -> Reply {
    let body = json!({ "error": code, "error_description": text });
    Reply::json(StatusCode::BAD_REQUEST, body)
}
