//! Emulated vendors, to rehearse against: they answer as the vendor documents, and refuse by their own check of scopes.
//!
//! An emulator reads requests in its own simple way. It shares the catalogue with the gate and nothing of its reader,
//! so that the one can be held against the other.

mod bitrix24;
mod livechat;
mod ringcentral;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::catalogue::Catalogue;
use crate::model::{CredentialKind, Requirement, ScopeSet, Secret, TokenIdKey};
use crate::tls::{Acceptor, Stream};
use crate::vendor::Vendor;

/// How an emulated vendor behaves.
#[derive(Debug, Default)]
pub struct Settings {
    /// Each token with its scopes; a webhook stands here as `USER_ID/SECRET`. The refresh token of `T` is `refresh-T`.
    pub tokens: Vec<(String, Vec<String>)>,
    /// How long access tokens last; for ever if nothing is said.
    pub expires_in: Option<Duration>,
    /// How many calls may come at once; two more come free each second. Any number if nothing is said.
    pub burst: Option<u32>,
    /// Methods that have used up their time.
    pub blocked: Vec<String>,
    /// True if it is reached by TLS: its links say so.
    pub secure: bool,
}

/// An emulated vendor.
#[derive(Debug)]
pub struct Emulator {
    vendor: Vendor,
    catalogue: Catalogue,
    tokens: Mutex<HashMap<String, Token>>,
    /// The tokens that a login hands out, in turn.
    logins: Vec<(String, Vec<String>)>,
    handed_out: AtomicU64,
    /// Refresh tokens that have not been used, with the scopes that they give.
    refresh: Mutex<HashMap<String, Vec<String>>>,
    expires_in: Option<Duration>,
    bucket: Option<Mutex<Bucket>>,
    blocked: Vec<String>,
    secure: bool,
    /// Signs links and makes tokens.
    key: Arc<TokenIdKey>,
    made: AtomicU64,
}

#[derive(Debug)]
struct Token {
    scopes: Vec<String>,
    since: Instant,
}

/// A leaky bucket of calls.
#[derive(Debug)]
struct Bucket {
    level: f64,
    room: f64,
    looked: Instant,
}

/// How many calls leak out of the bucket each second.
const LEAK: f64 = 2.0;

/// An answer of an emulated vendor.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    kind: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

impl Reply {
    #[expect(clippy::needless_pass_by_value, reason = "it is made for the answer")]
    fn json(status: StatusCode, body: serde_json::Value) -> Self {
        Self {
            status,
            kind: "application/json; charset=utf-8",
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
        }
    }

    const fn xml(status: StatusCode, body: String) -> Self {
        Self {
            status,
            kind: "text/xml; charset=utf-8",
            headers: Vec::new(),
            body: body.into_bytes(),
        }
    }

