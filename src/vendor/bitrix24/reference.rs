//! References within a batch: `$result[key][field]` and its like, which the portal replaces by earlier answers.

use super::name::LONGEST_KEY;
use crate::vendor::decode::{find_near, hex};

/// What a command refers to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct References {
    /// The keys named, each with a NUL behind it: no key of a command holds one.
    keys: Vec<u8>,
    /// How many keys there are.
    count: usize,
    /// True if some reference could not be told: it may be to any command.
    pub(super) any: bool,
}

impl References {
    /// The keys named.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.split(|b| *b == 0).take(self.count)
    }

    /// True if there is no reference.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0 && !self.any
    }
}

/// The most references that are told apart.
const MOST: usize = 64;

/// Finds `$name[key]` in a command's query, which is percent-encoded once, in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct ReferenceScanner {
    state: State,
    escape: Escape,
    /// The name or key at hand.
    key: Vec<u8>,
    found: References,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Outside,
    /// After `$`, within the name.
    Name,
    Key,
}

#[derive(Debug, Default, Clone, Copy)]
enum Escape {
    #[default]
    None,
    Percent,
    Digit(u8),
}

impl ReferenceScanner {
    /// Scans the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, after)) = bytes.split_first() {
            match (self.escape, byte) {
                // Outside only an escaped `$` matters; one that is cut is looked at byte by byte.
                (Escape::None, b'%') if self.state == State::Outside && after.len() >= 2 => {
                    if let Some(rest) = after.strip_prefix(b"24") {
                        self.key.clear();
                        self.state = State::Name;
                        bytes = rest;
                        continue;
                    }
                }
                (Escape::None, b'%') => self.escape = Escape::Percent,
                (Escape::None, _) if self.state == State::Outside => {
                    if byte == b'$' {
                        self.key.clear();
                        self.state = State::Name;
                    } else if let Some(next) = find_near(b'$', b'%', after) {
                        bytes = after.get(next..).unwrap_or_default();
                        continue;
                    } else {
                        return;
                    }
                }
                (Escape::None, _) if byte.is_ascii_alphanumeric() => {
                    let plain = bytes
                        .iter()
                        .position(|b| !b.is_ascii_alphanumeric())
                        .unwrap_or(bytes.len());
                    let (text, rest) = bytes.split_at(plain);
                    self.plain(text);
                    bytes = rest;
                    continue;
                }
                (Escape::None, _) => self.decoded(byte),
                (Escape::Percent, digit) if hex(digit).is_some() => {
                    self.escape = Escape::Digit(digit);
                }
                (Escape::Digit(high), low) if hex(low).is_some() => {
                    self.escape = Escape::None;
                    let (high, low) = (hex(high).unwrap_or_default(), hex(low).unwrap_or_default());
                    self.decoded(high << 4 | low);
                }
                (Escape::Percent | Escape::Digit(_), _) => {
                    // No escape after all: what it stood for is no part of a reference's name or key.
                    self.escape = Escape::None;
                    self.decoded(b'%');
                    continue;
                }
            }
            bytes = after;
        }
    }

    /// What was found; the scanner is as new.
    pub(super) fn finish(&mut self) -> References {
        // A key without its end: how the portal reads it is not known.
        self.found.any |= self.state == State::Key;
        self.end_name();
        self.state = State::Outside;
        self.escape = Escape::None;
        std::mem::take(&mut self.found)
    }

    /// A name without a key stands for all answers.
    fn end_name(&mut self) {
        let named = matches!(
            self.key.as_slice(),
            b"result" | b"error" | b"total" | b"next" | b"time"
        );
        self.found.any |= self.state == State::Name && named;
        self.key.clear();
    }

    /// Letters and digits of a name or key.
    fn plain(&mut self, text: &[u8]) {
        if self.key.len() + text.len() <= LONGEST_KEY {
            self.key.extend_from_slice(text);
        } else {
            for byte in text {
                self.decoded(*byte);
            }
        }
    }

    fn decoded(&mut self, byte: u8) {
        match (self.state, byte) {
            (_, b'$') if self.state != State::Key => {
                self.end_name();
                self.state = State::Name;
            }
            (State::Outside, _) => {}
            (State::Name, b'[') => {
                self.key.clear();
                self.state = State::Key;
            }
            (State::Name, byte)
                if (byte.is_ascii_alphanumeric() || byte == b'_')
                    && self.key.len() < LONGEST_KEY =>
            {
                self.key.push(byte);
            }
            (State::Name, _) => {
                self.end_name();
                self.state = State::Outside;
            }
            (State::Key, b']') => {
                self.state = State::Outside;
                let key = self.key.trim_ascii();
                let bare = |quote: u8| key.strip_prefix(&[quote])?.strip_suffix(&[quote]);
                let key = bare(b'\'').or_else(|| bare(b'"')).unwrap_or(key);
                if self.found.count < MOST && !key.contains(&0) {
                    self.found.keys.extend_from_slice(key);
                    self.found.keys.push(0);
                    self.found.count += 1;
                } else {
                    self.found.any = true;
                }
            }
            (State::Key, _) if self.key.len() < LONGEST_KEY => self.key.push(byte),
            (State::Key, _) => self.found.any = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut scanner = ReferenceScanner::default();
        for piece in pieces {
            scanner.feed(piece);
        }
        let found = scanner.finish();
        let keys = found.keys();
        let keys = keys.map(|key| String::from_utf8_lossy(key).into_owned());
        (keys.collect(), found.any)
    }

    #[test]
    fn references_are_found_plain_and_encoded_and_however_cut() {
        for (text, keys, any) in [
            (
                "id=$result[a][ID]&x=%24result%5Bb%5D",
                vec!["a", "b"],
                false,
            ),
            ("id=%24%72esult[a]", vec!["a"], false),
            (
                "$error[a] $total[b]$$next['c'] $time[\"d\"]",
                vec!["a", "b", "c", "d"],
                false,
            ),
            ("price=5$ and 10%", vec![], false),
            ("$result", vec![], true),
            ("$result [a]", vec![], true),
            ("5$ and $resultx or $", vec![], false),
            ("$result[a", vec![], true),
            ("100%$result[a]", vec!["a"], false),
            ("100%2$result[a]", vec!["a"], false),
        ] {
            let bytes = text.as_bytes();
            let expected = (keys.into_iter().map(str::to_owned).collect::<Vec<_>>(), any);
            assert_eq!(scan(&[bytes]), expected, "{text}");
            assert_eq!(
                scan(&bytes.chunks(1).collect::<Vec<_>>()),
                expected,
                "{text} in pieces"
            );
        }
    }
}
