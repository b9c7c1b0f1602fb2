//! Ids of what a call is about, where one request names several.

use crate::vendor::json::{JsonScanner, Kind, Members};

/// The most ids that are kept; the platform takes 50 at once.
const MOST: usize = 64;

/// The longest id that is kept, in bytes.
const LONGEST: usize = 64;

/// Operations whose ids stand in the body, beside those whose path says `*`.
const IN_BODY: [&str; 3] = [
    "DELETE /restapi/v1.0/account/{accountId}/extension/{extensionId}/message-store",
    "DELETE /restapi/v1.0/account/{accountId}/extension/{extensionId}/forwarding-number",
    "DELETE /restapi/v2/accounts/{accountId}/extensions",
];

/// True if the ids of such a call stand in its body: one of the operations that say so, or `*` in place of ids.
pub(super) fn stand_in_body(operation: &str, values: &[&str]) -> bool {
    IN_BODY.contains(&operation)
        || values
            .last()
            .is_some_and(|last| matches!(*last, "*" | "%2A" | "%2a"))
}

/// The ids of a path, where one of its segments is a list.
pub(super) fn in_path(values: &[&str]) -> Vec<Box<str>> {
    let is_list = |value: &&&str| value.bytes().any(|b| b == b',' || b == b'%');
    let Some(list) = values.iter().rfind(is_list) else {
        return Vec::new();
    };
    let list = list.replace("%2C", ",").replace("%2c", ",");
    if !list.contains(',') {
        return Vec::new();
    }
    list.split(',').take(MOST).map(shortened).collect()
}

fn shortened(id: &str) -> Box<str> {
    id.chars().take(LONGEST).collect()
}

/// Collects the ids of a JSON body: every `id`, and what stands in lists at the top or under `ids`.
#[derive(Debug)]
pub(super) struct Ids {
    scanner: JsonScanner,
    found: Found,
}

#[derive(Debug, Default)]
struct Found {
    ids: Vec<Box<str>>,
    /// The value that follows is an id.
    named: bool,
    /// The depth of a list of ids.
    list: Option<u32>,
    current: Vec<u8>,
    reading: bool,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self {
            scanner: JsonScanner::new(),
            found: Found::default(),
        }
    }

    /// Scans the next bytes; false if the body is no JSON.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        self.scanner.feed(bytes, &mut self.found).is_ok()
    }

    /// The ids; false beside them if the body is not whole.
    pub(super) fn finish(self) -> (Vec<Box<str>>, bool) {
        let whole = self.scanner.finish().is_ok();
        (self.found.ids, whole)
    }
}

impl Members for Found {
    fn name(&mut self, _depth: u32, name: &[u8], _at: u64) {
        self.named = name == b"id" || name == b"ids";
    }

    fn begin(&mut self, depth: u32, kind: Kind, _at: u64) -> bool {
        let named = std::mem::take(&mut self.named);
        match kind {
            Kind::Array => {
                if (depth == 0 || named) && self.list.is_none() {
                    self.list = Some(depth);
                }
                true
            }
            Kind::Object => true,
            Kind::Text | Kind::Number => {
                let listed = self.list.is_some_and(|list| depth == list + 1);
                self.reading = (named || listed) && self.ids.len() < MOST;
                self.reading
            }
            Kind::True | Kind::False | Kind::Null => false,
        }
    }

    fn text(&mut self, piece: &[u8]) {
        let room = LONGEST.saturating_sub(self.current.len());
        self.current
            .extend_from_slice(piece.get(..room).unwrap_or(piece));
    }

    fn end(&mut self, depth: u32, _at: u64) {
        if std::mem::take(&mut self.reading) {
            let id = String::from_utf8_lossy(&self.current).into();
            self.ids.push(id);
            self.current.clear();
        } else if self.list == Some(depth) {
            self.list = None;
        }
    }
}
