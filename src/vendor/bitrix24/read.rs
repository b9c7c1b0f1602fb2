//! Reading one request: which credential, which operation, and whether the portal could see it otherwise.

use std::borrow::Cow;

use http::{Method, header};

use super::field::{MediaType, bearer, media_type};
use super::form::{FormScanner, Found};
use super::json::{JsonScanner, Value};
use super::parameter::{Parameter, decode};
use super::target::{self, Path, Target};
use crate::catalogue::Catalogue;
use crate::model::{
    ApiVersion, Asked, Call, Credential, CredentialKind, CredentialRead, Fault, Inspected,
    Location, NotBuilt, Reason, Secret, cap_name,
};
use crate::vendor::Head;

/// The verb is none that the portal offers; answered with 405.
pub(super) const VERB_NOT_OFFERED: Fault = Fault {
    reason: Reason::OperationUnlisted,
    detail: "the portal offers GET, HEAD and POST",
};

const TWO_CREDENTIALS: Fault = Fault {
    reason: Reason::AmbiguousCredential,
    detail: "the request carries more than one credential",
};
const UNCLEAR_CREDENTIAL: Fault = Fault {
    reason: Reason::AmbiguousCredential,
    detail: "the credential is not spelt in a documented way",
};
const FOREIGN_CREDENTIAL: Fault = Fault {
    reason: Reason::AmbiguousCredential,
    detail: "the request uses a door that is not OAuth or a webhook",
};
const ROUTING: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "a parameter names a method or page beside the path",
};
const ERROR_PAGE: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "the target holds the mark of an error page, behind which the portal looks for another target",
};
const OVERRIDE: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "a header names another verb than the request",
};
const BODY_WITHOUT_POST: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "a body is read from POST requests only",
};
const BODY_TYPE: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the body is neither `application/json` nor `application/x-www-form-urlencoded`, spelt so and once",
};
const BODY_ENCODED: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the body is compressed",
};
const BODY_JSON: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the body is not strict JSON",
};
const BODY_TOO_LONG: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "a parameter is too long to be told",
};

const BODY_NUL: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the body holds a NUL byte, at which PHP may cut it",
};

/// The longest token that is taken for one, in bytes; the vendor's have 70.
const LONGEST_TOKEN: usize = 4096;

/// Reads one request as a portal does.
#[derive(Debug)]
pub struct Reader<'r, 'c> {
    credential: CredentialRead<'r>,
    operation: Asked<'c>,
    signed: bool,
    fault: Option<Fault>,
    body: Body,
    inspected: Inspected,
}

/// How the portal would read the body.
#[derive(Debug)]
enum Body {
    /// There is none, or it is not looked at.
    Unread,
    Form(FormScanner),
    /// `false` until the first byte: a JSON type without a body is no body.
    Json(Box<JsonScanner>, bool),
}

impl<'r, 'c> Reader<'r, 'c> {
    pub(in crate::vendor) fn new(head: Head<'r>, catalogue: &'c Catalogue) -> Self {
        let mut reader = Self {
            credential: CredentialRead::Missing,
            operation: Asked::Unparsed,
            signed: false,
            fault: None,
            body: Body::Unread,
            inspected: Inspected::None,
        };
        let (path, query) = head.target.split_once('?').unwrap_or((head.target, ""));
        reader.read_path(path, catalogue);
        reader.read_headers(head);
        if !query.is_empty() {
            let mut scanner = FormScanner::default();
            let mut note = |found: Found<'_>| reader.parameter(&found, Location::Query);
            scanner.feed(query.as_bytes(), &mut note);
            scanner.finish(&mut note);
        }
        if has_error_mark(head.target.as_bytes()) {
            reader.note(ERROR_PAGE);
        }
        if reader.is_preflight(head) {
            reader.operation = Asked::Preflight;
        } else if !matches!(*head.verb, Method::GET | Method::HEAD | Method::POST) {
            reader.note(VERB_NOT_OFFERED);
        }
        if head.has_body {
            reader.begin_body(head);
        }
        reader
    }

    /// A CORS preflight: `OPTIONS` with `Origin` and `Access-Control-Request-Method`, without body and credential. The
    /// portal has no eye for verbs: one with a credential would run the method.
    fn is_preflight(&self, head: Head<'_>) -> bool {
        *head.verb == Method::OPTIONS
            && head.headers.contains_key(header::ORIGIN)
            && head
                .headers
                .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
            && !head.has_body
            && matches!(self.credential, CredentialRead::Missing)
            && matches!(
                self.operation,
                Asked::Listed(_) | Asked::Unlisted { .. } | Asked::NotBuilt { .. }
            )
            && self.fault.is_none()
            && !self.signed
    }

