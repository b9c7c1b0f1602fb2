//! Asking about one token: the vendor, in its own way, or an authorization server (RFC 7662).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Full;

use crate::clock::Timestamp;
use crate::model::{CredentialKind, Finding, GrantSource, Secret, Server};
use crate::oauth::{HttpRequest, HttpResponse, Introspector, Sending, Transport, Unanswered};
use crate::upstream::{self, Pool};
use crate::vendor::Vendor;

/// The longest answer that is read, in bytes.
const MOST: usize = 64 * 1024;

/// Connections for questions.
pub(super) type Questions = Pool<Full<Bytes>>;

/// How unknown tokens are asked about.
#[derive(Debug, Clone)]
pub enum Way {
    /// Not at all: only the disk is looked at.
    Nobody,
    /// The vendor is asked.
    Vendor {
        /// The vendor's API.
        upstream: Arc<upstream::Settings>,
        /// The vendor's authorization server.
        authorization_server: Arc<upstream::Settings>,
    },
    /// An authorization server of one's own is asked.
    Introspection(Arc<Introspection>),
}

/// An authorization server that knows the vendor's tokens.
#[derive(Debug)]
pub struct Introspection {
    /// How to get there.
    pub settings: Arc<upstream::Settings>,
    /// The endpoint, and who the gate is there.
    pub introspector: Introspector,
}

/// The upstream could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

impl Way {
    /// What a grant that is learned so is called.
    pub(super) const fn source(&self) -> GrantSource {
        match self {
            Self::Nobody | Self::Vendor { .. } => GrantSource::VendorInfo,
            Self::Introspection(_) => GrantSource::Introspection,
        }
    }

    /// True if this kind of credential can be asked about.
    pub(super) fn can_ask(&self, vendor: Vendor, kind: CredentialKind) -> bool {
        match self {
            Self::Nobody => false,
            Self::Vendor { .. } => vendor.can_be_asked(kind),
            Self::Introspection(_) => kind == CredentialKind::Access,
        }
    }

    /// Puts the question.
    pub(super) fn put<'q>(
        &'q self,
        pool: &'q Arc<Questions>,
        vendor: Vendor,
        kind: CredentialKind,
        secret: &'q Secret<'static>,
    ) -> Pin<Box<dyn Future<Output = Finding> + Send + 'q>> {
        Box::pin(async move { self.put_unboxed(pool, vendor, kind, secret).await })
    }

    async fn put_unboxed(
        &self,
        pool: &Arc<Questions>,
        vendor: Vendor,
        kind: CredentialKind,
        secret: &Secret<'static>,
    ) -> Finding {
        match self {
            Self::Nobody => Finding::Unknown,
            Self::Vendor {
                upstream,
                authorization_server,
            } => {
                let Some((server, request)) = vendor.question(kind, secret) else {
                    return Finding::Unknown;
                };
                let settings = match server {
                    Server::Resource => upstream,
                    Server::Authorization => authorization_server,
                };
                match send(Arc::clone(pool), Arc::clone(settings), request).await {
                    Ok(answer) => {
                        vendor.finding(kind, secret, answer.status().as_u16(), answer.body())
                    }
                    Err(NoAnswer) => Finding::Unclear,
                }
            }
            Self::Introspection(server) => {
                let now = Timestamp::now().as_secs();
                let to: Arc<dyn Transport> = Arc::new(To {
                    pool: Arc::clone(pool),
                    settings: Arc::clone(&server.settings),
                });
                server.introspector.ask(secret, now, to).await
            }
        }
    }
}

/// The way to one server.
struct To {
    pool: Arc<Questions>,
    settings: Arc<upstream::Settings>,
}

impl Transport for To {
    fn send(&self, request: HttpRequest) -> Sending<'_> {
        Box::pin(async move {
            send(
                Arc::clone(&self.pool),
                Arc::clone(&self.settings),
                request.map(Bytes::from),
            )
            .await
            .map_err(|NoAnswer| Unanswered("the server cannot be reached".to_owned()))
        })
    }
}

/// Sends a request and reads its whole answer.
async fn send(
    pool: Arc<Questions>,
    settings: Arc<upstream::Settings>,
    mut request: Request<Bytes>,
) -> Result<HttpResponse, NoAnswer> {
    if !settings.circuit.permits() {
        return Err(NoAnswer);
    }
    let target = request.uri().path_and_query().cloned().ok_or(NoAnswer)?;
    *request.uri_mut() = target.into();
    let host = HeaderValue::try_from(settings.authority.as_str()).map_err(|_| NoAnswer)?;
    request.headers_mut().insert(header::HOST, host);
    let agent = HeaderValue::from_static(concat!("grantgate/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().insert(header::USER_AGENT, agent);
    let sent = pool.send(&settings, request.map(Full::new)).await;
    match &sent {
        Err(upstream::SendError::Connect(_)) => {
            settings.circuit.failed();
        }
        _ => {
            settings.circuit.connected();
        }
    }
    let answer = sent.map_err(|error| {
        tracing::debug!(%error, "a question about a token was not answered");
        NoAnswer
    })?;
    answer.collect(MOST).await.map_err(|error| {
        tracing::debug!(%error, "the answer to a question about a token broke off");
        NoAnswer
    })
}
