//! Queries and urlencoded forms, cut into names and values as PHP cuts them, in pieces of any size.

use zeroize::Zeroize;

use crate::vendor::decode::find_near;

/// PHP's default `max_input_vars`: a portal may silently stop here, or go on.
pub(super) const CERTAIN_PAIRS: u32 = 1000;

/// The longest name that is kept while its end has not come.
const LONGEST_NAME: usize = 8 * 1024;

/// Is told of the pairs of a form, in order.
pub(super) trait Pairs {
    /// False where whoever feeds the scanner has refused NUL bytes before.
    const MAY_HOLD_NUL: bool = true;

    /// A name, still percent-encoded, which begins at `at`; true if the value is wanted.
    fn name(&mut self, raw: &[u8], at: u64) -> bool;
    /// The next piece of a wanted value, still percent-encoded.
    fn value(&mut self, raw: &[u8]);
    /// The end of a wanted pair, at `at`.
    fn end(&mut self, at: u64);
    /// A name is too long to be told.
    fn too_long(&mut self);
    /// There is a NUL byte: PHP may cut the text before it or after it, and read it twice.
    fn nul(&mut self);
}

/// Scans `name=value&name=value`.
#[derive(Default)]
pub(super) struct FormScanner {
    state: State,
    /// The beginning of a name whose end has not come yet.
    carry: Vec<u8>,
    /// Where the pair at hand begins.
    begun: u64,
    /// Bytes scanned.
    position: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Name,
    Wanted,
    Skipped,
}

impl FormScanner {
    /// Scans the next bytes, in order.
    pub(super) fn feed<P: Pairs>(&mut self, bytes: &[u8], pairs: &mut P) {
        if P::MAY_HOLD_NUL && memchr::memchr(0, bytes).is_some() {
            pairs.nul();
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = match self.state {
                State::Name => find_near(b'=', b'&', rest),
                State::Wanted | State::Skipped => find_near(b'&', b'&', rest),
            };
            let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
            self.advance(piece.len());
            if self.state == State::Wanted {
                pairs.value(piece);
            }
            let Some((&mark, after)) = after.split_first() else {
                if self.state == State::Name {
                    self.keep(piece, pairs);
                }
                return;
            };
            if self.state == State::Name {
                self.end_name(piece, pairs);
            }
            if mark == b'&' {
                self.end_pair(pairs);
            }
            self.advance(1);
            if mark == b'&' {
                self.begun = self.position;
            }
            rest = after;
        }
    }

    /// Ends the last pair.
    pub(super) fn finish(&mut self, pairs: &mut impl Pairs) {
        if self.state == State::Name {
            self.end_name(&[], pairs);
        }
        self.end_pair(pairs);
    }

    /// As new, with room for the next form.
    pub(super) fn restart(&mut self) {
        self.state = State::Name;
        self.carry.zeroize();
        self.begun = 0;
        self.position = 0;
    }

    fn end_name(&mut self, piece: &[u8], pairs: &mut impl Pairs) {
        let wanted = if self.carry.len() + piece.len() > LONGEST_NAME {
            pairs.too_long();
            self.carry.zeroize();
            false
        } else if self.carry.is_empty() {
            pairs.name(piece, self.begun)
        } else {
            self.carry.extend_from_slice(piece);
            let mut name = std::mem::take(&mut self.carry);
            let wanted = pairs.name(&name, self.begun);
            name.zeroize();
            wanted
        };
        self.state = if wanted {
            State::Wanted
        } else {
            State::Skipped
        };
    }

    fn end_pair(&mut self, pairs: &mut impl Pairs) {
        if self.state == State::Wanted {
            pairs.end(self.position);
        }
        self.state = State::Name;
    }

    fn keep(&mut self, piece: &[u8], pairs: &mut impl Pairs) {
        self.carry.extend_from_slice(piece);
        if self.carry.len() > LONGEST_NAME {
            pairs.too_long();
            self.carry.zeroize();
            self.state = State::Skipped;
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.position += u64::try_from(bytes).unwrap_or_default();
    }
}

impl std::fmt::Debug for FormScanner {
    /// Without what was read: it may be a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FormScanner")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Drop for FormScanner {
    fn drop(&mut self) {
        self.carry.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what it is told; wants every value but those of names that begin with `x`.
    #[derive(Default)]
    struct Heard(Vec<String>);

    impl Pairs for Heard {
        fn name(&mut self, raw: &[u8], at: u64) -> bool {
            self.0
                .push(format!("{at}:{}=", String::from_utf8_lossy(raw)));
            !raw.starts_with(b"x")
        }
        fn value(&mut self, raw: &[u8]) {
            let last = self.0.last_mut().unwrap();
            last.push_str(&String::from_utf8_lossy(raw));
        }
        fn end(&mut self, at: u64) {
            self.0.last_mut().unwrap().push_str(&format!(":{at}"));
        }
        fn too_long(&mut self) {
            self.0.push("too long".to_owned());
        }
        fn nul(&mut self) {
            self.0.push("nul".to_owned());
        }
    }

    fn scan(pieces: &[&[u8]]) -> Vec<String> {
        let mut heard = Heard::default();
        let mut scanner = FormScanner::default();
        for piece in pieces {
            scanner.feed(piece, &mut heard);
        }
        scanner.finish(&mut heard);
        heard.0
    }

    #[test]
    fn cutting_makes_no_difference() {
        let text = b"a=1&&auth=T%31&x[y]=z&b&=&c==d&x=1";
        let whole = scan(&[text]);
        assert_eq!(
            whole,
            [
                "0:a=1:3",
                "4:=:4",
                "5:auth=T%31:14",
                "15:x[y]=",
                "22:b=:23",
                "24:=:25",
                "26:c==d:30",
                "31:x="
            ]
        );
        for at in 0..text.len() {
            assert_eq!(scan(&[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(scan(&single), whole);
    }

    #[test]
    fn a_name_that_is_too_long_is_said_and_what_follows_is_read() {
        let long = "n".repeat(LONGEST_NAME + 1);
        assert_eq!(
            scan(&[long.as_bytes(), b"=1&a=2"]),
            [
                "too long".to_owned(),
                format!("{}:a=2:{}", long.len() + 3, long.len() + 6)
            ]
        );
        let whole = format!("{long}=1&a=2");
        assert_eq!(
            scan(&[whole.as_bytes()])[0],
            "too long",
            "in one piece as in two"
        );
        assert_eq!(scan(&[b"a=\0"]), ["nul", "0:a=\0:3"]);
    }
}
