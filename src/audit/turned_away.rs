//! Records of requests that never became calls: refused below the dialect, or turned away for want of room.

use super::json::push_number;
use super::member::{EventId, event, member, word};
use super::record::GateText;
use crate::clock::Timestamp;
use crate::model::Reason;

/// A request that was refused below the dialect.
#[derive(Debug)]
pub struct RejectionRecord<'r> {
    /// When.
    pub time: Timestamp,
    /// Generation, gate and app.
    pub gate: &'r GateText,
    /// The app's address.
    pub source: &'r str,
    /// Why.
    pub reason: Reason,
    /// What exactly, in words without any byte of the request.
    pub detail: &'r str,
}

impl RejectionRecord<'_> {
    /// Appends the record's members after `seq`.
    pub fn write(&self, out: &mut Vec<u8>) {
        event(out, EventId::new(self.time), self.time);
        out.extend_from_slice(&self.gate.0);
        word(out, "source", self.source);
        word(out, "operation", "unparsed");
        word(out, "decision", "deny");
        word(out, "reason", self.reason.as_str());
        member(out, "detail", self.detail);
    }
}

/// Requests that were refused below the dialect and have no record of their own, since the last such record.
#[derive(Debug)]
pub struct RejectionSum<'r> {
    /// When it was summed up.
    pub time: Timestamp,
    /// Generation, gate and app.
    pub gate: &'r GateText,
    /// Why.
    pub reason: Reason,
    /// How many.
    pub count: u64,
}

impl RejectionSum<'_> {
    /// Appends the record's members after `seq`.
    pub fn write(&self, out: &mut Vec<u8>) {
        event(out, EventId::new(self.time), self.time);
        out.extend_from_slice(&self.gate.0);
        word(out, "operation", "unparsed");
        word(out, "decision", "deny");
        word(out, "reason", self.reason.as_str());
        out.extend_from_slice(b",\"count\":");
        push_number(out, self.count);
    }
}

/// What a gate has turned away for want of room, since the last such record.
#[derive(Debug)]
pub struct ShedRecord<'r> {
    /// When it was summed up.
    pub time: Timestamp,
    /// Generation, gate and app.
    pub gate: &'r GateText,
    /// Calls that were answered with 503.
    pub calls: u64,
    /// Connections that were closed at once.
    pub connections: u64,
}

impl ShedRecord<'_> {
    /// Appends the record's members after `seq`.
    pub fn write(&self, out: &mut Vec<u8>) {
        event(out, EventId::new(self.time), self.time);
        out.extend_from_slice(&self.gate.0);
        word(out, "reason", Reason::Overloaded.as_str());
        out.extend_from_slice(b",\"shed\":{\"calls\":");
        push_number(out, self.calls);
        out.extend_from_slice(b",\"connections\":");
        push_number(out, self.connections);
        out.push(b'}');
    }
}
