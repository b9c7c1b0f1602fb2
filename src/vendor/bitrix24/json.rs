//! JSON bodies, scanned in pieces of any size: strict RFC 8259, and only the members at the top are looked at.
//!
//! PHP's reader agrees with a strict one on every text that the strict one accepts, but for the depth it allows (512;
//! here 64, beyond which nothing is guessed) and for repeated members, where the last counts: whoever uses the scanner
//! refuses those that decide.

use std::fmt;

use zeroize::Zeroize;

use super::number::Number;
use super::parameter::{Parameter, hex, named};
use super::utf8::Utf8Check;

/// The deepest nesting that is read.
const DEPTH: u32 = 64;

/// The longest member name that is compared; every name that decides is shorter, but for `livechat_…`, whose beginning
/// is enough.
const LONGEST_NAME: usize = 64;

/// The longest value of a member that decides.
const LONGEST_VALUE: usize = 8 * 1024;

/// The value of a member at the top whose name decides.
#[cfg_attr(test, derive(Debug))]
#[derive(PartialEq, Eq)]
pub(super) enum Value<'b> {
    /// A string, unescaped.
    Text(&'b [u8]),
    /// `null`, as good as absent to PHP's `isset`.
    Null,
    /// Anything else, or a string that is too long to be told.
    Other,
}

/// The text is not strict JSON, or deeper than is read.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) struct Malformed;

/// Scans one JSON text.
pub(super) struct JsonScanner {
    state: State,
    depth: u32,
    /// One bit a level, the innermost lowest: set for an object.
    objects: u64,
    utf8: Utf8Check,
    /// The name of the member at the top that is being read.
    name: Vec<u8>,
    /// Set while the value of a member that decides is being read.
    watched: Option<Parameter>,
    value: Vec<u8>,
    too_long: bool,
    high_surrogate: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the text's own value.
    Start,
    /// Before a value.
    Value,
    /// After `[`: a value or `]`.
    FirstElement,
    /// After `{`: a name or `}`.
    FirstName,
    /// After `,` in an object: a name.
    Name,
    /// After a name: `:`.
    Colon,
    /// After a value: `,` or the end of the container.
    After,
    /// Within a string; `true` for a name.
    Text { name: bool },
    /// After a backslash.
    Escape { name: bool },
    /// Within `\u`: digits still to come, and their value so far.
    Unicode { name: bool, left: u8, code: u16 },
    /// After `\uD8xx`: a backslash must follow, then `u`.
    LowBackslash { name: bool },
    /// After `\uD8xx\`.
    LowU { name: bool },
    /// Within a number.
    Number(Number),
    /// Within `true`, `false` or `null`: what is still to come.
    Literal(&'static [u8]),
    /// After the text.
    End,
}

impl JsonScanner {
    pub(super) fn new() -> Self {
        Self {
            state: State::Start,
            depth: 0,
            objects: 0,
            utf8: Utf8Check::default(),
            name: Vec::new(),
            watched: None,
            value: Vec::new(),
            too_long: false,
            high_surrogate: None,
        }
    }

    /// Scans the next bytes, in order.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        found: &mut impl FnMut(Parameter, Value<'_>),
    ) -> Result<(), Malformed> {
        if !self.utf8.feed(bytes) {
            return Err(Malformed);
        }
        let mut rest = bytes;
        loop {
            if let State::Text { name } = self.state {
                let plain = rest
                    .iter()
                    .position(|b| ends_plain_text(*b))
                    .unwrap_or(rest.len());
                let (text, after) = rest.split_at(plain);
                self.keep(name, text);
                rest = after;
            }
            let Some((&byte, after)) = rest.split_first() else {
                return Ok(());
            };
            rest = after;
            self.step(byte, found)?;
        }
    }

