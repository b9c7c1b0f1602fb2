//! JSON bodies, scanned in pieces of any size: strict RFC 8259.
//!
//! PHP's reader agrees with a strict one on every text that the strict one accepts, but for the depth it allows (512;
//! here 64, beyond which nothing is guessed) and for repeated members, where the last counts: whoever listens to the
//! scanner refuses those that decide.

mod escape;
mod fold;
mod kind;
mod number;
mod plain;
mod state;
mod utf8;

use std::fmt;

pub(in crate::vendor) use fold::resembles;
pub(in crate::vendor) use kind::Kind;
use number::Number;
use plain::plain_text;
use state::State;
use utf8::Utf8Check;

/// The deepest nesting of a request that is read.
const DEPTH: u32 = 64;

/// The deepest nesting that PHP reads or writes.
const DEEPEST: u32 = 512;

/// How much of a member's name is kept: longer than every name and key that decides.
pub(in crate::vendor) const LONGEST_NAME: usize = 192;

/// Is told of the members of a text, in order. The root has depth 0, what stands in it depth 1.
pub(in crate::vendor) trait Members {
    /// A member's name, unescaped and cut to [`LONGEST_NAME`] bytes; its quote stands at `at`.
    fn name(&mut self, depth: u32, name: &[u8], at: u64);
    /// A value begins at `at`. For a container: true if what is in it is to be told. For anything else: true if its text
    /// is wanted.
    fn begin(&mut self, depth: u32, kind: Kind, at: u64) -> bool;
    /// The next piece of a wanted text, unescaped; for a number or a word as it stands.
    fn text(&mut self, piece: &[u8]);
    /// A value has ended before `at`.
    fn end(&mut self, depth: u32, at: u64);
}

/// The text is not strict JSON, or deeper than is read.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(in crate::vendor) struct Malformed;

/// Scans one JSON text.
pub(in crate::vendor) struct JsonScanner {
    state: State,
    depth: u32,
    deepest: u32,
    /// One bit a level: set for an object.
    objects: [u64; 8],
    utf8: Utf8Check,
    /// The name that is being read.
    name: Vec<u8>,
    name_at: u64,
    /// The depth of the container within which nothing is told.
    muted: Option<u32>,
    /// True while the text of a value is told.
    wanted: bool,
    high_surrogate: Option<u16>,
    /// Bytes scanned.
    position: u64,
}

impl JsonScanner {
    /// A scanner of requests.
    pub(in crate::vendor) fn new() -> Self {
        Self::as_deep_as(DEPTH)
    }

    /// A scanner of answers, which may be as deep as PHP writes them.
    pub(in crate::vendor) fn of_answers() -> Self {
        Self::as_deep_as(DEEPEST - 1)
    }

    fn as_deep_as(deepest: u32) -> Self {
        Self {
            state: State::Start,
            depth: 0,
            deepest,
            objects: [0; 8],
            utf8: Utf8Check::default(),
            name: Vec::new(),
            name_at: 0,
            muted: None,
            wanted: false,
            high_surrogate: None,
            position: 0,
        }
    }

    /// Scans the next bytes, in order.
    pub(in crate::vendor) fn feed(
        &mut self,
        bytes: &[u8],
        members: &mut impl Members,
    ) -> Result<(), Malformed> {
        // Where the text goes on as it comes, what is no UTF-8 changes nothing.
        if self.is_request() && !self.utf8.feed(bytes) {
            return Err(Malformed);
        }
        let start = self.position;
        let at = |rest: &[u8]| start + as_u64(bytes.len() - rest.len());
        let mut rest = bytes;
        loop {
            match self.state {
                State::Text { name } => {
                    let (text, after) = rest.split_at(plain_text(rest));
                    self.keep(name, text, members);
                    rest = after;
                    if let Some(after) = self.end_text(name, at(rest), rest, members) {
                        rest = after;
                        continue;
                    }
                }
                State::Number(number) => {
                    let (digits, after) = rest.split_at(number.run(rest));
                    self.keep(false, digits, members);
                    rest = after;
                }
                _ => {}
            }
            self.position = at(rest);
            let Some((&byte, after)) = rest.split_first() else {
                return Ok(());
            };
            self.step(byte, members)?;
            rest = after;
        }
    }

