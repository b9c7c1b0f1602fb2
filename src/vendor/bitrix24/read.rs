//! Reading one request: which credential, which operations, and whether the portal could see it otherwise.

use std::borrow::Cow;

use http::{Method, header};

use super::choice::{self, is_batch, is_signed, watch_for};
use super::form::FormScanner;
use super::gather::{FOREIGN_CREDENTIAL, Gather, UNCLEAR_CREDENTIAL};
use super::multipart::MultipartScanner;
use super::target::{self, Path, Target};
use super::upload::Watch;
use crate::catalogue::Catalogue;
use crate::model::{
    AnswerShape, ApiVersion, Asked, Call, CredentialKind, CredentialRead, Fault, Inspected,
    Location, Reason, Server, TokenPurpose, Verbs, cap_name,
};
use crate::vendor::Head;
use crate::vendor::field::{MediaType, bearer, media_type};
use crate::vendor::json::JsonScanner;
use crate::vendor::token::TokenReader;

/// The verb is none that the portal offers; answered with 405.
pub(super) const VERB_NOT_OFFERED: Fault = Fault {
    reason: Reason::OperationUnlisted,
    detail: "the portal offers GET, HEAD and POST",
};

const ERROR_PAGE: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "the target holds the mark of an error page, behind which the portal looks for another target",
};
const OVERRIDE: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "a header names another verb than the request",
};
const SIGNED: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "a `token` makes a signed call of a method that is not known to be called so",
};
const BODY_WITHOUT_POST: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "a body is read from POST requests only",
};
const BODY_TYPE: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the body is neither `application/json`, `application/x-www-form-urlencoded` nor `multipart/form-data`, spelt so and once",
};
const BODY_TYPE_V3: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "REST 3.0 takes parameters as `application/json` only",
};
const BODY_ENCODED: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the body is compressed",
};
const BODY_JSON: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the body is not strict JSON",
};
pub(super) const BODY_MULTIPART: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the multipart body is not in the one spelling that everybody reads alike",
};

/// Reads one request as a portal does.
#[derive(Debug)]
pub struct Reader<'r, 'c> {
    gather: Gather<'r, 'c>,
    path: Read<'r>,
    body: Body,
    inspected: Inspected,
    token: Option<Box<TokenReader<'r>>>,
}

/// What the target names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read<'r> {
    Call(Target<'r>),
    Token,
    Preflight,
    Nothing,
}

/// How the portal would read the body.
#[derive(Debug)]
enum Body {
    /// There is none, or it is not looked at.
    Unread,
    Form(FormScanner),
    Multipart(Box<MultipartScanner>),
    /// `false` until the first byte: a JSON type without a body is no body.
    Json(Box<JsonScanner>, bool),
}

