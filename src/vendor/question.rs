//! What a vendor says of a token: asked about it, or on a call that the gate had permitted.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use serde::Deserialize;

use super::Vendor;
use crate::model::{CredentialKind, Finding, Secret, Server};

/// What the vendor has against a call that the gate had permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// What it is about.
    pub about: ObjectionTo,
    /// The vendor's own code.
    pub code: String,
}

impl Objection {
    /// True if the vendor misses a scope.
    pub fn is_about_scope(&self) -> bool {
        self.about == ObjectionTo::Scope
    }
}

/// What an objection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectionTo {
    /// A scope: the catalogue or the grant is not what the vendor has.
    Scope,
    /// The token's time, which is over.
    Expired,
    /// The token, which does not hold any more.
    Revoked,
    /// The token; whether it has expired, was revoked or never was, the vendor does not say.
    Invalid,
}

/// The members of the vendors' errors that matter.
#[derive(Deserialize)]
struct Errors<'b> {
    /// Bitrix24: a code, or in REST 3.0 an object; LiveChat: an object, or a code of the accounts host.
    #[serde(default)]
    error: Option<serde_json::Value>,
    #[serde(borrow, default)]
    sub_error: Option<Cow<'b, str>>,
    /// RingCentral.
    #[serde(borrow, default)]
    errors: Vec<Inner<'b>>,
    #[serde(borrow, default, rename = "errorCode")]
    code: Option<Cow<'b, str>>,
    /// Bitrix24's answer to `scope`.
    #[serde(default)]
    result: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Inner<'b> {
    #[serde(borrow, default, rename = "errorCode")]
    code: Option<Cow<'b, str>>,
}

impl Errors<'_> {
    /// A text of the error, or within it.
    fn text(&self, within: &str) -> Option<&str> {
        match self.error.as_ref()? {
            serde_json::Value::String(code) => Some(code),
            serde_json::Value::Object(error) => error.get(within)?.as_str(),
            _ => None,
        }
    }
}

impl Vendor {
    /// True if the vendor can be asked about this kind of credential. Whether LiveChat's personal access tokens can be is
    /// not established; RingCentral has no public way.
    pub const fn can_be_asked(self, kind: CredentialKind) -> bool {
        match self {
            Self::Bitrix24 => true,
            Self::LiveChat => matches!(kind, CredentialKind::Access),
            Self::RingCentral => false,
        }
    }

