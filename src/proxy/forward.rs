//! Step 7: what is sent is what was decided.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};

use http::{HeaderMap, Request, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use super::Core;
use super::body::{BodyError, CallBody};
use super::enforce::Permitted;
use super::exchange::Exchange;
use super::waiting::{Late, Waiting};
use crate::model::{Outcome, Reason};
use crate::snapshot::{Gate, Limits, Route};
use crate::telemetry::with_causes;
use crate::upstream::{Answer, Circuit, ConnectError, Lease, SendError};

/// What came of forwarding, with the exchange that it belongs to.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) exchange: Box<Exchange>,
    pub(super) result: Result<(http::response::Parts, Incoming, Lease<CallBody>), Reason>,
}

/// Sends a permitted request: the target and body bytes as they were judged, the header fields less those that end
/// here.
pub(super) fn forward(
    core: &Core,
    gate: &Gate,
    limits: &Limits,
    permitted: Permitted,
    mut exchange: Box<Exchange>,
) -> impl Future<Output = Forwarded> {
    let watching = permitted.watching;
    let mut request = permitted.into_request();
    let route = exchange.route;
    rebuild(&mut request, gate, route, watching);
    exchange.span.goes_with(request.headers_mut());
    if route == Route::AuthorizationServer {
        // A token answer is short, and to be read by whoever learns from it.
        let identity = HeaderValue::from_static("identity");
        request
            .headers_mut()
            .insert(header::ACCEPT_ENCODING, identity);
    }
    let circuit = Arc::clone(&gate.destination(route).settings.circuit);
    // A gate that watches tries every time.
    let tried = watching || circuit.permits();
    exchange.sending();
    // The request leaves before there is a future to keep it in: a call that waits for its answer is small.
    let pools = core.pools.get(usize::from(gate.index)).filter(|_| tried);
    let upload = request.body_mut().upload();
    let sent = pools.map(|pools| {
        let settings = &gate.destination(route).settings;
        Waiting::new(limits, upload, pools.to(route).send(settings, request))
    });
    async move {
        let Some(sent) = sent else {
            exchange.attempts = Some(0);
            return failed(exchange, Reason::UpstreamUnreachable, Outcome::NotForwarded);
        };
        let sent = sent.await;
        note(gate, &circuit, &sent);
        match sent {
            Ok(Ok(Answer { response, lease })) => {
                exchange.answered(lease.peer());
                let (head, body) = response.into_parts();
                Forwarded {
                    exchange,
                    result: Ok((head, body, lease)),
                }
            }
            Ok(Err(error)) => unanswered(gate, exchange, error),
            Err(Late::Upstream) => failed(exchange, Reason::UpstreamTimeout, Outcome::Timeout),
            Err(Late::App) => failed(exchange, Reason::AmbiguousFraming, Outcome::ClientGone),
        }
    }
}

/// Tells the circuit whether a connection was made.
fn note<T, E>(gate: &Gate, circuit: &Circuit, sent: &Result<Result<T, SendError>, E>) {
    if sent.is_err() {
        // Too late, for whatever reason: it may have a connection or not.
        return;
    }
    if let Ok(Err(SendError::Connect(error))) = sent {
        if circuit.failed() {
            tracing::warn!(
                gate = gate.name,
                error = with_causes(error),
                "nobody answers at the upstream: calls are told so at once"
            );
        }
    } else if circuit.connected() {
        tracing::info!(gate = gate.name, "the upstream answers again");
    }
}

