//! The records of the journal and the program themselves: opened, repaired, closed, lost, configured.

use super::json::{push_json_string, push_number};
use super::member::{EventId, event, member, time, word};
use super::recovery::Recovery;
use super::{Chain, Digest, EventKind, Guarantee, SCHEMA};
use crate::clock::Timestamp;
use crate::model::Outcome;

/// What is constant while the journal is open.
#[derive(Debug, Clone)]
pub struct StartRecord<'r> {
    /// The identity of the state directory.
    pub stream: &'r str,
    /// A short name of the key behind token ids.
    pub token_key: &'r str,
    /// The guarantee in force, unless a gate has its own.
    pub guarantee: Guarantee,
    /// The version of each catalogue in use, with its vendor.
    pub catalogues: Vec<(&'r str, &'r str)>,
}

/// What [`StartRecord`] says, rendered once: it stands at the head of every segment.
#[derive(Debug)]
pub(super) struct Constants(Vec<u8>);

impl Constants {
    pub(super) fn of(start: &StartRecord<'_>) -> Self {
        let mut out = Vec::new();
        out.extend_from_slice(b",\"proxy\":{\"name\":\"grantgate\",\"version\":\"");
        out.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
        out.extend_from_slice(b"\",\"pid\":");
        push_number(&mut out, std::process::id().into());
        out.push(b'}');
        word(&mut out, "token_key", start.token_key);
        out.extend_from_slice(b",\"audit\":{\"guarantee\":\"");
        out.extend_from_slice(start.guarantee.as_str().as_bytes());
        out.extend_from_slice(b"\"},\"catalogue\":{");
        for (position, (vendor, version)) in start.catalogues.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            push_json_string(&mut out, vendor.as_bytes());
            out.push(b':');
            push_json_string(&mut out, version.as_bytes());
        }
        out.push(b'}');
        let mut stream = Vec::new();
        member(&mut stream, "stream", start.stream);
        stream.extend_from_slice(&out);
        Self(stream)
    }
}

/// The members of the first record of a segment: everything that its records refer to, the hash before it, and how many
/// decisions had no completion yet.
pub(super) fn segment_head(
    id: EventId,
    constants: &Constants,
    previous: Digest,
    open: u64,
) -> Vec<u8> {
    let mut out = Vec::new();
    head(&mut out, id, Timestamp::now(), constants, previous);
    out.extend_from_slice(b",\"open_decisions\":");
    push_number(&mut out, open);
    out
}

/// The members of the last record of a segment: which file goes on.
pub(super) fn segment_end(id: EventId, next: &str) -> Vec<u8> {
    let mut out = Vec::new();
    event(&mut out, id, Timestamp::now());
    member(&mut out, "next_segment", next);
    out
}

fn head(out: &mut Vec<u8>, id: EventId, now: Timestamp, constants: &Constants, previous: Digest) {
    event(out, id, now);
    word(out, "schema", SCHEMA);
    out.extend_from_slice(format!(",\"prev_hash\":\"{previous}\"").as_bytes());
    out.extend_from_slice(&constants.0);
}

/// A generation of the configuration came into force.
#[derive(Debug)]
pub struct PolicyRecord<'r> {
    /// When.
    pub time: Timestamp,
    /// The generation's number.
    pub generation: u64,
    /// A keyed digest of the configuration's text.
    pub id: &'r str,
    /// The gates.
    pub gates: Vec<PolicyGate<'r>>,
}

/// What a generation says of a gate.
#[derive(Debug)]
pub struct PolicyGate<'r> {
    /// Its name.
    pub name: &'r str,
    /// Its vendor.
    pub vendor: &'r str,
    /// Its mode; a rule may have another.
    pub mode: &'r str,
    /// What its records are kept with.
    pub guarantee: Guarantee,
    /// Whether calls that are only watched go on without a record.
    pub on_audit_failure: &'r str,
    /// Where its calls go.
    pub destination: &'r str,
}