impl<'r, 'c> Reader<'r, 'c> {
    pub(in crate::vendor) fn new(head: Head<'r>, catalogue: &'c Catalogue) -> Self {
        let mut reader = Self {
            gather: Gather::new(catalogue),
            path: Read::Nothing,
            body: Body::Unread,
            inspected: Inspected::None,
            token: None,
        };
        let (path, query) = head.path_and_query();
        reader.read_path(path);
        reader.token = (reader.path == Read::Token).then(|| Box::new(TokenReader::new(head)));
        reader.read_headers(head);
        if !query.is_empty() {
            let mut scanner = FormScanner::default();
            scanner.feed(query.as_bytes(), &mut reader.gather);
            scanner.finish(&mut reader.gather);
        }
        if target::has_error_mark(head.target.as_bytes()) {
            reader.note(ERROR_PAGE);
        }
        if reader.is_preflight(head) {
            reader.path = Read::Preflight;
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
            && matches!(self.gather.credential, CredentialRead::Missing)
            && matches!(self.path, Read::Call(_))
            && self.gather.fault.is_none()
            && self.gather.signed().is_none()
    }

    pub(in crate::vendor) fn wants_body(&self) -> bool {
        self.gather.fault.is_none() && !matches!(self.body, Body::Unread)
    }

    /// What looks at the body while it passes, where it need not be read before the verdict: an upload by a link that
    /// the portal signed, whose credential and token stand in the target.
    pub(in crate::vendor) fn watch(&mut self) -> Option<Watch> {
        let Read::Call(target) = self.path else {
            return None;
        };
        let told = matches!(self.gather.credential, CredentialRead::One(_))
            && self
                .gather
                .signed()
                .is_some_and(|token| token.text().is_some())
            && target.method.eq_ignore_ascii_case("upload")
            && self.gather.fault.is_none();
        match std::mem::replace(&mut self.body, Body::Unread) {
            Body::Multipart(scanner) if told => Some(Watch::new(*scanner)),
            other => {
                self.body = other;
                None
            }
        }
    }

    pub(in crate::vendor) fn feed(&mut self, bytes: &[u8]) {
        if let Some(token) = &mut self.token {
            token.feed(bytes);
        }
        let read = match &mut self.body {
            Body::Unread => Ok(()),
            Body::Form(scanner) => {
                scanner.feed(bytes, &mut self.gather);
                Ok(())
            }
            Body::Multipart(scanner) => scanner
                .feed(bytes, &mut self.gather)
                .map_err(|_| BODY_MULTIPART),
            Body::Json(scanner, begun) => {
                *begun |= !bytes.is_empty();
                scanner.feed(bytes, &mut self.gather).map_err(|_| BODY_JSON)
            }
        };
        read.unwrap_or_else(|fault| self.unparseable(fault));
    }

    pub(in crate::vendor) fn note(&mut self, fault: Fault) {
        self.gather.note(fault);
        if fault.reason == Reason::BodyOverCap {
            self.inspected = Inspected::OverCap;
        }
    }

    pub(in crate::vendor) fn finish(mut self) -> Call<'r, 'c> {
        // A body that was not read to its end has said nothing yet.
        if self.wants_body() {
            self.inspected = Inspected::Full;
            let read = match &mut self.body {
                Body::Form(scanner) => {
                    scanner.finish(&mut self.gather);
                    Ok(())
                }
                Body::Multipart(scanner) => scanner.finish().map_err(|_| BODY_MULTIPART),
                Body::Json(scanner, true) => scanner.finish().map_err(|_| BODY_JSON),
                Body::Unread | Body::Json(..) => Ok(()),
            };
            read.unwrap_or_else(|fault| self.unparseable(fault));
        }
        self.into_call()
    }

    fn into_call(self) -> Call<'r, 'c> {
        let Self {
            mut gather,
            path,
            inspected,
            body,
            token,
        } = self;
        if matches!(&gather.credential, CredentialRead::One(one) if one.secret.expose().is_empty())
        {
            gather.credential = CredentialRead::Missing;
        }
        let operation = match path {
            Read::Token => Asked::TokenTraffic("/oauth/token"),
            Read::Preflight => Asked::Preflight,
            Read::Call(_) | Read::Nothing => Asked::Unparsed,
        };
        let mut call = Call::new(CredentialRead::Missing, operation);
        call.inspected = inspected;
        if path == Read::Token {
            call.server = Server::Authorization;
            call.token_request = token.map(|token| Box::new(token.finish(TokenPurpose::Issue, "")));
        }
        if gather.fault == Some(VERB_NOT_OFFERED) {
            call.offered = ["GET", "HEAD", "POST"]
                .into_iter()
                .fold(Verbs::NONE, Verbs::with);
        }
        // The authorization server asks for credentials of its own; what would be one of a call may open a door of the
        // portal.
        let carries =
            !matches!(gather.credential, CredentialRead::Missing) || gather.signed().is_some();
        if path == Read::Token && carries {
            gather.note(FOREIGN_CREDENTIAL);
        }
        if let Read::Call(target) = path {
            let (name, values) = ((target.version, target.method), gather.values.peek());
            call.operation = choice::asked_as(gather.catalogue, gather.operation, name, values);
            let signed = call.operation.operation().is_some_and(is_signed);
            if let Some(token) = gather.signed() {
                if signed {
                    call.signed = token.text().is_some();
                } else {
                    gather.note(SIGNED);
                }
            }
            if gather
                .values
                .peek()
                .is_some_and(|values| values.choice.is_unclear())
            {
                gather.note(choice::UNCLEAR);
            }
            if gather.reaches {
                call.operation = closed(target, choice::REACHES);
            }
            if target.xml {
                call.answer = AnswerShape::Xml;
            }
            call.handlers.extend(gather.handler());
            // Of a batch that cannot be read in one way only, no member is certain.
            if is_batch(target.method) && gather.fault.is_none() {
                let mut commands = gather.commands.into_inner();
                call.handlers.append(&mut commands.handlers);
                let divisible = target.version == ApiVersion::V2 && !target.xml;
                let parts = matches!(body, Body::Multipart(_));
                call.batch = Some(Box::new(commands.finish(divisible, parts)));
            }
        }
        call.credential = gather.credential;
        call.fault = gather.fault;
        call
    }

    fn read_path(&mut self, path: &'r str) {
        let target = match target::read(path) {
            Path::Call(target) => target,
            Path::Token => {
                self.path = Read::Token;
                return;
            }
            Path::Elsewhere => return,
            Path::Unclear(fault) => return self.note(fault),
        };
        self.path = Read::Call(target);
        if let Some(pair) = target.webhook {
            self.gather.credential_found(
                CredentialKind::Webhook,
                Location::Path,
                Cow::Borrowed(pair.as_bytes()),
            );
        }
        self.gather.operation = self.gather.catalogue.find(target.version, target.method);
        if let Some(operation) = self.gather.operation {
            self.gather.watch = watch_for(operation);
        }
        // Whatever the catalogue says: what runs several methods is read as such.
        let batch = is_batch(target.method);
        self.gather.watch.commands = batch && target.version == ApiVersion::V2;
        self.gather.watch.items = batch && target.version == ApiVersion::V3;
    }

    fn read_headers(&mut self, head: Head<'r>) {
        for (name, value) in head.headers {
            match name.as_str() {
                "authorization" => match bearer(value.as_bytes()) {
                    Some(token) => {
                        self.gather.credential_found(
                            CredentialKind::Access,
                            Location::Header,
                            Cow::Borrowed(token),
                        );
                    }
                    None => self.gather.unclear(UNCLEAR_CREDENTIAL),
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
                        self.gather.unclear(FOREIGN_CREDENTIAL);
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
        let v3 = matches!(self.path, Read::Call(target) if target.version == ApiVersion::V3);
        match media_type(head.headers) {
            Some(MediaType::Json) => {
                self.gather.location = Location::Json;
                self.body = Body::Json(Box::new(JsonScanner::new()), false);
            }
            _ if v3 => self.unparseable(BODY_TYPE_V3),
            Some(MediaType::Form) => {
                self.gather.location = Location::Form;
                self.body = Body::Form(FormScanner::default());
            }
            Some(MediaType::Multipart(parameters)) => {
                self.gather.location = Location::Form;
                match MultipartScanner::new(parameters) {
                    Some(scanner) => self.body = Body::Multipart(Box::new(scanner)),
                    None => self.unparseable(BODY_MULTIPART),
                }
            }
            None => self.unparseable(BODY_TYPE),
        }
    }

    fn unparseable(&mut self, fault: Fault) {
        self.inspected = Inspected::Unparseable;
        self.note(fault);
    }
}

/// An operation that is never opened.
fn closed<'c>(target: Target<'_>, why: &'static str) -> Asked<'c> {
    Asked::Closed {
        version: target.version,
        name: cap_name(target.method),
        why,
    }
}