    pub(in crate::vendor) fn wants_body(&self) -> bool {
        self.fault.is_none() && !matches!(self.body, Body::Unread)
    }

    pub(in crate::vendor) fn feed(&mut self, bytes: &[u8]) {
        let mut body = std::mem::replace(&mut self.body, Body::Unread);
        match &mut body {
            Body::Unread => {}
            Body::Form(scanner) => {
                scanner.feed(bytes, &mut |found| self.parameter(&found, Location::Form));
            }
            Body::Json(scanner, begun) => {
                *begun |= !bytes.is_empty();
                if scanner
                    .feed(bytes, &mut |parameter, value| {
                        self.member(parameter, &value);
                    })
                    .is_err()
                {
                    self.unparseable(BODY_JSON);
                    return;
                }
            }
        }
        self.body = body;
    }

    pub(in crate::vendor) fn note(&mut self, fault: Fault) {
        if self.fault.is_none_or(|known| fault.reason < known.reason) {
            self.fault = Some(fault);
        }
        if fault.reason == Reason::BodyOverCap {
            self.inspected = Inspected::OverCap;
        }
    }

    pub(in crate::vendor) fn finish(mut self) -> Call<'r, 'c> {
        // A body that was not read to its end has said nothing yet.
        if self.wants_body() {
            self.inspected = Inspected::Full;
            match std::mem::replace(&mut self.body, Body::Unread) {
                Body::Form(mut scanner) => {
                    scanner.finish(&mut |found| self.parameter(&found, Location::Form));
                }
                Body::Json(scanner, true) if scanner.finish().is_err() => {
                    self.unparseable(BODY_JSON);
                }
                Body::Unread | Body::Json(..) => {}
            }
        }
        if self.signed {
            self.not_built(NotBuilt::SignedToken);
        }
        if matches!(&self.credential, CredentialRead::One(one) if one.secret.expose().is_empty()) {
            self.credential = CredentialRead::Missing;
        }
        Call {
            credential: self.credential,
            operation: self.operation,
            members: Vec::new(),
            fault: self.fault,
            inspected: self.inspected,
        }
    }

    fn read_path(&mut self, path: &'r str, catalogue: &'c Catalogue) {
        let Target {
            version,
            webhook,
            method,
            xml,
        } = match target::read(path) {
            Path::Call(target) => target,
            Path::Elsewhere => return,
            Path::Unclear(fault) => return self.note(fault),
        };
        if let Some(pair) = webhook {
            self.credential_found(
                CredentialKind::Webhook,
                Location::Path,
                Cow::Borrowed(pair.as_bytes()),
            );
        }
        self.operation = match catalogue.find(version, method) {
            Some(operation) => Asked::Listed(operation),
            None => Asked::Unlisted {
                version,
                name: cap_name(method),
            },
        };
        if version == ApiVersion::V3 {
            self.not_built(NotBuilt::Rest3);
        } else if method.eq_ignore_ascii_case("batch") {
            self.not_built(NotBuilt::Batch);
        } else if xml {
            self.not_built(NotBuilt::Xml);
        }
    }

    fn read_headers(&mut self, head: Head<'r>) {
        for (name, value) in head.headers {
            match name.as_str() {
                "authorization" => match bearer(value.as_bytes()) {
                    Some(token) => {
                        self.credential_found(
                            CredentialKind::Access,
                            Location::Header,
                            Cow::Borrowed(token),
                        );
                    }
                    None => self.unclear(UNCLEAR_CREDENTIAL),
                },
                "x-http-method-override" | "x-http-method" | "x-method-override"
                    if !value
                        .as_bytes()
                        .eq_ignore_ascii_case(head.verb.as_str().as_bytes()) =>
                {
                    self.note(OVERRIDE);
                }
                // PHP folds `-` and `_` in header names into one.
                name if name.contains('_') => match name.replace('_', "-").as_str() {
                    "x-http-method-override" | "x-http-method" | "x-method-override" => {
                        self.note(OVERRIDE);
                    }
                    "authorization" | "cookie" | "x-bitrix-csrf-token" | "proxy-authorization" => {
                        self.unclear(FOREIGN_CREDENTIAL);
                    }
                    "content-type" | "content-length" | "transfer-encoding" => self.note(BODY_TYPE),
                    _ => {}
                },
                _ => {}
            }
        }
    }

