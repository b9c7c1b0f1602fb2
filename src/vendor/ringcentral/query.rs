//! Query parameters that decide: a credential, or another verb.

use std::borrow::Cow;

use crate::vendor::decode::decode;

/// What a query says.
#[derive(Debug, Default)]
pub(super) struct Query<'r> {
    /// The values of `access_token`, decoded.
    pub(super) tokens: Vec<Cow<'r, [u8]>>,
    /// The values of `_method`, as they stand there.
    pub(super) verbs: Vec<&'r str>,
    /// A name is one of these in some spelling that a server may fold or decode, and another may not.
    pub(super) disguised: Option<Disguised>,
}

/// What a name may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disguised {
    Token,
    Verb,
}

impl<'r> Query<'r> {
    /// Reads `name=value&name=value`, without the question mark.
    pub(super) fn read(query: &'r str) -> Self {
        let mut read = Self::default();
        if query.is_empty() {
            return read;
        }
        let alone = !query.contains(';');
        // Some servers take `;` for a separator as well (HTML 4.01, appendix B.2.2).
        for pair in query.split(['&', ';']) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "access_token" if alone => read.tokens.push(decoded(value)),
                "_method" if alone => read.verbs.push(value),
                name => read.disguised = read.disguised.or_else(|| disguised(name)),
            }
        }
        read
    }
}

fn disguised(name: &str) -> Option<Disguised> {
    // Letters and digits alone are a name that is neither.
    if name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    // No other parameter of the platform has these names within its own.
    let plain = decoded(name).to_ascii_lowercase();
    let holds = |part: &[u8]| plain.windows(part.len()).any(|window| window == part);
    if holds(b"access_token") || holds(b"access-token") {
        Some(Disguised::Token)
    } else if plain.trim_ascii().starts_with(b"_method") {
        Some(Disguised::Verb)
    } else {
        None
    }
}

fn decoded(raw: &str) -> Cow<'_, [u8]> {
    if !raw.contains(['%', '+']) {
        return Cow::Borrowed(raw.as_bytes());
    }
    let mut plain = Vec::with_capacity(raw.len());
    decode(raw.as_bytes(), &mut plain);
    Cow::Owned(plain)
}
