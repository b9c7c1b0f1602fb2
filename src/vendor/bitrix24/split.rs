//! A batch of which some commands are refused: what of the request goes on, and how the answer is made whole again.

use std::ops::Range;

use bytes::Bytes;

use super::refusal::member_error;
use crate::clock::Timestamp;
use crate::model::{Asked, Batch, Layout, Verdict};
use crate::vendor::json::{JsonScanner, Kind, Members};
use crate::vendor::{Edit, NativeAnswer};

/// The longest `result_error` that is put together anew, in bytes.
const LONGEST_ERRORS: usize = 4 * 1024 * 1024;

/// The edits that take the refused commands out of the body, or out of the query, and leave every other byte and every
/// key as it is.
pub(in crate::vendor) fn edits(batch: &Batch<'_>, children: &[Verdict<'_>]) -> Vec<Edit> {
    let mut edits = Vec::new();
    let kept = |position: usize| {
        children
            .get(position)
            .is_some_and(|child| !child.holds_back())
    };
    let edit = |at: Range<u64>, with: String| Edit {
        at,
        with: Bytes::from(with),
    };
    match &batch.layout {
        None => {}
        Some(layout @ (Layout::Query | Layout::Pairs | Layout::Parts)) => {
            let brackets = if *layout == Layout::Parts {
                ["[", "]"]
            } else {
                ["%5B", "%5D"]
            };
            for (position, member) in batch.members.iter().enumerate() {
                if !kept(position) {
                    edits.push(edit(member.at.clone(), String::new()));
                } else if let Some(name) = &member.uncounted {
                    let [open, close] = brackets;
                    edits.push(edit(
                        name.clone(),
                        format!("cmd{open}{}{close}", member.key),
                    ));
                }
            }
        }
        Some(layout @ (Layout::Object(frame) | Layout::Array(frame))) => {
            // The keys of a list are its positions: they are written out once some are gone.
            let list = matches!(layout, Layout::Array(_));
            let mut end = frame.start + 1;
            if list {
                edits.push(edit(frame.start..end, "{".to_owned()));
            }
            let mut first = true;
            let mut gap = false;
            for (position, member) in batch.members.iter().enumerate() {
                if !kept(position) {
                    gap = true;
                    continue;
                }
                if gap {
                    let comma = if first { "" } else { "," };
                    edits.push(edit(end..member.at.start, comma.to_owned()));
                }
                if list {
                    let start = member.at.start;
                    edits.push(edit(start..start, format!("\"{}\":", member.key)));
                }
                end = member.at.end;
                (first, gap) = (false, false);
            }
            let close = frame.end.saturating_sub(1);
            if gap {
                edits.push(edit(end..close, String::new()));
            }
            if list {
                edits.push(edit(close..frame.end, "}".to_owned()));
            }
        }
    }
    edits
}

/// Puts refused commands into the `result_error` of an answer that streams by.
#[derive(Debug)]
pub struct Splicer {
    scanner: JsonScanner,
    place: ErrorPlace,
    /// Bytes of the answer that went on or are held.
    seen: u64,
    /// The errors' text, until its end has come.
    held: Vec<u8>,
    errors: Errors,
    done: bool,
}

/// What the refused commands would have been answered by the portal.
#[derive(Debug)]
struct Errors {
    /// Every key of the batch, in order.
    order: Vec<Box<str>>,
    denied: Vec<(Box<str>, String)>,
    halt: bool,
}

impl Errors {
    fn new(batch: &Batch<'_>, children: &[Verdict<'_>]) -> Self {
        let denied = batch
            .members
            .iter()
            .zip(children)
            .filter(|(_, child)| child.holds_back())
            .map(|(member, child)| {
                let why = match member.asked {
                    Asked::Closed { why, .. } => Some(why),
                    _ => None,
                };
                let error = member_error(child.reason, &child.missing, why);
                (member.key.clone(), error.to_string())
            })
            // The portal would have stopped at the first.
            .take(if batch.halt { 1 } else { usize::MAX })
            .collect();
        Self {
            order: batch.members.iter().map(|one| one.key.clone()).collect(),
            denied,
            halt: batch.halt,
        }
    }

    /// The errors with those of the answer, in the order of the commands, as PHP encodes an array: a list where the
    /// keys count from 0.
    fn merged(&self, answered: Vec<(Box<str>, String)>) -> String {
        let mut all = answered;
        if !self.halt || all.is_empty() {
            all.extend(self.denied.iter().cloned());
        }
        let place = |key: &str| {
            self.order
                .iter()
                .position(|known| **known == *key)
                .unwrap_or(usize::MAX)
        };
        all.sort_by_key(|(key, _)| place(key));
        let list = all
            .iter()
            .enumerate()
            .all(|(position, (key, _))| **key == *position.to_string());
        let entries: Vec<String> = all
            .into_iter()
            .map(|(key, error)| {
                if list {
                    error
                } else {
                    format!("{}:{error}", serde_json::Value::from(&*key))
                }
            })
            .collect();
        let entries = entries.join(",");
        if list {
            format!("[{entries}]")
        } else {
            format!("{{{entries}}}")
        }
    }
}

