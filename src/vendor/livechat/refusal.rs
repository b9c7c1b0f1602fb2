//! Refusals in the words of each of LiveChat's APIs. A missing scope is 403, and its message begins with `missing scope`,
//! for which clients look.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::model::{AnswerShape, Reason};
use crate::vendor::{NativeAnswer, OTHER_VERBS, Refusal};

/// LiveChat's answer for a refusal.
pub(in crate::vendor) fn refuse(refusal: &Refusal<'_>) -> NativeAnswer {
    let (status, kind) = kind(refusal);
    let message = message(refusal);
    let body = match refusal.answer {
        AnswerShape::OAuth => {
            let (error, sub_error) = oauth(status, refusal.reason);
            let mut body = json!({
                "error": error,
                "error_description": message,
                "request_id": "grantgate",
            });
            if let (Some(sub_error), Some(members)) = (sub_error, body.as_object_mut()) {
                members.insert("sub_error".to_owned(), sub_error.into());
            }
            body
        }
        AnswerShape::CustomerOAuth => {
            let (error, _) = oauth(status, refusal.reason);
            json!({ "oauth_exception": error, "exception_description": message })
        }
        AnswerShape::Old => json!({ "errors": [message] }),
        _ => json!({ "error": { "type": kind, "message": message } }),
    };
    NativeAnswer {
        status,
        content_type: "application/json",
        body: body.to_string(),
    }
}

/// What stands in the place of a refused element in a batch's answer.
pub(super) fn element(reason: Reason, missing: &[Cow<'_, str>]) -> Value {
    let refusal = Refusal {
        reason,
        fault: None,
        missing,
        version: crate::model::ApiVersion::Sole,
        answer: AnswerShape::Usual,
        credential: None,
    };
    let (_, kind) = kind(&refusal);
    json!({ "error": { "type": kind, "message": message(&refusal) } })
}

/// Status and type of an error.
fn kind(refusal: &Refusal<'_>) -> (u16, &'static str) {
    if refusal.fault == Some(OTHER_VERBS) {
        return (405, "validation");
    }
    match refusal.reason {
        Reason::ScopeMissing
        | Reason::BatchMemberDenied
        | Reason::OperationUnlisted
        | Reason::RuleRefused => (403, "authorization"),
        Reason::CredentialMissing
        | Reason::TokenUnknown
        | Reason::TokenExpired
        | Reason::TokenRevoked => (401, "authentication"),
        Reason::AmbiguousFraming
        | Reason::UpgradeRefused
        | Reason::AmbiguousCredential
        | Reason::AmbiguousOperation
        | Reason::AmbiguousBody
        | Reason::BatchTooLong => (400, "validation"),
        Reason::HostUnknown => (421, "validation"),
        Reason::BodyOverCap => (413, "entity_too_large"),
        Reason::Overloaded | Reason::AuditUnavailable | Reason::GrantUnavailable => {
            (503, "internal")
        }
        Reason::UpstreamUnreachable | Reason::UpstreamInvalid | Reason::RedirectRefused => {
            (502, "internal")
        }
        Reason::UpstreamTimeout => (504, "request_timeout"),
        Reason::Internal | Reason::NoScopeNeeded | Reason::Permitted => (500, "internal"),
    }
}

/// Error and sub-error of the accounts host.
const fn oauth(status: u16, reason: Reason) -> (&'static str, Option<&'static str>) {
    match (status, reason) {
        (403, Reason::ScopeMissing) => ("access_denied", Some("insufficient_scope")),
        (403, _) => ("access_denied", None),
        (401, _) => ("unauthorized", None),
        (503 | 504, _) => ("temporarily_unavailable", None),
        (500 | 502, _) => ("server_error", None),
        _ => ("invalid_request", None),
    }
}

fn message(refusal: &Refusal<'_>) -> String {
    if refusal.fault == Some(OTHER_VERBS) {
        return "The action is called with another verb".to_owned();
    }
    match refusal.reason {
        Reason::ScopeMissing | Reason::BatchMemberDenied if !refusal.missing.is_empty() => {
            format!("missing scope {}", refusal.missing.join(", "))
        }
        Reason::UpgradeRefused => {
            "WebSocket (RTM) is not passed on: nobody could look into its frames; use the Web API"
                .to_owned()
        }
        Reason::ScopeMissing | Reason::BatchMemberDenied => "missing scope".to_owned(),
        Reason::OperationUnlisted => "The action, as it was called, is not known".to_owned(),
        Reason::RuleRefused => "The action is refused by a rule of the gate".to_owned(),
        Reason::CredentialMissing => "Authentication error".to_owned(),
        Reason::TokenUnknown | Reason::TokenExpired | Reason::TokenRevoked => {
            "Invalid access token".to_owned()
        }
        Reason::Overloaded | Reason::AuditUnavailable | Reason::GrantUnavailable => {
            "Temporarily unavailable".to_owned()
        }
        Reason::UpstreamUnreachable | Reason::UpstreamInvalid | Reason::RedirectRefused => {
            "LiveChat gave no answer that can be passed on".to_owned()
        }
        Reason::UpstreamTimeout => "Request timed out".to_owned(),
        Reason::Internal | Reason::NoScopeNeeded | Reason::Permitted => {
            "Internal server error".to_owned()
        }
        _ => match refusal.fault {
            Some(fault) => format!("Wrong format of request: {}", fault.detail),
            None => "Wrong format of request".to_owned(),
        },
    }
}
