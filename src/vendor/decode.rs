//! Percent-decoding as PHP's `urldecode` does it: `+` is a blank, a `%` without two hex digits stands for itself.

/// The value of a hex digit.
pub(in crate::vendor) const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Where the first of two bytes stands. What is looked for in names and values mostly stands near: sixteen bytes are
/// looked at at once, without a call.
#[inline]
pub(in crate::vendor) fn find_near(one: u8, other: u8, bytes: &[u8]) -> Option<usize> {
    const ONES: u128 = u128::from_le_bytes([0x01; 16]);
    const HIGH: u128 = u128::from_le_bytes([0x80; 16]);
    let Some(near) = bytes.first_chunk::<16>() else {
        return bytes.iter().position(|b| *b == one || *b == other);
    };
    let word = u128::from_le_bytes(*near);
    // The lowest high bit stands at the first byte that is zero; those above it may be off by a borrow.
    let zero = |word: u128| word.wrapping_sub(ONES) & !word & HIGH;
    let hit = zero(word ^ (ONES * u128::from(one))) | zero(word ^ (ONES * u128::from(other)));
    if hit != 0 {
        return usize::try_from(hit.trailing_zeros() / 8).ok();
    }
    let far = bytes.get(16..).unwrap_or_default();
    memchr::memchr2(one, other, far).map(|at| at + 16)
}

/// Appends the decoded text to `out`.
pub(in crate::vendor) fn decode(raw: &[u8], out: &mut Vec<u8>) {
    let mut decoder = Decoder::default();
    decoder.feed(raw, out);
    decoder.finish(out);
}

/// Decodes text that comes in pieces of any size.
#[derive(Debug, Default, Clone)]
pub(in crate::vendor) struct Decoder {
    /// A `%`, and perhaps a digit, whose rest has not come yet.
    open: Open,
}

#[derive(Debug, Default, Clone, Copy)]
enum Open {
    #[default]
    Nothing,
    Percent,
    Digit(u8),
}

impl Decoder {
    /// Appends what the next bytes decode to.
    pub(in crate::vendor) fn feed(&mut self, mut raw: &[u8], out: &mut Vec<u8>) {
        while let Some((&byte, after)) = raw.split_first() {
            match (self.open, byte) {
                (Open::Nothing, b'%') => self.open = Open::Percent,
                (Open::Nothing, b'+') => out.push(b' '),
                (Open::Nothing, _) => {
                    let plain = memchr::memchr2(b'%', b'+', raw).unwrap_or(raw.len());
                    let (text, rest) = raw.split_at(plain);
                    out.extend_from_slice(text);
                    raw = rest;
                    continue;
                }
                (Open::Percent, digit) if hex(digit).is_some() => self.open = Open::Digit(digit),
                (Open::Digit(high), low) if hex(low).is_some() => {
                    let value = hex(high).unwrap_or_default() << 4 | hex(low).unwrap_or_default();
                    out.push(value);
                    self.open = Open::Nothing;
                }
                (Open::Percent | Open::Digit(_), _) => {
                    // No escape after all: the byte at hand is looked at afresh.
                    self.finish(out);
                    continue;
                }
            }
            raw = after;
        }
    }

    /// Ends the text: an escape without its end stands for itself.
    pub(in crate::vendor) fn finish(&mut self, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.open) {
            Open::Nothing => {}
            Open::Percent => out.push(b'%'),
            Open::Digit(digit) => out.extend_from_slice(&[b'%', digit]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_as_php_does() {
        for (raw, expected) in [
            ("a+b%20c", "a b c"),
            ("%41%6a%zz", "Aj%zz"),
            ("%", "%"),
            ("%4", "%4"),
            ("%%41", "%A"),
            ("%4%41", "%4A"),
            ("%+", "% "),
        ] {
            let mut whole = Vec::new();
            decode(raw.as_bytes(), &mut whole);
            assert_eq!(String::from_utf8_lossy(&whole), expected, "{raw}");
            let mut cut = Vec::new();
            let mut decoder = Decoder::default();
            for byte in raw.as_bytes() {
                decoder.feed(&[*byte], &mut cut);
            }
            decoder.finish(&mut cut);
            assert_eq!(cut, whole, "{raw} in pieces");
        }
    }
}
