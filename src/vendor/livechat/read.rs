//! Reading one request: which credential, which action of which version, and whether LiveChat could see it otherwise.

use std::borrow::Cow;
use std::sync::Arc;

use http::{Method, header};

use super::conditions;
use super::credentials;
use super::payload::{self, Payload, Said};
use super::place::{AUTHOR, Named, OVERRIDE, VERSIONS, is_of_accounts, shape_of};
use crate::catalogue::{Catalogue, Routed};
use crate::model::{
    ApiVersion, Asked, Batch, Call, CredentialRead, Fault, Inspected, Layout, Member, Operation,
    Reason, Server, TokenPurpose, Verbs, cap_name,
};
use crate::vendor::decode::decode;
use crate::vendor::field::{MediaType, may_be_form, media_type};
use crate::vendor::token::TokenReader;
use crate::vendor::{Head, OTHER_VERBS};

const BODY_TYPE: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the body is a form, or decides and is not `application/json`, uncompressed",
};

/// Token traffic: it goes to the authorization server and is not judged.
const TOKEN_TRAFFIC: [&str; 5] = [
    "POST /v2/token",
    "DELETE /v2/token",
    "GET /v2/info",
    "GET /v2/customer/info",
    "DELETE /v2/customer/token",
];

/// The first versions that no longer know an author beside the token.
const WITHOUT_AUTHOR: [&str; 2] = ["3.6", "3.7"];

/// Reads one request as LiveChat does.
#[derive(Debug)]
pub struct Reader<'r, 'c> {
    catalogue: &'c Catalogue,
    call: Call<'r, 'c>,
    /// The values of the path's parameters.
    values: Vec<&'r str>,
    query: &'r str,
    body: Option<Judged<'c>>,
    token: Option<Box<TokenReader<'r>>>,
}

/// An action whose need stands in its body.
#[derive(Debug)]
struct Judged<'c> {
    operation: &'c Operation,
    /// The action that each element of a batch stands for.
    single: Option<&'c Operation>,
    payload: Box<Payload>,
}

impl<'r, 'c> Reader<'r, 'c> {
    pub(in crate::vendor) fn new(head: Head<'r>, catalogue: &'c Catalogue) -> Self {
        let (path, query) = head.path_and_query();
        let mut reader = Self {
            catalogue,
            call: Call::new(CredentialRead::Missing, Asked::Unparsed),
            values: Vec::new(),
            query,
            body: None,
            token: None,
        };
        match credentials::read(head.headers) {
            Ok(credential) => reader.call.credential = credential,
            Err(fault) => {
                reader.call.credential = CredentialRead::Unclear;
                reader.note(fault);
            }
        }
        let named = Named::read(head);
        if let Some(fault) = named.fault {
            reader.note(fault);
        }
        let version = named.version;
        reader.call.author = named.author.map(cap_name);
        reader.call.answer = shape_of(path, version);
        if is_of_accounts(path, version) {
            reader.call.server = Server::Authorization;
        }
        if reader.is_preflight(head) {
            reader.call.operation = Asked::Preflight;
        } else {
            reader.read_target(head, path, version);
        }
        reader
    }

    /// A CORS preflight: it carries nothing that could be run.
    fn is_preflight(&self, head: Head<'_>) -> bool {
        *head.verb == Method::OPTIONS
            && head.headers.contains_key(header::ORIGIN)
            && head
                .headers
                .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
            && !head.has_body
            && matches!(self.call.credential, CredentialRead::Missing)
            && self.call.fault.is_none()
    }

