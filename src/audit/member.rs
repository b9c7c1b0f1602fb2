//! The members of records, written one by one.

use std::fmt;
use std::time::Duration;

use super::json::push_json_string;
use crate::clock::Timestamp;
use crate::model::Subject;

/// The longest query key or text field that is kept, in bytes.
pub(super) const TEXT_CAP: usize = 64;

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
        push_text(out, user, TEXT_CAP);
        out.extend_from_slice(b",\"kind\":\"user\"}");
    }
    if let Some(tenant) = &subject.tenant {
        out.extend_from_slice(b",\"tenant\":");
        push_text(out, tenant, TEXT_CAP);
    }
}

pub(super) fn push_hex<const N: usize>(out: &mut Vec<u8>, bytes: &[u8; N]) {
    let digit = |value| match value {
        0..10 => b'0' + value,
        _ => b'a' + value - 10,
    };
    // All at once, and room is asked for once.
    let text = bytes.map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    out.extend_from_slice(text.as_flattened());
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Appends a text, at most so many bytes as they stand in the record; what was cut has a mark at its end.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str, most: usize) {
    let start = out.len();
    push_json_string(out, text.as_bytes());
    // With its quotes.
    if out.len() - start <= most + 2 {
        return;
    }
    out.truncate(start);
    let mut kept = text.floor_char_boundary(most);
    // An escape stands for one character and takes up to twelve bytes.
    loop {
        push_json_string(out, text.get(..kept).unwrap_or_default().as_bytes());
        if out.len() - start <= most + 2 || kept == 0 {
            break;
        }
        let over = (out.len() - start - most - 2).div_ceil(12).max(1);
        out.truncate(start);
        kept = text.floor_char_boundary(kept.saturating_sub(over));
    }
    out.pop();
    out.extend_from_slice(CUT);
    out.push(b'"');
}

/// Stands where a text or a list was cut: an ellipsis.
pub(super) const CUT: &[u8] = b"\\u2026";

/// A list of texts, of which it holds the first ones; what was left out has a mark in its place.
pub(super) fn list_of<'s>(
    out: &mut Vec<u8>,
    texts: impl Iterator<Item = &'s str>,
    most: usize,
    each: usize,
) {
    out.push(b'[');
    for (position, text) in texts.enumerate() {
        if position > 0 {
            out.push(b',');
        }
        if position == most {
            out.push(b'"');
            out.extend_from_slice(CUT);
            out.push(b'"');
            break;
        }
        push_text(out, text, each);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_with_a_mark() {
        for (text, most, kept) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "abc\u{2026}"),
            ("\u{e9}\u{e9}\u{e9}", 12, "\u{e9}\u{e9}\u{2026}"),
            ("\u{1f600}\u{1f600}", 12, "\u{1f600}\u{2026}"),
            ("\u{1f600}", 3, "\u{2026}"),
            ("a\"b\"c", 4, "a\"b\u{2026}"),
            ("", 0, ""),
        ] {
            let mut out = Vec::new();
            push_text(&mut out, text, most);
            assert_eq!(
                serde_json::from_slice::<String>(&out).unwrap(),
                kept,
                "{text}"
            );
            assert!(out.len() <= most + 2 + CUT.len());
        }
        let mut out = Vec::new();
        list_of(&mut out, ["a", "b", "c"].into_iter(), 2, 8);
        assert_eq!(out, br#"["a","b","\u2026"]"#);
    }
}
