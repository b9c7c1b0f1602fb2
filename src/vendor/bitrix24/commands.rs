//! The commands of a v2 batch, collected under the keys that PHP gives them.

use std::hash::Hasher as _;
use std::ops::Range;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::command::CommandRead;
use super::reference::References;
use crate::model::{Batch, Fault, Layout, Location, Member, Reason};

/// The most commands that the portal runs; the same in REST 3.0.
pub(super) const MOST: usize = 50;

pub(super) const NO_LIST: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "the batch's `cmd` is neither a map nor a list of commands",
};
pub(super) const DISGUISED: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "`cmd` or `halt` of the batch is spelt so that PHP may read it otherwise",
};
pub(super) const OUTSIDE: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "an array stands beside the JSON body of the batch: PHP may take it for an item",
};
pub(super) const NO_TEXT: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "a command of the batch is not text",
};
const TWICE: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "the batch's `cmd`, its `halt` or a key of a command stands more than once",
};
const KEY: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "a command's key is too long or cannot be counted on",
};
const TOO_LONG: Fault = Fault {
    reason: Reason::BatchTooLong,
    detail: "the batch has more than 50 commands",
};

/// Where a command stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Query, form or JSON.
    pub(super) location: Location,
    /// Where the pair, part or member begins.
    pub(super) begins: u64,
    /// Where the name stands as it is written.
    pub(super) name: Range<u64>,
}

/// What was collected.
#[derive(Debug, Default)]
pub(super) struct Commands<'c> {
    members: Vec<Member<'c>>,
    references: Vec<References>,
    /// Positions of the members, by key.
    by_key: HashTable<u16>,
    pub(super) handlers: Vec<Box<str>>,
    halt: Option<bool>,
    /// The name as it was spelt, with its place: the portal folds names, and the later one wins.
    spelling: Option<([u8; 3], Location)>,
    /// Where the braces or brackets of a JSON `cmd` stand.
    pub(super) frame: Option<(bool, Range<u64>)>,
    next_number: Option<u32>,
    uncountable: bool,
    /// The command at hand.
    open: Option<Open>,
}

/// A command whose end has not come.
#[derive(Debug)]
struct Open {
    key: Box<str>,
    hash: u64,
    begins: u64,
    /// Where its name stands, if its key was counted.
    uncounted: Option<Range<u64>>,
}

impl<'c> Commands<'c> {
    /// A command begins. An empty key is the next number, as PHP counts.
    pub(super) fn begin(&mut self, key: &[u8], spelling: &[u8], place: Place) -> Result<(), Fault> {
        let spelling = spelling.first_chunk().copied().unwrap_or_default();
        if self
            .spelling
            .is_some_and(|known| known != (spelling, place.location))
        {
            return Err(TWICE);
        }
        self.spelling = Some((spelling, place.location));
        if self.members.is_empty() {
            self.members.reserve(MOST);
            self.references.reserve(MOST);
            self.by_key.reserve(MOST, |_| 0);
        }
        if self.members.len() == MOST {
            return Err(TOO_LONG);
        }
        let counted = key.is_empty() && place.location != Location::Json;
        let key: Box<str> = if counted {
            if self.uncountable {
                return Err(KEY);
            }
            self.next_number.unwrap_or(0).to_string().into()
        } else {
            std::str::from_utf8(key).map_err(|_| KEY)?.into()
        };
        if key.len() > super::name::LONGEST_KEY || key.bytes().any(|b| b.is_ascii_control()) {
            return Err(KEY);
        }
        let hash = hash(key.as_bytes());
        if self.position(hash, key.as_bytes()).is_some() {
            return Err(TWICE);
        }
        self.count(&key);
        self.open = Some(Open {
            key,
            hash,
            begins: place.begins,
            uncounted: counted.then_some(place.name),
        });
        Ok(())
    }

