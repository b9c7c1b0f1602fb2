//! Emulated vendors, to rehearse against: they answer as the vendor documents, and refuse by their own check of scopes.
//!
//! An emulator reads requests in its own simple way. It shares the catalogue with the gate and nothing of its reader,
//! so that the one can be held against the other.

mod bitrix24;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::catalogue::Catalogue;
use crate::tls::{Acceptor, Stream};
use crate::vendor::Vendor;

/// What an emulated vendor knows.
#[derive(Debug)]
pub struct Emulator {
    vendor: Vendor,
    catalogue: Catalogue,
    /// Each token with its scopes; a webhook stands here as `USER_ID/SECRET`.
    tokens: HashMap<String, Vec<String>>,
    started: Instant,
    expires_in: Option<Duration>,
}

/// An answer of an emulated vendor.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    body: serde_json::Value,
}

impl Emulator {
    /// An emulated vendor with these tokens, all of which expire after `expires_in`, if ever.
    pub fn new(
        vendor: Vendor,
        catalogue: Catalogue,
        tokens: HashMap<String, Vec<String>>,
        expires_in: Option<Duration>,
    ) -> Self {
        Self {
            vendor,
            catalogue,
            tokens,
            started: Instant::now(),
            expires_in,
        }
    }

    /// The scopes of a token, where it is known.
    fn scopes(&self, token: &str) -> Option<&[String]> {
        self.tokens.get(token).map(Vec::as_slice)
    }

    fn has_expired(&self) -> bool {
        self.expires_in
            .is_some_and(|lasts| self.started.elapsed() >= lasts)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return Response::new(Full::default());
        };
        let body = body.to_bytes();
        let Reply { status, body } = match self.vendor {
            Vendor::Bitrix24 => bitrix24::answer(self, &head, &body),
        };
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = status;
        let kind = header::HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        let anyone = header::HeaderValue::from_static("*");
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
