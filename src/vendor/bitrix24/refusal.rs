//! Refusals in the portal's own words (vendor's error reference), so that SDKs raise their own error and neither
//! refresh nor retry without end.

use std::borrow::Cow;

use crate::model::{AnswerShape, ApiVersion, CredentialKind, Reason};
use crate::vendor::{NativeAnswer, Refusal};

use super::choice::NESTED;
use super::read::VERB_NOT_OFFERED;

/// The portal's answer for a refusal.
pub(in crate::vendor) fn refuse(refusal: &Refusal<'_>) -> NativeAnswer {
    let (status, code, v3_code) = code(refusal);
    let text = text(refusal);
    if refusal.answer == AnswerShape::Xml {
        return NativeAnswer {
            status,
            content_type: "text/xml; charset=utf-8",
            body: xml(code, &text),
        };
    }
    let body = match refusal.version {
        ApiVersion::Sole | ApiVersion::V2 => {
            serde_json::json!({ "error": code, "error_description": text })
        }
        ApiVersion::V3 => serde_json::json!({ "error": { "code": v3_code, "message": text } }),
    };
    NativeAnswer {
        status,
        content_type: "application/json; charset=utf-8",
        body: body.to_string(),
    }
}

/// The portal's XML has no prolog.
fn xml(code: &str, text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            other => escaped.push(other),
        }
    }
    format!(
        "<response><error>{code}</error><error_description>{escaped}</error_description></response>"
    )
}

/// The code that stands for a refused member in a batch's `result_error`, with a text that says why. The portal leaves
/// the text empty; what reads only codes does not notice.
pub(super) fn member_error(
    reason: Reason,
    missing: &[Cow<'_, str>],
    why: Option<&str>,
) -> serde_json::Value {
    let refusal = Refusal {
        reason,
        fault: None,
        missing,
        version: ApiVersion::V2,
        answer: AnswerShape::Usual,
        credential: None,
    };
    let (_, code, _) = code(&refusal);
    let code = if why == Some(NESTED) {
        "ERROR_BATCH_METHOD_NOT_ALLOWED"
    } else {
        code
    };
    let text = match reason {
        Reason::BatchMemberDenied => {
            "It refers to a command of the batch that was refused, or comes after it with `halt`"
                .to_owned()
        }
        Reason::ScopeMissing => {
            let missing = missing.join(", ");
            format!("The command requires higher privileges than provided: missing scope {missing}")
        }
        _ => text(&refusal),
    };
    serde_json::json!({ "error": code, "error_description": text })
}

const V3_ACCESS_DENIED: &str = "BITRIX_REST_V3_EXCEPTION_ACCESSDENIEDEXCEPTION";
const V3_INTERNAL: &str = "BITRIX_REST_V3_EXCEPTION_INTERNALEXCEPTION";
const V3_INVALID: &str = "BITRIX_REST_V3_EXCEPTION_INVALIDREQUESTEXCEPTION";

/// Status and code in both versions' vocabularies. A missing scope is 403, never 401: one client takes any 401 for an
/// expired token and asks for a new one without end.
fn code(refusal: &Refusal<'_>) -> (u16, &'static str, &'static str) {
    if refusal.fault == Some(VERB_NOT_OFFERED) {
        return (405, "INVALID_REQUEST", V3_INVALID);
    }
    match refusal.reason {
        Reason::ScopeMissing | Reason::BatchMemberDenied => (
            403,
            "insufficient_scope",
            "BITRIX_REST_V3_EXCEPTION_INSUFFICIENTSCOPEEXCEPTION",
        ),
        Reason::CredentialMissing => (401, "NO_AUTH_FOUND", V3_ACCESS_DENIED),
        Reason::TokenExpired | Reason::TokenRevoked => (401, "expired_token", V3_ACCESS_DENIED),
        Reason::TokenUnknown | Reason::OperationUnlisted | Reason::RuleRefused => {
            (403, "ACCESS_DENIED", V3_ACCESS_DENIED)
        }
        Reason::AmbiguousFraming
        | Reason::AmbiguousCredential
        | Reason::AmbiguousOperation
        | Reason::AmbiguousBody
        | Reason::UpgradeRefused => (400, "INVALID_REQUEST", V3_INVALID),
        Reason::BatchTooLong => (400, "ERROR_BATCH_LENGTH_EXCEEDED", V3_INVALID),
        Reason::HostUnknown => (421, "INVALID_REQUEST", V3_INVALID),
        Reason::BodyOverCap => (413, "INVALID_REQUEST", V3_INVALID),
        Reason::GrantUnavailable | Reason::AuditUnavailable | Reason::Overloaded => {
            (503, "OVERLOAD_LIMIT", V3_INTERNAL)
        }
        Reason::UpstreamUnreachable | Reason::UpstreamInvalid | Reason::RedirectRefused => {
            (502, "INTERNAL_SERVER_ERROR", V3_INTERNAL)
        }
        Reason::UpstreamTimeout => (504, "INTERNAL_SERVER_ERROR", V3_INTERNAL),
        Reason::Internal | Reason::NoScopeNeeded | Reason::Permitted => {
            (500, "INTERNAL_SERVER_ERROR", V3_INTERNAL)
        }
    }
}

fn text(refusal: &Refusal<'_>) -> String {
    let credential = match refusal.credential {
        Some(CredentialKind::Webhook) => "webhook",
        Some(CredentialKind::Access | CredentialKind::Personal) | None => "access",
    };
    match refusal.reason {
        Reason::ScopeMissing | Reason::BatchMemberDenied if refusal.missing.is_empty() => {
            format!(
                "The request requires higher privileges than provided by the {credential} token"
            )
        }
        Reason::ScopeMissing | Reason::BatchMemberDenied => format!(
            "The request requires higher privileges than provided by the {credential} token: missing scope {}",
            refusal.missing.join(", ")
        ),
        Reason::CredentialMissing => "Wrong authorization data".to_owned(),
        Reason::TokenExpired | Reason::TokenRevoked => {
            "The access token provided has expired".to_owned()
        }
        Reason::TokenUnknown => {
            format!("Access denied: this gate knows no grant for the {credential} token")
        }
        Reason::OperationUnlisted if refusal.fault == Some(VERB_NOT_OFFERED) => {
            "The method is called by GET, HEAD or POST".to_owned()
        }
        Reason::OperationUnlisted => "Access denied: this gate does not open the method".to_owned(),
        Reason::RuleRefused => "Access denied: a rule of this gate refuses the method".to_owned(),
        other => {
            let what = refusal
                .fault
                .map_or("The request could not be forwarded", |fault| fault.detail);
            format!("{what} ({other})", other = other.as_str())
        }
    }
}
