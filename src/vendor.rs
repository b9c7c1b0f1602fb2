//! The dialects: bytes in, a [`Call`] out, and refusals in each vendor's own words. Nothing here does I/O.
//!
//! A vendor is one variant of [`Vendor`]; the compiler lists what it has to answer. Nothing above this module knows a
//! vendor's name.

pub mod bitrix24;

use http::{HeaderMap, Method};

use crate::catalogue::{Catalogue, CatalogueText};
use crate::model::{ApiVersion, Call, CredentialKind, Fault, Reason};

/// One API dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// Bitrix24: REST under `/rest/`.
    Bitrix24,
}

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

/// Reads one request: made from its head, fed with its body, finished into a [`Call`].
#[derive(Debug)]
pub enum Reader<'r, 'c> {
    /// Reads as a Bitrix24 portal does.
    Bitrix24(bitrix24::Reader<'r, 'c>),
}

/// A refusal to be put into the vendor's words.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'d> {
    /// Why.
    pub reason: Reason,
    /// What could not be read, where that is the reason.
    pub fault: Option<Fault>,
    /// The scopes that are missing, where that is the reason.
    pub missing: &'d [&'d str],
    /// The version of the API that the request addressed.
    pub version: ApiVersion,
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

impl Vendor {
    /// Every vendor.
    pub const ALL: [Self; 1] = [Self::Bitrix24];

    /// The vendor's name in configuration, records and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bitrix24 => "bitrix24",
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
            },
        }
    }

    /// Begins to read a request.
    pub fn read<'r, 'c>(self, head: Head<'r>, catalogue: &'c Catalogue) -> Reader<'r, 'c> {
        match self {
            Self::Bitrix24 => Reader::Bitrix24(bitrix24::Reader::new(head, catalogue)),
        }
    }

    /// The refusal as the vendor would have said it, so that its SDKs raise their own error.
    pub fn refuse(self, refusal: &Refusal<'_>) -> NativeAnswer {
        match self {
            Self::Bitrix24 => bitrix24::refuse(refusal),
        }
    }

    /// The `Access-Control-Allow-Origin` that the vendor sends, for refusals that a browser app must be able to read.
    pub const fn allow_origin(self) -> Option<&'static str> {
        match self {
            Self::Bitrix24 => Some("*"),
        }
    }

    /// Header fields that may open another door than the credential that was judged: in `enforce` they stay here.
    pub const fn is_ambient_credential(self, name: &str) -> bool {
        match self {
            Self::Bitrix24 => matches!(name.as_bytes(), b"cookie" | b"x-bitrix-csrf-token"),
        }
    }

    /// What a declared `token` is: for Bitrix24 `USER_ID/SECRET` is a webhook.
    pub fn credential_kind(self, token: &str) -> CredentialKind {
        match self {
            Self::Bitrix24 if token.contains('/') => CredentialKind::Webhook,
            Self::Bitrix24 => CredentialKind::Access,
        }
    }

    /// The path as records may show it: a credential among its segments is replaced.
    pub fn redact_path(self, path: &str) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Bitrix24 => bitrix24::redact_path(path),
        }
    }
}

impl Reader<'_, '_> {
    /// True if the verdict needs the body.
    pub fn wants_body(&self) -> bool {
        match self {
            Self::Bitrix24(reader) => reader.wants_body(),
        }
    }

    /// Reads the next bytes of the body. How the body is cut makes no difference.
    pub fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::Bitrix24(reader) => reader.feed(bytes),
        }
    }

    /// Notes what was found wrong around the dialect's own reading: framing, the host, a body over the cap.
    pub fn note(&mut self, fault: Fault) {
        match self {
            Self::Bitrix24(reader) => reader.note(fault),
        }
    }
}

impl<'r, 'c> Reader<'r, 'c> {
    /// The call, after the whole body, or as much of it as is inspected, has been fed.
    pub fn finish(self) -> Call<'r, 'c> {
        match self {
            Self::Bitrix24(reader) => reader.finish(),
        }
    }
}
