//! An emulated Bitrix24 portal with its authorization server.

mod batch;
mod methods;
mod oauth;
pub(super) mod php;
mod request;

use http::StatusCode;
use http::request::Parts;
use serde_json::{Map, Value, json};

use super::{Emulator, Reply};
use crate::catalogue::Catalogue;
use crate::clock::Timestamp;
use crate::model::{ApiVersion, Operation, Requirement, ScopeSet, Secret};
use request::Asked;

/// An answer, or status, code and text of an error.
type Outcome = Result<Value, (StatusCode, String, String)>;

/// Whose call it is.
#[derive(Debug)]
pub(super) struct Caller {
    token: String,
    scopes: Vec<String>,
    webhook: bool,
    /// Where links lead: scheme and host.
    origin: String,
    key: std::sync::Arc<crate::model::TokenIdKey>,
}

pub(super) fn answer(emulator: &Emulator, head: &Parts, body: &[u8]) -> Reply {
    if matches!(head.uri.path(), "/oauth/token" | "/oauth/token/") {
        return oauth::answer(emulator, head, body);
    }
    let Some(asked) = request::read(head, body) else {
        return Reply::json(StatusCode::NOT_FOUND, missing_method(ApiVersion::V2));
    };
    let version = if asked.rest3 {
        ApiVersion::V3
    } else {
        ApiVersion::V2
    };
    let (status, answer) = match caller(emulator, head, &asked) {
        Err((status, code, text)) => (status, error(version, &code, &text)),
        Ok(caller) => {
            let signed = asked.parameters.get("token").and_then(Value::as_str);
            match (asked.method.to_ascii_lowercase().as_str(), signed) {
                ("download", Some(token)) if caller.has_signed(token, "download") => {
                    return Reply::bytes(b"the file's content".to_vec());
                }
                ("upload", Some(token)) if caller.has_signed(token, "upload") => uploaded(&asked),
                ("download" | "upload", _) => (
                    StatusCode::FORBIDDEN,
                    error(
                        version,
                        "ACCESS_DENIED",
                        "The link is not signed by this portal",
                    ),
                ),
                ("batch", _) if asked.rest3 => match batch::v3(emulator, &caller, &asked) {
                    Ok(answer) => (StatusCode::OK, answer),
                    Err((status, code, text)) => (status, error(version, &code, &text)),
                },
                ("batch", _) => (StatusCode::OK, batch::v2(emulator, &caller, &asked)),
                (method, _) => run(emulator, &caller, version, method, &asked.parameters),
            }
        }
    };
    if asked.xml {
        return Reply::xml(status, php::xml(&answer));
    }
    Reply::json(status, answer)
}

/// Runs one method.
fn run(
    emulator: &Emulator,
    caller: &Caller,
    version: ApiVersion,
    method: &str,
    parameters: &Map<String, Value>,
) -> (StatusCode, Value) {
    let Some(operation) = emulator.catalogue.find(version, method) else {
        return (StatusCode::NOT_FOUND, missing_method(version));
    };
    if emulator.is_blocked(&operation.name) {
        let text = "Method is blocked due to operation time limit.";
        let answer = error(version, "OPERATION_TIME_LIMIT", text);
        return (StatusCode::TOO_MANY_REQUESTS, answer);
    }
    if !caller.may(&emulator.catalogue, operation, parameters) {
        let kind = if caller.webhook { "webhook" } else { "access" };
        let text =
            format!("The request requires higher privileges than provided by the {kind} token");
        let code = match version {
            ApiVersion::Sole | ApiVersion::V2 => "insufficient_scope",
            ApiVersion::V3 => "BITRIX_REST_V3_EXCEPTION_INSUFFICIENTSCOPEEXCEPTION",
        };
        return (StatusCode::FORBIDDEN, error(version, code, &text));
    }
    (
        StatusCode::OK,
        methods::result(&emulator.catalogue, operation, parameters, caller),
    )
}

