//! What a record shows of a request: names, never values.

use super::json::{push_json_string, push_number};
use super::member::{TEXT_CAP, list_of, push_text, word};
use crate::model::{Inspected, TraceParent};

/// The longest path that is kept, in bytes: longer than any of a catalogued operation.
const PATH_CAP: usize = 192;

/// What a record shows of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'r> {
    /// The verb.
    pub verb: &'r str,
    /// `2`, `1.1` or `1.0`.
    pub version: &'static str,
    /// The path, with every secret replaced.
    pub path: &'r str,
    /// The query, of which only the keys are written; empty where the path could not be read.
    pub query: &'r str,
    /// The app's `x-request-id`.
    pub client_request_id: Option<&'r [u8]>,
    /// Where the call stands in the app's trace.
    pub trace: Option<TraceParent<'r>>,
    /// The body's length, as far as it was read.
    pub body_bytes: u64,
    /// How much of the body was looked at.
    pub inspected: Inspected,
}

impl RequestFacts<'_> {
    /// Appends the members that show the request; of the query at most so many keys.
    pub(super) fn write(&self, out: &mut Vec<u8>, query_keys: usize) {
        out.extend_from_slice(b",\"http\":{\"method\":");
        push_text(out, self.verb, TEXT_CAP);
        word(out, "version", self.version);
        out.extend_from_slice(b"},\"url\":{\"path\":");
        push_text(out, self.path, PATH_CAP);
        if !self.query.is_empty() {
            out.extend_from_slice(b",\"query_keys\":");
            let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
            list_of(out, pairs.map(query_key), query_keys, TEXT_CAP);
        }
        out.push(b'}');
        if let Some(id) = self.client_request_id {
            out.extend_from_slice(b",\"client_request_id\":");
            push_json_string(out, id);
        }
        if let Some(TraceParent { trace_id, span_id }) = self.trace {
            word(out, "trace_id", trace_id);
            word(out, "span_id", span_id);
        }
        if self.body_bytes > 0 || self.inspected != Inspected::None {
            out.extend_from_slice(b",\"body\":{\"bytes\":");
            push_number(out, self.body_bytes);
            word(out, "inspected", self.inspected.as_str());
            out.push(b'}');
        }
    }
}

/// The key of a pair; `?` for one that is no plain name, since a secret may have been pasted there.
fn query_key(pair: &str) -> &str {
    let named = pair.split_once('=').map(|(key, _)| key).filter(|key| {
        let mut rest = key.as_bytes();
        loop {
            rest = match rest {
                [] => return !key.is_empty(),
                [b'%', b'5', b'B' | b'b' | b'D' | b'd', rest @ ..] => rest,
                [b'%', b'3', b'C' | b'c' | b'E' | b'e', rest @ ..] => rest,
                [b'_' | b'.' | b'-' | b'[' | b']' | b'<' | b'>', rest @ ..] => rest,
                [byte, rest @ ..] if byte.is_ascii_alphanumeric() => rest,
                _ => return false,
            }
        }
    });
    named.filter(|key| !may_be_secret(key)).unwrap_or("?")
}

/// True for what no parameter is called and tokens look like: a long run of letters and digits.
fn may_be_secret(key: &str) -> bool {
    let mut runs = key.as_bytes().split(|byte| !byte.is_ascii_alphanumeric());
    runs.any(|run| run.len() >= SECRET && run.iter().any(u8::is_ascii_digit))
}

/// The length from which letters and digits in a row may be a secret, in bytes.
const SECRET: usize = 20;
