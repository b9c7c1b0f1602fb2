//! The admin listener: `/metrics`, `/healthz`, `/readyz`, `/grants`. It answers questions and changes nothing; what changes
//! something comes by a socket in the state directory, which only its owner can open.

mod grants;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::audit::OnAuditFailure;
use crate::snapshot::{Gate, Route, Snapshot};
use crate::telemetry::Metrics;
use crate::tls::{Acceptor, Fair, Stream};

/// For a request's head to arrive, and for an answer to be taken; an idle connection is closed after it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many connections there may be at once: what has descriptors set apart must not take those of calls.
const CONNECTIONS: usize = 16;

/// Whether calls can be served, and why not.
#[derive(Debug)]
pub struct Health {
    metrics: Arc<Metrics>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    stopping: AtomicBool,
}

/// An answer.
type Page = Response<Full<Bytes>>;

#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    /// What is wrong, by part; empty if nothing is.
    trouble: Vec<Trouble>,
    /// What does not work and keeps no call from being served.
    degraded: Vec<Trouble>,
}

#[derive(Debug, Serialize)]
struct Trouble {
    part: &'static str,
    cause: String,
}

impl Health {
    /// All is well until something says otherwise.
    pub const fn new(metrics: Arc<Metrics>, snapshots: Arc<ArcSwap<Snapshot>>) -> Self {
        Self {
            metrics,
            snapshots,
            stopping: AtomicBool::new(false),
        }
    }

    /// Brings the gauges of circuits up to date: those of the generation in force.
    fn show_circuits(&self, snapshot: &Snapshot) {
        for gate in &snapshot.gates {
            let Some(measured) = self.metrics.gate(usize::from(gate.index)) else {
                continue;
            };
            for (gauge, route) in [
                (&measured.circuit, Route::Upstream),
                (&measured.token_circuit, Route::AuthorizationServer),
            ] {
                let circuit = &gate.destination(route).settings.circuit;
                gauge.set(i64::from(circuit.is_open()));
            }
        }
    }

    /// From now on nothing new should be sent here.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn readiness(&self) -> Readiness {
        let mut trouble = Vec::new();
        let mut degraded = Vec::new();
        if let Some(cause) = self.metrics.journal.trouble() {
            let part = "journal";
            // Gates that only watch go on without it: to send their calls elsewhere would do the harm that they avoid.
            if self.refuses_without_journal() {
                trouble.push(Trouble { part, cause });
            } else {
                degraded.push(Trouble { part, cause });
            }
        }
        if self.metrics.journal.is_degraded() {
            degraded.push(Trouble {
                part: "second_dir",
                cause: "only one of the journal's two directories is kept".to_owned(),
            });
        }
        if let Some(cause) = self.metrics.shared.trouble() {
            let part = "redis";
            degraded.push(Trouble { part, cause });
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
            degraded,
        }
    }

    /// True if calls are refused while the journal cannot be written.
    fn refuses_without_journal(&self) -> bool {
        let refuses =
            |gate: &Gate| gate.rules.enforce() || gate.on_audit_failure == OnAuditFailure::Block;
        self.snapshots.load().gates.iter().any(refuses)
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
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    Ok(async move {
        // Who finds no room waits in the system's queue; nobody closes a semaphore.
        while let Ok(held) = Arc::clone(&room).acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (health, tls) = (Arc::clone(&health), tls.clone());
            tokio::spawn(async move {
                let _held = held;
                let stream = match &tls {
                    None => Stream::Plain(stream),
                    Some(tls) => match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                        Ok(Ok(stream)) => stream,
                        Ok(Err(_)) | Err(_) => return,
                    },
                };
                converse(stream, health, false).await;
            });
        }
    })
}

/// Serves the socket at `path`, by which something may be changed, until the future is dropped.
///
/// # Errors
/// If the socket cannot be made.
pub fn serve_socket(
    path: &Path,
    health: Arc<Health>,
) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    // One that a crash has left: the state directory is this process's alone.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            tokio::spawn(converse(stream, Arc::clone(&health), true));
        }
    })
}

/// Answers on one connection.
async fn converse<S>(stream: S, health: Arc<Health>, may_change: bool)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let health = Arc::clone(&health);
        async move { Ok::<_, Infallible>(answer(&health, &request, may_change).await) }
    });
    let builder = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(
            TokioIo::new(Fair::new(stream).with_patience(PATIENCE)),
            service,
        );
    // Whoever asks may hang up at any time.
    let _ = builder.await;
}

async fn answer(health: &Health, request: &Request<Incoming>, may_change: bool) -> Page {
    let (path, query) = (request.uri().path(), request.uri().query());
    let deletes = *request.method() == Method::DELETE && path.starts_with("/grants/");
    if !deletes && !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain; charset=utf-8",
            "only GET and HEAD\n".to_owned(),
        );
    }
    let snapshot = health.snapshots.load_full();
    let query = query.unwrap_or_default();
    let page = grants::answer(&snapshot, request.method(), path, query, may_change).await;
    if let Some(page) = page {
        return page;
    }
    match path {
        "/metrics" => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            health.show_circuits(&snapshot);
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
            "there are /metrics, /healthz, /readyz and /grants\n".to_owned(),
        ),
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Page {
    let body = serde_json::to_string(value).unwrap_or_default() + "\n";
    text(status, "application/json", body)
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Page {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
