//! Traffic of the token endpoint: what a request asks for and what an answer says.

use super::Secret;

/// What a request to the authorization server is about. Not shown anywhere: it holds credentials.
#[derive(Debug)]
pub struct TokenRequest<'r> {
    /// What is asked for.
    pub purpose: TokenPurpose,
    /// It says something twice, or in a body that is not read: what it says is not known.
    pub unclear: bool,
    /// By which grant (RFC 6749 section 1.3).
    pub grant_type: GrantType,
    /// The refresh token that is presented, or the token that is revoked.
    pub token: Option<Secret<'r>>,
    /// The scopes that are asked for, where the request says.
    pub scopes: Option<Vec<String>>,
}

/// What a request to the authorization server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenPurpose {
    /// A token (RFC 6749 section 4).
    Issue,
    /// A token's end (RFC 7009).
    Revoke,
    /// Something else: pages of a login, facts about a token.
    Other,
}

/// Kinds of grants by which a token can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantType {
    /// A code (RFC 6749 section 4.1).
    AuthorizationCode,
    /// A refresh token (section 6).
    RefreshToken,
    /// The app itself (section 4.4).
    ClientCredentials,
    /// A user's password (section 4.3).
    Password,
    /// A signed assertion (RFC 7523).
    JwtBearer,
    /// A device's code (RFC 8628).
    DeviceCode,
    /// Another token (RFC 8693).
    TokenExchange,
    /// One of the vendor's own, or none that could be read.
    Other,
}

impl GrantType {
    /// The grant type with this name on the wire; LiveChat also says `code`.
    pub fn parse(name: &str) -> Self {
        match name {
            "authorization_code" | "code" => Self::AuthorizationCode,
            "refresh_token" => Self::RefreshToken,
            "client_credentials" => Self::ClientCredentials,
            "password" => Self::Password,
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => Self::JwtBearer,
            "urn:ietf:params:oauth:grant-type:device_code" => Self::DeviceCode,
            "urn:ietf:params:oauth:grant-type:token-exchange" => Self::TokenExchange,
            _ => Self::Other,
        }
    }

    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::Password => "password",
            Self::JwtBearer => "jwt_bearer",
            Self::DeviceCode => "device_code",
            Self::TokenExchange => "token_exchange",
            Self::Other => "other",
        }
    }
}

/// What an answer of the token endpoint says (RFC 6749 section 5.1), as far as it is remembered.
#[derive(Debug)]
pub struct TokenAnswer {
    /// The access token.
    pub access: Secret<'static>,
    /// The refresh token.
    pub refresh: Option<Secret<'static>>,
    /// The vendor's session.
    pub session: Option<Secret<'static>>,
    /// For how many seconds the access token is good; `None` if nobody said.
    pub lasts: Option<u32>,
    /// The scopes; `None` if the answer does not say, or not in codes.
    pub scopes: Option<Vec<String>>,
    /// The answer says something of scopes, and not which.
    pub unclear_scopes: bool,
    /// The vendor's user behind the token.
    pub user: Option<Box<str>>,
    /// The user's portal, account or organization.
    pub tenant: Option<Box<str>>,
}

/// What the vendor says of a token that was asked about.
#[derive(Debug)]
pub enum Finding {
    /// What it may do.
    Holds {
        /// Its scopes.
        scopes: Vec<String>,
        /// For how many seconds it is still good; `None` if nobody said.
        lasts: Option<u32>,
        /// The vendor's user behind it.
        user: Option<Box<str>>,
        /// The user's portal, account or organization.
        tenant: Option<Box<str>>,
    },
    /// Its time is over.
    Expired,
    /// It does not hold any more.
    Revoked,
    /// The vendor does not know it.
    Unknown,
    /// The answer says nothing about it: the vendor is out of order, or busy.
    Unclear,
}
