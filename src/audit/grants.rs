//! Records of what is learned of tokens, and of what turns out to be otherwise.

use super::member::{
    EventId, TEXT_CAP, event, list, member, push_hex, push_text, subject, time, word,
};
use super::record::GateText;
use crate::clock::Timestamp;
use crate::model::{Grant, GrantSource, GrantType, ScopeSet, Subject, TokenId};

/// A grant was learned, or is not what it was: `token.captured` and `grant.changed`.
#[derive(Debug)]
pub struct GrantRecord<'r> {
    /// When.
    pub time: Timestamp,
    /// Generation, gate and app.
    pub gate: &'r GateText,
    /// The token.
    pub token: TokenId,
    /// How it was learned.
    pub source: GrantSource,
    /// By which kind of grant the app got the token, where that was seen.
    pub grant_type: Option<GrantType>,
    /// Its scopes; `None` if nobody said.
    pub scopes: Option<&'r ScopeSet>,
    /// The scopes of the grant before.
    pub before: Option<&'r ScopeSet>,
    /// Whose it is.
    pub subject: Option<&'r Subject>,
    /// When it expires, in seconds since 1970; [`Grant::NEVER`] if nobody said.
    pub expires: u32,
}

impl GrantRecord<'_> {
    /// Appends the record's members after `seq`.
    pub fn write(&self, out: &mut Vec<u8>) {
        head(out, self.time, self.gate, self.token);
        out.extend_from_slice(b",\"grant\":{\"source\":\"");
        out.extend_from_slice(self.source.as_str().as_bytes());
        out.push(b'"');
        if let Some(grant_type) = self.grant_type {
            word(out, "type", grant_type.as_str());
        }
        if self.expires != Grant::NEVER {
            let nanos = u64::from(self.expires) * 1_000_000_000;
            time(out, ",\"expires", Timestamp::from_nanos(nanos));
        }
        out.push(b'}');
        if let Some(scopes) = self.scopes {
            out.extend_from_slice(b",\"scopes\":{\"granted\":");
            list(out, scopes.iter());
            if let Some(before) = self.before {
                out.extend_from_slice(b",\"before\":");
                list(out, before.iter());
            }
            out.push(b'}');
        }
        if let Some(known) = self.subject {
            subject(out, known);
        }
    }
}

/// A token does not hold any more: `grant.revoked`.
#[derive(Debug)]
pub struct EndRecord<'r> {
    /// When.
    pub time: Timestamp,
    /// Generation, gate and app.
    pub gate: &'r GateText,
    /// The token.
    pub token: TokenId,
    /// Why: `revoked`, `replaced`, `vendor_said_expired`, `vendor_said_revoked`, `forgotten`.
    pub cause: &'static str,
}

impl EndRecord<'_> {
    /// Appends the record's members after `seq`.
    pub fn write(&self, out: &mut Vec<u8>) {
        head(out, self.time, self.gate, self.token);
        word(out, "cause", self.cause);
    }
}

/// The vendor is not as the catalogue has it: `drift.detected`.
#[derive(Debug)]
pub struct DriftRecord<'r> {
    /// When.
    pub time: Timestamp,
    /// Generation, gate and app.
    pub gate: &'r GateText,
    /// The call that showed it; `None` where a grant did.
    pub call: Option<EventId>,
    /// The operation that the vendor refused, or `unparsed`.
    pub operation: &'r str,
    /// What the catalogue says that it needs: any of several sets, each needed whole.
    pub required: &'r [ScopeSet],
    /// What the token was granted.
    pub granted: Option<&'r ScopeSet>,
    /// The scope that the catalogue does not know.
    pub unknown_scope: Option<&'r str>,
    /// The vendor's code.
    pub vendor_error: Option<&'r str>,
}

impl DriftRecord<'_> {
    /// Appends the record's members after `seq`.
    pub fn write(&self, out: &mut Vec<u8>) {
        event(out, EventId::new(self.time), self.time);
        out.extend_from_slice(&self.gate.0);
        if let Some(call) = self.call {
            out.extend_from_slice(b",\"call\":\"");
            out.extend_from_slice(call.as_bytes());
            out.push(b'"');
        }
        member(out, "operation", self.operation);
        if let Some(scope) = self.unknown_scope {
            member(out, "unknown_scope", scope);
        }
        if let Some(granted) = self.granted {
            out.extend_from_slice(b",\"scopes\":{\"required\":[");
            for (position, set) in self.required.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                list(out, set.iter());
            }
            out.extend_from_slice(b"],\"granted\":");
            list(out, granted.iter());
            out.push(b'}');
        }
        if let Some(code) = self.vendor_error {
            out.extend_from_slice(b",\"vendor_error\":{\"code\":");
            push_text(out, code, TEXT_CAP);
            out.push(b'}');
        }
    }
}

fn head(out: &mut Vec<u8>, at: Timestamp, gate: &GateText, token: TokenId) {
    event(out, EventId::new(at), at);
    out.extend_from_slice(&gate.0);
    out.extend_from_slice(b",\"token\":{\"ref\":\"");
    push_hex(out, token.as_bytes());
    out.extend_from_slice(b"\"}");
}
