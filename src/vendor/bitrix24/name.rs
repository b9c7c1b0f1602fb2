//! Names that decide: from which parameters the portal takes a credential, a route, commands or a choice, and how PHP
//! reads a parameter's name.

use crate::vendor::decode::decode;

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
    /// `cmd` of a batch, in any letter case.
    Commands,
    /// `halt` of a batch, in any letter case.
    Halt,
    /// The parameter that the operation's need hangs on.
    Choice,
    /// `handler` of `event.bind`: where the portal will send data, past the gate.
    Handler,
    /// `select` of REST 3.0: a dotted name in it reaches into another object.
    Select,
}

/// What is looked for beside the credential: it depends on the operation.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a parameter that is looked for or not"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Watch {
    pub(super) commands: bool,
    /// The items of a REST 3.0 batch stand at the top: every array among the parameters may be one.
    pub(super) items: bool,
    pub(super) choice: Option<Choice>,
    pub(super) handler: bool,
    pub(super) select: bool,
}

/// Where the value stands that an operation's need hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// `moduleId`.
    Module,
    /// `event`.
    Event,
    /// `PLACEMENT`.
    Placement,
    /// `event`, or a field `EVENT_NAME` of a filter, at any depth.
    EventName,
    /// Any name with `hcm` in it, at any depth: that it is there is the choice.
    Hcm,
}

impl Choice {
    /// True if the value may stand below the top.
    pub(super) const fn is_deep(self) -> bool {
        matches!(self, Self::EventName | Self::Hcm)
    }

    /// True for the name of a parameter, or of a field at any depth, that holds the value. The portal folds case where
    /// it reads these.
    pub(super) fn is_at(self, name: &[u8]) -> bool {
        match self {
            Self::Module => name.eq_ignore_ascii_case(b"moduleId"),
            Self::Event => name.eq_ignore_ascii_case(b"event"),
            Self::Placement => name.eq_ignore_ascii_case(b"placement"),
            Self::EventName => {
                name.eq_ignore_ascii_case(b"event") || holds_folded(name, b"event_name")
            }
            Self::Hcm => holds_folded(name, b"hcm"),
        }
    }
}

fn holds_folded(name: &[u8], part: &[u8]) -> bool {
    name.windows(part.len())
        .any(|window| window.eq_ignore_ascii_case(part))
}

/// How a name in a query or form stands to the parameters that decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Classified<'n> {
    /// It is none of them, in any reading.
    Other,
    /// It is one, spelt as documented.
    Plain(Parameter),
    /// An element of one, `name[key]`; an empty key is PHP's next number.
    Element(Parameter, &'n [u8]),
    /// PHP makes it one: an array, or another spelling.
    Disguised(Parameter),
}

/// The longest key of a batch's command, in bytes.
pub(super) const LONGEST_KEY: usize = 128;

/// The parameter with exactly this name, as PHP compares array keys.
pub(super) fn named(name: &[u8], watch: Watch) -> Option<Parameter> {
    match name {
        b"auth" | b"access_token" => Some(Parameter::Token),
        b"aplogin" | b"ap" | b"sessid" | b"call_auth_id" => Some(Parameter::Foreign),
        b"method" | b"SEF_APPLICATION_CUR_PAGE_URL" => Some(Parameter::Routing),
        b"token" => Some(Parameter::Signed),
        name if name.starts_with(b"livechat_") => Some(Parameter::Foreign),
        name if watch.commands && name.eq_ignore_ascii_case(b"cmd") => Some(Parameter::Commands),
        name if watch.commands && name.eq_ignore_ascii_case(b"halt") => Some(Parameter::Halt),
        name if watch.choice.is_some_and(|choice| choice.is_at(name)) => Some(Parameter::Choice),
        name if watch.handler && name.eq_ignore_ascii_case(b"handler") => Some(Parameter::Handler),
        b"select" if watch.select => Some(Parameter::Select),
        _ => None,
    }
}

/// True if a name that is still percent-encoded cannot be one that decides for every operation: letters and digits at
/// the beginning are the name's own in every reading.
pub(super) fn is_plainly_other(raw: &[u8], watch: Watch) -> bool {
    let own = |first: &[u8]| first.iter().all(u8::is_ascii_alphanumeric);
    if watch != Watch::default() {
        return false;
    }
    match raw {
        [a, b, c, ..] if own(&[*a, *b, *c]) => !matches!(
            &[*a, *b, *c],
            b"aut" | b"acc" | b"apl" | b"ses" | b"cal" | b"met" | b"SEF" | b"tok" | b"liv"
        ),
        [a, ..] if own(&[*a]) => !matches!(a, b'a' | b'c' | b'm' | b'l' | b't' | b's' | b'S'),
        _ => false,
    }
}

