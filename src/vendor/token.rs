//! Traffic of the token endpoint, read leniently: vendors differ from RFC 6749 in separators, types and fields.

use std::borrow::Cow;

use http::header;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::decode::decode;
use super::field::{MediaType, media_type};
use super::{Head, Vendor};
use crate::model::{Finding, GrantType, Secret, TokenAnswer, TokenPurpose, TokenRequest};

/// The longest body of a token request that is read, in bytes.
const MOST: usize = 64 * 1024;

/// Reads a request to the authorization server, beside whatever else reads it.
#[derive(Debug)]
pub(super) struct TokenReader<'r> {
    query: &'r str,
    format: Option<Format>,
    /// There is a body that is not read.
    unread: bool,
    body: Zeroizing<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Form,
    Json,
}

impl<'r> TokenReader<'r> {
    pub(super) fn new(head: Head<'r>) -> Self {
        let format = match media_type(head.headers) {
            _ if !head.has_body || head.headers.contains_key(header::CONTENT_ENCODING) => None,
            Some(MediaType::Form) => Some(Format::Form),
            Some(MediaType::Json) => Some(Format::Json),
            Some(MediaType::Multipart(_)) | None => None,
        };
        Self {
            query: head.path_and_query().1,
            unread: head.has_body && format.is_none(),
            format,
            body: Zeroizing::default(),
        }
    }

    /// True if the body may say something.
    pub(super) const fn wants_body(&self) -> bool {
        self.format.is_some()
    }

    /// Reads the next bytes. A body that is too long says nothing.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.body.len() + bytes.len() > MOST {
            self.format = None;
            self.unread = true;
            self.body.clear();
        }
        if self.wants_body() {
            self.body.extend_from_slice(bytes);
        }
    }

    /// What the request asks for. `token` is the name under which a token is presented beside `refresh_token`.
    pub(super) fn finish(self, purpose: TokenPurpose, token: &str) -> TokenRequest<'static> {
        let mut said = Said::default();
        said.read_form(self.query.as_bytes(), token);
        match self.format {
            Some(Format::Form) => said.read_form(&self.body, token),
            Some(Format::Json) => said.read_json(&self.body, token),
            None => {}
        }
        // Which of two the server takes is not known: it teaches nothing beside what the answer says.
        let unclear = said.twice || self.unread;
        if unclear {
            said = Said::default();
        }
        let presented = match purpose {
            TokenPurpose::Revoke => said.token.or(said.refresh),
            TokenPurpose::Issue | TokenPurpose::Other => said.refresh,
        };
        TokenRequest {
            purpose,
            unclear,
            grant_type: said
                .grant_type
                .map_or(GrantType::Other, |name| GrantType::parse(&name)),
            token: presented.map(|text| Secret::new(text.into_bytes())),
            scopes: said.scope.as_deref().map(scopes_in),
        }
    }
}

/// The parameters that matter.
#[derive(Default)]
struct Said {
    grant_type: Option<String>,
    refresh: Option<String>,
    token: Option<String>,
    scope: Option<String>,
    twice: bool,
}

impl Said {
    fn read_form(&mut self, form: &[u8], token: &str) {
        for pair in form.split(|b| *b == b'&') {
            let cut = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let (name, value) = pair.split_at(cut);
            let (mut plain, mut text) = (Vec::new(), Vec::new());
            decode(name, &mut plain);
            decode(value.get(1..).unwrap_or_default(), &mut text);
            if let (Ok(name), Ok(text)) = (str::from_utf8(&plain), String::from_utf8(text)) {
                self.note(name, text, token);
            }
        }
    }

    fn read_json(&mut self, body: &[u8], token: &str) {
        let Ok(members) = serde_json::from_slice::<Members<'_>>(body) else {
            return;
        };
        for (name, value) in members.0 {
            if let Ok(text) = serde_json::from_str::<String>(value.get()) {
                self.note(&name, text, token);
            }
        }
    }

    fn note(&mut self, name: &str, text: String, token: &str) {
        if name.is_empty() {
            return;
        }
        let place = match name {
            "grant_type" => &mut self.grant_type,
            "refresh_token" => &mut self.refresh,
            "scope" => &mut self.scope,
            name if name == token => &mut self.token,
            _ => return,
        };
        self.twice |= place.replace(text).is_some();
    }
}

/// The members of an object, one after the other: a name that stands twice is seen twice.
struct Members<'b>(Vec<(Cow<'b, str>, &'b serde_json::value::RawValue)>);

