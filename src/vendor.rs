//! The dialects: bytes in, a [`Call`] out, and refusals in each vendor's own words. Nothing here does I/O.
//!
//! [`Call`]: crate::model::Call
//!
//! A vendor is one variant of [`Vendor`]; the compiler lists what it has to answer. Nothing above this module knows a
//! vendor's name.

pub mod bitrix24;
mod decode;
mod field;
mod json;
pub mod livechat;
mod question;
mod reader;
pub mod ringcentral;
mod streaming;
mod token;

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, Method};

pub use question::{Objection, ObjectionTo};
pub use reader::Reader;
pub use streaming::{Splicer, Watch};

use crate::catalogue::{Catalogue, CatalogueText};
use crate::clock::Timestamp;
use crate::model::{
    AnswerShape, ApiVersion, Batch, CredentialKind, Fault, Holding, Layout, Reason, Verdict,
};

/// One API dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// Bitrix24: REST under `/rest/`.
    Bitrix24,
    /// RingCentral: REST by verb and path.
    RingCentral,
    /// LiveChat: actions by path and version.
    LiveChat,
}

/// Some servers take the second question mark for a part of the first name, some for none: found by holding PHP's own
/// server against the reader.
const QUERY_MARK: Fault = Fault {
    reason: Reason::AmbiguousOperation,
    detail: "the query begins with a question mark of its own",
};

/// The vendor knows the target and offers other verbs only; answered with 405.
pub(crate) const OTHER_VERBS: Fault = Fault {
    reason: Reason::OperationUnlisted,
    detail: "the vendor offers other verbs for this target",
};

/// What the dialect reads of a request before its body. Not `Debug`: it holds credentials.
#[derive(Clone, Copy)]
pub struct Head<'r> {
    /// The request's verb.
    pub verb: &'r Method,
    /// Path and query as they stand in the request, byte for byte.
    pub target: &'r str,
    /// The request's header fields.
    pub headers: &'r HeaderMap,
    /// True if the request announces a body that is not empty.
    pub has_body: bool,
}

impl<'r> Head<'r> {
    /// Path and query, which is empty where there is none.
    fn path_and_query(self) -> (&'r str, &'r str) {
        let mark = memchr::memchr(b'?', self.target.as_bytes());
        mark.and_then(|mark| Some((self.target.get(..mark)?, self.target.get(mark + 1..)?)))
            .unwrap_or((self.target, ""))
    }
}

/// A refusal to be put into the vendor's words.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'d> {
    /// Why.
    pub reason: Reason,
    /// What could not be read, where that is the reason.
    pub fault: Option<Fault>,
    /// The scopes that are missing, where that is the reason.
    pub missing: &'d [Cow<'d, str>],
    /// The version of the API that the request addressed.
    pub version: ApiVersion,
    /// The shape in which the app expects an answer.
    pub answer: AnswerShape,
    /// What the credential is; `None` without one.
    pub credential: Option<CredentialKind>,
}

/// A refusal in the vendor's own shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeAnswer {
    /// HTTP status.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// How an operation is called: what `explain` reads where it is given a name only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The verb.
    pub verb: String,
    /// Path and query.
    pub target: String,
    /// Header fields that belong to it.
    pub headers: Vec<(&'static str, &'static str)>,
    /// True unless the target holds a credential of its own.
    pub wants_token: bool,
}

/// A change to the bytes of a body or a query: what stands at `at` becomes `with`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The bytes that go, from the beginning of the body or query.
    pub at: Range<u64>,
    /// What comes in their place.
    pub with: Bytes,
}

/// What goes on of a batch with refused members.
#[derive(Debug)]
pub struct Division {
    /// The target that remains, where the members stand in it.
    pub target: Option<String>,
    /// What changes in the body, in order.
    pub body: Vec<Edit>,
    /// Puts the refused members into the answer.
    pub splicer: Splicer,
}

impl Vendor {
    /// Every vendor.
    pub const ALL: [Self; 3] = [Self::Bitrix24, Self::RingCentral, Self::LiveChat];

