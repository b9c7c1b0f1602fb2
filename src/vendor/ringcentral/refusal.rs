//! Refusals in the platform's own words (vendor's error reference and seen answers), so that SDKs raise their own error
//! and neither refresh nor retry without end.

use serde_json::{Value, json};

use crate::model::{AnswerShape, Reason};
use crate::vendor::{NativeAnswer, OTHER_VERBS, Refusal};

/// The platform's answer for a refusal.
pub(in crate::vendor) fn refuse(refusal: &Refusal<'_>) -> NativeAnswer {
    let native = native(refusal);
    if refusal.answer == AnswerShape::Scim {
        return scim(&native);
    }
    let Native {
        status,
        code,
        inner,
        message,
        permission,
    } = native;
    let mut error = json!({ "errorCode": inner, "message": message });
    let mut body = json!({ "errorCode": code, "message": message });
    if let Some(permission) = permission {
        for object in [&mut error, &mut body] {
            set(object, "permissionName", permission.as_str().into());
        }
    }
    set(&mut body, "errors", json!([error]));
    NativeAnswer {
        status,
        content_type: "application/json;charset=utf-8",
        body: body.to_string(),
    }
}

/// RFC 7644 section 3.12: the status is text.
fn scim(native: &Native) -> NativeAnswer {
    let body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "detail": native.message,
        "status": native.status.to_string(),
    });
    NativeAnswer {
        status: native.status,
        content_type: "application/scim+json;charset=utf-8",
        body: body.to_string(),
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

struct Native {
    status: u16,
    /// The code at the top.
    code: &'static str,
    /// The code within `errors`.
    inner: &'static str,
    message: String,
    permission: Option<String>,
}

fn native(refusal: &Refusal<'_>) -> Native {
    let plain = |status, code, message: String| Native {
        status,
        code,
        inner: code,
        message,
        permission: None,
    };
    let unclear = || {
        let detail = refusal.fault.map_or("", |fault| fault.detail);
        format!("Request is refused: {detail}")
    };
    if refusal.fault == Some(OTHER_VERBS) {
        return plain(405, "CMN-202", "Operation is not supported".to_owned());
    }
    match refusal.reason {
        Reason::ScopeMissing | Reason::BatchMemberDenied if !refusal.missing.is_empty() => {
            let missing = refusal.missing.join(", ");
            Native {
                status: 403,
                code: "InsufficientPermissions",
                inner: "CMN-401",
                message: format!(
                    "In order to call this API endpoint, application needs to have [{missing}] permission"
                ),
                permission: refusal.missing.first().map(ToString::to_string),
            }
        }
        Reason::ScopeMissing
        | Reason::BatchMemberDenied
        | Reason::OperationUnlisted
        | Reason::RuleRefused => Native {
            status: 403,
            code: "InsufficientPermissions",
            inner: "CMN-401",
            message: match refusal.reason {
                Reason::RuleRefused => {
                    "In order to call this API endpoint, application needs a permission that a rule of its gate withholds"
                }
                _ => "In order to call this API endpoint, application needs a permission that is not known",
            }
            .to_owned(),
            permission: None,
        },
        Reason::CredentialMissing => plain(
            401,
            "AGW-401",
            "Authorization header is not specified".to_owned(),
        ),
        Reason::TokenUnknown | Reason::TokenExpired | Reason::TokenRevoked => Native {
            status: 401,
            code: "TokenInvalid",
            inner: "OAU-213",
            message: "Token not found".to_owned(),
            permission: None,
        },
        Reason::HostUnknown => plain(421, "CMN-101", unclear()),
        Reason::BodyOverCap => plain(413, "CMN-101", unclear()),
        Reason::AmbiguousFraming
        | Reason::UpgradeRefused
        | Reason::AmbiguousCredential
        | Reason::AmbiguousOperation
        | Reason::AmbiguousBody
        | Reason::BatchTooLong => plain(400, "CMN-101", unclear()),
        Reason::Overloaded | Reason::AuditUnavailable | Reason::GrantUnavailable => plain(
            503,
            "CMN-201",
            "Service is temporarily unavailable".to_owned(),
        ),
        Reason::UpstreamUnreachable | Reason::UpstreamInvalid | Reason::RedirectRefused => plain(
            502,
            "CMN-203",
            "The platform gave no answer that can be passed on".to_owned(),
        ),
        Reason::UpstreamTimeout => plain(
            504,
            "CMN-203",
            "The platform did not answer in time".to_owned(),
        ),
        Reason::Internal | Reason::NoScopeNeeded | Reason::Permitted => {
            plain(500, "CMN-203", "Internal error".to_owned())
        }
    }
}
