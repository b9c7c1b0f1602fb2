//! Reading one request: which credential, which operation, and whether the platform could see it otherwise.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, Method, header};

use super::query::{Disguised, Query};
use super::subscription::Subscription;
use super::targets::{self, Ids};
use crate::catalogue::{Catalogue, Routed};
use crate::model::{
    AnswerShape, ApiVersion, Asked, Call, Credential, CredentialKind, CredentialRead, Fault,
    Inspected, Location, Operation, Reason, Requirement, Secret, Server, TokenPurpose, cap_name,
};
use crate::vendor::field::{MediaType, bearer, is_override, may_be_form, media_type};
use crate::vendor::token::TokenReader;
use crate::vendor::{Head, OTHER_VERBS};

const TWO_CREDENTIALS: Fault = Fault {
    reason: Reason::AmbiguousCredential,
    detail: "the request carries more than one credential",
};
const UNCLEAR_CREDENTIAL: Fault = Fault {
    reason: Reason::AmbiguousCredential,
    detail: "the credential is neither `Authorization: Bearer` nor `access_token`, spelt so",
};
const TUNNEL: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "the verb is overridden twice, differently, or in a way that the vendor does not document",
};
const FORM: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "no operation takes a form; a server that reads one may find a credential or another verb in it",
};
const SUBSCRIPTION_TYPE: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "a subscription is judged by its body, which is not `application/json` and uncompressed",
};

const REVOKED_TWICE: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "which token is revoked is not said once, in a form",
};

/// The one header field by which the guide lets a POST stand for another verb.
const DOCUMENTED: &str = "x-http-method-override";

/// Token traffic: it goes to the authorization server and is not judged.
const TOKEN_TRAFFIC: [&str; 4] = [
    "GET /restapi/oauth/authorize",
    "POST /restapi/oauth/authorize",
    "POST /restapi/oauth/revoke",
    "POST /restapi/oauth/token",
];

/// The longest token that is taken for one, in bytes.
const LONGEST_TOKEN: usize = 8192;

/// Reads one request as the platform does.
#[derive(Debug)]
pub struct Reader<'r, 'c> {
    catalogue: &'c Catalogue,
    call: Call<'r, 'c>,
    body: Body<'r, 'c>,
}

/// What is looked for in the body.
#[derive(Debug)]
enum Body<'r, 'c> {
    /// Nothing: it streams.
    Unread,
    Subscription(Box<Subscription<'c>>),
    Ids(Box<Ids>),
    Token(Box<TokenReader<'r>>, TokenPurpose),
}

impl<'r, 'c> Reader<'r, 'c> {
    pub(in crate::vendor) fn new(head: Head<'r>, catalogue: &'c Catalogue) -> Self {
        let (path, query) = head.path_and_query();
        let mut reader = Self {
            catalogue,
            call: Call::new(CredentialRead::Missing, Asked::Unparsed),
            body: Body::Unread,
        };
        if path.starts_with("/scim/") {
            reader.call.answer = AnswerShape::Scim;
        }
        let query = Query::read(query);
        let verb = reader.effective_verb(head, &query);
        reader.read_credentials(head.headers, query);
        if reader.is_preflight(head) {
            reader.call.operation = Asked::Preflight;
            return reader;
        }
        reader.read_target(verb, path, head);
        reader
    }

    /// The verb that the platform would run: a POST may stand for another one, by header or by query.
    fn effective_verb(&mut self, head: Head<'r>, query: &Query<'r>) -> &'r str {
        let verb = head.verb.as_str();
        let mut named: Option<&'r str> = None;
        let mut note = |value: &'r str, documented: bool| {
            let known = ["PUT", "PATCH", "DELETE"]
                .into_iter()
                .find(|known| value.eq_ignore_ascii_case(known));
            let effective = match known {
                Some(known) if documented && *head.verb == Method::POST => known,
                _ if value.eq_ignore_ascii_case(verb) => verb,
                _ => return false,
            };
            named
                .replace(effective)
                .is_none_or(|before| before == effective)
        };
        let mut clear = query.disguised != Some(Disguised::Verb) && query.verbs.len() <= 1;
        let mut documented = 0;
        for (name, value) in head.headers {
            if is_override(name.as_str()) {
                let known = name == DOCUMENTED;
                documented += u32::from(known);
                clear &= note(value.to_str().unwrap_or_default(), known) && documented <= 1;
            }
        }
        for value in &query.verbs {
            clear &= note(value, true);
        }
        let effective = named.unwrap_or(verb);
        if !clear {
            self.note(TUNNEL);
        }
        effective
    }