    /// Ends the text.
    pub(in crate::vendor) fn finish(&self) -> Result<(), Malformed> {
        if self.state == State::End && self.utf8.is_whole() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    /// Ends a text where its quote and the mark that mostly follows stand together; what comes then.
    fn end_text<'b>(
        &mut self,
        name: bool,
        at: u64,
        rest: &'b [u8],
        members: &mut impl Members,
    ) -> Option<&'b [u8]> {
        match (name, rest) {
            (true, [b'"', b':', after @ ..]) => {
                self.end_name(members);
                self.state = State::Value;
                Some(after)
            }
            (false, [b'"', b',', after @ ..]) => {
                self.end_value(at + 1, members);
                self.state = self.after_comma();
                Some(after)
            }
            _ => None,
        }
    }

    fn step(&mut self, byte: u8, members: &mut impl Members) -> Result<(), Malformed> {
        if let State::Number(number) = self.state {
            if let Some(next) = number.next(byte) {
                self.keep(false, &[byte], members);
                self.state = State::Number(next);
                return Ok(());
            }
            if !number.may_end() {
                return Err(Malformed);
            }
            self.end_value(self.position, members);
        }
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match (self.state, byte) {
            (
                State::Start
                | State::Value
                | State::FirstElement
                | State::FirstName
                | State::Name
                | State::Colon
                | State::After
                | State::End,
                _,
            ) if blank => {}
            (State::Start, b'{' | b'[') => self.begin_value(byte, members)?,
            (State::FirstElement, b']') | (State::FirstName, b'}') => self.close(members),
            (State::Value | State::FirstElement, _) => self.begin_value(byte, members)?,
            (State::FirstName | State::Name, b'"') => {
                self.name.clear();
                self.name_at = self.position;
                self.state = State::Text { name: true };
            }
            (State::Colon, b':') => self.state = State::Value,
            (State::After, b',') => self.state = self.after_comma(),
            (State::After, b'}') if self.in_object() => self.close(members),
            (State::After, b']') if !self.in_object() => self.close(members),
            (State::Text { name: true }, b'"') => {
                self.end_name(members);
                self.state = State::Colon;
            }
            (State::Text { name: false }, b'"') => self.end_value(self.position + 1, members),
            (
                State::Text { .. }
                | State::Escape { .. }
                | State::Unicode { .. }
                | State::LowBackslash { .. }
                | State::LowU { .. },
                _,
            ) => self.escape(byte, members)?,
            (State::Literal(rest), _) => match rest.split_first() {
                Some((expected, rest)) if *expected == byte => {
                    self.keep(false, &[byte], members);
                    if rest.is_empty() {
                        self.end_value(self.position + 1, members);
                    } else {
                        self.state = State::Literal(rest);
                    }
                }
                _ => return Err(Malformed),
            },
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn begin_value(&mut self, byte: u8, members: &mut impl Members) -> Result<(), Malformed> {
        let (kind, state) = match byte {
            b'{' => (Kind::Object, State::FirstName),
            b'[' => (Kind::Array, State::FirstElement),
            b'"' => (Kind::Text, State::Text { name: false }),
            b'-' => (Kind::Number, State::Number(Number::Minus)),
            b'0' => (Kind::Number, State::Number(Number::Zero)),
            b'1'..=b'9' => (Kind::Number, State::Number(Number::Integer)),
            b't' => (Kind::True, State::Literal(b"rue")),
            b'f' => (Kind::False, State::Literal(b"alse")),
            b'n' => (Kind::Null, State::Literal(b"ull")),
            _ => return Err(Malformed),
        };
        self.state = state;
        self.wanted = self.muted.is_none() && members.begin(self.depth, kind, self.position);
        match kind {
            Kind::Object | Kind::Array => {
                if self.depth == self.deepest {
                    return Err(Malformed);
                }
                if self.muted.is_none() && !self.wanted {
                    self.muted = Some(self.depth);
                }
                self.wanted = false;
                self.depth += 1;
                let (word, bit) = self.level();
                if let Some(word) = self.objects.get_mut(word) {
                    *word = *word & !bit | if byte == b'{' { bit } else { 0 };
                }
            }
            Kind::Text => {}
            Kind::Number | Kind::True | Kind::False | Kind::Null => {
                self.keep(false, &[byte], members);
            }
        }
        Ok(())
    }

    fn close(&mut self, members: &mut impl Members) {
        self.depth -= 1;
        if self.muted == Some(self.depth) {
            self.muted = None;
        }
        self.end_value(self.position + 1, members);
        if self.depth == 0 {
            self.state = State::End;
        }
    }

    fn end_name(&self, members: &mut impl Members) {
        if self.muted.is_none() {
            members.name(self.depth, &self.name, self.name_at);
        }
    }

    fn after_comma(&self) -> State {
        if self.in_object() {
            State::Name
        } else {
            State::Value
        }
    }

    fn end_value(&mut self, at: u64, members: &mut impl Members) {
        self.state = State::After;
        self.wanted = false;
        if self.muted.is_none() {
            members.end(self.depth, at);
        }
    }

    /// Keeps text of a name, or tells text of a wanted value.
    fn keep(&mut self, name: bool, text: &[u8], members: &mut impl Members) {
        if name {
            if self.muted.is_none() {
                let room = LONGEST_NAME.saturating_sub(self.name.len());
                self.name
                    .extend_from_slice(text.get(..room).unwrap_or(text));
            }
        } else if self.wanted && !text.is_empty() {
            members.text(text);
        }
    }

    fn in_object(&self) -> bool {
        let (word, bit) = self.level();
        self.objects.get(word).is_some_and(|word| word & bit != 0)
    }

    const fn is_request(&self) -> bool {
        self.deepest == DEPTH
    }

    /// Where the bit of the container at hand stands.
    fn level(&self) -> (usize, u64) {
        (
            usize::try_from(self.depth / 64).unwrap_or(usize::MAX),
            1 << (self.depth % 64),
        )
    }
}

impl fmt::Debug for JsonScanner {
    /// Without what was read: it may be a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonScanner")
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes down what it is told, to the depth of 2.
    #[derive(Default, Debug, PartialEq)]
    struct Heard(Vec<String>);

    impl Members for Heard {
        fn name(&mut self, depth: u32, name: &[u8], at: u64) {
            let name = String::from_utf8_lossy(name);
            self.0.push(format!("{depth} {at} {name}"));
        }
        fn begin(&mut self, depth: u32, kind: Kind, at: u64) -> bool {
            self.0.push(format!("{depth} {at} {kind:?} "));
            depth < 2
        }
        fn text(&mut self, piece: &[u8]) {
            let last = self.0.last_mut().unwrap();
            // A cut may fall within a character.
            last.push_str(&piece.escape_ascii().to_string());
        }
        fn end(&mut self, depth: u32, at: u64) {
            self.0.push(format!("{depth} {at} end"));
        }
    }

    fn scan(pieces: &[&[u8]]) -> Result<Vec<String>, Malformed> {
        let mut heard = Heard::default();
        let mut scanner = JsonScanner::new();
        for piece in pieces {
            scanner.feed(piece, &mut heard)?;
        }
        scanner.finish()?;
        Ok(heard.0)
    }

    #[test]
    fn members_are_told_with_their_places_and_as_deep_as_is_asked() {
        let text = br#" {"a":{"b":[1,{"c":2}]},"\u0061":"\ud83d\ude00\n","n":-1.5e+3,"x":null} "#;
        let heard = scan(&[text]).unwrap();
        assert_eq!(
            heard,
            [
                "0 1 Object ",
                "1 2 a",
                "1 6 Object ",
                "2 7 b",
                "2 11 Array ",
                "2 22 end",
                "1 23 end",
                "1 24 a",
                "1 33 Text \\xf0\\x9f\\x98\\x80\\n",
                "1 49 end",
                "1 50 n",
                "1 54 Number -1.5e+3",
                "1 61 end",
                "1 62 x",
                "1 66 Null null",
                "1 70 end",
                "0 71 end"
            ]
        );
        assert_eq!(
            scan(&[b"[[],\"t\"]"]).unwrap(),
            [
                "0 0 Array ",
                "1 1 Array ",
                "1 3 end",
                "1 4 Text t",
                "1 7 end",
                "0 8 end"
            ]
        );
    }

    #[test]
    fn what_is_not_strict_json_is_malformed() {
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        for text in [
            "",
            " ",
            "1",
            "\"auth\"",
            "null",
            "{",
            "{}x",
            "{},",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{'a':1}",
            "[1,]",
            "[01]",
            "[1.]",
            "[.5]",
            "[-]",
            "[1e]",
            "[+1]",
            "[TRUE]",
            "[nul]",
            "[\"\t\"]",
            "[\"\\x\"]",
            "[\"\\ud800\"]",
            "[\"\\udc00\"]",
            "[\"\\ud800\\u0041\"]",
            "[\"\\u00g0\"]",
            "{\"a\":1]",
            "[1}",
            "\u{feff}{}",
            "{}\0",
            "\u{b}{}",
            "/**/{}",
            "{\"a\":1 \"b\":2}",
            "[1 2]",
            &deep,
        ] {
            assert_eq!(scan(&[text.as_bytes()]), Err(Malformed), "{text:?}");
        }
        for bytes in [
            b"[\"\xff\"]".as_slice(),
            b"[\"\xc3\"]",
            b"[\"\xed\xa0\x80\"]",
            b"\xef\xbb\xbf{}",
        ] {
            assert_eq!(scan(&[bytes]), Err(Malformed), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_objects_and_arrays(text in r#"[\[\]{}:,"a0-9.eE+\-\\u truefalsn]{0,24}"#) {
            let container = text.trim_start().starts_with(['{', '[']);
            let strict = container && serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(scan(&[text.as_bytes()]).is_ok(), strict);
        }

        #[test]
        fn cutting_makes_no_difference(name in "[a-zé\u{1f600}]{0,6}", value in "\\PC{0,12}", number in any::<f64>(), at in 0..120_usize) {
            let text = serde_json::json!({ name: value.clone(), "auth": value, "n": number, "list": [true, number] }).to_string();
            let (head, tail) = text.as_bytes().split_at(at.min(text.len()));
            let whole = scan(&[text.as_bytes()]);
            prop_assert!(whole.is_ok());
            prop_assert_eq!(&scan(&[head, tail]), &whole);
            prop_assert_eq!(&scan(&text.as_bytes().chunks(1).collect::<Vec<_>>()), &whole);
        }
    }
}
