//! JSON text in ASCII only, written straight into a buffer.

/// Appends a JSON string. Everything outside printable ASCII is escaped, so that no control sequence, direction mark
/// or broken UTF-8 reaches whoever looks at the log; bytes that are no UTF-8 become U+FFFD.
pub(super) fn push_json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    // Without a way out of the loop many bytes are looked at in one step.
    #[expect(clippy::needless_bitwise_bool, reason = "no way out of the loop")]
    let plain = text.iter().fold(true, |plain, b| {
        plain & matches!(b, b' '..=b'~') & (*b != b'"') & (*b != b'\\')
    });
    if plain {
        out.extend_from_slice(text);
    } else {
        for character in String::from_utf8_lossy(text).chars() {
            push_escaped(out, character);
        }
    }
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, character: char) {
    match character {
        '"' | '\\' => out.extend_from_slice(&[b'\\', u8::try_from(character).unwrap_or(b'?')]),
        ' '..='~' => out.push(u8::try_from(character).unwrap_or(b'?')),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        }
    }
}

/// Appends a number in decimal.
pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0_u8; 20];
    let mut rest = number;
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_printable_ascii_and_read_back() {
        for text in [
            "",
            "crm.deal.list",
            "a\"b\\c",
            "\u{1b}[31m\n\u{202e}é\u{1f600}\u{7f}",
        ] {
            let mut out = Vec::new();
            push_json_string(&mut out, text.as_bytes());
            assert!(out.iter().all(|b| (b' '..=b'~').contains(b)), "{out:?}");
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
        let mut out = Vec::new();
        push_json_string(&mut out, b"\xff");
        assert_eq!(out, br#""\ufffd""#);
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 4711, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
