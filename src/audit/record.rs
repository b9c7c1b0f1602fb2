//! The records: what each line holds, in the order in which it stands there.
//!
//! A record's members are written straight into the journal's buffer. What is the same for many calls, a gate's names,
//! an operation's name and need, is rendered once and copied ([`GateText`], [`OperationText`]).

use super::json::push_number;
use super::member::{EventId, event, list, list_of, member, push_hex, push_text, subject, word};
use super::request::RequestFacts;
use crate::clock::Timestamp;
use crate::model::{
    ApiVersion, Asked, Confidence, CredentialKind, Grant, Location, Member, Operation, Reason,
    ScopeSet, TokenId, Verdict,
};

/// The largest record, in bytes. What decides is far below it; what else a call says of itself is cut, with a mark.
const MOST: usize = 16 * 1024 - HEAD;

/// What the writer adds to a record: kind, number and hash.
const HEAD: usize = 160;

/// How much is kept of what a call says of itself.
#[derive(Clone, Copy)]
struct Detail {
    /// Of a batch member's key, in bytes.
    key: usize,
    /// How many keys of the query.
    query_keys: usize,
    /// How many handlers, targets and their like.
    listed: usize,
}

const WHOLE: Detail = Detail {
    key: 64,
    query_keys: 32,
    listed: 512,
};

/// Of a record that would be too large otherwise: fifty members of a batch fit.
const BRIEF: Detail = Detail {
    key: 16,
    query_keys: 4,
    listed: 8,
};

/// How much of an operation's name or of one thing in a list is kept, in bytes.
const NAME_CAP: usize = 128;

/// The members that every call of a gate has in common, rendered once for a generation of the configuration.
#[derive(Debug, Clone, Default)]
pub struct GateText(pub(super) Vec<u8>);

impl GateText {
    /// Renders generation, gate and app.
    pub fn new(generation: u64, gate: &str, app: &str) -> Self {
        let mut out = b",\"gen\":".to_vec();
        push_number(&mut out, generation);
        member(&mut out, "gate", gate);
        member(&mut out, "app", app);
        Self(out)
    }
}

/// What every record of an operation has in common, rendered once.
#[derive(Debug, Clone)]
pub struct OperationText {
    name: Vec<u8>,
    required: Vec<u8>,
}

impl OperationText {
    /// Renders an operation's name, and what it needs: any of several sets, each needed whole.
    pub fn new(vendor: &str, operation: &Operation, required: &[ScopeSet]) -> Self {
        Self {
            name: operation_text(vendor, operation),
            required: required_text(required),
        }
    }
}

/// The name, with the version and confidence where they are not the usual ones.
fn operation_text(vendor: &str, operation: &Operation) -> Vec<u8> {
    let mut out = Vec::new();
    asked(&mut out, vendor, operation.version, &operation.name);
    if operation.provenance.confidence != Confidence::Documented {
        out.extend_from_slice(b",\"catalogue\":{\"confidence\":\"");
        out.extend_from_slice(operation.provenance.confidence.as_str().as_bytes());
        out.extend_from_slice(b"\"}");
    }
    out
}

fn required_text(sets: &[ScopeSet]) -> Vec<u8> {
    let mut out = b"[".to_vec();
    for (position, set) in sets.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        list(&mut out, set.iter());
    }
    out.push(b']');
    out
}

/// What is known of a call before the verdict.
#[derive(Debug, Clone, Copy)]
pub struct CallFacts<'r> {
    /// The event.
    pub event: EventId,
    /// When the request's head had arrived.
    pub time: Timestamp,
    /// Generation, gate and app.
    pub gate: &'r GateText,
    /// The app's address.
    pub source: &'r str,
    /// Who the app is by its certificate, and how that is told.
    pub client: Option<(&'r str, &'static str)>,
    /// The vendor's name.
    pub vendor: &'static str,
    /// The request itself.
    pub request: RequestFacts<'r>,
}

/// The verdict on a call.
#[derive(Debug)]
pub struct DecisionRecord<'r> {
    /// What is known of the call.
    pub facts: CallFacts<'r>,
    /// The operation as the request names it.
    pub operation: &'r Asked<'r>,
    /// The operation as rendered before; `None` for one that is not in the catalogue.
    pub rendered: Option<&'r OperationText>,
    /// What the operation needs as it was called, where that is not what it always needs: any of several sets, each
    /// needed whole.
    pub required: Option<&'r [ScopeSet]>,
    /// The verdict.
    pub verdict: &'r Verdict<'r>,
    /// The members of a batch, in their order.
    pub members: &'r [Member<'r>],
    /// The verdicts on them.
    pub children: &'r [Verdict<'r>],
    /// What else a reader wants to know.
    pub about: About<'r>,
    /// The token, by its id.
    pub token: Option<(TokenId, CredentialKind, Location)>,
    /// The grant that was looked at.
    pub grant: Option<&'r Grant>,
    /// Where the call goes: host and port.
    pub destination: &'r str,
}

/// What a call says of itself beside its operation.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'r> {
    /// Hosts outside to which the call makes the vendor send data.
    pub handlers: &'r [Box<str>],
    /// Ids of what the call is about, where one request names several.
    pub targets: &'r [Box<str>],
    /// In whose name the caller acts beside its token.
    pub author: Option<&'r str>,
}