    /// The request by which the vendor is asked what a token may do, and the server that it goes to; `None` where the
    /// vendor cannot be asked. `Host` is for whoever sends it.
    ///
    /// Bitrix24's `scope` answers with exactly what the portal enforces; LiveChat's `GET /v2/info` with the token's facts.
    pub fn question(
        self,
        kind: CredentialKind,
        token: &Secret<'_>,
    ) -> Option<(Server, Request<Bytes>)> {
        let text = str::from_utf8(token.expose()).ok()?;
        let mut request = Request::new(Bytes::new());
        let accept = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::ACCEPT, accept);
        match (self, kind) {
            (Self::Bitrix24, CredentialKind::Webhook) => {
                *request.uri_mut() = format!("/rest/{text}/scope.json").parse().ok()?;
                Some((Server::Resource, request))
            }
            (Self::Bitrix24, CredentialKind::Access) => {
                *request.method_mut() = Method::POST;
                *request.uri_mut() = http::Uri::from_static("/rest/scope.json");
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                request.headers_mut().insert(header::CONTENT_TYPE, form);
                *request.body_mut() = Bytes::from(format!("auth={}", escaped(text)));
                Some((Server::Resource, request))
            }
            (Self::LiveChat, CredentialKind::Access) => {
                *request.uri_mut() = http::Uri::from_static("/v2/info");
                let mut bearer = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
                bearer.set_sensitive(true);
                request.headers_mut().insert(header::AUTHORIZATION, bearer);
                Some((Server::Authorization, request))
            }
            (Self::Bitrix24 | Self::LiveChat | Self::RingCentral, _) => None,
        }
    }

    /// What the answer to [`Vendor::question`] says.
    pub fn finding(
        self,
        kind: CredentialKind,
        asked: &Secret<'_>,
        status: u16,
        body: &[u8],
    ) -> Finding {
        if let Some(objection) = self.objection(status, body) {
            return match objection.about {
                ObjectionTo::Expired => Finding::Expired,
                ObjectionTo::Revoked | ObjectionTo::Invalid => Finding::Revoked,
                ObjectionTo::Scope => Finding::Unclear,
            };
        }
        match (self, status) {
            (Self::Bitrix24, 200) => {
                let Ok(Errors {
                    result: Some(serde_json::Value::Array(codes)),
                    ..
                }) = serde_json::from_slice(body)
                else {
                    return Finding::Unclear;
                };
                let scopes: Option<Vec<String>> = codes
                    .iter()
                    .map(|code| code.as_str().map(str::to_owned))
                    .collect();
                scopes.map_or(Finding::Unclear, |scopes| Finding::Holds {
                    scopes,
                    // It does not say: a webhook has no end, an access token an hour (documented).
                    lasts: matches!(kind, CredentialKind::Access).then_some(3600),
                    user: None,
                    tenant: None,
                })
            }
            (Self::LiveChat, 200) => self.info(asked, body),
            // Words that are not known for a token that is no good: it is not believed in, nor remembered as ended.
            (_, 401 | 403) => Finding::Unknown,
            _ => Finding::Unclear,
        }
    }

    /// What the vendor has against the token of a call, by its answer's status and body.
    pub fn objection(self, status: u16, body: &[u8]) -> Option<Objection> {
        if !matches!(status, 400 | 401 | 403) {
            return None;
        }
        let (about, code) = match self {
            Self::Bitrix24 => {
                let code = code_of_bitrix24(body)?;
                let about = match code.as_str() {
                    "insufficient_scope"
                    | "BITRIX_REST_V3_EXCEPTION_INSUFFICIENTSCOPEEXCEPTION" => ObjectionTo::Scope,
                    "expired_token" => ObjectionTo::Expired,
                    "invalid_token" | "NOT_INSTALLED" | "APPLICATION_NOT_FOUND" => {
                        ObjectionTo::Revoked
                    }
                    _ => return None,
                };
                (about, code)
            }
            Self::RingCentral => {
                let errors: Errors<'_> = serde_json::from_slice(body).ok()?;
                let inner = errors.errors.first().and_then(|inner| inner.code.clone());
                let code = inner.or(errors.code)?.into_owned();
                let about = match (status, code.as_str()) {
                    (403, "CMN-401" | "InsufficientPermissions") => ObjectionTo::Scope,
                    (401, "OAU-128") => ObjectionTo::Expired,
                    (401, "OAU-213" | "OAU-149" | "OAU-129" | "TokenInvalid") => {
                        ObjectionTo::Revoked
                    }
                    _ => return None,
                };
                (about, code)
            }
            Self::LiveChat => {
                let errors: Errors<'_> = serde_json::from_slice(body).ok()?;
                if errors.sub_error.as_deref() == Some("insufficient_scope") {
                    return Some(Objection {
                        about: ObjectionTo::Scope,
                        code: "insufficient_scope".to_owned(),
                    });
                }
                let code = errors.text("type")?.to_owned();
                let message = errors.text("message").unwrap_or_default();
                let missing = message.to_ascii_lowercase().contains("missing scope");
                let about = match (status, code.as_str()) {
                    (403, "authorization") if missing => ObjectionTo::Scope,
                    (401, "authentication" | "unauthorized") => ObjectionTo::Invalid,
                    _ => return None,
                };
                (about, code)
            }
        };
        Some(Objection { about, code })
    }
}

/// The code of a Bitrix24 error: JSON of either version, or XML, which begins so and nothing else does.
fn code_of_bitrix24(body: &[u8]) -> Option<String> {
    if let Some(rest) = body.strip_prefix(b"<response><error>") {
        let end = memchr::memchr(b'<', rest)?;
        return String::from_utf8(rest.get(..end)?.to_vec()).ok();
    }
    let errors: Errors<'_> = serde_json::from_slice(body).ok()?;
    errors.text("code").map(str::to_owned)
}