impl<'de: 'b, 'b> Deserialize<'de> for Members<'b> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) =
                    map.next_entry::<Cow<'de, str>, &'de serde_json::value::RawValue>()?
                {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// Scopes in one text: separated by blanks (RFC 6749 section 3.3), commas, or both.
fn scopes_in(text: &str) -> Vec<String> {
    text.split([' ', ',', '\t', '\n', '\r'])
        .filter(|code| !code.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What vendors put into the answer to a token request, or to a question about a token. A member that stands twice makes
/// it none.
#[derive(Deserialize)]
struct Fields<'b> {
    #[serde(borrow, default)]
    access_token: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    refresh_token: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    issued_token_type: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    session_id: Option<Cow<'b, str>>,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
    #[serde(default)]
    scope: Option<serde_json::Value>,
    /// Bitrix24.
    #[serde(default)]
    user_id: Option<serde_json::Value>,
    #[serde(borrow, default)]
    member_id: Option<Cow<'b, str>>,
    /// RingCentral.
    #[serde(default)]
    owner_id: Option<serde_json::Value>,
    /// LiveChat.
    #[serde(borrow, default)]
    account_id: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    organization_id: Option<Cow<'b, str>>,
}

impl Fields<'_> {
    fn lasts(&self) -> Option<u32> {
        let secs = match self.expires_in.as_ref()? {
            serde_json::Value::Number(number) => number.as_f64(),
            serde_json::Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        // Said in a way that nobody reads: what is certain is that it ends.
        let secs = secs.and_then(whole).unwrap_or_default();
        Some(u32::try_from(secs).unwrap_or(u32::MAX))
    }

    /// The scopes; `None` where the answer does not name them. Bitrix24's `app` is none (published answers of local apps).
    fn scopes(&self, vendor: Vendor) -> Option<Vec<String>> {
        let scopes = match self.scope.as_ref()? {
            serde_json::Value::String(text) => scopes_in(text),
            serde_json::Value::Array(list) => {
                let texts: Option<Vec<&str>> = list.iter().map(serde_json::Value::as_str).collect();
                texts?.into_iter().flat_map(scopes_in).collect()
            }
            _ => return None,
        };
        let app = vendor == Vendor::Bitrix24 && scopes.iter().any(|code| code == "app");
        (!app).then_some(scopes)
    }

    fn user(&self) -> Option<Box<str>> {
        let account = self.account_id.as_deref().map(short);
        let id = |value: &Option<serde_json::Value>| match value {
            Some(serde_json::Value::String(text)) => Some(short(text)),
            Some(serde_json::Value::Number(number)) => Some(number.to_string().into()),
            _ => None,
        };
        id(&self.user_id).or_else(|| id(&self.owner_id)).or(account)
    }

    fn tenant(&self) -> Option<Box<str>> {
        let organization = self.organization_id.as_deref();
        self.member_id.as_deref().or(organization).map(short)
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is within bounds, and no part of a second matters"
)]
fn whole(secs: f64) -> Option<u64> {
    (0.0..=1e18).contains(&secs).then_some(secs as u64)
}

/// An id of the vendor, as far as it is kept.
fn short(text: &str) -> Box<str> {
    text.chars().take(64).collect()
}

impl Vendor {
    /// What an answer of the token endpoint says; `None` if it brings no access token.
    pub fn token_answer(self, body: &[u8]) -> Option<TokenAnswer> {
        let fields: Fields<'_> = serde_json::from_slice(body).ok()?;
        let fits = |token: &&Cow<'_, str>| {
            !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic())
        };
        let access = fields.access_token.as_ref().filter(fits)?;
        // An exchange may bring something else than an access token (RFC 8693 section 3).
        let other = fields
            .issued_token_type
            .as_deref()
            .is_some_and(|kind| kind != "urn:ietf:params:oauth:token-type:access_token");
        if other {
            return None;
        }
        let secret = |text: &Cow<'_, str>| Secret::new(text.as_bytes().to_vec());
        Some(TokenAnswer {
            access: secret(access),
            refresh: fields.refresh_token.as_ref().filter(fits).map(secret),
            session: fields.session_id.as_ref().map(secret),
            lasts: fields.lasts(),
            unclear_scopes: fields.scope.is_some() && fields.scopes(self).is_none(),
            scopes: fields.scopes(self),
            user: fields.user(),
            tenant: fields.tenant(),
        })
    }

    /// True if the scopes that a token request asks for are those that the token has, where the answer does not say
    /// (RFC 6749 section 5.1). Bitrix24 and RingCentral grant what the app is registered with, whatever is asked for.
    pub const fn grants_as_requested(self) -> bool {
        matches!(self, Self::LiveChat)
    }

    /// True if an access token dies as soon as its refresh token has brought another.
    pub const fn ends_replaced(self) -> bool {
        matches!(self, Self::RingCentral)
    }

    /// True if a revocation ends every token of the login, not only the one that is named.
    pub const fn revokes_sessions(self) -> bool {
        matches!(self, Self::RingCentral)
    }

    /// What an answer of LiveChat's `GET /v2/info` says about the token that was asked about.
    pub(super) fn info(self, asked: &Secret<'_>, body: &[u8]) -> Finding {
        let Ok(fields) = serde_json::from_slice::<Fields<'_>>(body) else {
            return Finding::Unclear;
        };
        // Somebody else's answer teaches nothing.
        let same = |token: &Cow<'_, str>| token.as_bytes() == asked.expose();
        if !fields.access_token.as_ref().is_some_and(same) {
            return Finding::Unclear;
        }
        let Some(scopes) = fields.scopes(self) else {
            return Finding::Unclear;
        };
        Finding::Holds {
            lasts: fields.lasts(),
            user: fields.user(),
            tenant: fields.tenant(),
            scopes,
        }
    }
}