/// What the name is, where its base can be told without decoding it: letters, digits and `_`, then nothing or an index.
fn classify_plain(raw: &[u8], watch: Watch) -> Option<Classified<'static>> {
    let end = raw
        .iter()
        .position(|b| !b.is_ascii_alphanumeric() && *b != b'_')
        .unwrap_or(raw.len());
    let (base, index) = raw.split_at_checked(end)?;
    if index.is_empty() {
        return Some(named(base, watch).map_or(Classified::Other, Classified::Plain));
    }
    let indexed =
        (index.starts_with(b"[") || index.starts_with(b"%5B") || index.starts_with(b"%5b"))
            && (index.ends_with(b"]") || index.ends_with(b"%5D") || index.ends_with(b"%5d"))
            && !index.windows(2).any(|two| two == b"%0");
    let told = !watch.items && !is_deep(watch);
    (indexed && told && !base.is_empty() && named(base, watch).is_none())
        .then_some(Classified::Other)
}

/// The longest name that decides, with room to see that a name is longer.
const LONGEST: usize = 32;

/// Reads a decoded name as PHP does (`php_register_variable_ex`): leading blanks cut, ended by NUL, with `.`, blank and
/// an unmatched `[` as `_`, and everything from a matched `[` an array index.
pub(super) fn classify(decoded: &[u8], watch: Watch) -> Classified<'_> {
    match classify_as_php(decoded, watch) {
        // Only what is nothing else may be a choice by a part of its name.
        Classified::Other => {
            named_anywhere(decoded, watch).map_or(Classified::Other, Classified::Plain)
        }
        decides => decides,
    }
}

fn classify_as_php(decoded: &[u8], watch: Watch) -> Classified<'_> {
    if watch.items && memchr::memchr(b'[', decoded).is_some() {
        return Classified::Disguised(Parameter::Commands);
    }
    if decoded
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || *b == b'_')
    {
        return named(decoded, watch).map_or(Classified::Other, Classified::Plain);
    }
    if let Some(element) = element(decoded, watch) {
        return element;
    }
    let end = memchr::memchr(0, decoded).unwrap_or(decoded.len());
    let decoded = decoded.get(..end).unwrap_or_default();
    let mut name = [0_u8; LONGEST];
    let mut length = 0;
    let mut rest = decoded.trim_ascii_start();
    while let Some((&byte, after)) = rest.split_first() {
        let byte = match byte {
            b'[' if memchr::memchr(b']', after).is_some() => break,
            b' ' | b'.' | b'[' => b'_',
            other => other,
        };
        match name.get_mut(length) {
            Some(place) => *place = byte,
            None => break,
        }
        length += 1;
        rest = after;
    }
    name.get(..length)
        .and_then(|name| named(name, watch))
        .map_or(Classified::Other, Classified::Disguised)
}

/// Reads a name of a query or form, which is still percent-encoded; `decoded` is made of it. No client encodes a letter
/// of a name that decides: one who does is read as disguising it.
pub(super) fn classify_encoded<'n>(
    raw: &[u8],
    decoded: &'n mut Vec<u8>,
    watch: Watch,
) -> Classified<'n> {
    if let Some(plain) = classify_plain(raw, watch) {
        return plain;
    }
    decoded.clear();
    decode(raw, decoded);
    let encoded = raw.iter().any(|b| matches!(b, b'%' | b'+'));
    match classify(decoded, watch) {
        Classified::Plain(parameter)
            if encoded && !(parameter == Parameter::Choice && is_deep(watch)) =>
        {
            Classified::Disguised(parameter)
        }
        Classified::Element(parameter, _) if !raw.iter().take(3).all(u8::is_ascii_alphabetic) => {
            Classified::Disguised(parameter)
        }
        other => other,
    }
}

fn is_deep(watch: Watch) -> bool {
    watch.choice.is_some_and(Choice::is_deep)
}

/// A choice that may stand at any depth is looked for in the whole name.
fn named_anywhere(decoded: &[u8], watch: Watch) -> Option<Parameter> {
    let choice = watch.choice.filter(|choice| choice.is_deep())?;
    choice.is_at(decoded).then_some(Parameter::Choice)
}