/// Says why there is no answer, and whether the call may have reached the vendor.
fn unanswered(gate: &Gate, mut exchange: Box<Exchange>, error: SendError) -> Forwarded {
    match error {
        SendError::Connect(ConnectError::Timeout) => {
            failed(exchange, Reason::UpstreamTimeout, Outcome::NotForwarded)
        }
        SendError::Connect(error) => {
            let error = with_causes(&error);
            tracing::debug!(decision = %exchange.event, gate = gate.name, error, "no connection");
            failed(exchange, Reason::UpstreamUnreachable, Outcome::NotForwarded)
        }
        SendError::Broken { source, peer } => {
            exchange.unanswered(&peer);
            if source.is_user() {
                let (reason, outcome) = broken_off(&source);
                return failed(exchange, reason, outcome);
            }
            let reason = if source.is_parse() {
                Reason::UpstreamInvalid
            } else {
                Reason::UpstreamUnreachable
            };
            failed(exchange, reason, Outcome::Reset)
        }
    }
}

/// Why the request's own body broke off.
fn broken_off(error: &hyper::Error) -> (Reason, Outcome) {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    match cause {
        Some(BodyError::Unclean(fault)) => (fault.reason, Outcome::Aborted),
        Some(BodyError::Stored(error)) => {
            tracing::error!(
                %error,
                "a body that waited is lost"
            );
            (Reason::Internal, Outcome::Aborted)
        }
        Some(BodyError::App(_) | BodyError::Cut) | None => {
            (Reason::AmbiguousFraming, Outcome::ClientGone)
        }
    }
}

fn failed(mut exchange: Box<Exchange>, reason: Reason, outcome: Outcome) -> Forwarded {
    exchange.ends(outcome);
    Forwarded {
        exchange,
        result: Err(reason),
    }
}

/// Writes target, version, `Host` and framing anew and takes out what ends at the gate.
fn rebuild(request: &mut Request<CallBody>, gate: &Gate, route: Route, watching: bool) {
    // The bytes of path and query stay; scheme and authority of an absolute target were checked and are dropped.
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = target.map_or_else(Uri::default, Uri::from);
    *request.version_mut() = Version::HTTP_11;
    let verb = request.method().clone();
    let empty = request.body().is_end_stream();
    let headers = request.headers_mut();
    let had_length = headers.contains_key(header::CONTENT_LENGTH)
        || headers.contains_key(header::TRANSFER_ENCODING);
    let named = named_by_connection(headers);
    let ending: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            ends_here(&dashed(name.as_str()))
                || (!watching && gate.vendor.is_ambient_credential(name.as_str()))
                || (is_override(name.as_str()) && repeats(headers, name, verb.as_str()))
        })
        .cloned()
        .collect();
    for name in ending.iter().chain(&named) {
        headers.remove(name);
    }
    headers.insert(header::HOST, gate.destination(route).authority.clone());
    if had_length && empty {
        // An empty body that was announced stays announced.
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

/// Header fields that `Connection` names: they are for this hop only (RFC 9110 section 7.6.1).
pub(super) fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter();
    let plain = |name: &[u8]| {
        name.eq_ignore_ascii_case(b"keep-alive") || name.eq_ignore_ascii_case(b"close")
    };
    values
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !plain(name))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect()
}

/// Header fields that end at the gate, whatever they say. The framing is written anew from the body.
fn ends_here(name: &str) -> bool {
    match name.as_bytes() {
        b"connection" | b"keep-alive" | b"te" | b"trailer" | b"transfer-encoding"
        | b"content-length" | b"upgrade" | b"http2-settings" | b"expect" | b"forwarded"
        | b"x-real-ip" | b"x-original-url" | b"x-rewrite-url" => true,
        name => [b"proxy-".as_slice(), b"x-forwarded-", b"grantgate-"]
            .into_iter()
            .any(|prefix| name.starts_with(prefix)),
    }
}

/// A field's name as CGI sees it, which makes one of `-` and `_`.
fn dashed(name: &str) -> Cow<'_, str> {
    if name.contains('_') {
        Cow::Owned(name.replace('_', "-"))
    } else {
        Cow::Borrowed(name)
    }
}

fn is_override(name: &str) -> bool {
    matches!(
        name,
        "x-http-method-override" | "x-http-method" | "x-method-override"
    )
}

fn repeats(headers: &HeaderMap, name: &HeaderName, verb: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(verb.as_bytes()))
}
