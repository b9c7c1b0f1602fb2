//! The plain text within a JSON string.

/// The length of the plain text at the beginning: up to a quote, a backslash, or a control byte, which is no JSON.
/// Eight bytes at a time: a byte of the word is marked where it is one of these (and perhaps behind the first such).
pub(super) fn plain_text(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut length = 0;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let zeros = |x: u64| x.wrapping_sub(ONES) & !x;
        let control = word.wrapping_sub(0x20 * ONES) & !word;
        let quote = zeros(word ^ (0x22 * ONES));
        let backslash = zeros(word ^ (0x5c * ONES));
        let marks = (control | quote | backslash) & HIGH;
        if marks != 0 {
            return length + usize::try_from(marks.trailing_zeros() / 8).unwrap_or_default();
        }
        length += 8;
    }
    length
        + rest
            .iter()
            .position(|b| ends_plain_text(*b))
            .unwrap_or(rest.len())
}

/// True for bytes at which plain text within a string ends: the quote, the backslash, and control bytes, which are no
/// JSON.
const fn ends_plain_text(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_ends_at_the_first_byte_that_is_not() {
        for end in [b'"', b'\\', 0, 0x1f, b'\n'] {
            for at in 0..40 {
                let mut text = "aé ~\u{7f}\u{80}!#[]".repeat(4).into_bytes();
                text[at] = end;
                assert_eq!(plain_text(&text), at, "{end} at {at}");
                text[at + 1] = b'"';
                assert_eq!(plain_text(&text), at);
            }
        }
        assert_eq!(
            plain_text(&[0x80, 0xff, b' ', b'!', b'#', b'[', b']', 0x7f, b'a']),
            9
        );
    }
}