impl PolicyRecord<'_> {
    /// Appends the record's members after `seq`.
    pub fn write(&self, out: &mut Vec<u8>) {
        event(out, EventId::new(self.time), self.time);
        out.extend_from_slice(b",\"gen\":");
        push_number(out, self.generation);
        out.extend_from_slice(b",\"policy\":{\"id\":");
        push_json_string(out, self.id.as_bytes());
        out.extend_from_slice(b"},\"gates\":[");
        for (position, gate) in self.gates.iter().enumerate() {
            out.extend_from_slice(if position > 0 {
                b",{\"gate\":"
            } else {
                b"{\"gate\":"
            });
            push_json_string(out, gate.name.as_bytes());
            word(out, "vendor", gate.vendor);
            word(out, "mode", gate.mode);
            word(out, "guarantee", gate.guarantee.as_str());
            word(out, "on_audit_failure", gate.on_audit_failure);
            member(out, "destination", gate.destination);
            out.push(b'}');
        }
        out.push(b']');
    }
}

/// A configuration could not come into force; the generation before it stays.
#[derive(Debug)]
pub struct PolicyRejection<'r> {
    /// When.
    pub time: Timestamp,
    /// The generation that stays.
    pub generation: u64,
    /// A keyed digest of the refused text; `None` if it could not be read.
    pub id: Option<&'r str>,
    /// Why, in words without any byte of the text.
    pub detail: &'r str,
}

impl PolicyRejection<'_> {
    /// Appends the record's members after `seq`.
    pub fn write(&self, out: &mut Vec<u8>) {
        event(out, EventId::new(self.time), self.time);
        out.extend_from_slice(b",\"gen\":");
        push_number(out, self.generation);
        if let Some(id) = self.id {
            out.extend_from_slice(b",\"policy\":{\"id\":");
            push_json_string(out, id.as_bytes());
            out.push(b'}');
        }
        member(out, "detail", self.detail);
    }
}

/// Appends the lines that open the journal: who writes it, what was repaired, and the ends of open decisions.
pub(super) fn write_start(
    chain: &mut Chain,
    start: &StartRecord<'_>,
    recovery: &Recovery,
    out: &mut Vec<u8>,
) {
    let now = Timestamp::now();
    let mut rest = Vec::new();
    head(
        &mut rest,
        EventId::new(now),
        now,
        &Constants::of(start),
        chain.head,
    );
    chain.append(EventKind::AuditStarted, &rest, out);
    if recovery.cut_bytes > 0 || !recovery.open.is_empty() {
        rest.clear();
        event(&mut rest, EventId::new(now), now);
        rest.extend_from_slice(b",\"cut_bytes\":");
        push_number(&mut rest, recovery.cut_bytes);
        rest.extend_from_slice(b",\"open_decisions\":");
        push_number(
            &mut rest,
            u64::try_from(recovery.open.len()).unwrap_or(u64::MAX),
        );
        chain.append(EventKind::AuditRecovered, &rest, out);
    }
    for group in &recovery.open {
        rest.clear();
        word(&mut rest, "event_group", group);
        time(&mut rest, ",\"time", now);
        word(&mut rest, "outcome", Outcome::OutcomeUnknown.as_str());
        chain.append(EventKind::CallCompletion, &rest, out);
    }
}

pub(super) fn write_stop(out: &mut Vec<u8>, id: EventId) {
    event(out, id, Timestamp::now());
}

pub(super) fn gap(
    id: EventId,
    lost: u64,
    first: Timestamp,
    last: Timestamp,
    cause: &str,
) -> Vec<u8> {
    let mut out = Vec::new();
    event(&mut out, id, last);
    out.extend_from_slice(b",\"lost\":");
    push_number(&mut out, lost);
    time(&mut out, ",\"first", first);
    time(&mut out, ",\"last", last);
    member(&mut out, "cause", cause);
    out
}
