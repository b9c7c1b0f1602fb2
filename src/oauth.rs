//! OAuth as a client: asking an authorization server about a token (RFC 7662), and what an app does to log in and refresh.
//!
//! No other module names the oauth2 crate. It brings the protocol; the connection is the caller's, and answers of token
//! endpoints are read leniently, since vendors leave out the type, or write numbers as text and scopes with commas.

mod login;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use oauth2::basic::BasicClient;
use oauth2::{
    AccessToken, AsyncHttpClient, AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet,
    IntrospectionUrl, TokenIntrospectionResponse as _,
};

pub use login::{Login, LoginError, Tokens};
pub use oauth2::{HttpRequest, HttpResponse};

use crate::model::{Finding, Secret};

/// Sends requests and brings their answers.
pub trait Transport: Send + Sync {
    /// Sends a request.
    fn send(&self, request: HttpRequest) -> Sending<'_>;
}

/// A request under way.
pub type Sending<'t> = Pin<Box<dyn Future<Output = Result<HttpResponse, Unanswered>> + Send + 't>>;

/// No answer came.
#[derive(Debug, thiserror::Error)]
#[error("no answer: {0}")]
pub struct Unanswered(pub String);

/// A transport, as the oauth2 crate wants one.
struct Via(Arc<dyn Transport>);

impl<'c> AsyncHttpClient<'c> for Via {
    type Error = Unanswered;
    type Future = Sending<'c>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        self.0.send(request)
    }
}

/// Asks an authorization server what a token may do.
pub struct Introspector(
    BasicClient<EndpointNotSet, EndpointNotSet, EndpointSet, EndpointNotSet, EndpointNotSet>,
);

impl Introspector {
    /// An endpoint by its URL, and the credentials by which the gate is known there (HTTP Basic, RFC 6749 section 2.3.1).
    ///
    /// # Errors
    /// If the URL is none.
    pub fn new(endpoint: &str, client_id: &str, client_secret: &str) -> Result<Self, String> {
        let endpoint =
            IntrospectionUrl::new(endpoint.to_owned()).map_err(|error| error.to_string())?;
        Ok(Self(
            BasicClient::new(ClientId::new(client_id.to_owned()))
                .set_client_secret(ClientSecret::new(client_secret.to_owned()))
                .set_auth_type(AuthType::BasicAuth)
                .set_introspection_url(endpoint),
        ))
    }

    /// Asks about a token. `now` is in seconds since 1970.
    ///
    /// A token that is not active does not hold any more, whatever it was; an answer that cannot be read says nothing.
    pub fn ask<'i>(
        &'i self,
        token: &Secret<'_>,
        now: u32,
        transport: Arc<dyn Transport>,
    ) -> Pin<Box<dyn Future<Output = Finding> + Send + 'i>> {
        let token = String::from_utf8_lossy(token.expose()).into_owned();
        Box::pin(self.ask_about(AccessToken::new(token), now, transport))
    }

    async fn ask_about(
        &self,
        token: AccessToken,
        now: u32,
        transport: Arc<dyn Transport>,
    ) -> Finding {
        let via = Via(transport);
        let answer = match self.0.introspect(&token).request_async(&via).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "an authorization server could not be asked");
                return Finding::Unclear;
            }
        };
        if !answer.active() {
            return Finding::Revoked;
        }
        let Some(scopes) = answer.scopes() else {
            // An active token of which nobody says what it may do.
            return Finding::Unclear;
        };
        let lasts = answer.exp().map(|end| {
            u32::try_from(end.timestamp().max(0))
                .unwrap_or(u32::MAX)
                .saturating_sub(now)
        });
        Finding::Holds {
            scopes: scopes
                .iter()
                .flat_map(|scope| scope.split(','))
                .filter(|code| !code.is_empty())
                .map(str::to_owned)
                .collect(),
            lasts,
            user: answer.sub().or_else(|| answer.username()).map(Into::into),
            tenant: None,
        }
    }
}

impl fmt::Debug for Introspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspector").finish_non_exhaustive()
    }
}
