//! What an app does: a code for tokens (RFC 6749 section 4.1 with PKCE, RFC 7636), and a refresh token for new ones.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AccessToken, AuthType, AuthorizationCode, Client, ClientId, ClientSecret, EndpointNotSet,
    EndpointSet, PkceCodeChallenge, RefreshToken, RequestTokenError, Scope, StandardRevocableToken,
    TokenResponse, TokenUrl,
};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Transport, Via};

/// An app's side of a token endpoint.
pub struct Login(
    Client<
        BasicErrorResponse,
        Answer,
        BasicTokenIntrospectionResponse,
        StandardRevocableToken,
        BasicRevocationErrorResponse,
        EndpointNotSet,
        EndpointNotSet,
        EndpointNotSet,
        EndpointNotSet,
        EndpointSet,
    >,
);

/// What a login brings.
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// The refresh token, if there is one.
    pub refresh: Option<String>,
    /// The scopes, if the answer says.
    pub scopes: Option<Vec<String>>,
    /// For how long the access token is good.
    pub lasts: Option<Duration>,
}

/// The token endpoint did not give tokens.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The endpoint's address is none.
    #[error("the token endpoint is no URL")]
    Url,
    /// It refused.
    #[error("the token endpoint refuses: {0}")]
    Refused(String),
    /// It could not be reached, or answered something else.
    #[error("the token endpoint cannot be used: {0}")]
    Failed(String),
}

/// A token answer, read leniently. Private to this module: it is made of secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answer {
    access_token: AccessToken,
    #[serde(default)]
    refresh_token: Option<RefreshToken>,
    #[serde(default = "bearer", skip)]
    token_type: BasicTokenType,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
    #[serde(default, rename = "scope", deserialize_with = "scopes")]
    scopes: Option<Vec<Scope>>,
}

const fn bearer() -> BasicTokenType {
    BasicTokenType::Bearer
}

/// A number, or a number as text.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Number(number) => number.as_u64(),
        serde_json::Value::String(text) => text.parse().ok(),
        _ => None,
    })
}

/// Codes separated by blanks, commas or both.
fn scopes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Scope>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|text| {
        text.split([' ', ','])
            .filter(|code| !code.is_empty())
            .map(|code| Scope::new(code.to_owned()))
            .collect()
    }))
}

impl TokenResponse for Answer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &Self::TokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in.map(Duration::from_secs)
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        self.scopes.as_ref()
    }
}

impl Login {
    /// An app that is known by these credentials at a token endpoint; they go in the body.
    ///
    /// # Errors
    /// If the endpoint is no URL.
    pub fn new(endpoint: &str, client_id: &str, client_secret: &str) -> Result<Self, LoginError> {
        let endpoint = TokenUrl::new(endpoint.to_owned()).map_err(|_| LoginError::Url)?;
        Ok(Self(
            Client::new(ClientId::new(client_id.to_owned()))
                .set_client_secret(ClientSecret::new(client_secret.to_owned()))
                .set_auth_type(AuthType::RequestBody)
                .set_token_uri(endpoint),
        ))
    }

    /// Takes a code to the token endpoint, with the verifier of a challenge.
    ///
    /// # Errors
    /// If there are no tokens for it.
    pub async fn exchange(
        &self,
        code: &str,
        transport: Arc<dyn Transport>,
    ) -> Result<Tokens, LoginError> {
        let (_, verifier) = PkceCodeChallenge::new_random_sha256();
        let request = self
            .0
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(verifier);
        tokens(request.request_async(&Via(transport)).await)
    }

    /// Takes a refresh token to the token endpoint.
    ///
    /// # Errors
    /// If there are no tokens for it.
    pub async fn refresh(
        &self,
        refresh: &str,
        transport: Arc<dyn Transport>,
    ) -> Result<Tokens, LoginError> {
        let refresh = RefreshToken::new(refresh.to_owned());
        let request = self.0.exchange_refresh_token(&refresh);
        tokens(request.request_async(&Via(transport)).await)
    }
}

fn tokens<E: Error + 'static>(
    answer: Result<Answer, RequestTokenError<E, BasicErrorResponse>>,
) -> Result<Tokens, LoginError> {
    match answer {
        Ok(answer) => Ok(Tokens {
            lasts: answer.expires_in(),
            access: answer.access_token.secret().clone(),
            refresh: answer.refresh_token.map(|token| token.secret().clone()),
            scopes: answer
                .scopes
                .map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect()),
        }),
        Err(RequestTokenError::ServerResponse(refusal)) => {
            Err(LoginError::Refused(refusal.to_string()))
        }
        // Its text may hold the answer, and with it a token.
        Err(RequestTokenError::Parse(..)) => {
            Err(LoginError::Failed("the answer holds no tokens".to_owned()))
        }
        Err(error) => Err(LoginError::Failed(error.to_string())),
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("scopes", &self.scopes)
            .field("lasts", &self.lasts)
            .finish_non_exhaustive()
    }
}
