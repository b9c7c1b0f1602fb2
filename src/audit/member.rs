//! The members of records, written one by one.

use std::fmt;
use std::time::Duration;

use super::json::push_json_string;
use crate::clock::Timestamp;
use crate::model::Subject;

/// The longest query key or text field that is kept, in bytes.
const TEXT_CAP: usize = 64;

/// The id of an event: a UUID of version 7 (RFC 9562), whose first bits are the time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId([u8; 36]);

impl EventId {
    /// A new id. Its random part is unique, not secret.
    pub fn new(time: Timestamp) -> Self {
        let (high, low) = (
            fastrand::u64(..).to_be_bytes(),
            fastrand::u16(..).to_be_bytes(),
        );
        let mut random = [0; 10];
        for (to, from) in random.iter_mut().zip(high.into_iter().chain(low)) {
            *to = from;
        }
        let uuid = uuid::Builder::from_unix_timestamp_millis(time.as_millis(), &random).into_uuid();
        let mut text = [0; 36];
        uuid.hyphenated().encode_lower(&mut text);
        Self(text)
    }

    /// The id as 36 bytes of ASCII.
    pub const fn as_bytes(&self) -> &[u8; 36] {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({self})")
    }
}

/// `event_id`, `event_group` and `time`: a decision's group is its own id.
pub(super) fn event(out: &mut Vec<u8>, id: EventId, at: Timestamp) {
    out.extend_from_slice(b",\"event_id\":\"");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"\",\"event_group\":\"");
    out.extend_from_slice(id.as_bytes());
    time(out, "\",\"time", at);
}

/// A member whose value is a word of ours: nothing in it needs escaping.
pub(super) fn word(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

/// A member whose value may be anything.
pub(super) fn member(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    push_json_string(out, value.as_bytes());
}

/// `,"name":"time"`; `name` brings what stands before its closing quote.
pub(super) fn time(out: &mut Vec<u8>, name: &str, at: Timestamp) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    at.write_rfc3339(out);
    out.push(b'"');
}

pub(super) fn list<'s>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'s str>) {
    out.push(b'[');
    for (position, text) in texts.enumerate() {
        if position > 0 {
            out.push(b',');
        }
        push_json_string(out, text.as_bytes());
    }
    out.push(b']');
}

/// Whose token it is.
pub(super) fn subject(out: &mut Vec<u8>, subject: &Subject) {
    if let Some(user) = &subject.user {
        out.extend_from_slice(b",\"subject\":{\"id\":");
        push_json_string(out, cap(user).as_bytes());
        out.extend_from_slice(b",\"kind\":\"user\"}");
    }
    if let Some(tenant) = &subject.tenant {
        member(out, "tenant", cap(tenant));
    }
}

pub(super) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend([byte >> 4, byte & 15].map(|digit| {
            if digit < 10 {
                b'0' + digit
            } else {
                b'a' + digit - 10
            }
        }));
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Text cut to what records keep.
pub(super) fn cap(text: &str) -> &str {
    let mut end = text.len().min(TEXT_CAP);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
