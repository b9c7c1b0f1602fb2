//! Queries and urlencoded forms, read as PHP reads them, in pieces of any size.

use super::parameter::{Classified, Parameter, classify};

/// PHP's default `max_input_vars`: a portal may silently stop here, or go on.
const CERTAIN_PAIRS: u32 = 1000;

/// The longest pair that is kept while its end has not come: longer than any token.
const LONGEST_PAIR: usize = 8 * 1024;

/// What a scanner finds.
#[cfg_attr(test, derive(Debug))]
#[derive(PartialEq, Eq)]
pub(super) enum Found<'b> {
    /// A parameter that decides, spelt as documented, with its value still percent-encoded.
    Plain(Parameter, &'b [u8]),
    /// A parameter that decides in PHP's reading, disguised: array, other spelling, or behind a thousand others.
    Disguised(Parameter),
    /// A name, or the value of a parameter that decides, that is too long to be told.
    TooLong,
    /// A NUL byte: PHP may cut the text before it or after it, and read it twice.
    Nul,
}

/// Scans `name=value&name=value`.
#[derive(Default)]
pub(super) struct FormScanner {
    /// The pair whose end has not come yet.
    carry: Vec<u8>,
    /// True within the value of a parameter that does not decide.
    skipping: bool,
    pairs: u32,
}

impl FormScanner {
    /// Scans the next bytes, in order.
    pub(super) fn feed(&mut self, mut bytes: &[u8], found: &mut impl FnMut(Found<'_>)) {
        if memchr::memchr(0, bytes).is_some() {
            found(Found::Nul);
        }
        while let Some(end) = memchr::memchr(b'&', bytes) {
            let (piece, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            self.end_pair(piece, found);
        }
        self.keep(bytes, found);
    }

    /// Ends the last pair.
    pub(super) fn finish(&mut self, found: &mut impl FnMut(Found<'_>)) {
        self.end_pair(&[], found);
    }

    fn end_pair(&mut self, piece: &[u8], found: &mut impl FnMut(Found<'_>)) {
        if std::mem::take(&mut self.skipping) {
            self.pairs = self.pairs.saturating_add(1);
        } else if self.carry.is_empty() {
            self.pair(piece, found);
        } else {
            self.carry.extend_from_slice(piece);
            let mut pair = std::mem::take(&mut self.carry);
            self.pair(&pair, found);
            zeroize::Zeroize::zeroize(&mut pair);
        }
    }

    fn pair(&mut self, pair: &[u8], found: &mut impl FnMut(Found<'_>)) {
        if pair.is_empty() {
            return;
        }
        self.pairs = self.pairs.saturating_add(1);
        let (name, value) = split(pair);
        let classified = classify(name);
        if pair.len() > LONGEST_PAIR
            && (name.len() > LONGEST_PAIR || classified != Classified::Other)
        {
            return found(Found::TooLong);
        }
        match classified {
            Classified::Other => {}
            Classified::Plain(parameter) if self.pairs <= CERTAIN_PAIRS => {
                found(Found::Plain(parameter, value));
            }
            Classified::Plain(parameter) | Classified::Disguised(parameter) => {
                found(Found::Disguised(parameter));
            }
        }
    }

    fn keep(&mut self, piece: &[u8], found: &mut impl FnMut(Found<'_>)) {
        if self.skipping || piece.is_empty() {
            return;
        }
        let named = memchr::memchr(b'=', piece).is_some();
        if self.carry.is_empty() && named && classify(split(piece).0) == Classified::Other {
            self.skipping = true;
            return;
        }
        self.carry.extend_from_slice(piece);
        if self.carry.len() <= LONGEST_PAIR {
            return;
        }
        if memchr::memchr(b'=', &self.carry).is_none()
            || classify(split(&self.carry).0) != Classified::Other
        {
            found(Found::TooLong);
        }
        self.carry.clear();
        self.skipping = true;
    }
}

impl std::fmt::Debug for FormScanner {
    /// Without what was read: it may be a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FormScanner")
            .field("pairs", &self.pairs)
            .finish_non_exhaustive()
    }
}

fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', pair) {
        Some(at) => (
            pair.get(..at).unwrap_or_default(),
            pair.get(at + 1..).unwrap_or_default(),
        ),
        None => (pair, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(pieces: &[&[u8]]) -> Vec<String> {
        let mut found = Vec::new();
        let mut note = |one: Found<'_>| found.push(format!("{one:?}"));
        let mut scanner = FormScanner::default();
        for piece in pieces {
            scanner.feed(piece, &mut note);
        }
        scanner.finish(&mut note);
        found
    }

    #[test]
    fn cutting_makes_no_difference() {
        let text = b"a=1&&auth=T%31&filter[x]=y&access.token=z&b&method=m&=&auth";
        let whole = scan(&[text]);
        assert_eq!(whole.len(), 4, "{whole:?}");
        for at in 0..text.len() {
            assert_eq!(scan(&[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(scan(&single), whole);
    }

    #[test]
    fn a_name_behind_a_thousand_others_is_disguised() {
        let filler = "x=1&".repeat(999);
        assert_eq!(
            scan(&[format!("{filler}auth=T").as_bytes()]),
            ["Plain(Token, [84])"]
        );
        assert_eq!(
            scan(&[format!("{filler}y=1&auth=T").as_bytes()]),
            ["Disguised(Token)"]
        );
    }

    #[test]
    fn long_values_pass_unless_they_decide() {
        let long = "v".repeat(LONGEST_PAIR + 1);
        assert_eq!(
            scan(&[format!("file={long}").as_bytes(), b"&auth=T"]),
            ["Plain(Token, [84])"]
        );
        assert_eq!(scan(&[b"auth=", long.as_bytes()]), ["TooLong"]);
        assert_eq!(scan(&[long.as_bytes(), b"=1"]), ["TooLong"]);
    }
}