/// Who calls; or why nobody that the portal knows.
fn caller(
    emulator: &Emulator,
    head: &Parts,
    asked: &Asked,
) -> Result<Caller, (StatusCode, String, String)> {
    let refused = |status, code: &str, text: &str| Err((status, code.to_owned(), text.to_owned()));
    let denied = "BITRIX_REST_V3_EXCEPTION_ACCESSDENIEDEXCEPTION";
    let code = |usual: &'static str| if asked.rest3 { denied } else { usual };
    let unauthorized = StatusCode::UNAUTHORIZED;
    if !emulator.has_room() {
        let text = "Too many requests";
        return refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "QUERY_LIMIT_EXCEEDED",
            text,
        );
    }
    let Some(token) = &asked.token else {
        return refused(
            unauthorized,
            code("NO_AUTH_FOUND"),
            "Wrong authorization data",
        );
    };
    let Some((scopes, expired)) = emulator.token(token) else {
        return if asked.webhook {
            refused(
                unauthorized,
                code("INVALID_CREDENTIALS"),
                "Invalid request credentials",
            )
        } else {
            refused(
                unauthorized,
                code("invalid_token"),
                "Unable to get application by token",
            )
        };
    };
    if !asked.webhook && expired {
        let text = "The access token provided has expired";
        return refused(unauthorized, code("expired_token"), text);
    }
    let host = head
        .headers
        .get(http::header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    Ok(Caller {
        token: token.clone(),
        scopes,
        webhook: asked.webhook,
        origin: format!(
            "{}://{host}",
            if emulator.secure { "https" } else { "http" }
        ),
        key: std::sync::Arc::clone(&emulator.key),
    })
}

impl Caller {
    /// The portal's own check of scopes.
    fn may(
        &self,
        catalogue: &Catalogue,
        operation: &Operation,
        parameters: &Map<String, Value>,
    ) -> bool {
        let held: ScopeSet = self.scopes.iter().map(String::as_str).collect();
        let chosen = parameters.iter().find_map(|(name, value)| {
            let known = ["moduleid", "event", "placement"];
            known
                .contains(&name.to_ascii_lowercase().as_str())
                .then_some(value.as_str()?)
        });
        let requirement = match &operation.requirement {
            Requirement::Conditional(_) => catalogue.choose(operation, chosen),
            fixed => Some(fixed),
        };
        match requirement {
            Some(Requirement::AnyOf(sets)) => sets.iter().any(|set| held.covers(set)),
            _ => true,
        }
    }

    /// A link that the portal signs: scope, query and signature.
    fn signed(&self, scope: &str, method: &str) -> String {
        let token = format!("{scope}|aWQ9MQ|{}", self.signature(scope, method));
        let token = token.replace('|', "%7C");
        let (origin, auth) = (&self.origin, &self.token);
        if self.webhook {
            format!("{origin}/rest/{auth}/{method}/?token={token}")
        } else {
            format!("{origin}/rest/{method}.json?auth={auth}&token={token}")
        }
    }

    fn has_signed(&self, token: &str, method: &str) -> bool {
        let mut parts = token.split('|');
        let (scope, signature) = (parts.next().unwrap_or_default(), parts.nth(1));
        signature == Some(&self.signature(scope, method))
    }

    fn signature(&self, scope: &str, method: &str) -> String {
        let text = format!("{scope}|{method}|{}", self.token);
        self.key
            .identify(&Secret::new(text.into_bytes()))
            .to_string()
    }
}

fn uploaded(asked: &Asked) -> (StatusCode, Value) {
    match asked.files.first() {
        Some((name, bytes)) => {
            let file = json!({ "ID": 1, "NAME": name, "SIZE": bytes.to_string() });
            (StatusCode::OK, json!({ "result": file, "time": time() }))
        }
        None => (
            StatusCode::BAD_REQUEST,
            error(ApiVersion::V2, "ERROR_ARGUMENT", "No file in the request"),
        ),
    }
}

fn missing_method(version: ApiVersion) -> Value {
    match version {
        ApiVersion::Sole | ApiVersion::V2 => {
            error(version, "ERROR_METHOD_NOT_FOUND", "Method not found!")
        }
        ApiVersion::V3 => error(
            version,
            "BITRIX_REST_V3_EXCEPTION_METHODNOTFOUNDEXCEPTION",
            "Method not found",
        ),
    }
}

fn error(version: ApiVersion, code: &str, text: &str) -> Value {
    match version {
        ApiVersion::Sole | ApiVersion::V2 => json!({ "error": code, "error_description": text }),
        ApiVersion::V3 => json!({ "error": { "code": code, "message": text } }),
    }
}

/// The `time` of an answer.
fn time() -> Value {
    let now = Timestamp::now();
    let seconds = f64::from(now.as_secs());
    json!({
        "start": seconds, "finish": seconds, "duration": 0.001, "processing": 0.0,
        "date_start": now.to_rfc3339(), "date_finish": now.to_rfc3339(), "operating": 0,
    })
}