    fn read_credentials(&mut self, headers: &'r HeaderMap, query: Query<'r>) {
        if query.disguised == Some(Disguised::Token) {
            self.note(UNCLEAR_CREDENTIAL);
        }
        for value in headers.get_all(header::AUTHORIZATION) {
            match bearer(value.as_bytes()) {
                Some(token) => self.credential(Location::Header, Cow::Borrowed(token)),
                // The token endpoint takes the client's own credential; nothing else does.
                None if self.is_missing() => self.call.credential = CredentialRead::Unclear,
                None => self.note(TWO_CREDENTIALS),
            }
        }
        for token in query.tokens {
            self.credential(Location::Query, token);
        }
    }

    /// A place of a credential; the second is one too many, even if it says the same.
    fn credential(&mut self, location: Location, token: Cow<'r, [u8]>) {
        let fits = !token.is_empty()
            && token.len() <= LONGEST_TOKEN
            && token.iter().all(u8::is_ascii_graphic);
        if !self.is_missing() {
            self.call.credential = CredentialRead::Unclear;
            self.note(TWO_CREDENTIALS);
        } else if fits {
            self.call.credential = CredentialRead::One(Credential {
                kind: CredentialKind::Access,
                location,
                secret: Secret::new(token),
            });
        } else {
            self.call.credential = CredentialRead::Unclear;
            self.note(UNCLEAR_CREDENTIAL);
        }
    }

    const fn is_missing(&self) -> bool {
        matches!(self.call.credential, CredentialRead::Missing)
    }

    /// A CORS preflight: it carries nothing that could be run.
    fn is_preflight(&self, head: Head<'_>) -> bool {
        *head.verb == Method::OPTIONS
            && head.headers.contains_key(header::ORIGIN)
            && head
                .headers
                .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
            && !head.has_body
            && self.is_missing()
            && self.call.fault.is_none()
    }

    fn read_target(&mut self, verb: &str, path: &str, head: Head<'r>) {
        match self.catalogue.route(verb, path) {
            Routed::Found(operation, values) => self.found(operation, &values, head),
            Routed::Unclear(detail) => self.note(Fault {
                reason: Reason::AmbiguousOperation,
                detail,
            }),
            Routed::OtherVerbs(offered) => {
                self.call.offered = offered;
                self.unlisted(verb, path);
                self.note(OTHER_VERBS);
            }
            Routed::Unknown => self.unlisted(verb, path),
        }
        // Whoever is asked without a token may be shown whatever header; everyone else wants a bearer token.
        if matches!(self.call.credential, CredentialRead::Unclear) && self.call.fault.is_none() {
            if self.call.server == Server::Authorization {
                self.call.credential = CredentialRead::Missing;
            } else {
                self.note(UNCLEAR_CREDENTIAL);
            }
        }
    }