    /// The vendor's name in configuration, records and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bitrix24 => "bitrix24",
            Self::RingCentral => "ringcentral",
            Self::LiveChat => "livechat",
        }
    }

    /// The vendor with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vendor| vendor.name() == name)
    }

    /// The catalogue that is compiled in.
    pub const fn bundled_catalogue(self) -> CatalogueText<'static> {
        match self {
            Self::Bitrix24 => CatalogueText {
                operations: include_str!("../config/catalogue/bitrix24/operations.tsv"),
                scopes: include_str!("../config/catalogue/bitrix24/scopes.tsv"),
                choices: include_str!("../config/catalogue/bitrix24/choices.tsv"),
                prefixes: include_str!("../config/catalogue/bitrix24/prefixes.tsv"),
                routes: "",
            },
            Self::RingCentral => CatalogueText {
                operations: include_str!("../config/catalogue/ringcentral/operations.tsv"),
                scopes: include_str!("../config/catalogue/ringcentral/scopes.tsv"),
                choices: include_str!("../config/catalogue/ringcentral/choices.tsv"),
                prefixes: "",
                routes: "",
            },
            Self::LiveChat => CatalogueText {
                operations: include_str!("../config/catalogue/livechat/operations.tsv"),
                scopes: include_str!("../config/catalogue/livechat/scopes.tsv"),
                choices: include_str!("../config/catalogue/livechat/choices.tsv"),
                prefixes: "",
                routes: include_str!("../config/catalogue/livechat/routes.tsv"),
            },
        }
    }

    /// Begins to read a request.
    pub fn read<'r, 'c>(self, head: Head<'r>, catalogue: &'c Catalogue) -> Reader<'r, 'c> {
        let mut reader = match self {
            Self::Bitrix24 => Reader::Bitrix24(bitrix24::Reader::new(head, catalogue)),
            Self::RingCentral => Reader::RingCentral(ringcentral::Reader::new(head, catalogue)),
            Self::LiveChat => Reader::LiveChat(livechat::Reader::new(head, catalogue)),
        };
        if head.path_and_query().1.starts_with('?') {
            reader.note(QUERY_MARK);
        }
        reader
    }

    /// The refusal as the vendor would have said it, so that its SDKs raise their own error.
    pub fn refuse(self, refusal: &Refusal<'_>) -> NativeAnswer {
        match self {
            Self::Bitrix24 => bitrix24::refuse(refusal),
            Self::RingCentral => ringcentral::refuse(refusal),
            Self::LiveChat => livechat::refuse(refusal),
        }
    }

    /// Takes the members of a batch that are held back out of its request; `None` where the vendor has no batches that
    /// can be divided. `target` is the request's own. The batch must have a layout.
    pub fn divide(
        self,
        target: &str,
        batch: &Batch<'_>,
        children: &[Verdict<'_>],
    ) -> Option<Division> {
        let (edits, splicer) = match self {
            Self::Bitrix24 => (
                bitrix24::edits(batch, children),
                Splicer::Bitrix24(bitrix24::Splicer::new(batch, children)),
            ),
            Self::LiveChat => (
                livechat::edits(batch, children),
                Splicer::LiveChat(livechat::Splicer::new(batch, children)),
            ),
            Self::RingCentral => return None,
        };
        let in_query = batch.layout == Some(Layout::Query);
        Some(Division {
            target: in_query.then(|| edited_query(target, &edits)),
            body: if in_query { Vec::new() } else { edits },
            splicer,
        })
    }

    /// The vendor's answer to a batch of which no member is left; `None` where it has no such batches.
    pub fn answer_for_none(
        self,
        batch: &Batch<'_>,
        children: &[Verdict<'_>],
        now: Timestamp,
    ) -> Option<NativeAnswer> {
        match self {
            Self::Bitrix24 => Some(bitrix24::nothing_left(batch, children, now)),
            Self::LiveChat => Some(livechat::nothing_left(batch, children)),
            Self::RingCentral => None,
        }
    }

    /// The host of the vendor's own authorization server.
    pub const fn authorization_server(self) -> &'static str {
        match self {
            Self::Bitrix24 => "oauth.bitrix.info",
            Self::RingCentral => "platform.ringcentral.com",
            Self::LiveChat => "accounts.livechat.com",
        }
    }

    /// The `Access-Control-Allow-Origin` that the vendor sends, for refusals that a browser app must be able to read.
    pub const fn allow_origin(self) -> Option<&'static str> {
        match self {
            Self::Bitrix24 => Some("*"),
            // Not known: its SDK for browsers sends credentials, for which `*` would not do.
            Self::RingCentral | Self::LiveChat => None,
        }
    }

    /// Header fields that may open another door than the credential that was judged: in `enforce` they stay here.
    pub const fn is_ambient_credential(self, name: &str) -> bool {
        match self {
            Self::Bitrix24 => matches!(name.as_bytes(), b"cookie" | b"x-bitrix-csrf-token"),
            Self::RingCentral | Self::LiveChat => matches!(name.as_bytes(), b"cookie"),
        }
    }

    /// The code that a granted scope stands for: Bitrix24 also writes `scope[field:field]` for one that REST 3.0 limits
    /// to fields, which is the vendor's to check.
    pub fn scope_code(self, granted: &str) -> &str {
        match self {
            Self::Bitrix24 => match granted.split_once('[') {
                Some((code, fields)) if fields.ends_with(']') => code,
                _ => granted,
            },
            Self::RingCentral | Self::LiveChat => granted,
        }
    }

    /// What a token holds that was granted these scopes.
    pub fn holding<'s>(
        self,
        catalogue: &Catalogue,
        granted: impl IntoIterator<Item = &'s str>,
    ) -> Holding {
        catalogue.holding(granted, |code| self.scope_code(code))
    }

    /// What a declared `token` is: for Bitrix24 `USER_ID/SECRET` is a webhook.
    pub fn credential_kind(self, token: &str) -> CredentialKind {
        match self {
            Self::Bitrix24 if token.contains('/') => CredentialKind::Webhook,
            Self::LiveChat if livechat::is_personal(token) => CredentialKind::Personal,
            Self::Bitrix24 | Self::RingCentral | Self::LiveChat => CredentialKind::Access,
        }
    }

    /// A request that calls an operation, which is given by its name or as `VERB /path`; `None` if it is neither.
    pub fn example(self, catalogue: &Catalogue, operation: &str) -> Option<Example> {
        if let Some((verb, target)) = operation.split_once(' ') {
            return Some(Example {
                verb: verb.to_owned(),
                wants_token: !self.has_credential(target),
                target: filled(target),
                headers: Vec::new(),
            });
        }
        match self {
            Self::Bitrix24 => Some(bitrix24::example(operation)),
            Self::RingCentral => None,
            Self::LiveChat => livechat::example(catalogue, operation),
        }
    }

    /// True if the target of a request holds a credential.
    fn has_credential(self, target: &str) -> bool {
        match self {
            Self::Bitrix24 => bitrix24::has_credential(target),
            // The token endpoint takes the client's own credential.
            Self::RingCentral => {
                target.contains("access_token=")
                    || target.starts_with("/restapi/oauth/token")
                    || target.starts_with("/restapi/oauth/revoke")
                    || target.starts_with("/restapi/oauth/authorize")
            }
            Self::LiveChat => false,
        }
    }

    /// The path as records may show it: a credential among its segments is replaced.
    pub fn redact_path(self, path: &str) -> Cow<'_, str> {
        match self {
            Self::Bitrix24 => bitrix24::redact_path(path),
            // No path of theirs holds a credential.
            Self::RingCentral | Self::LiveChat => Cow::Borrowed(path),
        }
    }
}

/// A template with something in the place of each parameter.
fn filled(template: &str) -> String {
    let mut target = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, after)) = after.split_once('}') else {
            break;
        };
        target.push_str(before);
        target.push('1');
        rest = after;
    }
    target + rest
}

/// The target with its query edited.
fn edited_query(target: &str, edits: &[Edit]) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = edited(query.as_bytes(), edits);
    format!("{path}?{}", String::from_utf8_lossy(&query))
}

/// The bytes with all edits made, which are in order and do not overlap.
pub fn edited(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    let mut edited = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for Edit { at, with } in edits {
        edited.extend_from_slice(bytes.get(from..place(at.start)).unwrap_or_default());
        edited.extend_from_slice(with);
        from = place(at.end);
    }
    edited.extend_from_slice(bytes.get(from..).unwrap_or_default());
    edited
}
