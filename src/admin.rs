//! The admin listener: `/metrics`, `/healthz`, `/readyz`. It answers questions and changes nothing.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;

use crate::telemetry::Metrics;
use crate::tls::{Acceptor, Stream};

/// For a request's head to arrive; an idle connection is closed after it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether calls can be served, and why not.
#[derive(Debug)]
pub struct Health {
    metrics: Arc<Metrics>,
    stopping: AtomicBool,
}

#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    /// What is wrong, by part; empty if nothing is.
    trouble: Vec<Trouble>,
}

#[derive(Debug, Serialize)]
struct Trouble {
    part: &'static str,
    cause: String,
}

impl Health {
    /// All is well until something says otherwise.
    pub const fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on nothing new should be sent here.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn readiness(&self) -> Readiness {
        let mut trouble = Vec::new();
        if let Some(cause) = self.metrics.journal.trouble() {
            trouble.push(Trouble {
                part: "journal",
                cause,
            });
        }
        if self.stopping.load(Ordering::Relaxed) {
            trouble.push(Trouble {
                part: "process",
                cause: "stopping".to_owned(),
            });
        }
        Readiness {
            ready: trouble.is_empty(),
            trouble,
        }
    }
}

/// Serves the admin listener until the future is dropped.
///
/// # Errors
/// If the listener cannot be used.
pub fn serve(
    listener: TcpListener,
    tls: Option<Acceptor>,
    health: Arc<Health>,
) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    Ok(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (health, tls) = (Arc::clone(&health), tls.clone());
            tokio::spawn(async move {
                let stream = match &tls {
                    None => Stream::Plain(stream),
                    Some(tls) => match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                        Ok(Ok(stream)) => stream,
                        Ok(Err(_)) | Err(_) => return,
                    },
                };
                let service = service_fn(move |request| {
                    let response = answer(&health, &request);
                    async move { Ok::<_, Infallible>(response) }
                });
                let builder = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(PATIENCE)
                    .serve_connection(TokioIo::new(stream), service);
                // Whoever asks may hang up at any time.
                let _ = builder.await;
            });
        }
    })
}

fn answer(health: &Health, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain; charset=utf-8",
            "only GET and HEAD\n".to_owned(),
        );
    }
    match request.uri().path() {
        "/metrics" => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            text(StatusCode::OK, kind, health.metrics.encode())
        }
        "/healthz" => json(StatusCode::OK, &serde_json::json!({ "live": true })),
        "/readyz" => {
            let readiness = health.readiness();
            let status = if readiness.ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            json(status, &readiness)
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "there are /metrics, /healthz and /readyz\n".to_owned(),
        ),
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_string(value).unwrap_or_default() + "\n";
    text(status, "application/json", body)
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