    /// Ends the text.
    pub(super) fn finish(&self) -> Result<(), Malformed> {
        if self.state == State::End && self.utf8.is_whole() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    #[expect(clippy::too_many_lines, reason = "one table of state and byte")]
    fn step(
        &mut self,
        byte: u8,
        found: &mut impl FnMut(Parameter, Value<'_>),
    ) -> Result<(), Malformed> {
        if let State::Number(number) = self.state {
            if let Some(next) = number.next(byte) {
                self.state = State::Number(next);
                return Ok(());
            }
            if !number.may_end() {
                return Err(Malformed);
            }
            self.end_value(&Value::Other, found);
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
            (State::Start, b'{' | b'[') => self.begin_value(byte)?,
            (State::FirstElement, b']') | (State::FirstName, b'}') => self.close(found),
            (State::Value | State::FirstElement, _) => self.begin_value(byte)?,
            (State::FirstName | State::Name, b'"') => {
                self.name.clear();
                self.state = State::Text { name: true };
            }
            (State::Colon, b':') => self.state = State::Value,
            (State::After, b',') => {
                self.state = if self.in_object() {
                    State::Name
                } else {
                    State::Value
                };
            }
            (State::After, b'}') if self.in_object() => self.close(found),
            (State::After, b']') if !self.in_object() => self.close(found),
            (State::Text { name: true }, b'"') => {
                // Names further down leave the member at the top as it is: its value may be what they stand in.
                if self.at_top() {
                    self.watched = named(&self.name);
                }
                self.value.zeroize();
                self.too_long = false;
                self.state = State::Colon;
            }
            (State::Text { name: false }, b'"') => {
                let value = std::mem::take(&mut self.value);
                let read = if self.too_long {
                    Value::Other
                } else {
                    Value::Text(&value)
                };
                self.end_value(&read, found);
                self.value = value;
                self.value.zeroize();
            }
            (State::Text { name }, b'\\') => self.state = State::Escape { name },
            (State::Escape { name }, b'u') => {
                self.state = State::Unicode {
                    name,
                    left: 4,
                    code: 0,
                }
            }
            (State::Escape { name }, _) => {
                let plain = match byte {
                    b'"' | b'\\' | b'/' => byte,
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return Err(Malformed),
                };
                self.keep(name, &[plain]);
                self.state = State::Text { name };
            }
            (State::Unicode { name, left, code }, _) => {
                let code = code << 4 | u16::from(hex(byte).ok_or(Malformed)?);
                self.state = State::Unicode {
                    name,
                    left: left - 1,
                    code,
                };
                if left == 1 {
                    self.end_unicode(name, code)?;
                }
            }
            (State::LowBackslash { name }, b'\\') => self.state = State::LowU { name },
            (State::LowU { name }, b'u') => {
                self.state = State::Unicode {
                    name,
                    left: 4,
                    code: 0,
                }
            }
            (State::Literal(rest), _) => match rest.split_first() {
                Some((expected, [])) if *expected == byte => {
                    self.end_value(
                        if byte == b'l' {
                            &Value::Null
                        } else {
                            &Value::Other
                        },
                        found,
                    );
                }
                Some((expected, rest)) if *expected == byte => self.state = State::Literal(rest),
                _ => return Err(Malformed),
            },
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn begin_value(&mut self, byte: u8) -> Result<(), Malformed> {
        self.state = match byte {
            b'{' | b'[' => {
                if self.depth == DEPTH {
                    return Err(Malformed);
                }
                self.depth += 1;
                self.objects = self.objects << 1 | u64::from(byte == b'{');
                if byte == b'{' {
                    State::FirstName
                } else {
                    State::FirstElement
                }
            }
            b'"' => State::Text { name: false },
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Integer),
            b't' => State::Literal(b"rue"),
            b'f' => State::Literal(b"alse"),
            b'n' => State::Literal(b"ull"),
            _ => return Err(Malformed),
        };
        Ok(())
    }

    fn close(&mut self, found: &mut impl FnMut(Parameter, Value<'_>)) {
        self.depth -= 1;
        self.objects >>= 1;
        if self.depth == 0 {
            self.state = State::End;
        } else {
            self.end_value(&Value::Other, found);
        }
    }

    fn end_value(&mut self, value: &Value<'_>, found: &mut impl FnMut(Parameter, Value<'_>)) {
        self.state = State::After;
        if self.at_top()
            && let Some(parameter) = self.watched.take()
        {
            found(
                parameter,
                match value {
                    Value::Text(text) => Value::Text(text),
                    Value::Null => Value::Null,
                    Value::Other => Value::Other,
                },
            );
        }
    }

    /// Keeps text of a name at the top, or of a value that decides.
    fn keep(&mut self, name: bool, text: &[u8]) {
        if !self.at_top() {
            return;
        }
        if name {
            let room = LONGEST_NAME.saturating_sub(self.name.len());
            self.name
                .extend_from_slice(text.get(..room).unwrap_or(text));
        } else if self.watched.is_some() {
            if self.value.len() + text.len() > LONGEST_VALUE {
                self.too_long = true;
            } else {
                self.value.extend_from_slice(text);
            }
        }
    }

    fn end_unicode(&mut self, name: bool, code: u16) -> Result<(), Malformed> {
        let scalar = match (self.high_surrogate.take(), code) {
            (None, 0xd800..=0xdbff) => {
                self.high_surrogate = Some(code);
                self.state = State::LowBackslash { name };
                return Ok(());
            }
            (Some(high), 0xdc00..=0xdfff) => {
                0x1_0000 + (u32::from(high - 0xd800) << 10 | u32::from(code - 0xdc00))
            }
            (None, _) => u32::from(code),
            (Some(_), _) => return Err(Malformed),
        };
        let character = char::from_u32(scalar).ok_or(Malformed)?;
        self.keep(name, character.encode_utf8(&mut [0; 4]).as_bytes());
        self.state = State::Text { name };
        Ok(())
    }

    fn at_top(&self) -> bool {
        self.depth == 1 && self.in_object()
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
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

impl Drop for JsonScanner {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

/// True for bytes at which plain text within a string ends: the quote, the backslash, and control bytes, which are no
/// JSON.
const fn ends_plain_text(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(pieces: &[&[u8]]) -> Result<Vec<String>, Malformed> {
        let mut found = Vec::new();
        let mut scanner = JsonScanner::new();
        for piece in pieces {
            scanner.feed(piece, &mut |parameter, value| {
                found.push(format!("{parameter:?} {value:?}"))
            })?;
        }
        scanner.finish()?;
        Ok(found)
    }

    #[test]
    fn only_members_at_the_top_are_found() {
        let text = br#" {"filter":{"auth":"no","x":[{"auth":1}]},"auth":"\u0054\ud83d\ude00\n","n":-1.5e+3,"method":null} "#;
        let found = scan(&[text]).unwrap();
        assert_eq!(
            found,
            [
                format!("Token Text({:?})", "T\u{1f600}\n".as_bytes()),
                "Routing Null".to_owned()
            ]
        );
        assert_eq!(
            scan(&[br#"{"\u0061uth":["T"],"livechat_user_id":true}"#]).unwrap(),
            ["Token Other", "Foreign Other"]
        );
        for nested in [
            r#"{"auth":{"x":1}}"#,
            r#"{"auth":[{"x":"T"}]}"#,
            r#"{"auth":{"auth":"T"}}"#,
        ] {
            assert_eq!(
                scan(&[nested.as_bytes()]).unwrap(),
                ["Token Other"],
                "{nested}"
            );
        }
        assert_eq!(
            scan(&[br#"[{"auth":"T"},1]"#]).unwrap(),
            Vec::<String>::new()
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
        fn cutting_makes_no_difference(name in "[a-zé\u{1f600}]{0,6}", value in "\\PC{0,12}", at in 0..80_usize) {
            let text = serde_json::json!({ name: value.clone(), "auth": value }).to_string();
            let (head, tail) = text.as_bytes().split_at(at.min(text.len()));
            prop_assert_eq!(scan(&[head, tail]), scan(&[text.as_bytes()]));
            prop_assert!(scan(&text.as_bytes().chunks(1).collect::<Vec<_>>()).is_ok());
        }
    }
}
