//! Credentials: bearer tokens, and personal access tokens by Basic authentication.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

use crate::model::{Credential, CredentialKind, CredentialRead, Fault, Location, Reason, Secret};
use crate::vendor::field::bearer;

pub(super) const TWO: Fault = Fault {
    reason: Reason::AmbiguousCredential,
    detail: "the request carries more than one credential",
};
pub(super) const UNCLEAR: Fault = Fault {
    reason: Reason::AmbiguousCredential,
    detail: "the credential is neither `Bearer TOKEN` nor `Basic` with an account and a personal access token",
};

/// The longest credential that is taken for one, in bytes.
const LONGEST: usize = 4096;

/// The credential of a request's header fields.
pub(super) fn read(headers: &HeaderMap) -> Result<CredentialRead<'_>, Fault> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(CredentialRead::Missing);
    };
    if values.next().is_some() {
        return Err(TWO);
    }
    let value = value.as_bytes();
    let (kind, secret) = if let Some(token) = bearer(value) {
        (CredentialKind::Access, Cow::Borrowed(token))
    } else {
        (CredentialKind::Personal, personal(value).ok_or(UNCLEAR)?)
    };
    if secret.len() > LONGEST || !secret.iter().all(u8::is_ascii_graphic) {
        return Err(UNCLEAR);
    }
    Ok(CredentialRead::One(Credential {
        kind,
        location: Location::Header,
        secret: Secret::new(secret),
    }))
}

/// `ACCOUNT:TOKEN` of Basic authentication (RFC 7617): the account's id, or its e-mail for the old REST API.
fn personal(value: &[u8]) -> Option<Cow<'static, [u8]>> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = STANDARD.decode(encoded).ok()?;
    let colon = pair.iter().position(|b| *b == b':')?;
    (colon > 0 && colon + 1 < pair.len()).then_some(Cow::Owned(pair))
}