/// `cmd[key]`, where nothing about the key can be read in two ways.
fn element(decoded: &[u8], watch: Watch) -> Option<Classified<'_>> {
    let open = memchr::memchr(b'[', decoded)?;
    let (name, index) = decoded.split_at_checked(open)?;
    if !watch.commands || !name.eq_ignore_ascii_case(b"cmd") {
        return None;
    }
    let key = index.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let plain = |b: &u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b':' | b'|' | b'/' | b' ')
    };
    let fits =
        key.len() <= LONGEST_KEY && key.iter().all(plain) && key.trim_ascii().len() == key.len();
    fits.then_some(Classified::Element(Parameter::Commands, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Watch = Watch {
        commands: false,
        items: false,
        choice: None,
        handler: false,
        select: false,
    };
    const BATCH: Watch = Watch {
        commands: true,
        ..NOTHING
    };

    #[test]
    fn no_name_that_decides_is_plainly_another() {
        for name in [
            "auth",
            "access_token",
            "aplogin",
            "ap",
            "ap[x]",
            "ap.x",
            "sessid",
            "call_auth_id",
            "method",
            "SEF_APPLICATION_CUR_PAGE_URL",
            "token",
            "livechat_hash",
        ] {
            let decides = !matches!(classify(name.as_bytes(), NOTHING), Classified::Other);
            assert!(decides || name == "ap.x", "{name}");
            assert!(!is_plainly_other(name.as_bytes(), NOTHING), "{name}");
            for at in 0..name.len() {
                let encoded = format!(
                    "{}%{:02x}{}",
                    &name[..at],
                    name.as_bytes()[at],
                    &name[at + 1..]
                );
                assert!(!is_plainly_other(encoded.as_bytes(), NOTHING), "{encoded}");
            }
        }
        for name in ["select[0]", "start", "filter", "order[ID]", "apart"] {
            assert!(is_plainly_other(name.as_bytes(), NOTHING), "{name}");
        }
    }

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
            "SEF_APPLICATION_CUR_PAGE_URL",
        ] {
            assert!(
                matches!(classify(name.as_bytes(), NOTHING), Classified::Plain(_)),
                "{name}"
            );
            assert!(!is_plainly_other(name.as_bytes(), NOTHING), "{name}");
        }
        assert!(is_plainly_other(b"filter%5Bx%5D", NOTHING));
        assert!(!is_plainly_other(b"halt", BATCH));
        assert!(!is_plainly_other(b"%61uth", NOTHING));
    }

    #[test]
    fn php_spellings_of_a_deciding_name_are_recognised() {
        use Classified::{Disguised, Other, Plain};
        use Parameter::{Foreign, Routing, Token};
        for (decoded, expected) in [
            ("auth", Plain(Token)),
            ("access_token", Plain(Token)),
            ("AUTH", Other),
            ("authx", Other),
            (" auth", Disguised(Token)),
            ("  auth", Disguised(Token)),
            ("auth\0x", Disguised(Token)),
            ("auth[]", Disguised(Token)),
            ("auth[x]y", Disguised(Token)),
            ("auth[", Other),
            ("access.token", Disguised(Token)),
            ("access token", Disguised(Token)),
            ("access[token", Disguised(Token)),
            ("access[token]", Other),
            ("access[token\0]", Disguised(Token)),
            ("[auth]", Other),
            ("x[auth]", Other),
            ("filter[>ID]", Other),
            ("%", Other),
            ("aplogin", Plain(Foreign)),
            ("livechat_auth_id", Plain(Foreign)),
            (
                "livechat.auth.id.of.a.very.long.name.indeed",
                Disguised(Foreign),
            ),
            ("method", Plain(Routing)),
            ("SEF.APPLICATION_CUR_PAGE_URL", Disguised(Routing)),
            ("", Other),
            ("cmd[x]", Other),
        ] {
            assert_eq!(
                classify(decoded.as_bytes(), NOTHING),
                expected,
                "{decoded:?}"
            );
        }
    }

    #[test]
    fn commands_are_elements_with_plain_keys() {
        use Classified::{Disguised, Element, Other, Plain};
        use Parameter::{Commands, Halt};
        for (decoded, expected) in [
            ("cmd[a]", Element(Commands, b"a")),
            ("CMD[a.b-c 1]", Element(Commands, b"a.b-c 1")),
            ("cmd[]", Element(Commands, b"")),
            ("cmd", Plain(Commands)),
            ("Halt", Plain(Halt)),
            ("halt[]", Disguised(Halt)),
            ("cmd[ a]", Disguised(Commands)),
            ("cmd[a]b", Disguised(Commands)),
            ("cmd[a][b]", Disguised(Commands)),
            ("cmd[a[b]", Disguised(Commands)),
            (" cmd[a]", Disguised(Commands)),
            ("cmd\0[a]", Disguised(Commands)),
            ("cmd[a", Other),
            ("cmd.x[a]", Other),
        ] {
            assert_eq!(classify(decoded.as_bytes(), BATCH), expected, "{decoded:?}");
        }
    }

    #[test]
    fn a_choice_is_found_in_any_case_and_where_it_may_be_at_any_depth() {
        let watch = |choice| Watch {
            choice: Some(choice),
            ..NOTHING
        };
        let is = |name: &str, choice| {
            classify(name.as_bytes(), watch(choice)) == Classified::Plain(Parameter::Choice)
        };
        assert!(is("MODULEID", Choice::Module));
        assert!(is("Event", Choice::Event));
        assert!(!is("filter[event]", Choice::Event));
        assert!(is("filter[=EVENT_NAME]", Choice::EventName));
        assert!(is("members[0][hcmLinkId]", Choice::Hcm));
        assert!(!is("members[0][id]", Choice::Hcm));
        for (name, parameter) in [
            ("auth\0hcm", Parameter::Token),
            ("auth[hcm]", Parameter::Token),
            ("aplogin\0hcm", Parameter::Foreign),
            ("SEF_APPLICATION_CUR_PAGE_URL\0hcm", Parameter::Routing),
        ] {
            let found = classify(name.as_bytes(), watch(Choice::Hcm));
            assert_eq!(found, Classified::Disguised(parameter), "{name:?}");
        }
    }
}