    /// With a header field more.
    fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }

    /// A status, and nothing else.
    const fn bare(status: StatusCode) -> Self {
        Self {
            status,
            kind: "",
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    const fn bytes(body: Vec<u8>) -> Self {
        Self {
            status: StatusCode::OK,
            kind: "application/octet-stream",
            headers: Vec::new(),
            body,
        }
    }
}

impl Emulator {
    /// An emulated vendor.
    pub fn new(vendor: Vendor, catalogue: Catalogue, settings: Settings) -> Self {
        let since = Instant::now();
        let refresh = settings
            .tokens
            .iter()
            .map(|(token, scopes)| (format!("refresh-{token}"), scopes.clone()))
            .collect();
        // No login brings a webhook or a personal access token.
        let comes = |token: &str| vendor.credential_kind(token) == CredentialKind::Access;
        let logins = settings
            .tokens
            .iter()
            .filter(|(token, _)| comes(token))
            .map(|(token, scopes)| (token.clone(), scopes.clone()))
            .collect();
        let tokens = settings
            .tokens
            .into_iter()
            .map(|(token, scopes)| (token, Token { scopes, since }))
            .collect();
        Self {
            vendor,
            catalogue,
            tokens: Mutex::new(tokens),
            logins,
            handed_out: AtomicU64::new(0),
            refresh: Mutex::new(refresh),
            expires_in: settings.expires_in,
            bucket: settings.burst.map(|room| {
                Mutex::new(Bucket {
                    level: 0.0,
                    room: f64::from(room),
                    looked: since,
                })
            }),
            blocked: settings.blocked,
            secure: settings.secure,
            key: Arc::new(TokenIdKey::new(&fastrand::u64(..).to_be_bytes())),
            made: AtomicU64::new(1),
        }
    }

    /// The scopes of a token and whether it has expired, where it is known.
    fn token(&self, token: &str) -> Option<(Vec<String>, bool)> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.get(token)?;
        let expired = self
            .expires_in
            .is_some_and(|lasts| token.since.elapsed() >= lasts);
        Some((token.scopes.clone(), expired))
    }

    /// New access and refresh tokens for a refresh token, which is used up.
    fn renew(&self, refresh: &str) -> Option<(String, String, Vec<String>)> {
        let mut known = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        let scopes = known.remove(refresh)?;
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let secret = Secret::new(number.to_be_bytes().to_vec());
        let access = self.key.identify(&secret).to_string();
        let next = format!("refresh-{access}");
        known.insert(next.clone(), scopes.clone());
        let token = Token {
            scopes: scopes.clone(),
            since: Instant::now(),
        };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(access.clone(), token);
        Some((access, next, scopes))
    }

    /// The next token that a login hands out, with its refresh token and scopes.
    fn hand_out(&self) -> Option<(String, String, Vec<String>)> {
        let turn = self.handed_out.fetch_add(1, Ordering::Relaxed);
        let count = u64::try_from(self.logins.len()).ok()?;
        let turn = usize::try_from(turn.checked_rem(count)?).ok()?;
        let (token, scopes) = self.logins.get(turn)?;
        let refresh = format!("refresh-{token}");
        // One that was revoked, refreshed or has expired is as new.
        let issued = Token {
            scopes: scopes.clone(),
            since: Instant::now(),
        };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(token.clone(), issued);
        let mut known = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(refresh.clone(), scopes.clone());
        Some((token.clone(), refresh, scopes.clone()))
    }

    /// Ends a token and its refresh token, whichever of the two is named. False if neither is known.
    fn revoke(&self, token: &str) -> bool {
        let access = token.strip_prefix("refresh-").unwrap_or(token);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let mut refresh = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        let refreshed = refresh.remove(&format!("refresh-{access}")).is_some();
        tokens.remove(access).is_some() || refreshed
    }

    /// How long access tokens last, in seconds; `usual` where nothing else is said.
    fn lasts(&self, usual: u64) -> u64 {
        self.expires_in.map_or(usual, |lasts| lasts.as_secs())
    }

    /// Where links lead: scheme and host.
    fn origin(&self, head: &Parts) -> String {
        let host = head.headers.get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{host}")
    }

    /// True if a token of these scopes may call what needs this.
    fn may(&self, scopes: &[String], need: &Requirement) -> Result<(), String> {
        let holding = self
            .vendor
            .holding(&self.catalogue, scopes.iter().map(String::as_str));
        match need {
            Requirement::AnyOf(sets) if !sets.iter().any(|set| holding.opens().covers(set)) => {
                let lacks = |set: &ScopeSet| {
                    let missing = set.iter().find(|code| !holding.opens().contains(code));
                    missing.map(str::to_owned)
                };
                Err(sets.first().and_then(lacks).unwrap_or_default())
            }
            _ => Ok(()),
        }
    }

    /// Counts a call; false if there have been too many.
    fn has_room(&self) -> bool {
        let Some(bucket) = &self.bucket else {
            return true;
        };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let leaked = bucket.looked.elapsed().as_secs_f64() * LEAK;
        bucket.looked = Instant::now();
        bucket.level = (bucket.level - leaked).max(0.0);
        let fits = bucket.level < bucket.room;
        if fits {
            bucket.level += 1.0;
        }
        fits
    }

    fn is_blocked(&self, method: &str) -> bool {
        self.blocked
            .iter()
            .any(|blocked| blocked.eq_ignore_ascii_case(method))
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return Response::new(Full::default());
        };
        let body = body.to_bytes();
        let asks_leave =
            head.method == http::Method::OPTIONS && head.headers.contains_key(header::ORIGIN);
        let reply = match self.vendor {
            Vendor::RingCentral | Vendor::LiveChat if asks_leave => {
                Reply::bare(StatusCode::NO_CONTENT)
                    .with(
                        "access-control-allow-headers",
                        "authorization, content-type",
                    )
                    .with(
                        "access-control-allow-methods",
                        "GET, POST, PUT, PATCH, DELETE",
                    )
            }
            Vendor::Bitrix24 => bitrix24::answer(self, &head, &body),
            Vendor::RingCentral => ringcentral::answer(self, &head, &body),
            Vendor::LiveChat => livechat::answer(self, &head, &body),
        };
        let Reply {
            status,
            kind,
            headers,
            body,
        } = reply;
        let mut response = Response::new(Full::new(Bytes::from(body)));
        response.headers_mut().extend(headers);
        *response.status_mut() = status;
        if !kind.is_empty() {
            let kind = HeaderValue::from_static(kind);
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        let anyone = HeaderValue::from_static("*");
        response
            .headers_mut()
            .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, anyone);
        response
    }
}

/// Serves an emulated vendor until the future is dropped. Needs a tokio runtime.
///
/// # Errors
/// If the listener cannot be used.
pub fn serve(
    listener: TcpListener,
    tls: Option<Acceptor>,
    emulator: Arc<Emulator>,
) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    Ok(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let (emulator, tls) = (Arc::clone(&emulator), tls.clone());
            tokio::spawn(async move {
                let stream = match &tls {
                    None => Stream::Plain(stream),
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => stream,
                        Err(_) => return,
                    },
                };
                let service = service_fn(move |request| {
                    let emulator = Arc::clone(&emulator);
                    async move { Ok::<_, Infallible>(emulator.answer(request).await) }
                });
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service);
                // Clients of a rehearsal may hang up at any time.
                let _ = served.await;
            });
        }
    })
}
