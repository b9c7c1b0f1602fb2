//! Bodies that decide: the members that conditions look at, of one payload or of each element of a batch.

use std::ops::Range;

use crate::model::{Fault, Reason};
use crate::vendor::json::{JsonScanner, Kind, Members, resembles};

const BODY: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the body is not one strict JSON object",
};
const TWICE: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "a member that the action's need hangs on stands twice, or is spelt in another case",
};
const WRAPPED: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "the payload stands in a `payload` of its own, as older versions had it",
};
pub(super) const ELEMENT: Fault = Fault {
    reason: Reason::AmbiguousBody,
    detail: "`requests` of the batch is not a list of objects",
};
const TOO_MANY: Fault = Fault {
    reason: Reason::BatchTooLong,
    detail: "the batch has more than 1000 elements",
};

/// The most elements of a batch that are judged.
const MOST: usize = 1000;
/// The longest value that is kept, in bytes.
const LONGEST: usize = 128;

/// What a payload says where a condition looks.
#[derive(Debug, Default, Clone)]
pub(super) struct Said {
    /// Name, kind and value of each watched member; a container has no value.
    pub(super) members: Vec<(&'static str, Kind, Box<str>)>,
    /// Where an element of a batch stands.
    pub(super) at: Range<u64>,
}

impl Said {
    /// Kind and value of a member, where it stands.
    pub(super) fn get(&self, name: &str) -> Option<(Kind, &str)> {
        let found = self.members.iter().find(|(known, ..)| *known == name);
        found.map(|(_, kind, value)| (*kind, value.as_ref()))
    }
}

/// Members that conditions look at, and the identity that a body may name.
const WATCHED: [&str; 5] = [
    "awaiting_approval",
    "role",
    "roles",
    "include_all_private",
    "author_id",
];

/// Reads a body.
pub(super) struct Payload {
    scanner: JsonScanner,
    found: Found,
    begun: bool,
    malformed: bool,
}

/// What was read.
pub(super) struct Read {
    /// The payload's own members.
    pub(super) top: Said,
    /// The elements of a batch, and where the brackets of their list stand.
    pub(super) elements: Vec<Said>,
    pub(super) frame: Option<Range<u64>>,
    pub(super) fault: Option<Fault>,
}

#[derive(Default)]
struct Found {
    is_batch: bool,
    top: Said,
    elements: Vec<Said>,
    frame: Option<Range<u64>>,
    in_requests: bool,
    /// The watched member whose value is read.
    member: Option<&'static str>,
    kind: Option<Kind>,
    value: Vec<u8>,
    fault: Option<Fault>,
}

impl Payload {
    pub(super) fn new(is_batch: bool) -> Self {
        Self {
            scanner: JsonScanner::new(),
            found: Found {
                is_batch,
                ..Found::default()
            },
            begun: false,
            malformed: false,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.begun |= !bytes.is_empty();
        if !self.malformed && self.scanner.feed(bytes, &mut self.found).is_err() {
            self.malformed = true;
        }
    }

    pub(super) fn finish(self) -> Read {
        let Self {
            scanner,
            found,
            begun,
            malformed,
        } = self;
        let broken = malformed || (begun && scanner.finish().is_err());
        let framed = found.frame.is_some();
        Read {
            top: found.top,
            elements: found.elements,
            frame: found.frame,
            fault: broken
                .then_some(BODY)
                .or(found.fault)
                .or((found.is_batch && !framed).then_some(ELEMENT)),
        }
    }
}

impl Found {
    fn note(&mut self, fault: Fault) {
        self.fault = self.fault.or(Some(fault));
    }

    /// The payload whose members are read at this depth.
    fn payload(&mut self, depth: u32) -> Option<&mut Said> {
        match depth {
            1 => Some(&mut self.top),
            3 if self.in_requests => self.elements.last_mut(),
            _ => None,
        }
    }

    fn keep(&mut self, depth: u32, value: &str) {
        let (Some(name), Some(kind)) = (self.member.take(), self.kind.take()) else {
            return;
        };
        let Some(payload) = self.payload(depth) else {
            return;
        };
        if payload.get(name).is_some() {
            self.note(TWICE);
        } else {
            payload.members.push((name, kind, value.into()));
        }
    }
}

impl Members for Found {
    fn name(&mut self, depth: u32, name: &[u8], _at: u64) {
        if depth == 1 {
            self.in_requests = false;
            let requests = name == b"requests";
            if self.is_batch && (resembles(name, "requests") || (requests && self.frame.is_some()))
            {
                self.note(TWICE);
            }
            self.in_requests = self.is_batch && requests;
        }
        if self.payload(depth).is_some() {
            // The API before 3.1 had its payload in one, and may still be behind some door.
            if name == b"payload" || resembles(name, "payload") {
                self.note(WRAPPED);
            }
            if WATCHED.into_iter().any(|watched| resembles(name, watched)) {
                self.note(TWICE);
            }
            self.member = WATCHED
                .into_iter()
                .find(|watched| watched.as_bytes() == name);
        }
    }

    fn begin(&mut self, depth: u32, kind: Kind, at: u64) -> bool {
        let container = matches!(kind, Kind::Object | Kind::Array);
        match (depth, self.in_requests) {
            (0, _) => {
                if kind != Kind::Object {
                    self.note(BODY);
                }
                return container;
            }
            (1, true) => {
                if kind != Kind::Array {
                    self.note(ELEMENT);
                }
                self.frame = Some(at..at);
                return container;
            }
            (2, true) => {
                if kind != Kind::Object {
                    self.note(ELEMENT);
                }
                if self.elements.len() == MOST {
                    self.note(TOO_MANY);
                    return false;
                }
                self.elements.push(Said {
                    at: at..at,
                    ..Said::default()
                });
                return container;
            }
            _ => {}
        }
        self.kind = Some(kind);
        if self.member.is_some() && container {
            self.keep(depth, "");
            return false;
        }
        self.value.clear();
        self.member.is_some()
    }

    fn text(&mut self, piece: &[u8]) {
        let room = LONGEST.saturating_sub(self.value.len());
        self.value
            .extend_from_slice(piece.get(..room).unwrap_or(piece));
    }

    fn end(&mut self, depth: u32, at: u64) {
        if self.member.is_some() {
            let value = String::from_utf8_lossy(&std::mem::take(&mut self.value)).into_owned();
            self.keep(depth, &value);
        }
        if depth == 2
            && self.in_requests
            && let Some(element) = self.elements.last_mut()
        {
            element.at.end = at;
        }
        if depth == 1
            && self.in_requests
            && let Some(frame) = &mut self.frame
        {
            frame.end = at;
        }
    }
}

impl std::fmt::Debug for Payload {
    /// Without what was read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payload").finish_non_exhaustive()
    }
}