    /// A credential in the query: the accounts host reads `code` for its token traffic; elsewhere it would be a second one.
    fn read_query(&mut self, verb: &str) {
        if self.query.is_empty() {
            return;
        }
        let accounts = self.call.server == Server::Authorization;
        for pair in self.query.split(['&', ';']) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let mut plain = Vec::new();
            decode(name.as_bytes(), &mut plain);
            let plain = plain.trim_ascii().to_ascii_lowercase();
            // Up to an index, with both ways to join words.
            let name: Vec<u8> = plain
                .split(|b| *b == b'[')
                .next()
                .unwrap_or_default()
                .iter()
                .map(|b| if *b == b'-' { b'_' } else { *b })
                .collect();
            if name == b"access_token" || (accounts && name == b"code") {
                self.note(credentials::TWO);
            }
            if name.starts_with(b"_method") && !value.eq_ignore_ascii_case(verb) {
                self.note(OVERRIDE);
            }
        }
    }

    fn read_target(&mut self, head: Head<'r>, path: &'r str, version: Option<&str>) {
        let verb = head.verb.as_str();
        if let Some(name) = TOKEN_TRAFFIC
            .into_iter()
            .find(|name| name.split_once(' ') == Some((verb, path)))
        {
            self.call.operation = Asked::TokenTraffic(name);
            self.token_traffic(name, head);
            return;
        }
        self.read_query(verb);
        let routed = match self.full_path(path, version) {
            // The catalogue's own mark for the old API is no path of the vendor.
            _ if path.starts_with("/@") => return self.unlisted(verb, path),
            Cow::Borrowed(path) => self.catalogue.route(verb, path),
            Cow::Owned(full) => match self.catalogue.route(verb, &full) {
                Routed::Found(operation, _) => Routed::Found(operation, Vec::new()),
                Routed::OtherVerbs(verbs) => Routed::OtherVerbs(verbs),
                Routed::Unknown => Routed::Unknown,
                Routed::Unclear(detail) => Routed::Unclear(detail),
            },
        };
        match routed {
            Routed::Found(operation, values) => {
                self.values = values;
                self.found(operation, head);
            }
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
    }

    /// Token traffic. The token that it is about is the authorization server's to judge.
    fn token_traffic(&mut self, name: &str, head: Head<'r>) {
        let told = std::mem::replace(&mut self.call.credential, CredentialRead::Missing);
        let mut request = match name {
            "POST /v2/token" => {
                self.token = Some(Box::new(TokenReader::new(head)));
                return;
            }
            "DELETE /v2/token" => TokenReader::new(head).finish(TokenPurpose::Revoke, "code"),
            _ => TokenReader::new(head).finish(TokenPurpose::Other, "code"),
        };
        if let CredentialRead::One(credential) = told {
            if request.token.is_some() {
                self.note(credentials::TWO);
            }
            request.token = Some(credential.secret);
        }
        if request.unclear && request.purpose == TokenPurpose::Revoke {
            self.note(credentials::TWO);
        }
        self.call.token_request = Some(Box::new(request));
    }

    /// The path with its version: from the header where the path has none.
    fn full_path(&mut self, path: &'r str, version: Option<&str>) -> Cow<'r, str> {
        let Some(version) = version else {
            return Cow::Borrowed(path);
        };
        let first = path.trim_start_matches('/').split('/').next();
        let named = first
            .and_then(|first| first.strip_prefix('v'))
            .filter(|version| version.starts_with(|c: char| c.is_ascii_digit()));
        match (named, version) {
            (Some(named), version) => {
                if named != version {
                    self.note(VERSIONS);
                }
                Cow::Borrowed(path)
            }
            (None, "2") => Cow::Owned(format!("/@2{path}")),
            (None, version) => Cow::Owned(format!("/v{version}{path}")),
        }
    }

    fn found(&mut self, operation: &'c Arc<Operation>, head: Head<'r>) {
        let operation: &'c Operation = operation;
        self.call.operation = Asked::Listed(operation);
        self.check_author(operation, None);
        // The old REST API may take forms; the others take JSON or files.
        let old = operation.name.starts_with("rest/");
        if head.has_body && !old && may_be_form(head.headers) {
            self.note(BODY_TYPE);
        }
        let single = single_of(self.catalogue, operation);
        let decides = |operation| conditions::look_at_body(self.catalogue, operation);
        if !head.has_body {
            if single.is_some() {
                self.call.inspected = Inspected::Unparseable;
                self.note(payload::ELEMENT);
            }
            self.call.operation = self.asked(operation, &Said::default());
        } else if single.is_some() || decides(operation) {
            let json = matches!(media_type(head.headers), Some(MediaType::Json))
                && !head.headers.contains_key(header::CONTENT_ENCODING);
            if !json {
                self.note(BODY_TYPE);
            }
            self.body = Some(Judged {
                operation,
                single,
                payload: Box::new(Payload::new(single.is_some())),
            });
        } else {
            self.call.operation = self.asked(operation, &Said::default());
        }
    }

    fn asked(&self, operation: &'c Operation, said: &Said) -> Asked<'c> {
        let request = conditions::Request {
            values: &self.values,
            query: self.query,
        };
        conditions::asked(self.catalogue, operation, &request, said)
    }

    /// An author beside the token, an agent that acts as a bot: for versions that allow it, and named once.
    fn check_author(&mut self, operation: &Operation, in_body: Option<&str>) {
        let twice = self.call.author.is_some() && in_body.is_some();
        if let Some(author) = in_body {
            self.call.author = Some(cap_name(author));
        }
        let version = operation.name.rsplit('@').next().unwrap_or_default();
        if twice || (self.call.author.is_some() && WITHOUT_AUTHOR.contains(&version)) {
            self.note(AUTHOR);
        }
    }

    fn unlisted(&mut self, verb: &str, path: &str) {
        let known = Verbs::KNOWN.contains(&verb);
        let verb = if known { verb } else { "unknown" };
        self.call.operation = Asked::Unlisted {
            version: ApiVersion::Sole,
            name: cap_name(&format!("{verb} {}", outline(self.catalogue, path))),
            assumed: None,
        };
    }

    pub(in crate::vendor) fn wants_body(&self) -> bool {
        let token = self.token.as_ref().is_some_and(|token| token.wants_body());
        self.call.fault.is_none() && (token || self.body.is_some())
    }

    pub(in crate::vendor) fn feed(&mut self, bytes: &[u8]) {
        if let Some(judged) = &mut self.body {
            judged.payload.feed(bytes);
        }
        if let Some(token) = &mut self.token {
            token.feed(bytes);
        }
    }

    /// Notes what was found wrong; the reason that comes first in their order stays.
    pub(in crate::vendor) fn note(&mut self, fault: Fault) {
        let known = self.call.fault;
        if known.is_none_or(|known| fault.reason < known.reason) {
            self.call.fault = Some(fault);
        }
        if fault.reason == Reason::BodyOverCap {
            self.call.inspected = Inspected::OverCap;
        }
    }

    pub(in crate::vendor) fn finish(mut self) -> Call<'r, 'c> {
        if let Some(token) = self.token.take() {
            if token.wants_body() {
                self.call.inspected = Inspected::Full;
            }
            self.call.token_request = Some(Box::new(token.finish(TokenPurpose::Issue, "")));
        }
        if self.wants_body()
            && let Some(judged) = self.body.take()
        {
            self.call.inspected = Inspected::Full;
            let Judged {
                operation,
                single,
                payload,
            } = judged;
            let read = payload.finish();
            if let Some(fault) = read.fault {
                self.note(fault);
                self.call.inspected = Inspected::Unparseable;
            }
            if let Some((_, author)) = read.top.get("author_id") {
                self.check_author(operation, Some(author));
            }
            match single {
                Some(single) => {
                    self.call.operation = self.asked(operation, &Said::default());
                    self.call.batch = Some(Box::new(self.batch(single, &read)));
                }
                None => self.call.operation = self.asked(operation, &read.top),
            }
        }
        self.call
    }

    fn batch(&self, single: &'c Operation, read: &payload::Read) -> Batch<'c> {
        let members = read.elements.iter().enumerate();
        Batch {
            members: members
                .map(|(position, said)| Member {
                    key: position.to_string().into(),
                    asked: self.asked(single, said),
                    refers: Vec::new(),
                    at: said.at.clone(),
                    uncounted: None,
                })
                .collect(),
            halt: false,
            // What could not be read is not taken apart.
            layout: read
                .frame
                .clone()
                .filter(|_| self.call.fault.is_none())
                .map(Layout::Array),
        }
    }
}

/// The action that each element of a batch stands for: `batch_create_agents` creates agents.
fn single_of<'c>(catalogue: &'c Catalogue, operation: &Operation) -> Option<&'c Operation> {
    let slash = memchr::memchr(b'/', operation.name.as_bytes())?;
    let (api, rest) = operation.name.split_at_checked(slash)?;
    let (action, version) = rest.strip_prefix("/batch_")?.rsplit_once('@')?;
    let named =
        |action: &str| catalogue.find(ApiVersion::Sole, &format!("{api}/{action}@{version}"));
    action
        .strip_suffix('s')
        .and_then(named)
        .or_else(|| named(action))
}

/// A path as records may show it. An action that the catalogue does not have is named all the same, where it is written as
/// actions are: it cannot be a token.
fn outline(catalogue: &Catalogue, path: &str) -> String {
    let outline = catalogue.outline(path);
    let action = path.rsplit('/').next().unwrap_or_default();
    let named = (1..=40).contains(&action.len())
        && action
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    match outline.strip_suffix("/action/{}") {
        Some(before) if named => format!("{before}/action/{action}"),
        _ => outline,
    }
}