impl About<'_> {
    fn write(&self, out: &mut Vec<u8>, detail: Detail) {
        for (name, values) in [("handlers", self.handlers), ("targets", self.targets)] {
            if !values.is_empty() {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                list_of(
                    out,
                    values.iter().map(AsRef::as_ref),
                    detail.listed,
                    NAME_CAP,
                );
            }
        }
        if let Some(author) = self.author {
            out.extend_from_slice(b",\"author\":");
            push_text(out, author, NAME_CAP);
        }
    }
}

impl DecisionRecord<'_> {
    /// Appends the record's members after `seq`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.write_in(out, WHOLE);
        let size = out.len() - start;
        if size > MOST {
            out.truncate(start);
            self.write_in(out, BRIEF);
            out.extend_from_slice(b",\"truncated\":true,\"full_size\":");
            push_number(out, u64::try_from(size).unwrap_or(u64::MAX));
        }
    }

    fn write_in(&self, out: &mut Vec<u8>, detail: Detail) {
        event(out, self.facts.event, self.facts.time);
        out.extend_from_slice(&self.facts.gate.0);
        word(out, "source", self.facts.source);
        if let Some((id, source)) = self.facts.client {
            member(out, "app_id", id);
            word(out, "app_id_source", source);
        }
        match self.rendered {
            Some(rendered) => out.extend_from_slice(&rendered.name),
            None => asked(
                out,
                self.facts.vendor,
                self.operation.version(),
                self.operation.name(),
            ),
        }
        if matches!(
            self.operation,
            Asked::Unlisted {
                assumed: Some(_),
                ..
            }
        ) {
            out.extend_from_slice(b",\"catalogue\":{\"confidence\":\"assumed\"}");
        }
        word(out, "decision", self.verdict.word().as_str());
        word(out, "mode", self.verdict.mode.as_str());
        word(out, "reason", self.verdict.reason.as_str());
        if let Some(rule) = self.verdict.rule {
            out.extend_from_slice(b",\"policy\":{\"rule_id\":");
            push_number(out, rule.into());
            out.push(b'}');
        }
        self.scopes(out);
        self.children(out, detail);
        if let Some((id, kind, location)) = self.token {
            out.extend_from_slice(b",\"token\":{\"ref\":\"");
            push_hex(out, id.as_bytes());
            out.push(b'"');
            word(out, "kind", kind.as_str());
            word(out, "location", location.as_str());
            out.push(b'}');
        }
        if let Some(grant) = self.grant {
            out.extend_from_slice(b",\"grant\":{\"source\":\"");
            out.extend_from_slice(grant.source.as_str().as_bytes());
            out.extend_from_slice(b"\",\"age_s\":");
            push_number(
                out,
                self.facts
                    .time
                    .as_secs()
                    .saturating_sub(grant.obtained)
                    .into(),
            );
            out.push(b'}');
            if let Some(known) = &grant.subject {
                subject(out, known);
            }
        }
        self.facts.request.write(out, detail.query_keys);
        word(out, "destination", self.destination);
    }

    fn scopes(&self, out: &mut Vec<u8>) {
        let judged = matches!(
            self.verdict.reason,
            Reason::Permitted | Reason::ScopeMissing | Reason::NoScopeNeeded
        );
        let (Some(grant), true) = (self.grant, judged) else {
            return;
        };
        let begin = b",\"scopes\":{\"required\":";
        match (self.required, self.rendered) {
            (Some(required), _) => {
                out.extend_from_slice(begin);
                out.extend_from_slice(&required_text(required));
            }
            (None, Some(rendered)) => {
                out.extend_from_slice(begin);
                out.extend_from_slice(&rendered.required);
            }
            (None, None) => return,
        }
        out.extend_from_slice(b",\"granted\":");
        list(out, grant.scopes.granted().iter());
        out.extend_from_slice(b",\"missing\":");
        list(out, self.verdict.missing.iter().map(AsRef::as_ref));
        out.push(b'}');
    }

    fn children(&self, out: &mut Vec<u8>, detail: Detail) {
        let mut begin = b",\"children\":[".as_slice();
        for (one, verdict) in self.members.iter().zip(self.children) {
            out.extend_from_slice(begin);
            out.extend_from_slice(b"{\"key\":");
            push_text(out, &one.key, detail.key);
            out.extend_from_slice(b",\"operation\":");
            push_text(out, one.asked.name(), NAME_CAP);
            word(out, "verdict", verdict.word().as_str());
            word(out, "reason", verdict.reason.as_str());
            if !verdict.missing.is_empty() {
                out.extend_from_slice(b",\"missing\":");
                list(out, verdict.missing.iter().map(AsRef::as_ref));
            }
            out.push(b'}');
            begin = b",";
        }
        if !self.children.is_empty() {
            out.push(b']');
        }
        self.about.write(out, detail);
    }
}

fn asked(out: &mut Vec<u8>, vendor: &str, version: ApiVersion, name: &str) {
    word(out, "vendor", vendor);
    if !version.is_usual() {
        word(out, "api_version", version.as_str());
    }
    out.extend_from_slice(b",\"operation\":");
    push_text(out, name, NAME_CAP);
}