/// The text as a value of a form.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(vendor: Vendor, status: u16, body: &str) -> Option<ObjectionTo> {
        Some(vendor.objection(status, body.as_bytes())?.about)
    }

    #[test]
    fn codes_decide_and_not_the_status() {
        use ObjectionTo::{Expired, Invalid, Revoked, Scope};
        use Vendor::{Bitrix24, LiveChat, RingCentral};
        let echoed = r#"{"error":"X","error_description":"<error>expired_token</error>"}"#;
        assert_eq!(about(Bitrix24, 400, echoed), None);
        for (vendor, status, body, expected) in [
            (
                Bitrix24,
                401,
                r#"{"error":"insufficient_scope"}"#,
                Some(Scope),
            ),
            (
                Bitrix24,
                403,
                r#"{"error":"insufficient_scope"}"#,
                Some(Scope),
            ),
            (Bitrix24, 401, r#"{"error":"expired_token"}"#, Some(Expired)),
            (
                Bitrix24,
                401,
                "<response><error>expired_token</error></response>",
                Some(Expired),
            ),
            (Bitrix24, 401, r#"{"error":"NO_AUTH_FOUND"}"#, None),
            (Bitrix24, 401, r#"{"error":"INVALID_CREDENTIALS"}"#, None),
            (
                Bitrix24,
                403,
                r#"{"error":{"code":"BITRIX_REST_V3_EXCEPTION_INSUFFICIENTSCOPEEXCEPTION"}}"#,
                Some(Scope),
            ),
            (
                Bitrix24,
                401,
                r#"{"error":{"code":"BITRIX_REST_V3_EXCEPTION_ACCESSDENIEDEXCEPTION"}}"#,
                None,
            ),
            (Bitrix24, 500, r#"{"error":"expired_token"}"#, None),
            (
                RingCentral,
                401,
                r#"{"errorCode":"TokenInvalid","errors":[{"errorCode":"OAU-213"}]}"#,
                Some(Revoked),
            ),
            (
                RingCentral,
                401,
                r#"{"errors":[{"errorCode":"OAU-128"}]}"#,
                Some(Expired),
            ),
            (
                RingCentral,
                403,
                r#"{"errorCode":"InsufficientPermissions","errors":[{"errorCode":"CMN-401"}]}"#,
                Some(Scope),
            ),
            (
                RingCentral,
                403,
                r#"{"errorCode":"CMN-408","errors":[{"errorCode":"CMN-408"}]}"#,
                None,
            ),
            (
                LiveChat,
                401,
                r#"{"error":{"type":"authentication","message":"Invalid access token"}}"#,
                Some(Invalid),
            ),
            (
                LiveChat,
                403,
                r#"{"error":{"type":"authorization","message":"Missing scope x"}}"#,
                Some(Scope),
            ),
            (
                LiveChat,
                403,
                r#"{"error":{"type":"authorization","message":"not yours"}}"#,
                None,
            ),
            (
                LiveChat,
                403,
                r#"{"error":"access_denied","sub_error":"insufficient_scope"}"#,
                Some(Scope),
            ),
        ] {
            assert_eq!(about(vendor, status, body), expected, "{body}");
        }
    }

    #[test]
    fn an_answer_about_another_token_teaches_nothing() {
        let asked = Secret::new(b"dal:one".as_slice());
        let body = br#"{"access_token":"dal:other","scope":"chats--all:rw","refresh_token":"r"}"#;
        let found = Vendor::LiveChat.finding(CredentialKind::Access, &asked, 200, body);
        assert!(matches!(found, Finding::Unclear));
        let body = br#"{"access_token":"dal:one","scope":"chats--all:rw,agents--all:ro","expires_in":28799}"#;
        let Finding::Holds { scopes, lasts, .. } =
            Vendor::LiveChat.finding(CredentialKind::Access, &asked, 200, body)
        else {
            panic!("it says what the token holds");
        };
        assert_eq!((scopes.len(), lasts), (2, Some(28_799)));
    }

    #[test]
    fn only_a_list_of_codes_is_a_grant() {
        let asked = Secret::new(b"t".as_slice());
        for (status, body, holds) in [
            (200, r#"{"result":["crm","user"],"time":{}}"#, true),
            (200, r#"{"result":[]}"#, true),
            (200, r#"{"result":{"0":"crm"}}"#, false),
            (200, r#"{"result":["crm",1]}"#, false),
            (200, r#"{"result":["cr"#, false),
            (500, r#"{"result":["crm"]}"#, false),
            (200, r#"{"error":"QUERY_LIMIT_EXCEEDED"}"#, false),
        ] {
            let found =
                Vendor::Bitrix24.finding(CredentialKind::Access, &asked, status, body.as_bytes());
            assert_eq!(matches!(found, Finding::Holds { .. }), holds, "{body}");
        }
    }
}
