//! Step 9: the answer's body streams, and the completion record closes with its last byte.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::body::CallBody;
use super::exchange::{Arrival, Exchange};
use super::observe::Observed;
use super::read::Unread;
use super::{Connection, Core};
use crate::audit::{EventId, EventKind, Origin, RejectionRecord};
use crate::model::{
    ApiVersion, Call, CredentialKind, CredentialRead, Decision, Fault, Outcome, Reason,
};
use crate::snapshot::{Gate, Limits};
use crate::upstream::Lease;
use crate::vendor::{NativeAnswer, Refusal};

/// The answer to an app.
pub(super) type Answer = Response<AnswerBody>;

const DECISION: HeaderName = HeaderName::from_static("grantgate-decision");
const REASON: HeaderName = HeaderName::from_static("grantgate-reason");

/// What a refusal of this call would say: kept apart from the request, which has gone on by then.
#[derive(Debug)]
pub(super) struct Refusing<'d> {
    fault: Option<Fault>,
    missing: &'d [&'d str],
    version: ApiVersion,
    credential: Option<CredentialKind>,
}

impl<'d> Refusing<'d> {
    pub(super) fn new(call: &Call<'_, '_>, decision: &'d Decision<'d>) -> Self {
        Self {
            fault: call.fault,
            missing: &decision.verdict.missing,
            version: call.operation.version(),
            credential: match &call.credential {
                CredentialRead::One(credential) => Some(credential.kind),
                CredentialRead::Missing | CredentialRead::Unclear => None,
            },
        }
    }
}