/// Where `result.result_error` stands in the answer.
#[derive(Debug, Default)]
struct ErrorPlace {
    in_result: bool,
    next: bool,
    begins: Option<u64>,
    ends: Option<u64>,
}

impl Members for ErrorPlace {
    fn name(&mut self, depth: u32, name: &[u8], _at: u64) {
        match depth {
            1 => self.in_result = name == b"result",
            2 => self.next = self.in_result && name == b"result_error",
            _ => {}
        }
    }

    fn begin(&mut self, depth: u32, kind: Kind, at: u64) -> bool {
        if depth == 2 && std::mem::take(&mut self.next) && self.begins.is_none() {
            if matches!(kind, Kind::Object | Kind::Array) {
                self.begins = Some(at);
            }
            return false;
        }
        depth == 0 && kind == Kind::Object || depth == 1 && kind == Kind::Object && self.in_result
    }

    fn text(&mut self, _piece: &[u8]) {}

    fn end(&mut self, depth: u32, at: u64) {
        if depth == 2 && self.begins.is_some() && self.ends.is_none() {
            self.ends = Some(at);
        }
    }
}

impl Splicer {
    pub(in crate::vendor) fn new(batch: &Batch<'_>, children: &[Verdict<'_>]) -> Self {
        Self {
            scanner: JsonScanner::of_answers(),
            place: ErrorPlace::default(),
            seen: 0,
            held: Vec::new(),
            errors: Errors::new(batch, children),
            done: false,
        }
    }

    /// Takes the next piece of the answer; gives what goes on to the app, which may be nothing yet.
    pub fn feed(&mut self, piece: Bytes) -> Bytes {
        if self.done {
            return piece;
        }
        let start = self.seen;
        self.seen += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let scanned = self.scanner.feed(&piece, &mut self.place);
        if scanned.is_err() && self.place.ends.is_none() {
            // No answer of the expected shape: it passes as it is.
            return self.give_up(&piece);
        }
        let Some(begins) = self.place.begins else {
            return piece;
        };
        let within = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
        let from = within(begins).min(piece.len());
        let (before, after) = piece.split_at(from);
        let Some(ends) = self.place.ends else {
            self.held.extend_from_slice(after);
            if self.held.len() > LONGEST_ERRORS {
                let held = std::mem::take(&mut self.held);
                self.done = true;
                return Bytes::from([before, &held].concat());
            }
            return piece.slice(..from);
        };
        let to = within(ends).min(piece.len());
        let (errors, rest) = after.split_at(to.saturating_sub(from));
        self.held.extend_from_slice(errors);
        self.done = true;
        let held = std::mem::take(&mut self.held);
        match entries(&held) {
            Some(answered) => {
                let merged = self.errors.merged(answered);
                Bytes::from([before, merged.as_bytes(), rest].concat())
            }
            None => Bytes::from([before, &held, rest].concat()),
        }
    }

    /// Ends the answer: what is still held.
    pub fn finish(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.held))
    }

    fn give_up(&mut self, piece: &[u8]) -> Bytes {
        self.done = true;
        let held = std::mem::take(&mut self.held);
        Bytes::from([&held, piece].concat())
    }
}

/// The entries of an encoded PHP array, each with its key and its text as it stands.
fn entries(text: &[u8]) -> Option<Vec<(Box<str>, String)>> {
    struct Entries(Vec<(Box<str>, String)>);
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Entries;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array of PHP")
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Entries, A::Error> {
            let mut entries = Vec::new();
            while let Some(value) = seq.next_element::<Box<serde_json::value::RawValue>>()? {
                entries.push((entries.len().to_string().into(), value.get().to_owned()));
            }
            Ok(Entries(entries))
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
            let mut entries = Vec::new();
            while let Some((key, value)) =
                map.next_entry::<String, Box<serde_json::value::RawValue>>()?
            {
                entries.push((key.into(), value.get().to_owned()));
            }
            Ok(Entries(entries))
        }
    }
    impl<'de> serde::Deserialize<'de> for Entries {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Visitor)
        }
    }
    serde_json::from_slice::<Entries>(text)
        .ok()
        .map(|entries| entries.0)
}

/// The portal's answer to a batch of which no command is left.
pub(in crate::vendor) fn nothing_left(
    batch: &Batch<'_>,
    children: &[Verdict<'_>],
    now: Timestamp,
) -> NativeAnswer {
    let errors = Errors::new(batch, children).merged(Vec::new());
    let seconds = f64::from(now.as_secs());
    let time = serde_json::json!({
        "start": seconds, "finish": seconds, "duration": 0, "processing": 0,
        "date_start": now.to_rfc3339(), "date_finish": now.to_rfc3339(),
    });
    NativeAnswer {
        status: 200,
        content_type: "application/json; charset=utf-8",
        body: format!(
            "{{\"result\":{{\"result\":[],\"result_error\":{errors},\"result_total\":[],\"result_next\":[],\
             \"result_time\":[]}},\"time\":{time}}}"
        ),
    }
}
