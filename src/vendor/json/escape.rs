//! Escapes within JSON strings (RFC 8259 section 7).

use super::state::State;
use super::{JsonScanner, Malformed, Members};
use crate::vendor::decode::hex;

impl JsonScanner {
    /// A byte of an escape within a string, from its backslash on.
    pub(super) fn escape(&mut self, byte: u8, members: &mut impl Members) -> Result<(), Malformed> {
        self.state = match (self.state, byte) {
            (State::Text { name }, b'\\') => State::Escape { name },
            (State::Escape { name } | State::LowU { name }, b'u') => State::Unicode {
                name,
                left: 4,
                code: 0,
            },
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
                self.keep(name, &[plain], members);
                State::Text { name }
            }
            (State::Unicode { name, left, code }, _) => {
                let code = code << 4 | u16::from(hex(byte).ok_or(Malformed)?);
                if left == 1 {
                    return self.end_unicode(name, code, members);
                }
                State::Unicode {
                    name,
                    left: left - 1,
                    code,
                }
            }
            (State::LowBackslash { name }, b'\\') => State::LowU { name },
            // Half a pair in an answer: what follows is looked at afresh.
            (State::LowBackslash { name } | State::LowU { name }, _) if !self.is_request() => {
                let began = matches!(self.state, State::LowU { .. });
                self.high_surrogate = None;
                self.keep(name, "\u{fffd}".as_bytes(), members);
                self.state = if began {
                    State::Escape { name }
                } else {
                    State::Text { name }
                };
                return self.step(byte, members);
            }
            _ => return Err(Malformed),
        };
        Ok(())
    }

    fn end_unicode(
        &mut self,
        name: bool,
        code: u16,
        members: &mut impl Members,
    ) -> Result<(), Malformed> {
        let scalar = match (self.high_surrogate.take(), code) {
            (None, 0xd800..=0xdbff) => {
                self.high_surrogate = Some(code);
                self.state = State::LowBackslash { name };
                return Ok(());
            }
            (Some(high), 0xdc00..=0xdfff) => {
                0x1_0000 + (u32::from(high - 0xd800) << 10 | u32::from(code - 0xdc00))
            }
            // An answer may hold what a vendor has stored: half a pair changes nothing of its structure.
            (None, 0xdc00..=0xdfff) | (Some(_), _) if !self.is_request() => 0xfffd,
            (None, _) => u32::from(code),
            (Some(_), _) => return Err(Malformed),
        };
        let character = char::from_u32(scalar).ok_or(Malformed)?;
        self.keep(name, character.encode_utf8(&mut [0; 4]).as_bytes(), members);
        self.state = State::Text { name };
        Ok(())
    }
}