    /// The command at hand has ended.
    pub(super) fn end(&mut self, command: CommandRead<'c>, at: u64) {
        let Some(open) = self.open.take() else {
            return;
        };
        self.members.push(Member {
            key: open.key,
            asked: command.asked,
            refers: Vec::new(),
            at: open.begins..at,
            uncounted: open.uncounted,
        });
        let (members, position) = (&self.members, self.members.len() - 1);
        if let Ok(position) = u16::try_from(position) {
            let rehash = |at: &u16| key_at(members, *at).map_or(0, hash);
            self.by_key.insert_unique(open.hash, position, rehash);
        }
        self.references.push(command.references);
        self.handlers.extend(command.handler);
    }

    /// The JSON value of `cmd` begins.
    pub(super) fn begin_frame(&mut self, array: bool, at: u64) -> Result<(), Fault> {
        if self.frame.is_some() || self.spelling.is_some() {
            return Err(TWICE);
        }
        self.frame = Some((array, at..at));
        Ok(())
    }

    /// The JSON value of `cmd` has ended.
    pub(super) fn end_frame(&mut self, at: u64) {
        if let Some((_, range)) = &mut self.frame {
            range.end = at;
        }
    }

    /// `halt` was found.
    pub(super) fn halt(&mut self, on: bool) -> Result<(), Fault> {
        match self.halt.replace(on) {
            None => Ok(()),
            Some(_) => Err(TWICE),
        }
    }

    /// How many commands there are so far.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The batch. `divisible` is false where its answer cannot be put together from parts; `parts` is true where the
    /// body is multipart.
    pub(super) fn finish(mut self, divisible: bool, parts: bool) -> Batch<'c> {
        let lower = self
            .spelling
            .is_none_or(|(spelling, _)| spelling == *b"cmd");
        let counted = self.members.iter().any(|member| member.uncounted.is_some());
        let layout = match (&self.spelling, &self.frame) {
            // A key that was counted is written out under the usual spelling; another one beside it would win.
            _ if !divisible || (counted && !lower) => None,
            (_, Some((true, range))) => Some(Layout::Array(range.clone())),
            (_, Some((false, range))) => Some(Layout::Object(range.clone())),
            (Some((_, Location::Query)), _) => Some(Layout::Query),
            _ if parts => Some(Layout::Parts),
            _ => Some(Layout::Pairs),
        };
        let count = u16::try_from(self.members.len()).unwrap_or(u16::MAX);
        for (position, references) in self.references.iter().enumerate() {
            let refers = if references.any {
                (0..count).collect()
            } else {
                let found = references
                    .keys()
                    .filter_map(|key| self.position(hash(key), key));
                found.collect()
            };
            if let Some(member) = self.members.get_mut(position) {
                member.refers = refers;
            }
        }
        Batch {
            members: self.members,
            halt: self.halt.unwrap_or(false),
            layout,
        }
    }

    /// The position of the command with this key.
    fn position(&self, hash: u64, key: &[u8]) -> Option<u16> {
        let is_it = |at: &u16| key_at(&self.members, *at) == Some(key);
        self.by_key.find(hash, is_it).copied()
    }

    /// Keeps count as PHP does: a key that is a whole number moves the next one.
    fn count(&mut self, key: &str) {
        let digits = key.strip_prefix('-').unwrap_or(key);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return;
        }
        match key.parse::<u32>() {
            Ok(number) if number < 1_000_000_000 && number.to_string() == key => {
                let next = number + 1;
                self.next_number = Some(self.next_number.map_or(next, |known| known.max(next)));
            }
            // Versions of PHP differ on what follows a negative number.
            _ => self.uncountable = true,
        }
    }
}

fn key_at<'m>(members: &'m [Member<'_>], position: u16) -> Option<&'m [u8]> {
    let member = members.get(usize::from(position))?;
    Some(member.key.as_bytes())
}

/// Not keyed: there are at most fifty keys, whatever a client makes of them.
fn hash(key: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(key);
    hasher.finish()
}
