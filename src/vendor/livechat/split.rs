//! A batch of which some elements are refused: what of the request goes on, and how the answer is made whole again.

use bytes::{Bytes, BytesMut};

use super::refusal;
use crate::model::{Batch, Layout, Verdict};
use crate::vendor::json::{JsonScanner, Kind, Members, resembles};
use crate::vendor::{Edit, NativeAnswer};

/// The edits that take the refused elements out of the list, and leave every other byte as it is.
pub(in crate::vendor) fn edits(batch: &Batch<'_>, children: &[Verdict<'_>]) -> Vec<Edit> {
    let Some(Layout::Array(frame)) = &batch.layout else {
        return Vec::new();
    };
    let mut edits = Vec::new();
    let mut cut = |at: std::ops::Range<u64>, with: &'static [u8]| {
        if at.start < at.end {
            edits.push(Edit {
                at,
                with: Bytes::from_static(with),
            });
        }
    };
    // From the end of the last element that stays to the beginning of the next one, where some are gone between.
    let mut end = frame.start + 1;
    let (mut first, mut gap) = (true, false);
    for (member, child) in batch.members.iter().zip(children) {
        if child.holds_back() {
            gap = true;
            continue;
        }
        if gap {
            cut(end..member.at.start, if first { b"" } else { b"," });
        }
        end = member.at.end;
        (first, gap) = (false, false);
    }
    if gap {
        cut(end..frame.end.saturating_sub(1), b"");
    }
    edits
}

/// LiveChat's answer to a batch of which no element is left.
pub(in crate::vendor) fn nothing_left(batch: &Batch<'_>, children: &[Verdict<'_>]) -> NativeAnswer {
    let responses: Vec<_> = errors(batch, children)
        .into_iter()
        .map(|error| error.map_or(serde_json::Value::Null, serde_json::Value::from))
        .map(|text| match text {
            serde_json::Value::String(text) => serde_json::from_str(&text).unwrap_or_default(),
            other => other,
        })
        .collect();
    NativeAnswer {
        status: 200,
        content_type: "application/json",
        body: serde_json::json!({ "responses": responses }).to_string(),
    }
}

/// For each element the error that stands in its place; `None` for one that went on.
fn errors(batch: &Batch<'_>, children: &[Verdict<'_>]) -> Vec<Option<String>> {
    let count = batch.members.len();
    let error = |child: &Verdict<'_>| {
        let held = child.holds_back();
        held.then(|| refusal::element(child.reason, &child.missing).to_string())
    };
    children.iter().take(count).map(error).collect()
}

/// The longest answer to a divided batch that is put together, in bytes.
const LONGEST: usize = 16 * 1024 * 1024;

/// Puts the errors of refused elements into the `responses` of an answer, each at its place. The answer is held until it
/// has been seen whole: its elements are told by their places, and one that cannot be counted must not reach the app.
#[derive(Debug)]
pub struct Splicer {
    errors: Vec<Option<String>>,
    held: Vec<u8>,
    failed: bool,
}

#[derive(Debug)]
struct Places {
    /// For each element of the request its error; `None` where the answer has one of its own.
    elements: std::vec::IntoIter<Option<String>>,
    /// Elements that went on and have not been seen.
    expected: usize,
    in_responses: bool,
    /// How often `responses` has been seen, or something that may be taken for it.
    seen: u32,
    any: bool,
    wrong: bool,
    /// What is to be put where.
    inserts: Vec<(u64, String)>,
}

impl Splicer {
    pub(in crate::vendor) fn new(batch: &Batch<'_>, children: &[Verdict<'_>]) -> Self {
        Self {
            errors: errors(batch, children),
            held: Vec::new(),
            failed: false,
        }
    }

    /// Takes the next piece of the answer; nothing goes on before its end.
    pub(in crate::vendor) fn feed(&mut self, piece: &[u8]) {
        if self.held.len() + piece.len() > LONGEST {
            self.failed = true;
        }
        if !self.failed {
            self.held.extend_from_slice(piece);
        }
    }

    /// The whole answer; nothing if it was given before, or cannot be put together.
    pub(in crate::vendor) fn finish(&mut self) -> Bytes {
        if self.failed || self.errors.is_empty() {
            return Bytes::new();
        }
        let elements = std::mem::take(&mut self.errors);
        let held = std::mem::take(&mut self.held);
        let whole = spliced(&held, elements);
        self.failed = whole.is_none();
        whole.unwrap_or_default()
    }

    /// True once the answer has shown that it cannot be put together.
    pub(in crate::vendor) const fn has_failed(&self) -> bool {
        self.failed
    }
}

/// The answer with the errors in it; `None` if it is not one object with one `responses` of as many elements as were sent.
fn spliced(answer: &[u8], elements: Vec<Option<String>>) -> Option<Bytes> {
    let mut scanner = JsonScanner::of_answers();
    let mut places = Places {
        expected: elements.iter().filter(|error| error.is_none()).count(),
        elements: elements.into_iter(),
        in_responses: false,
        seen: 0,
        any: false,
        wrong: false,
        inserts: Vec::new(),
    };
    scanner.feed(answer, &mut places).ok()?;
    scanner.finish().ok()?;
    if places.wrong || places.seen != 1 || places.expected != 0 {
        return None;
    }
    let mut out = BytesMut::with_capacity(answer.len() + 1024);
    let mut from = 0;
    for (at, text) in places.inserts {
        let at = usize::try_from(at).ok()?;
        out.extend_from_slice(answer.get(from..at)?);
        out.extend_from_slice(text.as_bytes());
        from = at;
    }
    out.extend_from_slice(answer.get(from..)?);
    Some(out.freeze())
}

impl Places {
    /// The errors that stand before the next element of the answer, or before the end of its list.
    fn pending(&mut self, at_end: bool) -> Vec<String> {
        let mut pending = Vec::new();
        for element in self.elements.by_ref() {
            match element {
                Some(error) => pending.push(error),
                None if at_end => {}
                None => break,
            }
        }
        pending
    }
}

impl Members for Places {
    fn name(&mut self, depth: u32, name: &[u8], _at: u64) {
        if depth == 1 {
            self.in_responses = name == b"responses";
            self.seen += u32::from(self.in_responses);
            self.wrong |= resembles(name, "responses");
        }
    }

    fn begin(&mut self, depth: u32, kind: Kind, at: u64) -> bool {
        if depth == 2 && self.in_responses {
            let pending = self.pending(false);
            if !pending.is_empty() {
                self.inserts.push((at, pending.join(",") + ","));
            }
            self.any = true;
            match self.expected.checked_sub(1) {
                Some(left) => self.expected = left,
                None => self.wrong = true,
            }
            return false;
        }
        match depth {
            0 => kind == Kind::Object,
            1 => {
                self.wrong |= self.in_responses && kind != Kind::Array;
                self.in_responses
            }
            _ => false,
        }
    }

    fn text(&mut self, _piece: &[u8]) {}

    fn end(&mut self, depth: u32, at: u64) {
        if depth == 1 && self.in_responses {
            let pending = self.pending(true);
            if !pending.is_empty() {
                let comma = if self.any { "," } else { "" };
                let before = at.saturating_sub(1);
                self.inserts
                    .push((before, format!("{comma}{}", pending.join(","))));
            }
            self.in_responses = false;
        }
    }
}
