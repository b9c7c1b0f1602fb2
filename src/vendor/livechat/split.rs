//! A batch of which some elements are refused: what of the request goes on, and how the answer is made whole again.

use bytes::{Bytes, BytesMut};

use super::refusal;
use crate::model::{Batch, Layout, Verdict};
use crate::vendor::json::{JsonScanner, Kind, Members};
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

/// Puts the errors of refused elements into the `responses` of an answer that streams by, each at its place.
#[derive(Debug)]
pub struct Splicer {
    scanner: JsonScanner,
    places: Places,
    /// Bytes of the answer that went on.
    seen: u64,
    broken: bool,
}

#[derive(Debug)]
struct Places {
    /// For each element of the request its error; `None` where the answer has one of its own.
    elements: std::vec::IntoIter<Option<String>>,
    in_responses: bool,
    done: bool,
    any: bool,
    /// What is to be put where.
    inserts: Vec<(u64, String)>,
}

impl Splicer {
    pub(in crate::vendor) fn new(batch: &Batch<'_>, children: &[Verdict<'_>]) -> Self {
        Self {
            scanner: JsonScanner::of_answers(),
            places: Places {
                elements: errors(batch, children).into_iter(),
                in_responses: false,
                done: false,
                any: false,
                inserts: Vec::new(),
            },
            seen: 0,
            broken: false,
        }
    }

    /// Takes the next piece of the answer; gives what goes on.
    pub(in crate::vendor) fn feed(&mut self, piece: Bytes) -> Bytes {
        let start = self.seen;
        self.seen += u64::try_from(piece.len()).unwrap_or_default();
        if self.broken || self.places.done {
            return piece;
        }
        self.broken = self.scanner.feed(&piece, &mut self.places).is_err();
        if self.places.inserts.is_empty() {
            return piece;
        }
        let mut out = BytesMut::with_capacity(piece.len() + 256);
        let mut from = 0;
        for (at, text) in self.places.inserts.drain(..) {
            let at = usize::try_from(at.saturating_sub(start))
                .unwrap_or(usize::MAX)
                .min(piece.len());
            out.extend_from_slice(piece.get(from..at).unwrap_or_default());
            out.extend_from_slice(text.as_bytes());
            from = at;
        }
        out.extend_from_slice(piece.get(from..).unwrap_or_default());
        out.freeze()
    }
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
            self.in_responses = name == b"responses" && !self.done;
        }
    }

    fn begin(&mut self, depth: u32, kind: Kind, at: u64) -> bool {
        if depth == 2 && self.in_responses {
            let pending = self.pending(false);
            if !pending.is_empty() {
                self.inserts.push((at, pending.join(",") + ","));
            }
            self.any = true;
            return false;
        }
        match depth {
            0 => kind == Kind::Object,
            1 => {
                self.in_responses &= kind == Kind::Array;
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
            self.done = true;
        }
    }
}
