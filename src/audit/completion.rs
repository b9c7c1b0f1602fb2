//! The record of how a call ended.

use std::time::Duration;

use super::json::push_number;
use super::member::{EventId, TEXT_CAP, micros, push_text, time, word};
use crate::clock::Timestamp;
use crate::model::{Outcome, Reason};

/// Who gave the answer that the app got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The vendor.
    Vendor,
    /// The gate.
    Gate,
}

/// How a call ended.
#[derive(Debug)]
pub struct CompletionRecord<'r> {
    /// The decision's event.
    pub event: EventId,
    /// When the call ended.
    pub time: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// Why the gate answered in place of the vendor after it had permitted the call.
    pub reason: Option<Reason>,
    /// Status, who gave it, and the bytes of the body that went to the app; `None` where no answer began.
    pub response: Option<(u16, Origin, u64)>,
    /// The vendor's own code for what it has against the call, and whether it misses a scope that the gate did not.
    pub vendor_error: Option<(&'r str, bool)>,
    /// How often it was tried to send the call, where that is not once: 0 while nobody answers at the upstream.
    pub attempts: Option<u16>,
    /// From the first byte sent to the head of the vendor's answer.
    pub latency: Option<Duration>,
    /// From the request's head to the end.
    pub duration: Duration,
    /// The address that was contacted.
    pub destination: Option<&'r str>,
}

impl CompletionRecord<'_> {
    /// Appends the record's members after `seq`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"event_group\":\"");
        out.extend_from_slice(self.event.as_bytes());
        time(out, "\",\"time", self.time);
        word(out, "outcome", self.outcome.as_str());
        if let Some(reason) = self.reason {
            word(out, "reason", reason.as_str());
        }
        if let Some((status, origin, bytes)) = self.response {
            out.extend_from_slice(b",\"response\":{\"status\":");
            push_number(out, status.into());
            word(
                out,
                "origin",
                if origin == Origin::Vendor {
                    "vendor"
                } else {
                    "gate"
                },
            );
            out.extend_from_slice(b",\"bytes\":");
            push_number(out, bytes);
            if let Some(latency) = self.latency {
                out.extend_from_slice(b",\"latency_us\":");
                push_number(out, micros(latency));
            }
            out.push(b'}');
        }
        if let Some(attempts) = self.attempts {
            out.extend_from_slice(b",\"upstream_attempts\":");
            push_number(out, attempts.into());
        }
        if let Some((code, mismatch)) = self.vendor_error {
            out.extend_from_slice(b",\"vendor_error\":{\"code\":");
            push_text(out, code, TEXT_CAP);
            out.push(b'}');
            if mismatch {
                out.extend_from_slice(b",\"scope_mismatch\":true");
            }
        }
        out.extend_from_slice(b",\"duration_us\":");
        push_number(out, micros(self.duration));
        if let Some(destination) = self.destination {
            word(out, "destination", destination);
        }
    }
}
