//! Parameters that decide: which names the portal takes a credential or a route from, and how PHP reads a name.

/// A parameter that decides what a request does or for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameter {
    /// `auth`, `access_token`: an access token.
    Token,
    /// A door of the portal that is not OAuth: webhook pair in parameters, sessions, guests of other modules.
    Foreign,
    /// Names a method or page where the path does not.
    Routing,
    /// `token`: a signed call that brings its own scope and arguments.
    Signed,
}

/// How a name in a query or form stands to the parameters that decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Classified {
    /// It is none of them, in any reading.
    Other,
    /// It is one, spelt as documented.
    Plain(Parameter),
    /// PHP makes it one: an array, or another spelling.
    Disguised(Parameter),
}

/// The parameter with exactly this name, as PHP compares array keys.
pub(super) fn named(name: &[u8]) -> Option<Parameter> {
    match name {
        b"auth" | b"access_token" => Some(Parameter::Token),
        b"aplogin" | b"ap" | b"sessid" | b"call_auth_id" => Some(Parameter::Foreign),
        b"method" | b"SEF_APPLICATION_CUR_PAGE_URL" => Some(Parameter::Routing),
        b"token" => Some(Parameter::Signed),
        name if name.starts_with(b"livechat_") => Some(Parameter::Foreign),
        _ => None,
    }
}

/// The letters with which names that decide begin.
const FIRST_LETTERS: &[u8] = b"acmltsS";

/// The longest name that decides, with room to see that a name is longer.
const LONGEST: usize = 32;

/// Reads a name as PHP does (`php_register_variable_ex`): percent-decoded, leading blanks cut, ended by NUL, with `.`,
/// blank and an unmatched `[` as `_`, and everything from a matched `[` an array index.
pub(super) fn classify(raw: &[u8]) -> Classified {
    // A letter or digit at the beginning is the name's own in every reading.
    if raw
        .first()
        .is_some_and(|first| first.is_ascii_alphanumeric() && !FIRST_LETTERS.contains(first))
    {
        return Classified::Other;
    }
    if raw.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') {
        return named(raw).map_or(Classified::Other, Classified::Plain);
    }
    let mut name = [0_u8; LONGEST];
    let mut length = 0;
    let mut decoded = decode(raw).skip_while(u8::is_ascii_whitespace);
    while let Some(byte) = decoded.next() {
        let byte = match byte {
            0 => break,
            b'[' if decoded.clone().take_while(|b| *b != 0).any(|b| b == b']') => break,
            b' ' | b'.' | b'[' => b'_',
            other => other,
        };
        match name.get_mut(length) {
            Some(place) => *place = byte,
            None => break,
        }
        length += 1;
    }
    name.get(..length)
        .and_then(named)
        .map_or(Classified::Other, Classified::Disguised)
}

/// Percent-decodes as PHP's `urldecode`: `+` is a blank, a `%` without two hex digits stands for itself.
pub(super) fn decode(raw: &[u8]) -> impl Iterator<Item = u8> + Clone + '_ {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        let (byte, after) = match (first, after) {
            (b'+', after) => (b' ', after),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', rest.get(1..)?),
            },
            (other, after) => (other, after),
        };
        rest = after;
        Some(byte)
    })
}

/// The value of a hex digit.
pub(super) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_that_decides_begins_with_another_letter() {
        for name in [
            "auth",
            "access_token",
            "aplogin",
            "ap",
            "sessid",
            "call_auth_id",
            "livechat_x",
            "method",
            "token",
        ] {
            assert!(
                matches!(classify(name.as_bytes()), Classified::Plain(_)),
                "{name}"
            );
        }
        for first in (b'0'..=b'z')
            .filter(u8::is_ascii_alphanumeric)
            .filter(|b| !FIRST_LETTERS.contains(b))
        {
            for tail in [
                "uth",
                "ccess_token",
                "plogin",
                "p",
                "essid",
                "ethod",
                "oken",
                "all_auth_id",
                "ivechat_x",
            ] {
                let name = [&[first], tail.as_bytes()].concat();
                assert_eq!(named(&name), None, "{name:?}");
            }
        }
    }

    #[test]
    fn php_spellings_of_a_deciding_name_are_recognised() {
        use Classified::{Disguised, Other, Plain};
        use Parameter::{Foreign, Routing, Token};
        for (raw, expected) in [
            ("auth", Plain(Token)),
            ("access_token", Plain(Token)),
            ("AUTH", Other),
            ("authx", Other),
            ("+auth", Disguised(Token)),
            ("%20%20auth", Disguised(Token)),
            ("auth%00x", Disguised(Token)),
            ("%61uth", Disguised(Token)),
            ("auth[]", Disguised(Token)),
            ("auth%5B%5D", Disguised(Token)),
            ("auth[x]y", Disguised(Token)),
            ("auth[", Other),
            ("access.token", Disguised(Token)),
            ("access+token", Disguised(Token)),
            ("access[token", Disguised(Token)),
            ("access%5btoken", Disguised(Token)),
            ("access[token]", Other),
            ("access[token%00]", Disguised(Token)),
            ("[auth]", Other),
            ("x[auth]", Other),
            ("filter[%3EID]", Other),
            ("%", Other),
            ("%zz", Other),
            ("aplogin", Plain(Foreign)),
            ("livechat_auth_id", Plain(Foreign)),
            (
                "livechat.auth.id.of.a.very.long.name.indeed",
                Disguised(Foreign),
            ),
            ("method", Plain(Routing)),
            ("SEF.APPLICATION_CUR_PAGE_URL", Disguised(Routing)),
            ("SEF_APPLICATION_CUR_PAGE_URL", Plain(Routing)),
            ("", Other),
        ] {
            assert_eq!(classify(raw.as_bytes()), expected, "{raw}");
        }
    }
}
