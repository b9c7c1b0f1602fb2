//! The records of the journal and the program themselves: opened, repaired, closed, lost, configured.

use super::json::{push_json_string, push_number};
use super::member::{EventId, event, member, time, word};
use super::recovery::Recovery;
use super::{Chain, EventKind, Guarantee, SCHEMA};
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

/// A generation of the configuration came into force.
#[derive(Debug)]
pub struct PolicyRecord<'r> {
    /// When.
    pub time: Timestamp,
    /// The generation's number.
    pub generation: u64,
    /// A keyed digest of the configuration's text.
    pub id: &'r str,
    /// Name, vendor, mode and destination of each gate.
    pub gates: Vec<(&'r str, &'r str, &'r str, &'r str)>,
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
        for (position, (name, vendor, mode, destination)) in self.gates.iter().enumerate() {
            out.extend_from_slice(if position > 0 {
                b",{\"gate\":"
            } else {
                b"{\"gate\":"
            });
            push_json_string(out, name.as_bytes());
            word(out, "vendor", vendor);
            word(out, "mode", mode);
            member(out, "destination", destination);
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
    event(&mut rest, EventId::new(now), now);
    word(&mut rest, "schema", SCHEMA);
    member(&mut rest, "stream", start.stream);
    rest.extend_from_slice(format!(",\"prev_hash\":\"{}\"", chain.head).as_bytes());
    rest.extend_from_slice(b",\"proxy\":{\"name\":\"grantgate\",\"version\":\"");
    rest.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
    rest.extend_from_slice(b"\",\"pid\":");
    push_number(&mut rest, std::process::id().into());
    rest.push(b'}');
    word(&mut rest, "token_key", start.token_key);
    rest.extend_from_slice(b",\"audit\":{\"guarantee\":\"");
    rest.extend_from_slice(start.guarantee.as_str().as_bytes());
    rest.extend_from_slice(b"\"},\"catalogue\":{");
    for (position, (vendor, version)) in start.catalogues.iter().enumerate() {
        if position > 0 {
            rest.push(b',');
        }
        push_json_string(&mut rest, vendor.as_bytes());
        rest.push(b':');
        push_json_string(&mut rest, version.as_bytes());
    }
    rest.push(b'}');
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
