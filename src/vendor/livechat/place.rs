//! What the head says beside verb and credential: version, host, author, and in which shape that host answers.

use http::HeaderValue;

use crate::model::{AnswerShape, Fault, Reason};
use crate::vendor::Head;
use crate::vendor::field::{is_override, is_spelt};

pub(super) const VERSIONS: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "`X-API-Version` stands twice, or names another version than the path",
};
pub(super) const OVERRIDE: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "a header names another verb than the request",
};
const SPELT: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "`X-API-Version` or `X-Author-Id` is spelt with `_`, which some servers take for `-`",
};
pub(super) const AUTHOR: Fault = Fault {
    reason: Reason::AmbiguousCredential,
    detail: "this version has dropped `X-Author-Id` and `author_id`, or the request names two authors",
};

/// Header fields that name a version or an author.
#[derive(Debug, Default)]
pub(super) struct Named<'r> {
    /// `X-API-Version`: digits and a dot.
    pub(super) version: Option<&'r str>,
    /// `X-Author-Id`.
    pub(super) author: Option<&'r str>,
    pub(super) fault: Option<Fault>,
}

impl<'r> Named<'r> {
    /// Looks at every field once: each in one spelling, and not twice.
    pub(super) fn read(head: Head<'r>) -> Self {
        let mut named = Self::default();
        for (name, value) in head.headers {
            let name = name.as_str();
            if !name.starts_with('x') {
                continue;
            }
            let verb = head.verb.as_str().as_bytes();
            let fault = match name {
                "x-api-version" => named.version(value).err(),
                "x-author-id" => {
                    let author = value.to_str().unwrap_or_default();
                    named.author.replace(author).map(|_| AUTHOR)
                }
                name if is_spelt(name, "x-api-version") || is_spelt(name, "x-author-id") => {
                    Some(SPELT)
                }
                name if is_override(name) && !value.as_bytes().eq_ignore_ascii_case(verb) => {
                    Some(OVERRIDE)
                }
                _ => None,
            };
            named.fault = named.fault.or(fault);
        }
        named
    }

    fn version(&mut self, value: &'r HeaderValue) -> Result<(), Fault> {
        let value = value.to_str().map_err(|_| VERSIONS)?;
        let fits = |c: char| c.is_ascii_digit() || c == '.';
        let plain = (1..=8).contains(&value.len()) && value.chars().all(fits);
        if self.version.replace(value).is_some() || !plain {
            return Err(VERSIONS);
        }
        Ok(())
    }
}

/// True for paths of the accounts host: its own API of version 2, and the older part for customers.
pub(super) fn is_of_accounts(path: &str, version: Option<&str>) -> bool {
    let old = version.is_none() && path.starts_with("/customer/");
    (path.starts_with("/v2/") && !path.starts_with("/v2/ledger/")) || old
}

/// The shape in which the API behind a path says that something is wrong.
pub(super) fn shape_of(path: &str, version: Option<&str>) -> AnswerShape {
    if path.starts_with("/v2/customer/") || (version.is_none() && path.starts_with("/customer/")) {
        AnswerShape::CustomerOAuth
    } else if is_of_accounts(path, version) {
        AnswerShape::OAuth
    } else if version == Some("2") {
        AnswerShape::Old
    } else {
        AnswerShape::Usual
    }
}