    fn found(&mut self, operation: &'c Arc<Operation>, values: &[&str], head: Head<'r>) {
        let operation: &'c Operation = operation;
        if let Some(name) = TOKEN_TRAFFIC
            .into_iter()
            .find(|name| *name == operation.name.as_ref())
        {
            self.call.operation = Asked::TokenTraffic(name);
            self.call.server = Server::Authorization;
            self.call.leads_away = name.ends_with("/authorize");
            let purpose = match name {
                "POST /restapi/oauth/token" => TokenPurpose::Issue,
                "POST /restapi/oauth/revoke" => TokenPurpose::Revoke,
                _ => TokenPurpose::Other,
            };
            self.body = Body::Token(Box::new(TokenReader::new(head)), purpose);
            if !self.is_missing() && !matches!(self.call.credential, CredentialRead::Unclear) {
                self.note(UNCLEAR_CREDENTIAL);
            }
            if operation.name.split(' ').next() != Some(head.verb.as_str()) {
                self.note(TUNNEL);
            }
            return;
        }
        self.call.operation = Asked::Listed(operation);
        self.call.targets = targets::in_path(values);
        let kind = if head.has_body {
            media_type(head.headers)
        } else {
            None
        };
        if head.has_body && may_be_form(head.headers) {
            self.note(FORM);
        }
        let json = matches!(kind, Some(MediaType::Json))
            && !head.headers.contains_key(header::CONTENT_ENCODING);
        if matches!(operation.requirement, Requirement::Conditional(_)) {
            if head.has_body && !json {
                self.note(SUBSCRIPTION_TYPE);
            }
            self.body = Body::Subscription(Box::new(Subscription::new(operation)));
        } else if head.has_body && json && targets::stand_in_body(&operation.name, values) {
            self.body = Body::Ids(Box::new(Ids::new()));
        }
    }

    fn unlisted(&mut self, verb: &str, path: &str) {
        let verb = if crate::model::Verbs::KNOWN.contains(&verb) {
            verb
        } else {
            "unknown"
        };
        self.call.operation = Asked::Unlisted {
            version: ApiVersion::Sole,
            name: cap_name(&format!("{verb} {}", self.catalogue.outline(path))),
            assumed: None,
        };
    }

    pub(in crate::vendor) fn wants_body(&self) -> bool {
        let wanted = match &self.body {
            Body::Unread => false,
            Body::Token(token, _) => token.wants_body(),
            Body::Subscription(_) | Body::Ids(_) => true,
        };
        wanted && self.call.fault.is_none()
    }

    pub(in crate::vendor) fn feed(&mut self, bytes: &[u8]) {
        match &mut self.body {
            Body::Unread => {}
            Body::Subscription(subscription) => subscription.feed(bytes),
            Body::Token(token, _) => token.feed(bytes),
            Body::Ids(ids) => {
                if !ids.feed(bytes) {
                    // Nothing hangs on it: it goes on unread.
                    self.body = Body::Unread;
                    self.call.inspected = Inspected::Unparseable;
                }
            }
        }
    }

    /// Notes what was found wrong; the reason that comes first in their order stays.
    pub(in crate::vendor) fn note(&mut self, fault: Fault) {
        if self
            .call
            .fault
            .is_none_or(|known| fault.reason < known.reason)
        {
            self.call.fault = Some(fault);
        }
        if fault.reason == Reason::BodyOverCap {
            self.call.inspected = Inspected::OverCap;
        }
    }

    pub(in crate::vendor) fn finish(mut self) -> Call<'r, 'c> {
        let wanted = self.wants_body();
        match std::mem::replace(&mut self.body, Body::Unread) {
            Body::Subscription(subscription) if wanted => {
                let read = subscription.finish(self.catalogue);
                self.call.operation = read.asked;
                self.call.handlers.extend(read.handler);
                self.call.inspected = Inspected::Full;
                if let Some(fault) = read.fault {
                    self.note(fault);
                    self.call.inspected = Inspected::Unparseable;
                }
            }
            Body::Token(token, purpose) => {
                if wanted {
                    self.call.inspected = Inspected::Full;
                }
                let request = token.finish(purpose, "token");
                if request.unclear && purpose == TokenPurpose::Revoke {
                    self.note(REVOKED_TWICE);
                }
                self.call.token_request = Some(Box::new(request));
            }
            Body::Ids(ids) if wanted => {
                let (found, whole) = ids.finish();
                self.call.targets.extend(found);
                self.call.inspected = if whole {
                    Inspected::Full
                } else {
                    Inspected::Unparseable
                };
            }
            _ => {}
        }
        self.call
    }
}