    fn begin_body(&mut self, head: Head<'r>) {
        if *head.verb != Method::POST {
            self.inspected = Inspected::Unparseable;
            return self.note(BODY_WITHOUT_POST);
        }
        if head.headers.contains_key(header::CONTENT_ENCODING) {
            return self.unparseable(BODY_ENCODED);
        }
        match media_type(head.headers) {
            Some(MediaType::Form) => self.body = Body::Form(FormScanner::default()),
            Some(MediaType::Json) => self.body = Body::Json(Box::new(JsonScanner::new()), false),
            Some(MediaType::Multipart) => self.not_built(NotBuilt::Multipart),
            None => self.unparseable(BODY_TYPE),
        }
    }

    /// A parameter of a query or form that decides.
    fn parameter(&mut self, found: &Found<'_>, location: Location) {
        match found {
            Found::Plain(Parameter::Token, value) => {
                let token: Vec<u8> = decode(value).collect();
                self.credential_found(CredentialKind::Access, location, Cow::Owned(token));
            }
            Found::Plain(Parameter::Signed, _) | Found::Disguised(Parameter::Signed) => {
                self.signed = true;
            }
            Found::Plain(Parameter::Foreign, _) | Found::Disguised(Parameter::Foreign) => {
                self.unclear(FOREIGN_CREDENTIAL);
            }
            Found::Plain(Parameter::Routing, _) | Found::Disguised(Parameter::Routing) => {
                self.note(ROUTING);
            }
            Found::Disguised(Parameter::Token) => self.unclear(UNCLEAR_CREDENTIAL),
            Found::TooLong => self.note(BODY_TOO_LONG),
            Found::Nul => self.note(BODY_NUL),
        }
    }

    /// A member of a JSON body that decides.
    fn member(&mut self, parameter: Parameter, value: &Value<'_>) {
        match (parameter, value) {
            (Parameter::Token, Value::Text(token)) => {
                self.credential_found(
                    CredentialKind::Access,
                    Location::Json,
                    Cow::Owned(token.to_vec()),
                );
            }
            // `null` overrides a credential of the query, so it is one place more.
            (Parameter::Token, Value::Null) => {
                self.credential_found(CredentialKind::Access, Location::Json, Cow::Borrowed(&[]));
            }
            (Parameter::Token, Value::Other) => self.unclear(UNCLEAR_CREDENTIAL),
            (Parameter::Foreign, _) => self.unclear(FOREIGN_CREDENTIAL),
            (Parameter::Routing, _) => self.note(ROUTING),
            (Parameter::Signed, _) => self.signed = true,
        }
    }

    /// A place of a credential. The second place is one too many, even if it is empty or says the same.
    fn credential_found(&mut self, kind: CredentialKind, location: Location, token: Cow<'r, [u8]>) {
        let fits = token.len() <= LONGEST_TOKEN && token.iter().all(u8::is_ascii_graphic);
        let secret = Secret::new(token);
        match self.credential {
            CredentialRead::Missing if fits => {
                self.credential = CredentialRead::One(Credential {
                    kind,
                    location,
                    secret,
                });
            }
            CredentialRead::Missing => self.unclear(UNCLEAR_CREDENTIAL),
            CredentialRead::One(_) | CredentialRead::Unclear => self.unclear(TWO_CREDENTIALS),
        }
    }

    fn unclear(&mut self, fault: Fault) {
        self.credential = CredentialRead::Unclear;
        self.note(fault);
    }

    fn unparseable(&mut self, fault: Fault) {
        self.inspected = Inspected::Unparseable;
        self.note(fault);
    }

    fn not_built(&mut self, form: NotBuilt) {
        if !matches!(self.operation, Asked::NotBuilt { .. } | Asked::Unparsed) {
            let (version, name) = (self.operation.version(), cap_name(self.operation.name()));
            self.operation = Asked::NotBuilt {
                version,
                name,
                form,
            };
        }
    }
}

/// True if `404;http` stands anywhere in the target, in any case.
fn has_error_mark(target: &[u8]) -> bool {
    memchr::memchr_iter(b';', target).any(|at| {
        let (before, after) = target.split_at(at);
        before.ends_with(b"404")
            && after
                .get(1..5)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"http"))
    })
}
