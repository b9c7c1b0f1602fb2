//! Credentials, and the keyed digest that stands for them everywhere else.

use std::borrow::Cow;
use std::fmt;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use zeroize::Zeroize;

/// What the dialect found in the places where the vendor looks for a credential.
#[derive(Debug)]
pub enum CredentialRead<'r> {
    /// Nothing in any place.
    Missing,
    /// Exactly one.
    One(Credential<'r>),
    /// More than one, or one that cannot be told apart; the call's fault says which.
    Unclear,
}

/// One credential: what it is, where it stood, and its bytes.
#[derive(Debug)]
pub struct Credential<'r> {
    /// Access token or webhook.
    pub kind: CredentialKind,
    /// Where it stood.
    pub location: Location,
    /// Its bytes. For a webhook: `USER_ID/SECRET`.
    pub secret: Secret<'r>,
}

/// What a credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// An OAuth access token (RFC 6749 section 1.4).
    Access,
    /// A Bitrix24 incoming webhook.
    Webhook,
    /// A personal access token, with the account it belongs to.
    Personal,
}

impl CredentialKind {
    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Webhook => "webhook",
            Self::Personal => "pat",
        }
    }
}

/// Where in a request a credential stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// `Authorization: Bearer`.
    Header,
    /// A query parameter.
    Query,
    /// A field of an urlencoded form.
    Form,
    /// A member of a JSON body.
    Json,
    /// Segments of the path.
    Path,
}

impl Location {
    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Query => "query",
            Self::Form => "form",
            Self::Json => "json",
            Self::Path => "path",
        }
    }
}

/// Bytes that must never be shown: no `Display`, a masked `Debug`, wiped on drop where owned.
pub struct Secret<'r>(Cow<'r, [u8]>);

impl<'r> Secret<'r> {
    /// Takes bytes that were read from a request or a configuration.
    pub fn new(bytes: impl Into<Cow<'r, [u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for a digest or for the wire. Never for a log.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Drop for Secret<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(bytes) = &mut self.0 {
            bytes.zeroize();
        }
    }
}

/// The keyed digest of a credential: HMAC-SHA-256 (RFC 2104) cut to 128 bits. The only form that is stored or shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId([u8; 16]);

impl TokenId {
    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A token id from 16 bytes that a [`TokenIdKey`] made earlier.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl std::str::FromStr for TokenId {
    type Err = NoTokenId;

    /// Reads 32 hex digits.
    fn from_str(text: &str) -> Result<Self, NoTokenId> {
        let mut bytes = [0; 16];
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NoTokenId);
        }
        for (position, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(position * 2..position * 2 + 2).ok_or(NoTokenId)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NoTokenId)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is no token id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token id has 32 hex digits, as records show it and `audit id` prints it")]
pub struct NoTokenId;

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

/// The key behind token ids: one for each deployment, so that a leaked log cannot be matched with a leaked token list.
///
/// Keeps the digest's state after the key, so that a short token costs three blocks of SHA-256.
pub struct TokenIdKey(Hmac<Sha256>);

impl TokenIdKey {
    /// A key from secret bytes; 32 random bytes are what the state directory makes.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "HMAC takes keys of any length"
    )]
    pub fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("a key of any length"))
    }

    /// The token id of a credential.
    pub fn identify(&self, secret: &Secret<'_>) -> TokenId {
        let mut digest = self.0.clone();
        digest.update(secret.expose());
        let tag: [u8; 32] = digest.finalize().into_bytes().into();
        TokenId(tag.first_chunk().copied().unwrap_or_default())
    }

    /// A short name of the key itself: tells records of one key from those of another, and nothing about the key.
    pub fn fingerprint(&self) -> String {
        let id = self.identify(&Secret::new(b"grantgate token id key".as_slice()));
        id.to_string().chars().take(8).collect()
    }
}

impl fmt::Debug for TokenIdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenIdKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_and_its_key_never_print() {
        let secret = Secret::new(b"canary-token".to_vec());
        let shown = format!("{secret:?} {:?}", TokenIdKey::new(b"canary-key"));
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn token_ids_depend_on_key_and_token_alone() {
        let (one, other) = (TokenIdKey::new(b"k1"), TokenIdKey::new(b"k2"));
        let token = Secret::new(b"t".as_slice());
        assert_eq!(
            one.identify(&token),
            one.identify(&Secret::new(b"t".to_vec()))
        );
        assert_ne!(one.identify(&token), other.identify(&token));
        assert_eq!(one.identify(&token).to_string().len(), 32);
        assert_ne!(one.fingerprint(), other.fingerprint());
    }
}