/// Passes the vendor's answer on, or answers in its place where it gave none that can be.
pub(super) fn pass(
    core: &Core,
    gate: &Gate,
    limits: &Limits,
    refusing: &Refusing<'_>,
    observed: Observed,
) -> Answer {
    let Observed {
        mut exchange,
        result,
    } = observed;
    let (mut head, body, lease) = match result {
        Ok(answer) => answer,
        Err(reason) => {
            exchange.reason = Some(reason);
            return refuse(gate, refusing, reason, exchange);
        }
    };
    if let Some(metrics) = core.gates.get(usize::from(gate.index)) {
        let (added, upstream) = exchange.times();
        metrics.added.observe(added.as_secs_f64());
        metrics
            .upstream
            .observe(upstream.unwrap_or_default().as_secs_f64());
    }
    exchange.responding(head.status.as_u16(), Origin::Vendor);
    head.headers.insert(DECISION, event_value(&exchange.event));
    if head
        .headers
        .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
    {
        let exposed = HeaderValue::from_static("grantgate-decision");
        head.headers
            .append(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    // The version between gate and app is the server's to say.
    head.version = http::Version::HTTP_11;
    let body = AnswerBody::Vendor(Streaming {
        body,
        lease: Some(lease),
        exchange: Some(exchange),
        patience: limits.answer_idle,
        timer: None,
        broken_off: None,
    });
    Response::from_parts(head, body)
}

/// Refuses a call in the vendor's own words.
pub(super) fn refuse(
    gate: &Gate,
    refusing: &Refusing<'_>,
    reason: Reason,
    mut exchange: Exchange,
) -> Answer {
    exchange.ends(Outcome::NotForwarded);
    let scopes = if reason == Reason::ScopeMissing {
        refusing.missing
    } else {
        &[]
    };
    let refusal = Refusal {
        reason,
        fault: refusing.fault,
        missing: scopes,
        version: refusing.version,
        credential: refusing.credential,
    };
    let NativeAnswer {
        status,
        content_type,
        body,
    } = gate.vendor.refuse(&refusal);
    exchange.responding(status, Origin::Gate);
    let event = exchange.event;
    let mut response = Response::new(AnswerBody::Gate(Some(Bytes::from(body)), Some(exchange)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(DECISION, event_value(&event));
    headers.insert(REASON, HeaderValue::from_static(reason.as_str()));
    if !scopes.is_empty() {
        // RFC 6750 section 3: the scopes are separated by blanks.
        let challenge = format!(
            "Bearer error=\"insufficient_scope\", scope=\"{}\"",
            scopes.join(" ")
        );
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
    }
    if status == 503 {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == 405 {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    if matches!(reason, Reason::AmbiguousFraming | Reason::UpgradeRefused) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    expose(gate, headers);
    response
}

/// Answers a request whose body did not arrive: it was never a call, so the record is a rejection.
pub(super) fn unread(
    core: &Core,
    gate: &Gate,
    connection: &Connection,
    arrival: Arrival,
    unread: Unread,
) -> Answer {
    let detail = match unread {
        Unread::Broken => "the body's framing is broken, or the app went away within it",
        Unread::Timeout => "the body did not go on in time",
    };
    reject(core, gate, connection, arrival, detail);
    let fault = Fault {
        reason: Reason::AmbiguousFraming,
        detail,
    };
    let refusal = Refusal {
        reason: fault.reason,
        fault: Some(fault),
        missing: &[],
        version: ApiVersion::V2,
        credential: None,
    };
    let NativeAnswer {
        content_type, body, ..
    } = gate.vendor.refuse(&refusal);
    let mut response = Response::new(AnswerBody::Gate(Some(Bytes::from(body)), None));
    *response.status_mut() = if unread == Unread::Timeout {
        StatusCode::REQUEST_TIMEOUT
    } else {
        StatusCode::BAD_REQUEST
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(REASON, HeaderValue::from_static(fault.reason.as_str()));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    expose(gate, headers);
    response
}

/// Records and counts a request that was refused below the dialect.
pub(super) fn reject(
    core: &Core,
    gate: &Gate,
    connection: &Connection,
    arrival: Arrival,
    detail: &str,
) {
    let reason = Reason::AmbiguousFraming;
    core.metrics.rejected(&gate.name, reason);
    let record = RejectionRecord {
        time: arrival.time,
        gate: gate.text(),
        source: &connection.peer,
        reason,
        detail,
    };
    core.outbox
        .append(EventKind::CallRejected, |out| record.write(out));
}

/// The gate is no longer part of the configuration.
pub(super) fn gone() -> Answer {
    let mut response = Response::new(AnswerBody::Gate(None, None));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// Lets browser apps read a refusal, as they can read the vendor's answers.
fn expose(gate: &Gate, headers: &mut HeaderMap) {
    if let Some(origin) = gate.vendor.allow_origin() {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static(origin),
        );
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("grantgate-decision, grantgate-reason, www-authenticate"),
        );
    }
}

fn event_value(event: &EventId) -> HeaderValue {
    HeaderValue::from_bytes(event.as_bytes()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The body of an answer. However it ends, the call's completion record follows.
#[derive(Debug)]
pub enum AnswerBody {
    /// The vendor's, as it comes.
    Vendor(Streaming),
    /// The gate's own.
    #[expect(private_interfaces, reason = "the exchange is the proxy's own")]
    Gate(Option<Bytes>, Option<Exchange>),
}

/// A vendor's answer on its way to the app.
#[derive(Debug)]
pub struct Streaming {
    body: Incoming,
    lease: Option<Lease<CallBody>>,
    exchange: Option<Exchange>,
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    broken_off: Option<BrokenOff>,
}

/// The answer broke off: the connection to the app ends without the body's end, so that the app sees it.
#[derive(Debug, thiserror::Error)]
pub enum BrokenOff {
    /// The upstream broke off.
    #[error("the upstream's answer broke off")]
    Upstream(#[source] hyper::Error),
    /// The upstream did not go on in time.
    #[error("the upstream's answer did not go on in time")]
    Timeout,
}

impl Streaming {
    fn end(&mut self, outcome: Outcome) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.ends(outcome);
        }
        if let Some(lease) = self.lease.take()
            && outcome == Outcome::Ok
        {
            lease.give_back();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(error) = self.broken_off.take() {
            return Poll::Ready(Some(Err(error)));
        }
        // The body waits for its connection, which is driven here and wakes this task itself.
        let asleep = &mut Context::from_waker(Waker::noop());
        let mut driven = false;
        loop {
            match Pin::new(&mut self.body).poll_frame(asleep) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer = None;
                    // Trailers are dropped, as those of requests are.
                    let Ok(piece) = frame.into_data() else {
                        continue;
                    };
                    if let Some(exchange) = &mut self.exchange {
                        exchange.bytes += u64::try_from(piece.len()).unwrap_or(u64::MAX);
                    }
                    if self.body.is_end_stream() {
                        self.end(Outcome::Ok);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Poll::Ready(None) => {
                    self.end(Outcome::Ok);
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    self.end(Outcome::Truncated);
                    // What came before is flushed while this task is put off once: the app gets all that there was.
                    self.broken_off = Some(BrokenOff::Upstream(error));
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending if !driven => {
                    driven = true;
                    if let Some(lease) = &mut self.lease {
                        lease.drive(cx);
                    }
                }
                Poll::Pending => {
                    let patience = self.patience;
                    let timer = self
                        .timer
                        .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + patience)));
                    if timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.end(Outcome::Timeout);
                    return Poll::Ready(Some(Err(BrokenOff::Timeout)));
                }
            }
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // An answer without a body is never polled.
        if self.body.is_end_stream() {
            self.end(Outcome::Ok);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            Self::Vendor(streaming) => streaming.poll(cx),
            Self::Gate(text, exchange) => {
                let text = text.take();
                if let (Some(text), Some(mut exchange)) = (&text, exchange.take()) {
                    exchange.bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
                }
                Poll::Ready(text.map(|text| Ok(Frame::data(text))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Vendor(streaming) => streaming.body.is_end_stream(),
            Self::Gate(text, _) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Vendor(streaming) => streaming.body.size_hint(),
            Self::Gate(text, _) => SizeHint::with_exact(
                text.as_ref()
                    .map_or(0, |text| u64::try_from(text.len()).unwrap_or(0)),
            ),
        }
    }
}
